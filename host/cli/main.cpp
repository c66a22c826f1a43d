// sluice, the command line: a client of the REST API.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cctype>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "cli/client.hpp"
#include "cli/table.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;

// As docs/operating/exit-codes.md lists them.
constexpr int kExitUsage = 64;
constexpr int kExitBadInput = 65;
constexpr int kExitUnavailable = 69;
constexpr int kExitInternal = 70;
constexpr int kExitOutput = 74;
constexpr int kExitDenied = 77;

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::denied:
      return kExitDenied;
    case ErrorKind::retry_later:
    case ErrorKind::reconnect:
    case ErrorKind::unknown_outcome:
      return kExitUnavailable;
    case ErrorKind::internal:
      return kExitInternal;
    default:
      return kExitBadInput;
  }
}

std::string environment(const char* name, std::string fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : std::string(value);
}

/// --token, SLUICE_TOKEN, or the file that `sluiced` users keep it in.
std::string saved_token() {
  const std::string from_environment = environment("SLUICE_TOKEN", "");
  if (!from_environment.empty()) return from_environment;
  const std::filesystem::path home = environment("HOME", "");
  std::ifstream file(home / ".config/sluice/token");
  std::string token;
  std::getline(file, token);
  while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0)
    token.pop_back();
  return token;
}

/// A secret from standard input: its first line.
std::string secret_line() {
  std::string value;
  std::getline(std::cin, value);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0)
    value.pop_back();
  if (value.empty())
    throw Failure(Error(ErrorKind::bad_input, "cli.no_secret", "standard input holds no secret",
                        "echo \"$KEY\" | sluice …"));
  return value;
}

/// VALUE, or @NAME for what the environment has under NAME, so that it is on no command line.
std::string secret_value(const std::string& text) {
  if (!text.starts_with('@')) return text;
  std::string value = environment(text.c_str() + 1, "");
  if (value.empty()) {
    throw Failure(Error(ErrorKind::bad_input, "cli.no_secret",
                        "the environment has no " + text.substr(1),
                        "export it, or use --secret-stdin"));
  }
  return value;
}

std::pair<std::string, std::string> split(const std::string& text, const char* option) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    const bool secret =
        std::string_view(option) == "--secret";  // never shown, not even when it is misplaced
    throw CLI::ValidationError(option, secret ? "must be name=value or name=@VARIABLE"
                                              : "'" + text + "' must be name=value");
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// JSON where it is JSON, else text: --config lag=0, --config account=acct_1.
json value_of(const std::string& text) {
  json parsed = json::parse(text, nullptr, false);
  return parsed.is_discarded() ? json(text) : parsed;
}

/// Writes what is left; ends us quietly when nobody reads it any more, as `| head` expects. A
/// library that we use blocks the signal meanwhile: then it is pending, and comes now.
void flush_output() {
  std::cout.flush();
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_UNBLOCK, &pipe_signal, nullptr);
}

/// What every command works with.
struct Context {
  std::string url = environment("SLUICE_URL", "http://127.0.0.1:8420");
  std::string token = saved_token();
  std::string workspace = environment("SLUICE_WORKSPACE", "main");
  bool as_json = false;

  [[nodiscard]] Client client() const {
    if (token.empty()) {
      throw Failure(Error(ErrorKind::denied, "token.missing", "no token",
                          "Use --token, SLUICE_TOKEN or ~/.config/sluice/token"));
    }
    return Client({url, token, workspace});
  }
  /// The whole answer as JSON, or the rows as a table.
  void show(const json& answer, const json& rows, const std::vector<Column>& columns) const {
    if (as_json) {
      std::cout << answer.dump(2) << '\n';
    } else {
      std::cout << table(rows, columns);
    }
  }
  /// How to see what did not fit: "more: --cursor …".
  void more(const json& answer, const char* option) const {
    if (as_json || !answer.contains("next") || answer["next"].is_null()) return;
    std::cout << "more: " << option << ' ' << cell(answer["next"]) << '\n';
  }
  void say(const json& answer, const std::string& text) const {
    std::cout << (as_json ? answer.dump(2) : text) << '\n';
  }
};

