// The change feed.
#include <CLI/CLI.hpp>

#include <iostream>
#include <utility>

#include "cli/context.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {

void add_changes(CLI::App& app, Context& context) {
  struct Options {
    std::string cursor, type;
    int limit = 50;
    bool follow = false;
    bool reached = false;  ///< the host, once
    bool said = false;     ///< that it is away
  };
  auto options = std::make_shared<Options>();
  auto* changes = app.add_subcommand("changes", "The change feed");
  changes->add_option("--cursor", options->cursor, "where to go on");
  changes->add_option("--type", options->type, "only of this entity type");
  changes->add_option("--limit", options->limit, "how many in one page, 1 to 1000");
  changes->add_flag("-f,--follow", options->follow, "go on for ever");
  changes->callback([&context, options] {
    Client client = context.client();
    for (;;) {
      Query query = {{"limit", std::to_string(options->limit)}};
      if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
      if (!options->type.empty()) query.emplace_back("type", options->type);
      json answer;
      try {
        answer = client.get("/changes", query);
      } catch (const Failure& failure) {
        // Whoever follows waits for a host that starts again; anything else is for a person.
        const bool away = failure.error().code == "host.unreachable" ||
                          failure.error().kind == ErrorKind::retry_later ||
                          failure.error().kind == ErrorKind::reconnect;
        if (!options->follow || !options->reached || !away) throw;
        if (!std::exchange(options->said, true))
          std::cerr << failure.error().describe() << "; waiting, cursor: " << options->cursor
                    << '\n';
        pause_for(std::chrono::seconds(1));
        continue;
      }
      options->reached = true;
      options->said = false;
      options->cursor = cell(answer["cursor"]);
      if (!options->follow || !answer["changes"].empty()) {
        context.show(answer, answer["changes"],
                     {{"POSITION", "/position", true},
                      {"AT", "/at"},
                      {"OP", "/op"},
                      {"TYPE", "/type"},
                      {"ID", "/entity_id", true},
                      {"VENDOR ID", "/external_id"},
                      {"CHANGED", "/changed"}});
      }
      if (!options->follow) {
        if (!context.as_json) std::cout << "cursor: " << options->cursor << '\n';
        return;
      }
      flush_output();
      if (!std::cout) return;  // run() says so
      if (!answer["has_more"].get<bool>()) pause_for(std::chrono::milliseconds(500));
    }
  });

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
    context.say(answer, cell(answer["workspaces"]) + " workspaces began a new generation");
  });
}

}  // namespace sluice::cli
