// Who we are at which host: login, whoami, contexts.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>

#include "base/exact_json.hpp"
#include "cli/config_file.hpp"
#include "cli/context.hpp"
#include "cli/in_clear.hpp"
#include "cli/terminal.hpp"

namespace sluice::cli {
namespace {

struct LoginOptions {
  std::string url, token_file;
};

/// "sluice.example.org:8420" -> https://…; on this machine nobody listens in on http.
std::string with_scheme(const std::string& url) {
  if (url.find("://") != std::string::npos) return url;
  const std::string plain = "http://" + url;
  return goes_in_clear(plain) ? "https://" + url : plain;
}

std::string host_of(const std::string& url) {
  const auto begin = url.find("://");
  std::string host = begin == std::string::npos ? url : url.substr(begin + 3);
  return host.substr(0, host.find('/'));
}

/// The one that leads there already, so that a new token takes the place of the old; else it is
/// called after its host.
std::string name_for(const ConfigFile& config, const std::string& url,
                     const std::string& workspace) {
  for (const auto& [name, context] : config.contexts)
    if (context.url == url && (workspace.empty() || context.workspace == workspace)) return name;
  const std::string host = host_of(url);
  return config.contexts.contains(host) && !workspace.empty() ? host + "/" + workspace : host;
}

std::string names_in(const json& names) {
  std::string all;
  for (const json& name : names) all += (all.empty() ? "" : ", ") + cell(name);
  return all;
}

/// The workspace to be kept: the one that was named, if the token may see it; else the one that
/// it knows, or `main`.
std::string workspace_of(const json& me, const std::string& named) {
  const json known = me.value("workspaces", json::array());
  const auto knows = [&](const std::string& name) {
    return std::find(known.begin(), known.end(), json(name)) != known.end();
  };
  if (!named.empty()) {
    if (knows(named) || me.value("more", false)) return named;
    throw Failure(Error(ErrorKind::not_found, "workspace.unknown",
                        "this token knows no workspace '" + named + "'",
                        "It knows: " + names_in(known)));
  }
  if (known.size() == 1) return known[0].get<std::string>();
  return knows("main") ? "main" : std::string();
}

void log_in(const Context& context, const LoginOptions& options) {
  SavedContext saved;
  saved.url = with_scheme(options.url.empty() ? context.url : options.url);
  while (saved.url.ends_with('/')) saved.url.pop_back();
  saved.ca_file = context.given.ca_file;
  saved.insecure = context.given.insecure;
  (void)read_config_file();  // before anybody types a token
  Context asking;
  asking.url = saved.url;
  asking.ca_file = saved.ca_file;
  asking.insecure = saved.insecure;
  asking.require_safe_url();
  if (!options.token_file.empty()) {
    std::error_code unknown;
    saved.token_file = std::filesystem::absolute(options.token_file, unknown).string();
    asking.token = token_in(saved.token_file);
  } else {
    saved.token = asking.token = secret_line("token for " + saved.url);
  }
  const json me = asking.client().me();
  saved.workspace = workspace_of(me, context.given.workspace);
  std::string name;
  change_config_file([&](ConfigFile& config) {
    name = context.is_named ? context.name : name_for(config, saved.url, context.given.workspace);
    config.contexts[name] = saved;
    config.current = name;
  });
  const json known = me.value("workspaces", json::array());
  std::string text = fmt::format("logged in to {} as {} '{}'", saved.url,
                                 cell(me.at("token").at("role")), cell(me.at("token").at("name")));
  if (!saved.workspace.empty()) text += ", workspace " + saved.workspace;
  text +=
      fmt::format("\nkept as context '{}' in {}", name, short_path(config_file_path().string()));
  if (saved.workspace.empty()) {
    text += known.empty() ? "\nThere is no workspace yet: sluice workspace create NAME"
                          : "\nIt knows several workspaces: " + names_in(known) +
                                "; name one with -w, or log in with it";
  }
  context.say(me, text);
}

void who_am_i(const Context& context) {
  const json me = context.client().me();
  context.say(me, fmt::format("{} '{}' (token {}) of workspace {} at {}\nworkspaces: {}{}\n"
                              "sluiced {}{}",
                              cell(me.at("token").at("role")), cell(me.at("token").at("name")),
                              cell(me.at("token").at("id")), cell(me.at("workspace")), context.url,
                              names_in(me.at("workspaces")), me.value("more", false) ? ", …" : "",
                              cell(me.at("version")),
                              context.name.empty() ? "" : "\ncontext: " + context.name));
}

json row_of(const std::string& name, const SavedContext& context, const ConfigFile& config) {
  json row;
  row["current"] = name == config.current;
  row["name"] = name;
  row["url"] = context.url;
  row["workspace"] = context.workspace;
  row["token"] = !context.token_file.empty() ? context.token_file
                 : context.token.empty()     ? "none"
                                             : "kept";
  return row;
}

void list_contexts(const Context& context) {
  const ConfigFile config = read_config_file();
  json rows = json::array();
  for (const auto& [name, one] : config.contexts) rows.push_back(row_of(name, one, config));
  json answer;
  answer["contexts"] = rows;
  for (json& row : rows) row["current"] = row["current"].get<bool>() ? "*" : "";
  context.show(answer, rows,
               {{"", "/current"},
                {"NAME", "/name"},
                {"URL", "/url"},
                {"WORKSPACE", "/workspace"},
                {"TOKEN", "/token"}});
}

}  // namespace

void add_login(CLI::App& app, Context& context) {
  auto options = std::make_shared<LoginOptions>();
  auto* login = app.add_subcommand(
      "login", "Keep a host, a token and a workspace as a context, after trying them");
  login->add_option("url", options->url, "the host; --url, else the one in use");
  login->add_option("--token-file", options->token_file,
                    "keep this file's name instead of a token; it is read each time");
  login->callback([&context, options] { log_in(context, *options); });

  app.add_subcommand("whoami", "Whose token is in use, and which workspaces it knows")
      ->callback([&context] { who_am_i(context); });

  auto name = std::make_shared<std::string>();
  auto* group =
      app.add_subcommand("context", "Hosts that sluice login keeps")->require_subcommand(1);
  group->add_subcommand("list", "All of them")->callback([&context] { list_contexts(context); });
  auto* use = group->add_subcommand("use", "Work with this one from now on");
  use->add_option("name", *name)->required();
  use->callback([&context, name] {
    json answer;
    SavedContext chosen;
    change_config_file([&](ConfigFile& config) {
      chosen = config.at(*name);
      config.current = *name;
      answer = row_of(*name, chosen, config);
    });
    context.say(answer,
                fmt::format("{} from now on: {}{}", *name, chosen.url,
                            chosen.workspace.empty() ? "" : ", workspace " + chosen.workspace));
  });
  auto* show = group->add_subcommand("show", "One, without its token; the one in use without NAME");
  show->add_option("name", *name);
  show->callback([&context, name] {
    const ConfigFile config = read_config_file();
    const std::string wanted = !name->empty() ? *name : context.name;
    if (wanted.empty()) {
      throw Failure(Error(ErrorKind::not_found, "cli.context_unknown", "no context is in use",
                          "sluice login URL makes one"));
    }
    const json answer = row_of(wanted, config.at(wanted), config);
    context.say(answer, fmt::format("{:<10} {}\n{:<10} {}\n{:<10} {}\n{:<10} {}\n{:<10} {}", "name",
                                    wanted, "url", cell(answer.at("url")), "workspace",
                                    cell(answer.at("workspace")), "token", cell(answer.at("token")),
                                    "kept in", short_path(config_file_path().string())));
  });
  auto* remove = group->add_subcommand("delete", "Forget one, and its token with it");
  remove->add_option("name", *name)->required();
  remove->callback([&context, name] {
    change_config_file([&](ConfigFile& config) {
      (void)config.at(*name);
      config.contexts.erase(*name);
      if (config.current == *name) config.current.clear();
    });
    json answer;
    answer["deleted"] = *name;
    context.say(answer, *name + " is forgotten here; its token is valid until it is revoked");
  });
}

}  // namespace sluice::cli