const std::vector<Column> kStreamColumns = {{"CONNECTION", "/connection"},
                                            {"STREAM", "/name"},
                                            {"STATE", "/state"},
                                            {"RECORDS", "/records_total", true},
                                            {"QUARANTINED", "/quarantined", true},
                                            {"LAST SUCCESS", "/last_success_at"},
                                            {"NEXT RUN", "/next_run_at"},
                                            {"REASON", "/reason"}};

json stream_rows(const json& connections) {
  json rows = json::array();
  for (const json& connection : connections) {
    for (json stream : connection["streams"]) {
      stream["connection"] = connection["name"];
      rows.push_back(std::move(stream));
    }
  }
  return rows;
}

json status_of(Client& client, const std::string& name) {
  if (name.empty()) return client.get("/connections");
  json document;
  document["connections"] = json::array({client.get("/connections/" + Client::escape(name))});
  return document;
}

void print_status(const Context& context, const json& document) {
  if (context.as_json) {
    std::cout << document.dump(2) << '\n';
    return;
  }
  std::cout << table(document["connections"], {{"CONNECTION", "/name"},
                                               {"CONNECTOR", "/connector"},
                                               {"STATE", "/state"},
                                               {"ACCOUNT", "/account/id"},
                                               {"MODE", "/mode"},
                                               {"REFETCH", "/refetch/waiting", true},
                                               {"REASON", "/reason"}})
            << '\n'
            << table(stream_rows(document["connections"]), kStreamColumns);
}

/// Nothing is due, running or waiting any more.
bool is_quiet(const json& document) {
  for (const json& connection : document["connections"]) {
    if (connection["refetch"]["waiting"].get<std::int64_t>() >
        connection["refetch"]["failing"].get<std::int64_t>())
      return false;
    for (const json& stream : connection["streams"]) {
      if (stream["state"] == "running" || stream["state"] == "new" || stream["state"] == "waiting")
        return false;
      if (stream["mode"] == "snapshot" && !stream["snapshot_done"].get<bool>() &&
          stream["state"] != "failed")
        return false;
    }
  }
  return true;
}

void add_connector(CLI::App& app, Context& context) {
  auto* group = app.add_subcommand("connector", "What connectors there are")->require_subcommand(1);
  group->add_subcommand("list", "Connectors of this host")->callback([&context] {
    const json answer = context.client().get("/connectors");
    context.show(answer, answer["connectors"],
                 {{"ID", "/id"},
                  {"VERSION", "/version"},
                  {"NAME", "/display_name"},
                  {"INSTALLED", "/installed"},
                  {"SHA256", "/sha256"}});
  });
  auto id = std::make_shared<std::string>();
  auto* show = group->add_subcommand("show", "One connector with its manifest");
  show->add_option("id", *id)->required();
  show->callback([&context, id] {
    std::cout << context.client().get("/connectors/" + Client::escape(*id)).dump(2) << '\n';
  });
  auto* install = group->add_subcommand("install", "Turn a connector on in the workspace");
  install->add_option("id", *id)->required();
  install->callback([&context, id] {
    const json answer = context.client().send(
        "POST", "/connectors/" + Client::escape(*id) + "/install", json::object());
    context.say(answer, "installed " + *id);
  });
}

struct CreateOptions {
  std::string name, connector, secret_stdin;
  std::vector<std::string> secrets, config, base_urls, intervals;
  bool allow_loopback = false;
};

void create_connection(const Context& context, const CreateOptions& options) {
  json body;
  body["name"] = options.name;
  body["connector"] = options.connector;
  for (const std::string& text : options.secrets) {
    const auto [name, value] = split(text, "--secret");
    body["secrets"][name] = secret_value(value);
  }
  if (!options.secret_stdin.empty()) body["secrets"][options.secret_stdin] = secret_line();
  for (const std::string& text : options.config) {
    const auto [name, value] = split(text, "--config");
    body["config"][name] = value_of(value);
  }
  for (const std::string& text : options.base_urls) {
    const auto [name, value] = split(text, "--base-url");
    body["egress"]["base_urls"][name] = value;
  }
  if (options.allow_loopback) body["egress"]["allow_loopback"] = true;
  for (const std::string& text : options.intervals) {
    const auto [name, value] = split(text, "--interval");
    body["intervals"][name] = value_of(value);
  }
  const json answer = context.client().send("POST", "/connections", body);
  std::string text = fmt::format("connected {} to account {} {}", options.name,
                                 cell(answer["account"]["id"]), cell(answer["account"]["name"]));
  for (const json& note : answer["notes"]) text += "\n  note: " + cell(note);
  context.say(answer, text);
}

