// Tenants and their tokens.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/confirm.hpp"
#include "cli/context.hpp"

namespace sluice::cli {
namespace {

/// Throws not_found "token.not_found"; says whose name it is, where it is one.
json token_of(Client& client, const std::string& id) {
  const bool is_number = !id.empty() && id.size() < 19 && id != "0" &&
                         id.find_first_not_of("0123456789") == std::string::npos;
  if (is_number) {  // the list is in order of ids
    const json answer =
        client.get("/tokens", {{"after", std::to_string(std::stoll(id) - 1)}, {"limit", "1"}});
    for (const json& token : answer.at("tokens"))
      if (cell(token.at("id")) == id) return token;
  }
  const json answer = client.get("/tokens");
  std::string named;
  for (const json& token : answer.at("tokens")) {
    if (token.at("name") == id) named += (named.empty() ? "" : " or ") + cell(token.at("id"));
  }
  throw Failure(Error(ErrorKind::not_found, "token.not_found", "there is no token '" + id + "'",
                      named.empty() ? "sluice token list has their ids"
                                    : "A token is named by its id; of that name is " + named));
}

Consequence of_revoking(const Context& context, Client& client, const std::string& id) {
  Consequence revoking;
  revoking.name = id;
  if (!is_asked(context)) return revoking;
  const json token = token_of(client, id);
  revoking.facts = token;
  const std::string last = cell(token.at("last_used_at"));
  const char* const what = token.at("revoked_at").is_null() ? "is useless from now on, for ever"
                                                            : "was revoked before, and stays so";
  revoking.words =
      fmt::format("Token {} '{}', {} {}, {}, {}{}", id, cell(token.at("name")),
                  cell(token.at("role")) == "reader" ? "a" : "an", cell(token.at("role")) + "'s",
                  last.empty() ? "never used" : "last used " + last, what,
                  token.value("this_one", false) ? ". It is the one in use" : "");
  return revoking;
}

}  // namespace

void add_workspace(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  auto role = std::make_shared<std::string>("reader");
  auto* group = app.add_subcommand("workspace", "Tenants and their tokens")->require_subcommand(1);
  group->add_subcommand("list", "All workspaces")->callback([&context] {
    const json answer = context.client().global("GET", "/v1/workspaces");
    context.show(answer, answer.at("workspaces"), {{"NAME", "/name"}, {"CREATED", "/created_at"}});
  });
  auto* create = group->add_subcommand("create", "Make a workspace");
  create->add_option("name", *name)->required();
  create->callback([&context, name] {
    json body;
    body["name"] = *name;
    const json answer = context.client().global("POST", "/v1/workspaces", body);
    context.say(answer, "made workspace " + *name);
  });
  const auto make_token = [&context, name, role] {
    json body;
    body["name"] = *name;
    body["role"] = *role;
    const json answer = context.client().send("POST", "/tokens", body);
    context.say(answer, cell(answer.at("token")));
  };
  auto* token = group->add_subcommand("token", "The same as: sluice token create");
  token->add_option("name", *name)->required();
  token->add_option("--role", *role, "reader or admin");
  token->callback(make_token);

  auto* tokens = app.add_subcommand("token", "API tokens of the workspace")->require_subcommand(1);
  auto* make = tokens->add_subcommand("create", "Make a token; shown once");
  make->add_option("name", *name)->required();
  make->add_option("--role", *role, "reader or admin; an operator may also make operators");
  make->callback(make_token);
  auto after = std::make_shared<std::string>();
  auto* list = tokens->add_subcommand("list", "All tokens, the revoked ones too");
  list->add_option("--after", *after, "only those after this id");
  list->callback([&context, after] {
    Query query;
    if (!after->empty()) query.emplace_back("after", *after);
    const json answer = context.client().get("/tokens", query);
    context.show(answer, answer.at("tokens"),
                 {{"ID", "/id", true},
                  {"NAME", "/name"},
                  {"ROLE", "/role"},
                  {"THIS ONE", "/this_one"},
                  {"REVOKED", "/revoked_at"},
                  {"LAST USED", "/last_used_at"},
                  {"CREATED", "/created_at"}});
    context.more(answer, "--after");
  });
  auto id = std::make_shared<std::string>();
  auto* revoke = tokens->add_subcommand("revoke", "Make a token useless, at once and for ever");
  revoke->add_option("id", *id)->required();
  add_confirmation(*revoke, context);
  revoke->callback([&context, id] {
    Client client = context.client();
    if (!is_meant(context, of_revoking(context, client, *id))) return;
    const json answer = client.send("DELETE", "/tokens/" + Client::escape(*id), json::object());
    context.say(answer, "revoked " + *id);
  });
}

}  // namespace sluice::cli
