// Link rules and links.
#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace sluice::cli {

void add_link(CLI::App& app, Context& context) {
  struct Options {
    std::string name, source, target, kind, rule, state, cursor;
    int limit = 20;
  };
  auto options = std::make_shared<Options>();
  auto* group =
      app.add_subcommand("link", "What joins vendor data to your own")->require_subcommand(1);
  group->add_subcommand("rules", "Link rules, with how many links each has")->callback([&context] {
    const json answer = context.client().get("/link-rules");
    context.show(answer, answer["rules"],
                 {{"RULE", "/name"},
                  {"FROM", "/source"},
                  {"TO", "/target"},
                  {"BY", "/kind"},
                  {"ENABLED", "/enabled"},
                  {"LINKED", "/counts/linked", true},
                  {"PENDING", "/counts/pending", true},
                  {"CONTESTED", "/counts/contested", true},
                  {"FINDS NOTHING BECAUSE", "/idle/reason"}});
  });
  auto* add = group->add_subcommand("add-rule", "A rule of your own");
  add->add_option("name", options->name)->required();
  add->add_option("--from", options->source, "type.attribute, for example stripe.customer.email")
      ->required();
  add->add_option("--to", options->target, "type.attribute, for example customer.email")
      ->required();
  add->add_option("--by", options->kind, "email, phone, domain, username, external_id, exact")
      ->required();
  add->callback([&context, options] {
    json body;
    body["name"] = options->name;
    body["source"] = options->source;
    body["target"] = options->target;
    body["kind"] = options->kind;
    const json answer = context.client().send("POST", "/link-rules", body);
    context.say(answer, "added " + options->name + "; its links follow, as work " +
                            cell(answer["work"]) + " (sluice status --json)");
  });
  auto* list = group->add_subcommand("list", "Links");
  list->add_option("--rule", options->rule, "only of this rule");
  list->add_option("--state", options->state, "linked, pending, contested");
  list->add_option("--limit", options->limit, "how many in one page");
  list->add_option("--cursor", options->cursor, "where the page before ended");
  list->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->rule.empty()) query.emplace_back("rule", options->rule);
    if (!options->state.empty()) query.emplace_back("state", options->state);
    if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
    const json answer = context.client().get("/links", query);
    context.show(answer, answer["links"],
                 {{"RULE", "/rule"},
                  {"STATE", "/state"},
                  {"TYPE", "/source/type"},
                  {"FROM", "/source/id", true},
                  {"VENDOR ID", "/source/external_id"},
                  {"TO", "/target/id", true},
                  {"CANDIDATES", "/candidates"},
                  {"ONLY AFTER FOLDING", "/evidence/only_after_folding"}});
    context.more(answer, "--cursor");
  });
}

}  // namespace sluice::cli