void add_connection(CLI::App& app, Context& context) {
  auto* group =
      app.add_subcommand("connection", "Authorised accounts at vendors")->require_subcommand(1);
  auto options = std::make_shared<CreateOptions>();
  auto* create = group->add_subcommand(
      "create", "Connect an account; the key is checked with the vendor first");
  create->add_option("name", options->name)->required();
  create->add_option("--connector", options->connector)->required();
  create->add_option("--secret", options->secrets, "name=value, or name=@VARIABLE");
  create->add_option("--secret-stdin", options->secret_stdin,
                     "name of a secret whose value is read from standard input");
  create->add_option("--config", options->config, "name=value");
  create->add_option("--interval", options->intervals, "stream=seconds");
  create->add_option("--base-url", options->base_urls,
                     "host=URL: for tests and demos; shown in /health");
  create->add_flag("--allow-loopback", options->allow_loopback,
                   "for tests and demos; shown in /health");
  create->callback([&context, options] { create_connection(context, *options); });

  group->add_subcommand("list", "All connections")->callback([&context] {
    const json answer = context.client().get("/connections");
    context.show(answer, answer["connections"],
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
    context.say(answer, "the key works: account " + cell(answer["account"]["id"]));
  });
  auto secret = std::make_shared<std::string>();
  auto* set_secret =
      group->add_subcommand("set-secret", "A new value of a secret, read from standard input");
  set_secret->add_option("name", *name)->required();
  set_secret->add_option("secret", *secret)->required();
  set_secret->callback([&context, name, secret] {
    json body;
    body["value"] = secret_line();
    const json answer = context.client().send(
        "PUT", "/connections/" + Client::escape(*name) + "/secrets/" + Client::escape(*secret),
        body);
    context.say(answer, "stored and checked: account " + cell(answer["account"]["id"]));
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
    context.say(answer, fmt::format("{} runs every {} s", *stream, *seconds));
  });
}

void add_sync(CLI::App& app, Context& context) {
  struct Options {
    std::string name;
    std::vector<std::string> streams;
    bool full = false;
    int wait_seconds = 0;
    int limit = 50;
    std::string after;
  };
  auto options = std::make_shared<Options>();
  auto* sync = app.add_subcommand("sync", "Run a connection's streams now");
  sync->add_option("connection", options->name)->required();
  sync->add_option("--stream", options->streams, "only these");
  sync->add_flag("--full", options->full, "read everything again");
  sync->callback([&context, options] {
    json body;
    body["streams"] = options->streams;
    body["full"] = options->full;
    const json answer = context.client().send(
        "POST", "/connections/" + Client::escape(options->name) + "/sync", body);
    context.say(answer, "asked for " + answer["streams"].dump());
  });

  auto* status = app.add_subcommand("status", "How connections and their streams are");
  status->add_option("connection", options->name, "all when there is none");
  status->add_option("--wait", options->wait_seconds,
                     "wait so many seconds until everything is read; exit 69 when it is not");
  status->callback([&context, options] {
    Client client = context.client();
    json document = status_of(client, options->name);
    const bool quiet = wait_until(std::chrono::seconds(options->wait_seconds), [&] {
      if (is_quiet(document)) return true;
      document = status_of(client, options->name);
      return is_quiet(document);
    });
    print_status(context, document);
    if (options->wait_seconds > 0 && !quiet) {
      throw Failure(
          Error(ErrorKind::retry_later, "status.not_quiet",
                fmt::format("not everything was read within {} s", options->wait_seconds)));
    }
  });

  auto* runs = app.add_subcommand("runs", "Sync runs of a connection, newest first");
  runs->add_option("connection", options->name)->required();
  runs->add_option("--limit", options->limit, "how many, 1 to 1000");
  runs->add_option("--before", options->after, "only those before this run");
  runs->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->after.empty()) query.emplace_back("before", options->after);
    const json answer =
        context.client().get("/connections/" + Client::escape(options->name) + "/runs", query);
    context.show(answer, answer["runs"],
                 {{"RUN", "/run", true},
                  {"STREAM", "/stream"},
                  {"KIND", "/kind"},
                  {"OUTCOME", "/outcome"},
                  {"STARTED", "/started_at"},
                  {"PAGES", "/pages", true},
                  {"REQUESTS", "/requests", true},
                  {"RECORDS", "/records", true},
                  {"NEW", "/inserted", true},
                  {"CHANGED", "/updated", true},
                  {"DELETED", "/deleted", true},
                  {"ERROR", "/error/message"}});
    context.more(answer, "--before");
  });
  auto* errors = app.add_subcommand("errors", "Records that could not be stored, and why");
  errors->add_option("--limit", options->limit, "how many, 1 to 1000");
  errors->add_option("--after", options->after, "only those after this id");
  errors->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->after.empty()) query.emplace_back("after", options->after);
    const json answer = context.client().get("/errors", query);
    context.show(answer, answer["errors"],
                 {{"ID", "/id", true},
                  {"CONNECTION", "/connection"},
                  {"TYPE", "/type"},
                  {"RECORD", "/external_id"},
                  {"CODE", "/code"},
                  {"TIMES", "/times", true},
                  {"REASON", "/reason"}});
    context.more(answer, "--after");
  });
}

