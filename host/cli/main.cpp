// sluice, the command line: a client of the REST API.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <iostream>

#include "cli/context.hpp"

namespace sluice::cli {
namespace {

int run(int argc, char** argv) {
  CLI::App app("Asks and steers a Sluice host.", "sluice");
  Context context;
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--url", context.url, "the host; SLUICE_URL");
  app.add_option("--token", context.token,
                 "SLUICE_TOKEN or ~/.config/sluice/token (better: no other user sees those)");
  app.add_option("--ca-file", context.ca_file,
                 "SLUICE_CA_FILE; who vouches for the host's certificate, if not the system");
  app.add_option("-w,--workspace", context.workspace, "SLUICE_WORKSPACE; main otherwise");
  app.add_flag("--insecure", context.insecure,
               "send the token in clear also to another machine; SLUICE_INSECURE=1");
  app.add_flag("--json", context.as_json, "print the host's JSON");
  add_connector(app, context);
  add_connection(app, context);
  add_sync(app, context);
  add_status(app, context);
  add_runs(app, context);
  add_errors(app, context);
  add_quarantine(app, context);
  add_entity(app, context);
  add_link(app, context);
  add_changes(app, context);
  add_views(app, context);
  add_workspace(app, context);
  add_sql(app, context);
  const auto refuse = [](const Error& error) {
    std::cout.flush();
    fmt::print(stderr, "sluice: {}\n", cell(error.message));
    if (!error.hint.empty()) fmt::print(stderr, "        {}\n", cell(error.hint));
    if (!error.code.empty()) fmt::print(stderr, "        ({})\n", cell(error.code));
    return exit_code(error.kind);
  };
  try {
    app.parse(argc, argv);
    flush_output();
    if (std::cout) return context.exit;
    fmt::print(stderr, "sluice: the output cannot be written\n");
    return kExitOutput;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kExitUsage;
  } catch (const Failure& failure) {
    return refuse(failure.error());
  } catch (const std::exception& surprise) {
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
