// The change feed.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <utility>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/typed_value.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {

namespace {

struct ChangesOptions {
  std::string cursor, type, since, from, connection, op, cause, kind, output;
  int limit = 50;
  bool follow = false;
  bool summary = false;
  bool reached = false;  ///< the host, once
  bool said = false;     ///< that it is away
};

/// The filters, and where to begin as long as there is no cursor.
Query query_of(const ChangesOptions& options) {
  Query query;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) query.emplace_back(name, value);
  };
  add("type", options.type);
  add("connection", options.connection);
  add("op", options.op);
  add("cause", options.cause);
  add("kind", options.kind);
  add("cursor", options.cursor);
  if (options.cursor.empty()) {
    add("since", options.since);
    add("from", options.from);
  }
  return query;
}

/// From so many columns on the time at the vendor stands beside ours.
constexpr std::size_t kColumnsForBoth = 120;

std::string to_the_second(const json& time) {
  std::string text = cell(time).substr(0, 19);
  if (text.size() > 10) text[10] = ' ';
  return text;
}

/// When it was stored here and, with `both`, when it happened at the vendor, where that is known.
std::string times_of(const json& change, bool both) {
  const std::string at = to_the_second(change.at("at"));
  const json vendor_at = change.value("vendor_at", json());  // a host of before does not say it
  if (!both || vendor_at.is_null()) return at;
  return fmt::format("{} (at the vendor {})", at, to_the_second(vendor_at));
}

/// One change: a line, and one for each attribute with its values before and after. Nothing is cut.
void print_change(const json& change, bool both_times) {
  const std::size_t width = screen_columns();
  std::string head =
      fmt::format("{}  {} {} {}", times_of(change, both_times), cell(change.at("op")),
                  cell(change.at("type")), cell(change.at("entity_id")));
  if (change.contains("external_id")) head += " " + cell(change.at("external_id"));
  const std::string cause = cell(change.at("cause"));
  std::cout << wrapped("", 4, fmt::format("{} by {} #{}", head, cause, cell(change.at("position"))),
                       width);
  if (!change.at("changed").is_object()) return;
  for (const auto& [name, values] : change.at("changed").items()) {
    const bool both = values.is_array() && values.size() == 2;
    const auto shown = [](const json& value) {
      return value.is_null() ? std::string("(none)") : cell(value);
    };
    std::cout << wrapped(
        "    ", 6,
        both ? fmt::format("{}: {} -> {}", name, shown(values.at(0)), shown(values.at(1)))
             : fmt::format("{}: {}", name, cell(values)),
        width);
  }
}

void print_summary(const json& answer) {
  std::cout << fmt::format(
      "since {}: {} changes{}\n", cell(answer.at("since")), cell(answer.at("changes")),
      answer.at("truncated").get<bool>() ? ", and more that are not counted" : "");
  // A line a type: what of it is new, changed and gone, and by whom.
  json rows = json::array();
  for (const json& count : answer.at("counts")) {
    const bool is_other = rows.empty() || rows.back()["type"] != count.at("type");
    if (is_other) rows.push_back({{"type", count.at("type")}, {"by", json::array()}, {"all", 0}});
    json& row = rows.back();
    const std::string op = cell(count.at("op"));
    const char* column = op == "insert" || op == "restore" ? "new"
                         : op == "update"                  ? "changed"
                         : op == "delete"                  ? "gone"
                                                           : "links";
    const auto many = count.at("count").get<std::int64_t>();
    row[column] = row.value(column, std::int64_t{0}) + many;
    row["all"] = row["all"].get<std::int64_t>() + many;
    json& by = row["by"];
    if (std::find(by.begin(), by.end(), count.at("cause")) == by.end())
      by.push_back(count.at("cause"));
  }
  // What has no room on a screen is added up: the most first.
  const std::size_t room = screen_rows() > 5 ? screen_rows() - 4 : rows.size();
  std::stable_sort(rows.begin(), rows.end(), [](const json& a, const json& b) {
    return a.at("all").get<std::int64_t>() > b.at("all").get<std::int64_t>();
  });
  std::int64_t rest = 0;
  const std::size_t types = rows.size();
  while (rows.size() > std::max<std::size_t>(room, 1)) {
    rest += rows.back()["all"].get<std::int64_t>();
    rows.erase(rows.size() - 1);
  }
  const std::size_t left = types - rows.size();
  for (json& row : rows) {
    std::string by;
    for (const json& cause : row["by"]) by += (by.empty() ? "" : ", ") + cell(cause);
    row["by"] = by;
  }
  if (rows.empty()) return;
  std::cout << table_that_fits(rows, {{"TYPE", "/type"},
                                      {"NEW", "/new", true},
                                      {"CHANGED", "/changed", true},
                                      {"GONE", "/gone", true},
                                      {"LINKS", "/links", true},
                                      {"BY", "/by"}});
  if (left > 0) std::cout << fmt::format("and {} types more: {} changes\n", left, rest);
}