/// "email:text:unique:required" -> an attribute.
json attribute_of(const std::string& text) {
  json attribute;
  std::size_t at = 0;
  for (int field = 0; at <= text.size(); ++field) {
    const std::size_t colon = std::min(text.find(':', at), text.size());
    const std::string word = text.substr(at, colon - at);
    at = colon + 1;
    if (field == 0)
      attribute["name"] = word;
    else if (field == 1)
      attribute["type"] = word;
    else if (word == "unique" || word == "required" || word == "personal")
      attribute[word] = true;
    else if (word.starts_with("key="))
      attribute["link_key"] = word.substr(4);
    else if (word.starts_with("format="))
      attribute["format"] = word.substr(7);
    else
      throw CLI::ValidationError(
          "attribute",
          "'" + word + "' is none of unique, required, personal, key=KIND, format=FORMAT");
  }
  if (!attribute.contains("type")) attribute["type"] = "text";
  return attribute;
}

/// Rows of entities as a table over the attributes of the first ones.
void print_entities(const Context& context, const json& answer) {
  std::vector<Column> columns = {{"ID", "/id", true}};
  if (!answer["entities"].empty()) {
    const json& first = answer["entities"][0];
    if (first.contains("external_id")) columns.push_back({"EXTERNAL ID", "/external_id"});
    const auto add = [&](const char* member, std::size_t most) {
      if (!first.contains(member)) return;
      for (const auto& [name, value] : first[member].items()) {
        if (columns.size() < most)
          columns.push_back({name, "/" + std::string(member) + "/" + name});
      }
    };
    add("attributes", 9);
    add("expanded", 12);
  }
  context.show(answer, answer["entities"], columns);
  context.more(answer, "--cursor");
}

void import_file(const Context& context, const std::string& type, const std::string& path,
                 std::string format, const std::string& key) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) throw Failure(Error(ErrorKind::bad_input, "cli.file", path + " cannot be read"));
  }
  std::istream& input = path == "-" ? std::cin : file;
  if (format.empty())
    format = path.ends_with(".ndjson") || path.ends_with(".jsonl") ? "ndjson" : "csv";
  Query query = {{"format", format}};
  if (!key.empty()) query.emplace_back("key", key);
  const json answer = context.client().upload(
      "/types/" + Client::escape(type) + "/import", query,
      format == "csv" ? "text/csv" : "application/x-ndjson", [&input] {
        std::string piece(64 * 1024, '\0');
        input.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        piece.resize(static_cast<std::size_t>(input.gcount()));
        return piece;
      });
  std::string text =
      fmt::format("{} rows: {} new, {} changed, {} unchanged, {} rejected", answer["rows"].dump(),
                  answer["inserted"].dump(), answer["updated"].dump(), answer["unchanged"].dump(),
                  answer["rejected"].dump());
  if (!answer["rejects"].empty()) {
    text += "\n" + table(answer["rejects"], {{"LINE", "/line", true},
                                             {"ATTRIBUTE", "/attribute"},
                                             {"CODE", "/code"},
                                             {"REASON", "/reason"}});
  }
  context.say(answer, text);
  if (answer["rejected"].get<std::int64_t>() > 0) {
    throw Failure(Error(ErrorKind::bad_input, "import.rejected",
                        answer["rejected"].dump() + " rows were rejected; all others are stored",
                        "Correct these lines and import the file again"));
  }
}

