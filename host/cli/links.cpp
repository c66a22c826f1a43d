// Link rules, links, and what people decide of them.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <iostream>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"

namespace sluice::cli {
namespace {

struct LinkOptions {
  std::string name, source, target, kind, rule, state, cursor, type, id, connection, why;
  int limit = 20;
  bool external = false, with_decisions = false;
};

/// Where an entity's links are, and how it is named there.
std::string links_of(const LinkOptions& options) {
  return "/entities/" + Client::escape(options.type) + "/" + Client::escape(options.id) + "/links";
}

Query naming(const LinkOptions& options) {
  Query query;
  if (options.external) query.emplace_back("by", "external_id");
  if (!options.connection.empty()) query.emplace_back("connection", options.connection);
  return query;
}

std::string with(std::string path, const Query& query) {
  char mark = '?';
  for (const auto& [name, value] : query) {
    path += mark + name + "=" + Client::escape(value);
    mark = '&';
  }
  return path;
}

/// "20  Ann Example  ann@x.example  cus_1"
std::string face(const json& entity) {
  std::string text = cell(entity.at("id"));
  for (const char* member : {"external_id", "name", "key"}) {
    const std::string one = entity.contains(member) ? cell(entity[member]) : std::string();
    if (!one.empty() && text.find("  " + one) == std::string::npos) text += "  " + one;
  }
  if (entity.value("deleted", false)) text += "  (deleted)";
  return text;
}

void print_why(const json& answer) {
  const std::size_t width = screen_columns();
  const json& entity = answer.at("entity");
  std::cout << fitted(fmt::format("{} {}", cell(entity.at("type")), face(entity)), width) << '\n';
  for (const json& key : answer.at("keys")) {
    const std::string value = key.at("value").is_null() ? "(none)" : cell(key.at("value"));
    const std::string line = fmt::format("  {}: {}{}", cell(key.at("attribute")), value,
                                         key.at("value").is_null() || key.at("usable").get<bool>()
                                             ? ""
                                             : "  (no key of kind " + cell(key.at("kind")) + ")");
    std::cout << fitted(line, width) << '\n';
  }
  if (answer.at("keys").empty()) std::cout << "  no attribute of it is a link key\n";
  for (const json& link : answer.at("links")) {
    const bool to = link.at("direction") == "to";
    std::cout << '\n'
              << wrapped("", 2,
                         fmt::format("rule {} {} {} by {}: {}", cell(link.at("rule")),
                                     to ? "to" : "from", cell(link.at("type")),
                                     cell(link.at("kind")), cell(link.at("state"))),
                         width);
    std::cout << wrapped("  why    ", 9, cell(link.at("why")), width);
    const auto show = [&](const char* what, const json& one, const std::string& more) {
      std::cout << fitted(fmt::format("  {}{}{}", what, face(one), more), width) << '\n';
    };
    if (to && !link.at("target").is_null()) show("with   ", link.at("target"), "");
    if (to) {
      for (const json& one : link.at("candidates")) show("found  ", one, "");
      const auto more = link.at("candidate_count").get<std::int64_t>() -
                        static_cast<std::int64_t>(link.at("candidates").size());
      if (more > 0) std::cout << fmt::format("         and {} more\n", more);
    } else {
      for (const json& one : link.at("sources"))
        show(one.at("linked_here").get<bool>() ? "with   " : "found  ", one,
             one.at("linked_here").get<bool>() ? "" : "  (" + cell(one.at("state")) + ")");
      if (link.at("has_more").get<bool>()) std::cout << "         and more\n";
    }
    const std::string action = cell(link.at("action"));
    if (!action.empty() && action != "nothing") std::cout << wrapped("  to do  ", 9, action, width);
  }
  if (answer.at("links").empty())
    std::cout << "\nno rule begins or ends at this type (sluice link add-rule makes one)\n";
}

/// Two lines a rule: 80 columns hold no more of them side by side.
void print_rules(const json& rules) {
  const std::size_t width = screen_columns();
  if (rules.empty()) std::cout << "(none; sluice link add-rule makes one)\n";
  for (const json& rule : rules) {
    std::cout << wrapped(
        "", 2,
        fmt::format("{}: {} to {} by {}{}", cell(rule.at("name")), cell(rule.at("source")),
                    cell(rule.at("target")), cell(rule.at("kind")),
                    rule.at("enabled").get<bool>() ? "" : " (off)"),
        width);
    std::string counts;
    for (const char* state :
         {"linked", "confirmed", "pending", "contested", "rejected", "inactive", "no_key"}) {
      const json& count = rule.at("counts").at(state);
      const bool always = std::string_view(state) == "linked" ||
                          std::string_view(state) == "pending" ||
                          std::string_view(state) == "contested";
      if (count.is_null() || (!always && count == 0)) continue;
      const std::string_view name = std::string_view(state) == "no_key" ? "without a key" : state;
      counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", cell(count), name);
    }
    std::cout << wrapped("  ", 2, counts, width);
    if (!rule.at("idle").is_null()) {
      std::cout << wrapped("  finds nothing: ", 4, cell(rule.at("idle").at("reason")), width);
      std::cout << wrapped("  to do: ", 4, cell(rule.at("idle").at("action")), width);
    }
  }
}

/// Whom a link leads to, or who might be it.
std::string whom(const json& link) {
  if (!link.at("target").is_null())
    return cell(link.at("target").at("id")) + " " + cell(link.at("target").at("name"));
  std::string text;
  for (const json& one : link.at("candidate_names"))
    text += fmt::format("{}{} {}", text.empty() ? "" : " or ", cell(one.at("id")),
                        cell(one.at("name")));
  return text;
}

void print_links(const Context& context, json links) {
  bool one_rule = true;
  for (json& link : links) {
    one_rule = one_rule && link.at("rule") == links.at(0).at("rule");
    const json& source = link.at("source");
    const std::string name = cell(source.at("name"));
    const std::string external =
        source.contains("external_id") ? cell(source.at("external_id")) : "";
    link["who"] = name.empty() ? external : external.empty() ? name : name + " " + external;
    link["whom"] = whom(link);
  }
  std::vector<Column> columns = {{"STATE", "/state"},
                                 {"ID", "/source/id", true},
                                 {"WHO", "/who"},
                                 {"KEY", "/source/key"},
                                 {"WHOM", "/whom"}};
  const bool as_table = context.output != "csv";
  if (!one_rule || !as_table) columns.insert(columns.begin(), {"RULE", "/rule"});
  if (as_table && one_rule && !links.empty())
    std::cout << "rule " << cell(links.at(0).at("rule")) << '\n';
  context.show_rows(links, columns);
}

/// The rule that was named, or the only one that begins at the type.
std::string rule_of(Client& client, const LinkOptions& options) {
  if (!options.rule.empty()) return options.rule;
  const json rules = client.get("/link-rules").at("rules");
  std::vector<std::string> names;
  for (const json& rule : rules) {
    const std::string source = cell(rule.at("source_type"));
    if (source == options.type) names.push_back(cell(rule.at("name")));
  }
  if (names.size() == 1) return names.front();
  if (names.empty()) {
    throw Failure(Error(ErrorKind::bad_input, "cli.no_rule",
                        "no link rule begins at '" + options.type + "'",
                        "sluice link rules shows them; a link is named from the vendor's side"));
  }
  throw Failure(Error(ErrorKind::bad_input, "cli.which_rule",
                      fmt::format("{} rules begin at '{}'", names.size(), options.type),
                      fmt::format("say which: --rule {}", fmt::join(names, ", --rule "))));
}

std::string decided_words(const json& answer) {
  const std::string state = cell(answer.at("state"));
  std::string text = fmt::format("{} {}: ", cell(answer.at("source").at("type")),
                                 cell(answer.at("source").at("id")));
  if (!answer.at("target").is_null()) {
    return text + fmt::format("{} with {} {}", state, cell(answer.at("target").at("type")),
                              cell(answer.at("target").at("id")));
  }
  return text + (state.empty() ? "noted" : state);
}

void decide(const Context& context, const LinkOptions& options, const char* decision,
            const std::string& target, const std::string& then) {
  Client client = context.client();
  const std::string rule = rule_of(client, options);
  json body;
  body["decision"] = decision;
  body["target"] = target.empty() ? json(nullptr) : json(target);
  if (!options.why.empty()) body["why"] = options.why;
  const json answer = client.send(
      "POST", with(links_of(options) + "/" + Client::escape(rule), naming(options)), body);
  std::string text = decided_words(answer) + then;
  if (answer.contains("note")) text += "\n  note: " + cell(answer.at("note"));
  context.say(answer, text);
}

/// Whom it is linked with, for a rejection that names nobody.
std::string linked_with(const Context& context, const LinkOptions& options) {
  Client client = context.client();
  const std::string rule = rule_of(client, options);
  const json answer = client.get(links_of(options), naming(options));
  for (const json& link : answer.at("links")) {
    if (link.at("direction") != "to" || link.at("rule") != rule) continue;
    if (!link.at("target").is_null()) return cell(link.at("target").at("id"));
    throw Failure(Error(ErrorKind::bad_input, "cli.nothing_to_reject",
                        fmt::format("{} {} is {} under the rule '{}': there is no target to reject",
                                    options.type, options.id, cell(link.at("state")), rule),
                        "name one (sluice link reject TYPE ID TARGET), or say that it is nobody "
                        "(sluice link unlink TYPE ID)"));
  }
  return {};
}

void switch_rule(const Context& context, const std::string& name, bool enabled) {
  json body;
  body["enabled"] = enabled;
  const json answer = context.client().send("PATCH", "/link-rules/" + Client::escape(name), body);
  context.say(answer, fmt::format("{} is {}; its links follow, as work {}", name,
                                  enabled ? "on" : "off", cell(answer.at("work"))));
}

}  // namespace

void add_link(CLI::App& app, Context& context) {
  auto options = std::make_shared<LinkOptions>();
  auto* group =
      app.add_subcommand("link", "What joins vendor data to your own")->require_subcommand(1);
  group->add_subcommand("rules", "Link rules, with how many links each has")->callback([&context] {
    const json answer = context.client().get("/link-rules");
    if (context.as_json) {
      print_json(answer);
      return;
    }
    print_rules(answer.at("rules"));
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
                            cell(answer.at("work")) + " (sluice status --json)");
  });
  auto* enable = group->add_subcommand("enable-rule", "Turn a rule on, or have it look again");
  enable->add_option("rule", options->name)->required();
  enable->callback([&context, options] { switch_rule(context, options->name, true); });
  auto* disable = group->add_subcommand("disable-rule", "Turn a rule off; its links follow");
  disable->add_option("rule", options->name)->required();
  disable->callback([&context, options] { switch_rule(context, options->name, false); });

