// Sync runs, and everything that is not well.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>

#include "cli/confirm.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/status_view.hpp"

#include "base/exact_json.hpp"

namespace sluice::cli {
namespace {

struct RunsOptions {
  std::string connection, stream, before, run;
  int limit = 50;
  bool failed = false;
  bool did_something = false;
  bool all = false;
};

std::string duration(const json& milliseconds) {
  const auto ms = milliseconds.get<std::int64_t>();
  if (ms < 10'000) return fmt::format("{}.{} s", ms / 1000, ms % 1000 / 100);
  if (ms < 600'000) return fmt::format("{} s", ms / 1000);
  return fmt::format("{} min", ms / 60'000);
}

/// It ended well, and found nothing to store.
bool was_idle(const json& run) {
  for (const char* count : {"inserted", "updated", "deleted", "quarantined"}) {
    if (run.at(count).get<std::int64_t>() > 0) return false;
  }
  if (run.value("found_gone", 0) > 0) return false;
  return run.at("outcome") == "done";
}

std::string read_by(const json& run) {
  const std::string stream = cell(run.at("stream"));
  if (cell(run.at("connection")).empty()) return cell(run.at("kind")) + " " + stream;  // of a file
  return cell(run.at("connection")) + "/" + (stream.empty() ? cell(run.at("kind")) : stream);
}

/// Of a reconcile also what others deleted for it, which their runs count, too.
std::int64_t gone_by(const json& run) {
  return run.at("deleted").get<std::int64_t>() + run.value("found_gone", std::int64_t{0});
}

/// Runs with those that did nothing, one after the other, as one line: "14 that did nothing".
json folded(const json& runs) {
  json rows = json::array();
  std::int64_t idle = 0;
  for (const json& run : runs) {
    if (was_idle(run)) {
      if (++idle == 1) rows.push_back(json::object());
      json& row = rows.back();
      row["run"] = run.at("run");
      row["when"] = cell(run.at("started_at")).substr(5, 11);
      row["what"] = idle == 1 ? read_by(run) : fmt::format("{} that did nothing", idle);
      row["outcome"] = "idle";
      if (idle == 1) {
        row["took"] = duration(run.at("duration_ms"));
      } else {
        row.erase("took");
      }
      continue;
    }
    idle = 0;
    json row = run;
    row["deleted"] = gone_by(run);
    row["when"] = cell(run.at("started_at")).substr(5, 11);
    row["what"] = read_by(run);
    row["took"] = duration(run.at("duration_ms"));
    rows.push_back(std::move(row));
  }
  for (json& row : rows) {
    std::string when = cell(row["when"]);
    if (when.size() > 5) when[5] = ' ';
    row["when"] = when;
  }
  return rows;
}

/// No runs of a stream may be none of its name: `meant_at_host` says what was meant then.
void require_stream(const json& connection, const std::string& stream) {
  for (const json& known : connection.at("streams"))
    if (known.at("name") == stream) return;
  const std::string name = cell(connection.at("name"));
  throw Failure(Error(ErrorKind::not_found, "stream.unknown",
                      fmt::format("connection '{}' has no stream '{}'", name, stream),
                      "sluice status " + name + " lists them"));
}

void list_runs(const Context& context, const RunsOptions& options) {
  Query query = {{"limit", std::to_string(options.limit)}};
  if (!options.before.empty()) query.emplace_back("before", options.before);
  if (!options.stream.empty()) query.emplace_back("stream", options.stream);
  if (options.failed) query.emplace_back("failed", "true");
  const bool only_those = options.did_something || (!options.all && !context.as_json);
  if (only_those && !options.failed) query.emplace_back("did_something", "true");
  const std::string path = options.connection.empty()
                               ? "/runs"
                               : "/connections/" + Client::escape(options.connection) + "/runs";
  Client client = context.client();
  const json answer = client.get(path, query);
  if (answer.at("runs").empty() && !options.connection.empty() && !options.stream.empty())
    require_stream(client.get("/connections/" + Client::escape(options.connection)),
                   options.stream);
  if (context.as_json) {
    print_json(answer);
    return;
  }
  const json rows = folded(answer.at("runs"));
  std::vector<Column> columns = {{"RUN", "/run", true},     {"STARTED", "/when"},
                                 {"WHAT", "/what"},         {"OUTCOME", "/outcome"},
                                 {"TOOK", "/took", true},   {"READ", "/records", true},
                                 {"NEW", "/inserted", true}};
  // Where nothing went or was put aside, there is more room for the others.
  for (const auto& [title, member] : {std::pair("CHANGED", "updated"), std::pair("GONE", "deleted"),
                                      std::pair("BAD", "quarantined")}) {
    const bool any = std::any_of(rows.begin(), rows.end(), [&](const json& row) {
      return row.contains(member) && row[member] != 0;
    });
    if (any) columns.push_back({title, std::string("/") + member, true});
  }
  context.show_rows(rows, columns);
  if (context.output == "csv") return;
  for (const json& run : answer.at("runs")) {
    if (run.at("outcome") != "done" && run.at("outcome") != "running") {
      std::cout << wrapped(fmt::format("run {}: ", cell(run.at("run"))), 4, cell(run.at("cause")),
                           screen_columns());
    }
  }
  context.more(answer, "--before");
}

void show_run(const Context& context, const std::string& run) {
  const json answer = context.client().get("/runs/" + Client::escape(run));
  if (context.as_json) {
    print_json(answer);
    return;
  }
  for (const char* member :
       {"run", "connection", "stream", "kind", "outcome", "cause", "started_at", "finished_at"}) {
    std::cout << fmt::format("{:<12} {}\n", member, cell(answer.at(member)));
  }
  std::cout << fmt::format("{:<12} {}\n", "took", duration(answer.at("duration_ms")));
  for (const char* member : {"pages", "requests", "bytes", "records", "inserted", "updated",
                             "unchanged", "older", "deleted", "quarantined", "notices"}) {
    std::cout << fmt::format("{:<12} {}\n", member, cell(answer.at(member)));
  }
  for (const char* member :
       {"actor", "file", "file_bytes", "file_line", "looked_up", "found_gone"}) {
    if (answer.contains(member))
      std::cout << fmt::format("{:<12} {}\n", member, cell(answer.at(member)));
  }
  if (!answer.at("error").is_null()) {
    std::cout << fmt::format("{:<12} {}\n", "class", cell(answer.at("error").value("class", "")));
    std::cout << fmt::format("{:<12} {}\n", "vendor code",
                             cell(answer.at("error").value("vendor_code", "")));
  }
}

void list_errors(Context& context) {
  Client client = context.client();
  // First what the host knows by itself: without its database nothing else is answered.
  const json host = ask_host(context);
  json answer;
  if (cannot_work(host)) {
    answer["ok"] = false;
    answer["truncated"] = false;
    answer["errors"] = reasons_as_errors(host);
  } else {
    answer = client.get("/errors");
  }
  if (!answer.at("ok").get<bool>()) context.exit = kExitTrouble;
  if (context.as_json) {
    print_json(answer);
    return;
  }
  if (answer.at("errors").empty()) std::cout << "all is well\n";
  const Screen screen = screen_of_output();
  const std::size_t columns = screen.rows == 0 ? SIZE_MAX : screen.columns;
  for (const json& error : answer.at("errors")) {
    // Of many its words have the names.
    const bool is_one = error.value("subjects", json::array()).size() < 2;
    const std::string subject = is_one ? cell(error.at("subject")) : "*";
    const std::string where = cell(error.at("connection")) + (subject.empty() ? "" : "/" + subject);
    std::cout << wrapped_lines(fmt::format("{}{} ({})\n  {}", cell(error.at("kind")),
                                           where.empty() ? "" : " " + where, cell(error.at("code")),
                                           cell(error.at("what"))),
                               2, columns)
              << '\n';
    if (!cell(error.at("action")).empty())
      std::cout << wrapped_lines("  to do: " + cell(error.at("action")), 4, columns) << '\n';
  }
  if (answer.at("truncated").get<bool>()) std::cout << "and more: only the first ones are shown\n";
}

/// What a complete read did not show goes here, too; by type, as the read counted it.
Consequence of_confirming(const Context& context, Client& client, const std::string& connection,
                          const std::string& stream) {
  Consequence gone;
  gone.name = stream;
  if (!is_asked(context)) return gone;
  const json answer = client.get("/connections/" + Client::escape(connection));
  std::string text;
  gone.facts["connection"] = connection;
  gone.facts["stream"] = stream;
  gone.facts["types"] = json::array();
  require_stream(answer, stream);
  for (const json& one : answer.at("streams")) {
    if (one.at("name") != stream) continue;
    if (one.value("reconcile", "") != "blocked") {
      throw Failure(Error(ErrorKind::conflict, "reconcile.not_blocked",
                          fmt::format("{}/{} waits for no decision", connection, stream),
                          "sluice status " + connection));
    }
    if (!one.value("reconcile_detail", json()).is_object()) continue;
    for (const json& type : one.at("reconcile_detail").value("types", json::array())) {
      json row;
      row["type"] = type.value("type", json(stream));
      row["rows"] = type.value("missing", json(0));
      gone.facts["types"].push_back(std::move(row));
    }
  }
  gone.words = fmt::format(
      "These rows are missing in the vendor's complete list, and are hidden here, too:\n{}They "
      "come "
      "back when it lists them again",
      counted(gone.facts));
  return gone;
}

}  // namespace

void add_runs(CLI::App& app, Context& context) {
  auto options = std::make_shared<RunsOptions>();
  auto* runs = app.add_subcommand("runs", "Sync runs, newest first");
  runs->add_option("connection", options->connection, "all when there is none");
  runs->add_option("--stream", options->stream, "only of this stream");
  runs->add_flag("--failed", options->failed, "only those that failed, or whose host was lost");
  runs->add_flag("--all", options->all, "those that found nothing new, too");
  runs->add_flag("--did-something", options->did_something,
                 "only those that stored, deleted or put aside something, failed, or are under "
                 "way; with --json, since a table has no others");
  runs->add_option("--limit", options->limit, "how many, 1 to 1000");
  runs->add_option("--before", options->before, "only those before this run");
  runs->callback([&context, options] { list_runs(context, *options); });

  auto* run = app.add_subcommand("run", "One sync run")->require_subcommand(1);
  auto* show = run->add_subcommand("show", "What it did and how it ended");
  show->add_option("run", options->run)->required();
  show->callback([&context, options] { show_run(context, options->run); });
}

void add_errors(CLI::App& app, Context& context) {
  app.add_subcommand("errors", "Everything that is not well; exit 75 when there is something")
      ->callback([&context] { list_errors(context); });

  struct Options {
    std::string connection, stream;
  };
  auto options = std::make_shared<Options>();
  auto* reconcile =
      app.add_subcommand("reconcile", "Decide about rows that a complete read did not show")
          ->require_subcommand(1);
  const auto decide = [&](const char* name, const char* help, bool confirm, const char* done) {
    auto* command = reconcile->add_subcommand(name, help);
    command->add_option("connection", options->connection)->required();
    command->add_option("stream", options->stream)->required();
    if (confirm) add_confirmation(*command, context);
    command->callback([&context, options, confirm, done] {
      json body;
      body["confirm"] = confirm;
      Client client = context.client();
      if (confirm &&
          !is_meant(context, of_confirming(context, client, options->connection, options->stream)))
        return;
      const json answer =
          client.send("POST",
                      "/connections/" + Client::escape(options->connection) + "/streams/" +
                          Client::escape(options->stream) + "/reconcile",
                      body);
      context.say(answer, fmt::format(fmt::runtime(done), answer.value("missing", 0)));
    });
  };
  decide("confirm", "Delete here what is missing at the vendor", true,
         "confirmed: {} entities that are missing in the vendor's complete list go here, too; they "
         "come back when it lists them again");
  decide("reject", "Keep it; the next complete read compares again", false,
         "rejected: {} entities stay; the next complete read compares again");
}

}  // namespace sluice::cli
