// The SQL views of a workspace.
#include <CLI/CLI.hpp>

#include <iostream>

#include "cli/context.hpp"

namespace sluice::cli {

void add_views(CLI::App& app, Context& context) {
  auto* group = app.add_subcommand("view", "SQL views of the workspace")->require_subcommand(1);
  auto* refresh =
      group->add_subcommand("refresh",
                            "Make the SQL views those of the catalogue; exit 75 when one "
                            "cannot be, and why");
  refresh->callback([&context] {
    const json answer = context.client().send("POST", "/views/refresh", json::object());
    context.say(answer, answer.at("ok").get<bool>() ? "the SQL views are those of the catalogue"
                                                    : "some SQL views are old ones:");
    if (answer.at("ok").get<bool>()) return;
    context.exit = kExitTrouble;
    if (context.as_json) return;
    for (const json& note : answer.at("notes")) std::cout << cell(note) << '\n';
  });
}

}  // namespace sluice::cli