  auto* remove = group->add_subcommand("remove-rule", "Remove a rule of your own, with its links");
  remove->add_option("rule", options->name)->required();
  remove->add_flag("--with-decisions", options->with_decisions,
                   "also when people decided something under it, which goes with it");
  remove->callback([&context, options] {
    Query query;
    if (options->with_decisions) query.emplace_back("with_decisions", "true");
    const json answer = context.client().send(
        "DELETE", with("/link-rules/" + Client::escape(options->name), query), json::object());
    context.say(answer, fmt::format("{} is removed; its links go, as work {}", options->name,
                                    cell(answer.at("work"))));
  });

  auto* list = group->add_subcommand("list", "Links");
  list->add_option("--rule", options->rule, "only of this rule");
  list->add_option("--state", options->state,
                   "linked, pending, contested, confirmed, rejected, inactive, or no_key: what "
                   "has no key to be found by");
  list->add_option("--type", options->type, "only of rules that begin or end at this type");
  list->add_option("--limit", options->limit, "how many in one page");
  list->add_option("--cursor", options->cursor, "where the page before ended");
  list->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->rule.empty()) query.emplace_back("rule", options->rule);
    if (!options->state.empty()) query.emplace_back("state", options->state);
    if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
    if (!options->type.empty()) query.emplace_back("type", options->type);
    const json answer = context.client().get("/links", query);
    if (context.as_json) {
      print_json(answer);
      return;
    }
    print_links(context, answer.at("links"));
    context.more(answer, "--cursor");
  });

  const auto of_entity = [options](CLI::App* command) {
    command->add_option("type", options->type, "for example stripe.customer")->required();
    command->add_option("id", options->id, "Sluice's id, or the vendor's")->required();
    command->add_flag("--external", options->external, "the id is the vendor's, though digits");
    command->add_option("--connection", options->connection,
                        "whose vendor id it is, where several have it");
  };
  auto* why = group->add_subcommand(
      "why", "Why an entity is linked or not: its keys, who was found, what would help");
  of_entity(why);
  why->callback([&context, options] {
    const json answer = context.client().get(links_of(*options), naming(*options));
    if (context.as_json) {
      print_json(answer);
      return;
    }
    print_why(answer);
  });
  const auto deciding = [&](const char* name, const char* help) {
    auto* command = group->add_subcommand(name, help);
    of_entity(command);
    command->add_option("--rule", options->rule, "of which rule, when several begin at the type");
    command->add_option("--why", options->why, "for whoever asks later");
    return command;
  };
  auto* confirm = deciding("confirm", "It is this one, whatever keys say");
  confirm->add_option("target", options->target, "Sluice's id of whom it is linked with")
      ->required();
  confirm->callback(
      [&context, options] { decide(context, *options, "confirmed", options->target, ""); });
  auto* reject = deciding("reject", "It is not this one; the rule may find another");
  reject->add_option("target", options->target,
                     "Sluice's id of whom it is not; else whom it is linked with");
  reject->callback([&context, options] {
    const std::string target =
        options->target.empty() ? linked_with(context, *options) : options->target;
    decide(context, *options, "rejected", target,
           fmt::format("; not with {}, and the rule looks who else it is", target));
  });
  auto* unlink = deciding("unlink", "It is nobody, whatever keys say");
  unlink->callback([&context, options] {
    decide(context, *options, "rejected", "", ": linked with nobody until you forget that");
  });
  auto* forget = deciding("forget", "Take back what was decided; the rule decides again");
  forget->add_option("--target", options->target, "only what was decided of this one");
  forget->callback([&context, options] {
    Client client = context.client();
    const std::string rule = rule_of(client, *options);
    Query query = naming(*options);
    if (!options->target.empty()) query.emplace_back("target", options->target);
    const json answer = client.send(
        "DELETE", with(links_of(*options) + "/" + Client::escape(rule), query), json::object());
    context.say(answer, decided_words(answer) + "; taken back, the rule decides again");
  });
}

}  // namespace sluice::cli
