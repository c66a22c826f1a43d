// Records that could not be stored.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <iostream>

#include "cli/context.hpp"
#include "cli/screen.hpp"

#include "base/exact_json.hpp"

namespace sluice::cli {
namespace {

struct Options {
  std::string id, connection, type, code, after;
  int limit = 50;
};

/// One by its id, or many by connection and code or type.
std::pair<std::string, json> target(const Options& options, const std::string& verb) {
  json body = json::object();
  if (!options.id.empty()) return {"/quarantine/" + Client::escape(options.id) + "/" + verb, body};
  if (options.connection.empty() || (options.code.empty() && options.type.empty())) {
    throw CLI::ValidationError(
        verb, "name an id, or --connection together with --code or --type (or both)");
  }
  body["connection"] = options.connection;
  if (!options.type.empty()) body["type"] = options.type;
  if (!options.code.empty()) body["code"] = options.code;
  return {"/quarantine/" + verb, body};
}

void list(const Context& context, const Options& options) {
  Query query = {{"limit", std::to_string(options.limit)}};
  if (!options.after.empty()) query.emplace_back("after", options.after);
  if (!options.connection.empty()) query.emplace_back("connection", options.connection);
  if (!options.type.empty()) query.emplace_back("type", options.type);
  if (!options.code.empty()) query.emplace_back("code", options.code);
  const json answer = context.client().get("/quarantine", query);
  context.show(answer, answer.at("quarantine"),
               {{"ID", "/id", true},
                {"CONNECTION", "/connection"},
                {"TYPE", "/type"},
                {"RECORD", "/external_id"},
                {"CODE", "/code"},
                {"TIMES", "/times", true},
                {"LAST SEEN", "/last_seen_at"},
                {"REASON", "/reason"}});
  context.more(answer, "--after");
}

void show(const Context& context, const std::string& id) {
  const json answer = context.client().get("/quarantine/" + Client::escape(id));
  if (context.as_json) {
    print_json(answer);
    return;
  }
  for (const char* member : {"id", "connection", "stream", "type", "external_id", "code", "reason",
                             "times", "first_seen_at", "last_seen_at", "run"}) {
    std::cout << fmt::format("{:<14} {}\n", member, cell(answer.at(member)));
  }
  if (answer.at("record_withheld").get<bool>()) {
    std::cout << "record         (only the token of an admin or operator shows it)\n";
  } else if (!answer.at("record").is_null()) {
    std::cout << "record\n" << for_screen(write_json_lines(answer.at("record"))) << '\n';
  }
}

void add_filters(CLI::App& command, Options& options) {
  command.add_option("--connection", options.connection, "of this connection");
  command.add_option("--type", options.type, "of this entity type");
  command.add_option("--code", options.code, "with this code");
}

}  // namespace

void add_quarantine(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  auto* group = app.add_subcommand("quarantine", "Records that could not be stored, and why")
                    ->require_subcommand(1);
  auto* list_command = group->add_subcommand("list", "All, oldest first");
  add_filters(*list_command, *options);
  list_command->add_option("--limit", options->limit, "how many, 1 to 1000");
  list_command->add_option("--after", options->after, "only those after this id");
  list_command->callback([&context, options] { list(context, *options); });

  auto* show_command = group->add_subcommand("show", "One, with the record for an admin");
  show_command->add_option("id", options->id)->required();
  show_command->callback([&context, options] { show(context, options->id); });

  auto* replay = group->add_subcommand("replay", "Read again from the vendor");
  replay->add_option("id", options->id, "one of them; or name all by options");
  add_filters(*replay, *options);
  replay->callback([&context, options] {
    const auto [path, body] = target(*options, "replay");
    const json answer = context.client().send("POST", path, body);
    context.say(answer, fmt::format("{} will be read again", cell(answer.at("asked"))));
  });

  auto* dismiss = group->add_subcommand("dismiss", "Forget; the audit keeps who did it");
  dismiss->add_option("id", options->id, "one of them; or name all by options");
  add_filters(*dismiss, *options);
  dismiss->callback([&context, options] {
    const auto [path, body] = target(*options, "dismiss");
    const json answer = context.client().send("POST", path, body);
    context.say(answer, fmt::format("{} dismissed", cell(answer.at("dismissed"))));
  });
}

}  // namespace sluice::cli