void add_entity(CLI::App& app, Context& context) {
  struct Options {
    std::string type, id, file, format, key, cursor, expand;
    std::vector<std::string> attributes, filters;
    int limit = 20;
  };
  auto options = std::make_shared<Options>();
  auto* group =
      app.add_subcommand("entity", "Entity types and their entities")->require_subcommand(1);
  group->add_subcommand("types", "All entity types")->callback([&context] {
    const json answer = context.client().get("/types");
    json rows = answer["types"];
    for (json& row : rows) row["attribute_count"] = row["attributes"].size();
    context.show(
        answer, rows,
        {{"TYPE", "/name"}, {"ORIGIN", "/origin"}, {"ATTRIBUTES", "/attribute_count", true}});
  });
  auto* show = group->add_subcommand("type", "One type with its attributes");
  show->add_option("type", options->type)->required();
  show->callback([&context, options] {
    const json answer = context.client().get("/types/" + Client::escape(options->type));
    context.show(answer, answer["attributes"],
                 {{"ATTRIBUTE", "/name"},
                  {"TYPE", "/type"},
                  {"PROTECTED", "/protected"},
                  {"REQUIRED", "/required"},
                  {"LINK KEY", "/link_key"}});
  });
  auto* create = group->add_subcommand("create-type", "Make an own type");
  create->add_option("type", options->type)->required();
  create
      ->add_option("attributes", options->attributes,
                   "name:type[:unique][:required][:key=email][:format=email]")
      ->required();
  create->callback([&context, options] {
    json body;
    body["name"] = options->type;
    for (const std::string& text : options->attributes)
      body["attributes"].push_back(attribute_of(text));
    const json answer = context.client().send("POST", "/types", body);
    context.say(answer, "made type " + options->type);
  });
  auto* import = group->add_subcommand(
      "import", "Import CSV or NDJSON into an own type; '-' is standard input");
  import->add_option("type", options->type)->required();
  import->add_option("file", options->file)->required();
  import->add_option("--format", options->format, "csv or ndjson; from the file's name otherwise");
  import->add_option("--key", options->key, "unique attribute that rows are matched by");
  import->callback([&context, options] { import_file(context, options->type, options->file, options->format, options->key);
});
auto* list = group->add_subcommand("list", "Entities of a type");
list->add_option("type", options->type)->required();
list->add_option("--filter", options->filters, "attribute=value, attribute[gte]=value");
list->add_option("--expand", options->expand, "relationships, comma separated");
list->add_option("--limit", options->limit, "how many in one page");
list->add_option("--cursor", options->cursor, "where the page before ended");
list->callback([&context, options] {
  Query query = {{"limit", std::to_string(options->limit)}};
  if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
  if (!options->expand.empty()) query.emplace_back("expand", options->expand);
  for (const std::string& text : options->filters) query.push_back(split(text, "--filter"));
  print_entities(context,
                 context.client().get("/entities/" + Client::escape(options->type), query));
});
auto* get = group->add_subcommand("get", "One entity by id or external id");
get->add_option("type", options->type)->required();
get->add_option("id", options->id)->required();
get->add_option("--expand", options->expand, "relationships, comma separated");
get->callback([&context, options] {
  Query query;
  if (!options->expand.empty()) query.emplace_back("expand", options->expand);
  std::cout << context.client()
                   .get("/entities/" + Client::escape(options->type) + "/" +
                            Client::escape(options->id),
                        query)
                   .dump(2)
            << '\n';
});
}  // namespace

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
                  {"CONTESTED", "/counts/contested", true}});
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
    context.say(answer, "added " + options->name);
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
                  {"CANDIDATES", "/candidates"}});
    context.more(answer, "--cursor");
  });
}