bool as_json(const Context& context, const ChangesOptions& options) {
  return context.as_json || options.output == "json";
}

void show_page(const Context& context, const ChangesOptions& options, const json& answer) {
  const bool as_lines = options.output == "ndjson";
  if (as_lines || (as_json(context, options) && options.follow)) {
    for (const json& change : answer.at("changes"))
      std::cout << for_screen(write_json(change)) << '\n';
    return;
  }
  if (as_json(context, options)) {
    print_json(answer);
    return;
  }
  const bool both_times = options.output == "wide" || screen_columns() >= kColumnsForBoth;
  for (const json& change : answer.at("changes")) print_change(change, both_times);
  if (options.follow) return;
  if (answer.at("changes").empty()) std::cout << "(none)\n";
  const bool more = answer.value("has_more", false);
  std::cout << (more ? "more: --cursor " : "cursor: ") << options.cursor << '\n';
}

void read_changes(const Context& context, ChangesOptions& options) {
  Client client = context.client();
  if (options.summary) {
    const json answer = client.get("/changes/summary", query_of(options));
    if (as_json(context, options)) {
      print_json(answer);
    } else {
      print_summary(answer);
    }
    return;
  }
  // Whoever looks wants what is new; who follows, what comes.
  if (options.from.empty() && options.since.empty())
    options.from = options.follow ? "now" : "newest";
  const bool is_cursor =
      options.from != "now" && options.from != "start" && options.from != "newest";
  if (options.since.empty() && is_cursor && options.cursor.empty()) options.cursor = options.from;
  for (;;) {
    Query query = query_of(options);
    query.emplace_back("limit", std::to_string(options.limit));
    json answer;
    try {
      answer = client.get("/changes", query);
    } catch (const Failure& failure) {
      // Whoever follows waits for a host that starts again; anything else is for a person.
      const bool away = failure.error().code == "host.unreachable" ||
                        failure.error().kind == ErrorKind::retry_later ||
                        failure.error().kind == ErrorKind::reconnect;
      if (!options.follow || !options.reached || !away) throw;
      if (!std::exchange(options.said, true))
        std::cerr << failure.error().describe() << "; waiting, cursor: " << options.cursor << '\n';
      pause_for(std::chrono::seconds(1));
      continue;
    }
    options.reached = true;
    options.said = false;
    options.cursor = cell(answer.at("cursor"));
    show_page(context, options, answer);
    if (!options.follow) return;
    flush_output();
    if (!std::cout) return;  // run() says so
    if (!answer.at("has_more").get<bool>()) pause_for(std::chrono::milliseconds(500));
  }
}

}  // namespace

void add_changes(CLI::App& app, Context& context) {
  auto options = std::make_shared<ChangesOptions>();
  auto* changes = app.add_subcommand("changes", "What changed; the newest, if nothing is said");
  auto* since = changes->add_option(
      "--since", options->since,
      "from then on: 90m, 2h, 1d, 1w, today, yesterday (UTC), 2026-11-23, or a time of RFC 3339");
  auto* from = changes->add_option("--from", options->from, "start, now, newest, or a cursor");
  changes->add_option("--cursor", options->cursor, "where to go on")->excludes(since, from);
  since->excludes(from);
  changes->add_option("--type", options->type, "only of this entity type");
  changes->add_option("--connection", options->connection, "only of this connection's rows");
  changes->add_option("--op", options->op,
                      "insert, update, delete, restore, link, unlink, erased; several with commas");
  changes->add_option("--cause", options->cause,
                      "sync, link (keys, rules, people), own (your own data), connection");
  changes->add_option("--kind", options->kind, "entity or link");
  changes->add_option("--limit", options->limit, "how many in one page, 1 to 1000");
  changes
      ->add_option("-o,--output", options->output,
                   "table, wide (with the time at the vendor, as on a wide terminal), json, ndjson")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return flaw_of(text, {"table", "wide", "json", "ndjson"});
          },
          ""));
  changes->add_flag("-f,--follow", options->follow, "go on for ever, from now if nothing is said");
  changes->add_flag("--summary", options->summary, "only how many, by type and op; since a day");
  changes->callback([&context, options] { read_changes(context, *options); });

  auto why = std::make_shared<std::string>();
  auto* feed =
      app.add_subcommand("feed", "The change feeds of all workspaces")->require_subcommand(1);
  auto* anew = feed->add_subcommand(
      "new-generation", "After the database's files were put back by hand: tell every consumer");
  anew->add_option("--why", *why, "for the audit and whoever looks later")->required();
  anew->callback([&context, why] {
    json body;
    body["why"] = *why;
    const json answer = context.client().global("POST", "/v1/feed/new-generation", body);
    context.say(answer, cell(answer.at("workspaces")) + " workspaces began a new generation");
  });
}

}  // namespace sluice::cli
