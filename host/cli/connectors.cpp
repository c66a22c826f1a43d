// Connectors and connections: what an admin turns on.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <set>

#include "base/exact_json.hpp"
#include "cli/confirm.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/terminal.hpp"
#include "cli/typed_value.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {

namespace {

/// So long a deletion is waited for; it goes on without us.
constexpr std::chrono::minutes kDeletionShownMax{10};

/// A path's last part: what tells files apart in a table.
std::string file_name(const json& path) {
  const std::string text = path.get<std::string>();
  return text.substr(text.rfind('/') + 1);
}

/// One row a file that lies in the host's directories, and one for what is installed without a
/// file.
json connector_rows(const json& answer) {
  json rows = json::array();
  std::vector<std::string> with_file;
  const json none = json::array();
  const json& files = answer.contains("files") ? answer.at("files") : none;
  const auto version_of = [&](const json& sha256) -> const json* {
    for (const json& one : answer.at("connectors")) {
      if (one.at("sha256") == sha256) return &one;
    }
    return nullptr;
  };
  const auto remark = [](const json& one, json& row) {
    std::string text;
    if (one.value("newest", false)) text = "newest";
    if (!one.value("approved", true)) text += text.empty() ? "not approved" : ", not approved";
    if (one.at("installed").get<bool>()) {
      text += text.empty() ? "installed" : ", installed";
      if (one.value("state", "") == "disabled") text += " (disabled)";
    }
    row["workspace"] = text;
    if (one.contains("problem")) {
      row["code"] = one.at("problem").at("code");
      row["remark"] = one.at("problem").at("message").get<std::string>() + ". " +
                      one.at("problem").at("hint").get<std::string>();
    }
  };
  for (const json& file : files) {
    json row;
    row["id"] = file.at("id");
    row["version"] = file.at("version");
    row["state"] = file.at("state");
    row["file"] = file_name(file.at("file"));
    if (file.at("sha256").is_string())
      row["sha256"] = file.at("sha256").get<std::string>().substr(0, 12);
    if (const json* one = version_of(file.at("sha256"))) remark(*one, row);
    if (file.at("reason").is_object()) {
      row["code"] = file.at("reason").at("code");
      row["remark"] = file.at("reason").at("message").get<std::string>() + ". " +
                      file.at("reason").at("hint").get<std::string>();
    } else if (file.at("conflict").is_string()) {
      row["code"] = "conflict";
      row["remark"] = file.at("conflict");
    }
    if (file.at("sha256").is_string()) with_file.push_back(file.at("sha256").get<std::string>());
    rows.push_back(std::move(row));
  }
  for (const json& one : answer.at("connectors")) {
    if (std::find(with_file.begin(), with_file.end(), one.at("sha256").get<std::string>()) !=
        with_file.end())
      continue;
    json row;
    row["id"] = one.at("id");
    row["version"] = one.at("version");
    row["state"] = one.value("offered", true) ? "admitted" : "kept";
    row["sha256"] = one.at("sha256").get<std::string>().substr(0, 12);
    remark(one, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_connectors(const json& answer) {
  const json rows = connector_rows(answer);
  std::cout << table(rows, {{"ID", "/id"},
                            {"VERSION", "/version"},
                            {"STATE", "/state"},
                            {"WORKSPACE", "/workspace"},
                            {"FILE", "/file"},
                            {"SHA256", "/sha256"},
                            {"REMARK", "/code"}});
  for (const json& row : rows) {  // reasons are sentences
    if (!row.contains("remark")) continue;
    const json& name = row.contains("file") ? row["file"] : row["id"];
    std::cout << cell(name) << ": " << cell(row["remark"]) << '\n';
  }
  if (!answer.contains("errors")) return;
  for (const json& error : answer.at("errors")) {  // directories that were not looked into
    std::cout << cell(error.at("message")) << '\n';
    if (!cell(error.at("hint")).empty()) std::cout << "  " << cell(error.at("hint")) << '\n';
  }
}

/// "  event_lag_seconds (integer, 60): Event lag. Events of …"
std::string setting_line(const std::string& name, const json& schema, bool required) {
  std::string kind = cell(schema.value("type", json()));
  if (schema.contains("enum")) {
    kind.clear();
    for (const json& one : schema.at("enum")) kind += (kind.empty() ? "" : " or ") + cell(one);
  }
  if (schema.contains("default")) kind += ", " + cell(schema.at("default")) + " if not set";
  if (required) kind += ", needed";
  std::string text = cell(schema.value("title", json()));
  const std::string more = cell(schema.value("description", json()));
  if (!more.empty()) text += (text.empty() ? "" : ". ") + more;
  return wrapped(fmt::format("  {} ({}): ", name, kind), 4, text, screen_columns());
}

/// Names one after the other, in the lines of a screen.
std::string listed(const char* what, const json& named) {
  std::string text;
  for (const json& one : named)
    text += (text.empty() ? "" : ", ") + cell(one.is_object() ? one.at("name") : one);
  return wrapped(fmt::format("{}: ", what), 2, text.empty() ? "none" : text, screen_columns());
}

/// One connector for who wants to connect an account with it.
void print_connector(const json& answer) {
  const json manifest = answer.value("manifest", json::object());
  std::cout << fmt::format("{} {}: {}, {}\n", cell(answer.at("id")), cell(answer.at("version")),
                           cell(answer.at("display_name")), cell(manifest.value("vendor_url", "")));
  if (answer.at("installed").get<bool>()) {
    std::cout << "installed in this workspace"
              << (answer.value("state", "") == "disabled" ? ", and disabled" : "") << '\n';
  } else {
    std::cout << "not installed: sluice connector install " << cell(answer.at("id")) << '\n';
  }
  json versions = answer.at("versions");
  for (json& one : versions) {
    std::string state = one.value("installed", false) ? "installed" : "";
    if (one.value("newest", false)) state += state.empty() ? "newest" : ", newest";
    if (!one.value("approved", true)) state += state.empty() ? "not approved" : ", not approved";
    one["what"] = state;
  }
  if (versions.size() > 1) {
    std::cout << table_that_fits(
        versions, {{"VERSION", "/version"}, {"WHAT", "/what"}, {"SHA256", "/sha256"}});
  }
  std::cout << "secrets:\n";
  for (const json& slot : manifest.value("auth", json::array())) {
    const std::string hint = cell(slot.value("hint", json()));
    std::cout << wrapped(fmt::format("  {}: ", cell(slot.value("secret", json()))), 4,
                         cell(slot.value("label", json())) + (hint.empty() ? "" : "; " + hint),
                         screen_columns());
  }
  const json schema = manifest.value("config_schema", json::object());
  const json required = schema.value("required", json::array());
  const json settings = schema.value("properties", json::object());
  if (!settings.empty()) std::cout << "settings (--config NAME=VALUE):\n";
  for (const auto& [name, one] : settings.items()) {
    const bool needed = std::find(required.begin(), required.end(), name) != required.end();
    std::cout << setting_line(name, one, needed);
  }
  std::cout << listed("streams", manifest.value("streams", json::array()))
            << listed("types", manifest.value("entity_types", json::array()))
            << "--json has the whole manifest\n";
}

/// What a connector's check found wanting: permissions together, so that they can be given at once.
std::string what_it_lacks(const json& notes) {
  std::string text, streams, permissions;
  std::set<std::string> named;
  for (const json& note : notes) {
    const bool of_a_stream = note.is_object() && note.contains("stream");
    const std::string permission = of_a_stream ? cell(note.at("permission")) : "";
    if (permission.empty()) {
      text += "\n  note: " +
              cell(note.is_object() && note.contains("message") ? note.at("message") : note);
      continue;
    }
    streams += (streams.empty() ? "" : ", ") + cell(note.at("stream"));
    if (named.insert(permission).second) permissions += "\n    " + permission;
  }
  if (streams.empty()) return text;
  return text + "\n  its key may not read: " + streams +
         "\n  these permissions are wanting; give them at the vendor, and what is due is read:" +
         permissions;
}

struct InstallOptions {
  std::string id, version, sha256;
  bool accept_loss = false;
};

json wanted_version(const InstallOptions& options) {
  json body = json::object();
  if (!options.version.empty()) body["version"] = options.version;
  if (!options.sha256.empty()) body["sha256"] = options.sha256;
  return body;
}

void install_connector(const Context& context, const InstallOptions& options) {
  json body = wanted_version(options);
  if (options.accept_loss) body["accept_loss"] = true;
  const json answer =
      context.client().send("POST", "/connectors/" + Client::escape(options.id) + "/install", body);
  std::string text = fmt::format("installed {} {}", options.id, cell(answer.at("version")));
  if (answer.at("replaced").is_string())
    text += fmt::format(", instead of {}", cell(answer.at("replaced")));
  if (answer.at("state") == "disabled") text += " (it is disabled in this workspace)";
  for (const json& stream : answer.at("new_streams")) text += "\n  new stream: " + cell(stream);
  for (const json& stream : answer.at("gone_streams"))
    text += "\n  not in this version, turned off: " + cell(stream);
  for (const json& note : answer.at("notes")) text += "\n  note: " + cell(note);
  context.say(answer, text);
}

void approve_connector(const Context& context, const InstallOptions& options) {
  const json body = wanted_version(options);
  const json answer = context.client().global(
      "POST", "/v1/connectors/" + Client::escape(options.id) + "/approve", body);
  context.say(answer, fmt::format("approved {} {} ({}): workspaces may install it", options.id,
                                  cell(answer.at("version")), cell(answer.at("sha256"))));
}

/// Whether this workspace has it, or this host a file of it. Others may have it all the same.
bool is_here(Client& client, const std::string& id) {
  try {
    client.get("/connectors/" + Client::escape(id));
    return true;
  } catch (const Failure& failure) {
    if (failure.error().kind != ErrorKind::not_found) throw;
    return false;
  }
}

/// "Of this workspace 2 connections stand still then. ", or nothing.
std::string in_this_workspace(Client& client, const std::string& id) {
  std::size_t count = 0;
  const json connections = client.get("/connections").value("connections", json::array());
  for (const json& one : connections)
    if (one.at("connector") == id && one.at("state") != "DISCONNECTED") ++count;
  if (count == 0) return {};
  return fmt::format(
      "Of this workspace {} then. ",
      count == 1 ? "1 connection stands still" : fmt::format("{} connections stand still", count));
}

void revoke_connector(const Context& context, const InstallOptions& options) {
  const json body = wanted_version(options);
  Client client = context.client();
  Consequence revoking;
  revoking.name = options.id;
  revoking.facts["connector"] = options.id;
  if (is_asked(context)) {
    const bool here = is_here(client, options.id);
    revoking.words = fmt::format(
        "{} {} runs nowhere any more, in no workspace; what it stored stays. {}{}An operator may "
        "approve it again",
        options.id, options.version.empty() ? "in all its versions" : options.version,
        in_this_workspace(client, options.id),
        here ? "" : "This host has no file of it, nor this workspace an installation. ");
  }
  if (!is_meant(context, revoking)) return;
  const json answer =
      client.global("POST", "/v1/connectors/" + Client::escape(options.id) + "/revoke", body);
  std::string text;
  for (const json& one : answer.at("revoked")) {
    if (!text.empty()) text += '\n';
    text += fmt::format(
        "revoked {} {} ({}): nobody installs it, and where it is installed it runs "
        "no more; what it stored stays",
        options.id, cell(one.at("version")), cell(one.at("sha256")));
  }
  context.say(answer, text);
}

/// Its rows by type, when somebody wants to know; asked for first, so that a name that is not there
/// is refused before a question.
json rows_of(const Context& context, Client& client, const std::string& name) {
  if (!is_asked(context)) return json::object();
  return client.get("/connections/" + Client::escape(name) + "/rows");
}

std::string how_many(const json& rows) {
  const json count = rows.value("rows", json(0));
  return fmt::format("{} row{}", cell(count), count == 1 ? "" : "s");
}

Consequence of_disabling(const Context& context, Client& client, const std::string& name) {
  Consequence off;
  off.name = name;
  off.facts = rows_of(context, client, name);
  off.words = fmt::format(
      "{} is turned off, and {} of it are hidden, with their links:\n{}They come back, under the "
      "same ids, when it is turned on again and has been read: sluice connection enable {}",
      name, how_many(off.facts), counted(off.facts), name);
  return off;
}

Consequence of_deleting(const Context& context, Client& client, const std::string& name) {
  Consequence gone;
  gone.name = name;
  gone.for_good = true;
  if (is_asked(context)) {
    // Those of a connection that is off are hidden already, so there is nothing to count.
    const json connection = client.get("/connections/" + Client::escape(name));
    if (connection.at("state") != "DISCONNECTED") {
      throw Failure(
          Error(ErrorKind::conflict, "connection.not_disconnected",
                fmt::format("connection '{}' is {}, and only one that is off can be deleted", name,
                            cell(connection.at("state"))),
                "sluice connection disable " + name + ", and delete it when it is DISCONNECTED"));
    }
    gone.facts["connection"] = name;
    gone.facts["account"] = connection.at("account");
    gone.words = fmt::format(
        "{} (account {} {}) is deleted for good: its rows with their ids and links, what is in the "
        "quarantine, its runs and its secrets. Connected again, the account gets new ids",
        name, cell(connection.at("account").at("id")), cell(connection.at("account").at("name")));
  }
  return gone;
}

/// Throws not_found "connector.unknown" or "connector.not_installed".
void require_installed(Client& client, const std::string& id) {
  const json connector = client.get("/connectors/" + Client::escape(id));
  if (connector.at("installed").get<bool>()) return;
  throw Failure(Error(ErrorKind::not_found, "connector.not_installed",
                      fmt::format("{} is not installed in this workspace", id),
                      "sluice connector list shows what is"));
}

Consequence of_disabling_connector(const Context& context, Client& client, const std::string& id) {
  Consequence off;
  off.name = id;
  if (!is_asked(context)) return off;
  require_installed(client, id);
  off.facts["connector"] = id;
  off.facts["connections"] = json::array();
  std::string text;
  const json connections = client.get("/connections").value("connections", json::array());
  for (const json& one : connections) {
    if (one.at("connector") != id) continue;
    json rows = rows_of(context, client, one.at("name").get<std::string>());
    text += fmt::format("\n  {}: {}", cell(one.at("name")), how_many(rows));
    off.facts["connections"].push_back(std::move(rows));
  }
  off.words = fmt::format(
      "{} is turned off with {} connection{}, and their rows are hidden:{}\nThey come back under "
      "the same ids: sluice connector enable {}",
      id, off.facts["connections"].size(), off.facts["connections"].size() == 1 ? "" : "s", text,
      id);
  return off;
}

std::string joined(const json& names) {
  std::string text;
  for (const json& name : names) text += (text.empty() ? "" : ", ") + cell(name);
  return text.empty() ? "none" : text;
}

}  // namespace

void add_connector(CLI::App& app, Context& context) {
  auto* group = app.add_subcommand("connector", "What connectors there are")->require_subcommand(1);
  group
      ->add_subcommand("list", "Connector files of the host, and which versions this workspace has")
      ->callback([&context] {
        const json answer = context.client().get("/connectors");
        if (context.as_json) {
          print_json(answer);
        } else {
          print_connectors(answer);
        }
      });
  group->add_subcommand("rescan", "Look for new connector files now")->callback([&context] {
    Client client = context.client();
    const json looked = client.global("POST", "/v1/connectors/rescan", json::object());
    if (context.as_json) {
      print_json(looked);
      return;
    }
    print_connectors(client.get("/connectors"));
  });
  auto id = std::make_shared<std::string>();
  auto* show = group->add_subcommand("show", "One connector with its versions and its manifest");
  show->add_option("id", *id)->required();
  show->callback([&context, id] {
    const json answer = context.client().get("/connectors/" + Client::escape(*id));
    if (context.as_json) {
      print_json(answer);
    } else {
      print_connector(answer);
    }
  });
  auto options = std::make_shared<InstallOptions>();
  auto* install = group->add_subcommand(
      "install", "Bring a connector into the workspace, or another version of it (also back)");
  install->add_option("id", options->id)->required();
  install->add_option("--version", options->version, "the newest when there is none");
  install->add_option("--sha256", options->sha256, "its content, the first 8 digits or more");
  install->add_flag("--accept-loss", options->accept_loss,
                    "also an older version that lacks attributes or streams of the installed one");
  install->callback([&context, options] { install_connector(context, *options); });
  auto* approve = group->add_subcommand(
      "approve", "Let the code of a version run here, in every workspace (operators)");
  approve->add_option("id", options->id)->required();
  approve->add_option("--version", options->version, "the newest when there is none");
  approve->add_option("--sha256", options->sha256, "its content, the first 8 digits or more");
  approve->callback([&context, options] { approve_connector(context, *options); });
  auto* revoke = group->add_subcommand(
      "revoke", "Take an approval back: its code runs nowhere any more (operators)");
  revoke->add_option("id", options->id)->required();
  revoke->add_option("--version", options->version, "all that are approved when there is none");
  revoke->add_option("--sha256", options->sha256, "its content, the first 8 digits or more");
  add_confirmation(*revoke, context);
  revoke->callback([&context, options] { revoke_connector(context, *options); });
  auto* disable = group->add_subcommand(
      "disable", "Turn a connector and its connections off; their rows are soft-deleted");
  disable->add_option("id", *id)->required();
  add_confirmation(*disable, context);
  disable->callback([&context, id] {
    Client client = context.client();
    if (!is_meant(context, of_disabling_connector(context, client, *id))) return;
    const json answer =
        client.send("POST", "/connectors/" + Client::escape(*id) + "/disable", json::object());
    context.say(answer, "disabled " + *id + "; turning off: " + joined(answer.at("disconnecting")));
  });
  auto* enable = group->add_subcommand(
      "enable", "Turn it on again, with the connections that went off with it");
  enable->add_option("id", *id)->required();
  enable->callback([&context, id] {
    const json answer = context.client().send(
        "POST", "/connectors/" + Client::escape(*id) + "/enable", json::object());
    context.say(answer, "enabled " + *id + "; reads again: " + joined(answer.at("connecting")));
  });
}

namespace {

/// Values of secrets, in the ways in which each command takes them.
struct SecretOptions {
  std::vector<std::string> given;  ///< "name=value", "name=@VARIABLE"
  std::string from_stdin;          ///< a name
};

std::shared_ptr<SecretOptions> add_secret_options(CLI::App* command) {
  auto options = std::make_shared<SecretOptions>();
  command->add_option("--secret", options->given, "name=value, or name=@VARIABLE")
      ->allow_extra_args(false);
  command->add_option("--secret-stdin", options->from_stdin,
                      "name of a secret whose value is read from standard input");
  return options;
}

/// Their values by name; empty when there are none.
json secrets_of(const SecretOptions& options) {
  json secrets = json::object();
  for (const std::string& text : options.given) {
    const auto [name, value] = split(text, "--secret");
    if (!value.starts_with('@')) {
      warn("the value of '" + name +
           "' stands on the command line, for other users of this machine and the shell's history; "
           "use --secret-stdin " +
           name + ", or " + name + "=@VARIABLE");
    }
    secrets[name] = secret_value(value);
  }
  if (!options.from_stdin.empty()) secrets[options.from_stdin] = secret_line(options.from_stdin);
  return secrets;
}

/// A connector as this workspace has it, or would have it; null when the host does not say.
json manifest_of(Client& client, const std::string& connector) {
  try {
    const json answer = client.get("/connectors/" + Client::escape(connector));
    return answer.value("manifest", json());
  } catch (const Failure& failure) {
    if (failure.error().kind != ErrorKind::not_found) throw;
    return nullptr;  // what is sent after this says so, too
  }
}

/// Of a setting; null where the manifest has none of that name.
json schema_of(const json& manifest, const std::string& member) {
  const auto schema = manifest.find("config_schema");
  if (schema == manifest.end() || !schema->is_object()) return nullptr;
  const auto properties = schema->find("properties");
  if (properties == schema->end() || !properties->is_object()) return nullptr;
  const auto one = properties->find(member);
  return one == properties->end() ? json() : *one;
}

/// Asks whoever is there for each secret that the connector needs and nobody gave.
void ask_for_secrets(json& secrets, const json& manifest) {
  if (!can_ask() || !manifest.is_object() || !manifest.contains("auth")) return;
  for (const json& slot : manifest.at("auth")) {
    const std::string name = cell(slot.value("secret", json()));
    if (name.empty() || secrets.contains(name)) continue;
    const std::string label = cell(slot.value("label", json()));
    secrets[name] = secret_line(name + (label.empty() ? "" : " (" + label + ")"));
  }
}

struct CreateOptions {
  std::string name, connector;
  std::vector<std::string> config, base_urls, intervals;
  std::shared_ptr<SecretOptions> secrets;
  bool allow_loopback = false;
  bool second_connection = false;
};

void create_connection(const Context& context, const CreateOptions& options) {
  json body;
  body["name"] = options.name;
  body["connector"] = options.connector;
  Client client = context.client();
  json secrets = secrets_of(*options.secrets);
  json manifest;
  if (!options.config.empty() || (secrets.empty() && can_ask()))
    manifest = manifest_of(client, options.connector);
  for (const std::string& text : options.config) {
    const auto [name, value] = split(text, "--config");
    body["config"][name] = typed_value(name, value, schema_of(manifest, name));
  }
  if (secrets.empty()) ask_for_secrets(secrets, manifest);
  if (!secrets.empty()) body["secrets"] = std::move(secrets);
  for (const std::string& text : options.base_urls) {
    const auto [name, value] = split(text, "--base-url");
    body["egress"]["base_urls"][name] = value;
  }
  if (options.allow_loopback) body["egress"]["allow_loopback"] = true;
  if (options.second_connection) body["second_connection"] = true;
  for (const std::string& text : options.intervals) {
    const auto [name, value] = split(text, "--interval");
    body["intervals"][name] = typed_value("--interval " + name, value, {{"type", "integer"}});
  }
  const json answer = client.send("POST", "/connections", body);
  std::string text =
      fmt::format("connected {} to account {} {}", options.name,
                  cell(answer.at("account").at("id")), cell(answer.at("account").at("name")));
  context.say(answer, text + what_it_lacks(answer.at("notes")));
}

}  // namespace

void add_connection(CLI::App& app, Context& context) {
  auto* group =
      app.add_subcommand("connection", "Authorised accounts at vendors")->require_subcommand(1);
  auto options = std::make_shared<CreateOptions>();
  auto* create = group->add_subcommand(
      "create", "Connect an account; the key is checked with the vendor first");
  create->add_option("name", options->name)->required();
  create->add_option("--connector", options->connector)->required();
  options->secrets = add_secret_options(create);
  create->get_option("--secret")->allow_extra_args();  // several behind one, as ever
  create->add_option("--config", options->config, "name=value");
  create->add_option("--interval", options->intervals, "stream=seconds");
  create->add_option("--base-url", options->base_urls,
                     "host=URL: for tests and demos, by an operator; shown in /health");
  create->add_flag("--allow-loopback", options->allow_loopback,
                   "for tests and demos, by an operator; shown in /health");
  create->add_flag("--second-connection", options->second_connection,
                   "also where the account is connected already; its rows are there twice then");
  create->callback([&context, options] { create_connection(context, *options); });

  group->add_subcommand("list", "All connections")->callback([&context] {
    const json answer = context.client().get("/connections");
    context.show(answer, answer.at("connections"),
                 {{"NAME", "/name"},
                  {"CONNECTOR", "/connector"},
                  {"STATE", "/state"},
                  {"ACCOUNT", "/account/id"},
                  {"REASON", "/reason"}});
  });
  auto name = std::make_shared<std::string>();
  auto* check = group->add_subcommand("check", "Ask the vendor whether the key still works");
  check->add_option("name", *name)->required();
  check->callback([&context, name] {
    const json answer = context.client().send(
        "POST", "/connections/" + Client::escape(*name) + "/check", json::object());
    context.say(answer, "the key works: account " + cell(answer.at("account").at("id")));
  });
  auto* set_secret = group->add_subcommand(
      "set-secret", "A new value of a secret; checked with the vendor before it counts");
  set_secret->add_option("name", *name)->required();
  auto new_secret = add_secret_options(set_secret);
  set_secret->add_option("secret_name", new_secret->from_stdin, "the same as --secret-stdin")
      ->excludes("--secret-stdin");
  auto moves = std::make_shared<bool>(false);
  set_secret->add_flag("--to-new-destination", *moves,
                       "it may go to where the connection leads now, though the value before was "
                       "stored for something else");
  set_secret->callback([&context, name, new_secret, moves] {
    if (new_secret->given.size() + (new_secret->from_stdin.empty() ? 0 : 1) != 1) {
      throw CLI::ValidationError(
          "set-secret",
          "needs one secret: its name alone, whose value is read from standard "
          "input, --secret name=value or --secret name=@VARIABLE");
    }
    const json secrets = secrets_of(*new_secret);
    json body;
    body["value"] = secrets.begin().value();
    if (*moves) body["to_new_destination"] = true;
    const json answer =
        context.client().send("PUT",
                              "/connections/" + Client::escape(*name) + "/secrets/" +
                                  Client::escape(secrets.begin().key()),
                              body);
    context.say(answer, "stored and checked: account " + cell(answer.at("account").at("id")));
  });
  auto stream = std::make_shared<std::string>();
  auto seconds = std::make_shared<std::int64_t>(0);
  auto* interval = group->add_subcommand("interval", "How often a stream runs");
  interval->add_option("name", *name)->required();
  interval->add_option("stream", *stream)->required();
  interval->add_option("seconds", *seconds, "0: only on request")->required();
  interval->callback([&context, name, stream, seconds] {
    json body;
    body["interval_seconds"] = *seconds;
    const json answer = context.client().send(
        "PATCH", "/connections/" + Client::escape(*name) + "/streams/" + Client::escape(*stream),
        body);
    context.say(answer,
                *seconds == 0
                    ? fmt::format("{} runs when it is asked for: sluice sync {} --stream {}",
                                  *stream, *name, *stream)
                    : fmt::format("{} runs every {} s", *stream, *seconds));
  });
  const auto path = [name] { return "/connections/" + Client::escape(*name); };
  const auto set_stream = [&context, path, stream](bool enabled) {
    json body;
    body["enabled"] = enabled;
    return context.client().send("PATCH", path() + "/streams/" + Client::escape(*stream), body);
  };
  auto* pause = group->add_subcommand("pause", "Let a stream rest; nothing is cleared");
  pause->add_option("name", *name)->required();
  pause->add_option("stream", *stream)->required();
  pause->callback(
      [&context, set_stream, stream] { context.say(set_stream(false), *stream + " is paused"); });
  auto* resume = group->add_subcommand("resume", "Let a stream go on from where it was");
  resume->add_option("name", *name)->required();
  resume->add_option("stream", *stream)->required();
  resume->callback(
      [&context, set_stream, stream] { context.say(set_stream(true), *stream + " goes on"); });

  auto changes = std::make_shared<std::vector<std::string>>();
  auto* config = group->add_subcommand(
      "config", "Change the configuration; checked with the vendor before it counts");
  config->add_option("name", *name)->required();
  config->add_option("settings", *changes, "name=value, or name= to take it away")->required();
  auto again = add_secret_options(config);  // those that the change leads elsewhere
  config->callback([&context, path, changes, again] {
    json body;
    Client client = context.client();
    if (json secrets = secrets_of(*again); !secrets.empty()) body["secrets"] = std::move(secrets);
    const json connection = client.get(path());
    const json manifest = manifest_of(client, cell(connection.value("connector", json())));
    for (const std::string& text : *changes) {
      const auto [member, value] = split(text, "settings");
      body["config"][member] =
          value.empty() ? json(nullptr) : typed_value(member, value, schema_of(manifest, member));
    }
    const json answer = client.send("PATCH", path(), body);
    context.say(answer, "changed and checked: account " + cell(answer.at("account").at("id")));
  });

  auto* disable = group->add_subcommand("disable", "Turn it off; its rows are soft-deleted");
  disable->add_option("name", *name)->required();
  add_confirmation(*disable, context);
  disable->callback([&context, path, name] {
    Client client = context.client();
    if (!is_meant(context, of_disabling(context, client, *name))) return;
    context.say(client.send("POST", path() + "/disable", json::object()),
                *name + " is being turned off");
  });
  auto* enable = group->add_subcommand("enable", "Turn it on again; it reads everything again");
  enable->add_option("name", *name)->required();
  enable->callback([&context, path, name] {
    context.say(context.client().send("POST", path() + "/enable", json::object()),
                *name + " is on");
  });
  auto* remove = group->add_subcommand(
      "delete", "Remove a connection that is off, with its entities, runs and secrets");
  remove->add_option("name", *name)->required();
  add_confirmation(*remove, context);
  remove->callback([&context, path, name] {
    Client client = context.client();
    if (!is_meant(context, of_deleting(context, client, *name))) return;
    const json answer = client.send("DELETE", path(), json::object());
    const bool gone = wait_until(kDeletionShownMax, [&] {
      try {
        client.get(path());
      } catch (const Failure& failure) {
        if (failure.error().code != "connection.unknown") throw;
        return true;
      }
      return false;
    });
    context.say(answer, gone ? *name + " is deleted"
                             : fmt::format("{} is being deleted, as work {} (sluice status)", *name,
                                           cell(answer.at("work"))));
  });
}

}  // namespace sluice::cli
