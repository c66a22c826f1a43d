// sluice, the command line: a client of the REST API.
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <iostream>
#include <sstream>

#include "cli/command_line.hpp"
#include "cli/complete.hpp"
#include "cli/context.hpp"
#include "cli/help.hpp"
#include "cli/names.hpp"
#include "cli/screen.hpp"
#include "cli/typed_value.hpp"

namespace sluice::cli {
namespace {

int refuse(const Error& error) {
  std::cout.flush();
  const auto say = [](std::string_view first, const std::string& text) {
    fmt::print(stderr, "{}", message_lines(first, 8, cell(text), STDERR_FILENO));
  };
  say("sluice: ", error.message);
  if (!error.hint.empty()) say("        ", error.hint);
  if (!error.code.empty()) fmt::print(stderr, "        ({})\n", cell(error.code));
  if (error.code == "import.interrupted") {  // half is done: who waits for us sees by which signal
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  return error.code.starts_with("cli.unknown_") || error.code == "cli.too_many_words" ||
                 error.code == "cli.value_missing" || error.code == "cli.command_missing" ||
                 error.code == "cli.bad_value"
             ? kExitUsage
             : exit_code(error.kind);
}

/// `ls` and `rm`, wherever there is a list or a delete.
void add_short_forms(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    if (command->get_name() == "list") command->alias("ls");
    if (command->get_name() == "delete") command->alias("rm");
    add_short_forms(*command);
  }
}

/// A command, and what all of them have.
void build(CLI::App& app, Context& context) {
  app.require_subcommand(1);
  app.fallthrough();
  set_help(app);
  app.set_version_flag("--version", SLUICE_VERSION, "the release of this program");
  app.add_option("--context", context.name,
                 "a host that sluice login has kept; SLUICE_CONTEXT, else the one in use");
  app.add_option("--url", context.url, "the host; SLUICE_URL");
  app.add_option("--token", context.token,
                 "SLUICE_TOKEN, or better sluice login: no other user sees those");
  app.add_option("--ca-file", context.ca_file,
                 "SLUICE_CA_FILE; who vouches for the host's certificate, if not the system");
  app.add_option("-w,--workspace", context.workspace,
                 "SLUICE_WORKSPACE; else the one that the token knows, main of several");
  app.add_flag("--insecure", context.insecure,
               "send the token in clear also to another machine; SLUICE_INSECURE=1");
  app.add_flag("--json", context.as_json, "print the host's JSON");
  app.add_option("-o,--output", context.output, "tables as table, wide, csv, or as --json: json")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return flaw_of(text, {"table", "wide", "csv", "json"});
          },
          ""));
  app.parse_complete_callback([&context] {
    context.settle();
    static std::ostringstream unheard;
    if (context.output == "csv") context.csv = std::cout.rdbuf(unheard.rdbuf());
  });
  add_help(app);
  add_login(app, context);
  add_status(app, context);
  add_errors(app, context);
  add_sync(app, context);
  add_runs(app, context);
  add_connector(app, context);
  add_connection(app, context);
  add_host(app, context);
  add_quarantine(app, context);
  add_entity(app, context);
  add_link(app, context);
  add_changes(app, context);
  add_views(app, context);
  add_workspace(app, context);
  add_sql(app, context);
  add_audit(app, context);
  add_completion(app);
  add_short_forms(app);
}

/// A name that the host does not know may be one that it knows, misspelt.
Error with_suggestion(const CLI::App& app, const Context& context,
                      const std::vector<std::string>& words, Error error) {
  const bool is_of_a_name = error.kind == ErrorKind::not_found ||
                            (error.kind == ErrorKind::bad_input && !error.code.starts_with("cli."));
  if (!is_of_a_name) return error;
  try {
    Client client = context.client();
    if (error.code == "workspace.unknown") {
      std::string known;
      const json me = client.me();
      for (const json& name : me.value("workspaces", json::array()))
        known += (known.empty() ? "" : ", ") + cell(name);
      if (!known.empty())
        error.hint = "This token knows: " + known + ". Name one with -w or SLUICE_WORKSPACE";
      return error;
    }
    if (error.hint.find("Did you mean") != std::string::npos) return error;
    const std::string meant = meant_at_host(client, walk(app, words));
    if (!meant.empty()) error.hint = error.hint.empty() ? meant : meant + " " + error.hint;
  } catch (const std::exception&) {
    return error;  // what was refused is worth more than why nobody knows better
  }
  return error;
}

/// Of a host of another release something may be missing, or be other than it is here.
std::optional<Error> other_release(const Context& context) {
  try {
    const std::string there = context.client().host_version();
    if (there.empty() || there == SLUICE_VERSION) return std::nullopt;
    return Error(ErrorKind::unsupported, "cli.other_version",
                 fmt::format("the host at {} is sluiced {}, this is sluice {}, and they do not "
                             "understand each other here",
                             context.url, there, SLUICE_VERSION),
                 "Use the sluice that came with that sluiced; sluice --version says which this is");
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

/// Has standard output be that of all again.
class OutputOfAll {
 public:
  explicit OutputOfAll(const Context& context) : context_(context) {}
  OutputOfAll(const OutputOfAll&) = delete;
  OutputOfAll& operator=(const OutputOfAll&) = delete;
  ~OutputOfAll() { restore(); }
  void restore() const {
    if (context_.csv != nullptr) std::cout.rdbuf(context_.csv);
  }

 private:
  const Context& context_;
};

int run(int argc, char** argv) {
  CLI::App app("Asks and steers a Sluice host.", "sluice");
  Context context;
  build(app, context);
  const OutputOfAll output(context);
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (!words.empty() && words.front() == "__complete") {
    words.erase(words.begin());
    complete(app, context, std::move(words));
    return kExitOk;
  }
  try {
    app.parse(argc, argv);
    output.restore();
    flush_output();
    if (context.output == "csv" && !context.has_rows) {
      return refuse(Error(ErrorKind::bad_input, "cli.no_table", "this command has no table for CSV",
                          "-o json has all that it says"));
    }
    if (std::cout) return context.exit;
    fmt::print(stderr, "sluice: the output cannot be written\n");
    return kExitOutput;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return refuse(usage_error(app, words, error.get_name(), error.what()));
  } catch (const Failure& failure) {
    const std::string& code = failure.error().code;
    if (code == "request.no_such_path" || code == "request.unknown_parameter" ||
        code == "request.unknown_field" || code == "host.nonsense") {
      if (const auto other = other_release(context)) return refuse(*other);
    }
    return refuse(with_suggestion(app, context, words, failure.error()));
  } catch (const std::exception& surprise) {
    if (const auto other = other_release(context)) return refuse(*other);
    return refuse(Error(ErrorKind::internal, "cli.defect",
                        std::string("this did not go as planned: ") + surprise.what(),
                        "Is the host of the same version? Else please report it"));
  }
}

}  // namespace
}  // namespace sluice::cli

int main(int argc, char** argv) {
  // As `| head` expects it, even when whoever started us ignores the signal.
  std::signal(SIGPIPE, SIG_DFL);
  return sluice::cli::run(argc, argv);
}