void add_changes(CLI::App& app, Context& context) {
  struct Options {
    std::string cursor, type;
    int limit = 50;
    bool follow = false;
  };
  auto options = std::make_shared<Options>();
  auto* changes = app.add_subcommand("changes", "The change feed");
  changes->add_option("--cursor", options->cursor, "where to go on");
  changes->add_option("--type", options->type, "only of this entity type");
  changes->add_option("--limit", options->limit, "how many in one page, 1 to 1000");
  changes->add_flag("--follow", options->follow, "go on for ever");
  changes->callback([&context, options] {
    Client client = context.client();
    for (;;) {
      Query query = {{"limit", std::to_string(options->limit)}};
      if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
      if (!options->type.empty()) query.emplace_back("type", options->type);
      const json answer = client.get("/changes", query);
      options->cursor = cell(answer["cursor"]);
      if (!options->follow || !answer["changes"].empty()) {
        context.show(answer, answer["changes"],
                     {{"AT", "/at"},
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
      if (answer["changes"].empty()) pause_for(std::chrono::milliseconds(500));
    }
  });
}

void add_workspace(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  auto role = std::make_shared<std::string>("reader");
  auto* group = app.add_subcommand("workspace", "Tenants and their tokens")->require_subcommand(1);
  group->add_subcommand("list", "All workspaces")->callback([&context] {
    const json answer = context.client().global("GET", "/v1/workspaces");
    context.show(answer, answer["workspaces"], {{"NAME", "/name"}, {"CREATED", "/created_at"}});
  });
  auto* create = group->add_subcommand("create", "Make a workspace");
  create->add_option("name", *name)->required();
  create->callback([&context, name] {
    json body;
    body["name"] = *name;
    const json answer = context.client().global("POST", "/v1/workspaces", body);
    context.say(answer, "made workspace " + *name);
  });
  auto* token = group->add_subcommand("token", "Make a token for the workspace; shown once");
  token->add_option("name", *name)->required();
  token->add_option("--role", *role, "reader or admin");
  token->callback([&context, name, role] {
    json body;
    body["name"] = *name;
    body["role"] = *role;
    const json answer = context.client().send("POST", "/tokens", body);
    context.say(answer, cell(answer["token"]));
  });
}

int run(int argc, char** argv) {
  CLI::App app("Asks and steers a Sluice host.", "sluice");
  Context context;
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--url", context.url, "the host; SLUICE_URL");
  app.add_option("--token", context.token,
                 "SLUICE_TOKEN or ~/.config/sluice/token (better: no other user sees those)");
  app.add_option("-w,--workspace", context.workspace, "SLUICE_WORKSPACE; main otherwise");
  app.add_flag("--json", context.as_json, "print the host's JSON");
  add_connector(app, context);
  add_connection(app, context);
  add_sync(app, context);
  add_entity(app, context);
  add_link(app, context);
  add_changes(app, context);
  add_workspace(app, context);
  const auto refuse = [](const Error& error) {
    std::cout.flush();
    fmt::print(stderr, "sluice: {}\n", cell(error.message));
    if (!error.hint.empty()) fmt::print(stderr, "        {}\n", cell(error.hint));
    if (!error.code.empty()) fmt::print(stderr, "        ({})\n", cell(error.code));
    return exit_code(error.kind);
  };
  try {
    app.parse(argc, argv);
    flush_output();
    if (std::cout) return 0;
    fmt::print(stderr, "sluice: the output cannot be written\n");
    return kExitOutput;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kExitUsage;
  } catch (const Failure& failure) {
    return refuse(failure.error());
  } catch (const std::exception& surprise) {
    return refuse(Error(ErrorKind::internal, "cli.defect",
                        std::string("this did not go as planned: ") + surprise.what(),
                        "Is the host of the same version? Else please report it"));
  }
}

}  // namespace sluice::cli
}  // namespace sluice::cli

int main(int argc, char** argv) {
  // As `| head` expects it, even when whoever started us ignores the signal.
  std::signal(SIGPIPE, SIG_DFL);
  return sluice::cli::run(argc, argv);
}
