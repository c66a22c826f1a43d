#include "wiring/config.hpp"

#include "base/ascii.hpp"
#include "base/nearest.hpp"

#include <fmt/format.h>

#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

namespace sluice::wiring {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kDaysMax = 36'500;

struct Setting {
  ConfigKey key;
  /// Returns what should stand there when the value is not it, else nothing.
  std::function<std::string(Config&, const Json&)> set;
};

template <class Member>
auto text(Member Config::*member) {
  return [member](Config& config, const Json& value) -> std::string {
    if (!value.is_string()) return "a string";
    config.*member = value.get<std::string>();
    return {};
  };
}

template <class Member>
auto number(Member Config::*member, std::int64_t least, std::int64_t most) {
  return [=](Config& config, const Json& value) -> std::string {
    if (!value.is_number_integer() || value.get<std::int64_t>() < least ||
        value.get<std::int64_t>() > most) {
      return fmt::format("a whole number from {} to {}", least, most);
    }
    config.*member = static_cast<Member>(value.get<std::int64_t>());
    return {};
  };
}

auto truth(bool Config::*member) {
  return [member](Config& config, const Json& value) -> std::string {
    if (!value.is_boolean()) return "true or false";
    config.*member = value.get<bool>();
    return {};
  };
}

template <class Member>
auto texts(Member Config::*member) {
  return [member](Config& config, const Json& value) -> std::string {
    if (!value.is_array()) return "a list of strings";
    (config.*member).clear();
    for (const Json& element : value) {
      if (!element.is_string()) return "a list of strings";
      (config.*member).emplace_back(element.get<std::string>());
    }
    return {};
  };
}

std::string set_level(Config& config, const Json& value) {
  static constexpr std::string_view kLevels[] = {"debug", "info", "warning", "error"};
  if (value.is_string()) {
    for (const auto level : kLevels) {
      if (value.get<std::string>() == level) {
        config.log_level = level;
        return {};
      }
    }
  }
  return "one of debug, info, warning, error";
}

std::string set_sql_socket(Config& config, const Json& value) {
  using SqlSocket = Config::SqlSocket;
  for (const auto& [name, who] :
       {std::pair("everybody", SqlSocket::everybody), std::pair("group", SqlSocket::group),
        std::pair("nobody", SqlSocket::nobody)}) {
    if (value != name) continue;
    config.sql_socket = who;
    return {};
  }
  return "one of everybody, group, nobody";
}

std::string set_levels(Config& config, const Json& value) {
  constexpr const char* kWanted = "a list of area=level, for example [\"fetch=debug\"]";
  if (!value.is_array()) return kWanted;
  config.log_levels.clear();
  for (const Json& element : value) {
    if (!element.is_string()) return kWanted;
    const auto text = element.get<std::string>();
    const auto equals = text.find('=');
    Config judge;
    if (equals == std::string::npos || equals == 0 ||
        !set_level(judge, text.substr(equals + 1)).empty())
      return kWanted;
    config.log_levels.push_back(text);
  }
  return {};
}

std::string set_format(Config& config, const Json& value) {
  if (value != "auto" && value != "json" && value != "text") return "one of auto, json, text";
  config.log_format = value.get<std::string>();
  return {};
}

std::string set_workspace(Config& config, const Json& value) {
  if (value.is_string() && !value.get<std::string>().empty() &&
      value.get<std::string>().size() <= 63) {
    const auto name = value.get<std::string>();
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos &&
        name[0] >= 'a' && name[0] <= 'z') {
      config.default_workspace = name;
      return {};
    }
  }
  return "a name of a-z, 0-9 and _ that begins with a letter, at most 63 long";
}

auto connection_string(std::string Config::*member) {
  return [member](Config& config, const Json& value) -> std::string {
    if (!value.is_string()) return "a PostgreSQL connection string";
    const auto url = value.get<std::string>();
    if (!url.empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") &&
        url.find('=') == std::string::npos) {
      return "a PostgreSQL connection string such as postgresql://user@host/database";
    }
    config.*member = url;
    return {};
  };
}

const std::vector<Setting>& settings_table() {
  static const std::vector<Setting> all = {
      {{"data.directory", "string", "/var/lib/sluice as root, else ~/.local/share/sluice",
        "where the private database, the root key and connector files live"},
       text(&Config::data_directory)},
      {{"data.user", "string", "sluice-pg, which is made",
        "started as root, Sluice becomes this user, who also owns the private database"},
       text(&Config::data_user)},
      {{"listen.address", "string", "127.0.0.1", "address of the REST API"},
       text(&Config::listen_address)},
      {{"listen.port", "integer", "8420", "port of the REST API; 0 takes a free one"},
       number(&Config::listen_port, 0, 65535)},
      {{"listen.tls_certificate", "string", "(none)",
        "PEM file with certificate and chain: the REST API speaks TLS; renewed files are taken"},
       text(&Config::listen_tls_certificate)},
      {{"listen.tls_key", "string", "(none)", "PEM file with its key"},
       text(&Config::listen_tls_key)},
      {{"listen.insecure", "boolean", "false",
        "without TLS also on an address that other machines reach: tokens and keys go in clear"},
       truth(&Config::listen_insecure)},
      {{"listen.clients_max", "integer", "10000",
        "clients of the REST API that are connected at once"},
       number(&Config::listen_clients_max, 8, 100'000)},
      {{"watch.address", "string", "127.0.0.1", "address of the listener below"},
       text(&Config::watch_address)},
      {{"watch.port", "integer", "-1",
        "a port for /metrics, /healthz and /readyz alone, without a token; 0 takes a free one, -1 "
        "none"},
       number(&Config::watch_port, -1, 65535)},
      {{"database.url", "string", "(a private cluster)",
        "PostgreSQL 15 or newer to use instead of a private one"},
       connection_string(&Config::database_url)},
      {{"database.owner_url", "string", "(none)",
        "the same database by the login that owns it, used at the start alone; database.url is "
        "then one with fewer rights"},
       connection_string(&Config::database_owner_url)},
      {{"database.pool_size", "integer", "22",
        "connections of this host at most, by purpose: 4 leases, 10 work, 4 changes, 4 questions"},
       number(&Config::database_pool_size, 4, 500)},
      {{"sql.listen", "string", "(none)",
        "address where people's logins reach the private database by TCP, with TLS alone"},
       text(&Config::sql_listen)},
      {{"sql.port", "integer", "5432", "port of the private database, also in its sockets' names"},
       number(&Config::sql_port, 1, 65535)},
      {{"sql.socket", "string", "everybody",
        "who on this machine may reach the private database's socket for people: everybody, the "
        "group of the host's user, or nobody"},
       set_sql_socket},
      {{"sql.transaction_seconds_max", "integer", "900",
        "a transaction of a login by SQL that is open for longer is ended"},
       number(&Config::sql_transaction_seconds_max, 10, 86'400)},
      {{"sql.tls_certificate", "string", "(none)",
        "PEM file with certificate and chain for sql.listen; renewed files are taken"},
       text(&Config::sql_tls_certificate)},
      {{"sql.tls_key", "string", "(none)",
        "PEM file with its key: this host's user's, 0600, or root's, 0640"},
       text(&Config::sql_tls_key)},
      {{"connectors.directories", "list of strings",
        "connectors beside the program, /usr/lib/sluice/connectors",
        "where connector files (.so) are looked for"},
       texts(&Config::connector_directories)},
      {{"connectors.owners", "list of strings", "(none)",
        "users besides root and this host's own whose connector files are loaded"},
       texts(&Config::connector_owners)},
      {{"connectors.rescan_seconds", "integer", "60",
        "how often to look there besides when a file changes; for network file systems"},
       number(&Config::connector_rescan_seconds, 1, 86'400)},
      {{"workspace.default", "string", "main", "workspace made at the first start"}, set_workspace},
      {{"vault.root_key_file", "string", "<data>/root.key", "file with the root key; must be 0600"},
       text(&Config::root_key_file)},
      {{"vault.root_key_command", "list of strings", "(none)",
        "command that prints the root key, for a KMS"},
       texts(&Config::root_key_command)},
      {{"log.level", "string", "info", "debug, info, warning or error"}, set_level},
      {{"log.levels", "list of strings", "(none)",
        "other levels for the events of an area: [\"fetch=debug\"]"},
       set_levels},
      {{"log.format", "string", "auto", "json, text, or auto: text on a terminal, else json"},
       set_format},
      {{"sync.connections_max", "integer", "64", "connections that this host works on at once"},
       number(&Config::sync_connections_max, 1, 10'000)},
      {{"sync.delete_percent_max", "integer", "20",
        "a complete read that lacks more of a type's entities than this deletes nothing unasked"},
       number(&Config::sync_delete_percent_max, 0, 100)},
      {{"sync.page_bytes_in_flight_max", "integer", "67108864",
        "memory for pages between vendor and store, all connections together"},
       number(&Config::sync_page_bytes_in_flight_max, 1 << 20, std::int64_t{1} << 40)},
      {{"fetch.total_seconds", "integer", "300",
        "one request to a vendor, from its start to the last byte of its answer"},
       number(&Config::fetch_total_seconds, 10, 86'400)},
      {{"fetch.idle_seconds", "integer", "30", "… without one more byte of the answer"},
       number(&Config::fetch_idle_seconds, 1, 3'600)},
      {{"fetch.ca_file", "string", "(none)",
        "certificates that vouch for vendors, besides the system's"},
       text(&Config::fetch_ca_file)},
      {{"fetch.proxy", "string", "(none)", "proxy to reach vendors through"},
       text(&Config::fetch_proxy)},
      {{"fetch.pace_percent", "integer", "100",
        "how fast vendors are asked, of the rates that their connectors declare"},
       number(&Config::fetch_pace_percent, 1, 10'000)},
      {{"fetch.nat64_prefixes", "list of strings", "[\"64:ff9b::/96\"]",
        "where this network shows IPv4 addresses inside IPv6 ones"},
       texts(&Config::fetch_nat64_prefixes)},
      {{"sync.step_seconds_max", "integer", "60",
        "a connector that does not come back from one step for so long is given up and held"},
       number(&Config::sync_step_seconds_max, 5, 86'400)},
      {{"sync.lease_ttl_ms", "integer", "12000",
        "after so long a dead host's work goes to another"},
       number(&Config::lease_ttl_ms, 1'000, 300'000)},
      {{"sync.poll_ms", "integer", "500", "how often to look for due work"},
       number(&Config::poll_ms, 10, 60'000)},
      {{"retention.runs_days", "integer", "30",
        "runs that ended earlier go, but for the last 20 of each stream; 0 keeps all"},
       number(&Config::retention_runs_days, 0, kDaysMax)},
      {{"retention.changes_days", "integer", "119",
        "months of the change feed that ended earlier go; 0 keeps all"},
       number(&Config::retention_changes_days, 0, kDaysMax)},
      {{"retention.audit_days", "integer", "400", "older lines of the audit go; 0 keeps all"},
       number(&Config::retention_audit_days, 0, kDaysMax)},
      {{"retention.work_days", "integer", "30",
        "durable work that was done earlier goes; 0 keeps all"},
       number(&Config::retention_work_days, 0, kDaysMax)},
      {{"disk.free_percent_min", "integer", "10",
        "a disk with less free is told of as running out; 0: not looked at"},
       number(&Config::disk_free_percent_min, 0, 100)},
      {{"disk.free_bytes_min", "integer", "268435456", "… or with fewer bytes free"},
       number(&Config::disk_free_bytes_min, 0, std::int64_t{1} << 50)},
      {{"disk.free_bytes_enough", "integer", "21474836480",
        "a disk with so many bytes free is not told of for its percent"},
       number(&Config::disk_free_bytes_enough, 0, std::int64_t{1} << 50)},
      {{"disk.full_in_days_min", "integer", "3",
        "a disk that is full sooner, at the pace of six hours or more, is told of; 0: not looked "
        "at"},
       number(&Config::disk_full_in_days_min, 0, kDaysMax)},
  };
  return all;
}

const Setting* find_setting(std::string_view key) {
  for (const Setting& setting : settings_table()) {
    if (setting.key.key == key) return &setting;
  }
  return nullptr;
}

Error unknown_key(std::string_view key, std::string_view where) {
  std::vector<std::string> known;
  for (const Setting& setting : settings_table()) known.emplace_back(setting.key.key);
  const std::string meant = nearest(key, known);
  return Error(
      ErrorKind::bad_input, "config.unknown_key", fmt::format("{}: unknown key '{}'", where, key),
      meant.empty() ? "Known keys: sluiced --help" : fmt::format("Did you mean '{}'?", meant));
}

Result<void> apply(Config& config, std::string_view key, const Json& value,
                   std::string_view where) {
  const Setting* setting = find_setting(key);
  if (setting == nullptr) return std::unexpected(unknown_key(key, where));
  const std::string wanted = setting->set(config, value);
  if (wanted.empty()) return {};
  // These may hold a password: say their type, not their text.
  const bool is_secret =
      key == "database.url" || key == "database.owner_url" || key == "fetch.proxy";
  const std::string found = is_secret ? std::string("another ") + value.type_name() : value.dump();
  return fail(ErrorKind::bad_input, "config.bad_value",
              fmt::format("{}: {} is {}, but must be {}", where, key, found, wanted),
              "Correct it and start again");
}

/// {"database":{"url":…}} and {"database.url":…} mean the same.
Result<void> apply_object(Config& config, const Json& object, const std::string& prefix,
                          const std::string& where) {
  for (const auto& [name, value] : object.items()) {
    const std::string key = prefix + name;
    auto applied = value.is_object() && find_setting(key) == nullptr
                       ? apply_object(config, value, key + ".", where)
                       : apply(config, key, value, where);
    if (!applied) return applied;
  }
  return {};
}

/// Where it is wrong, for people: the library's own words begin with its name and a number.
std::string said_of(const Json::parse_error& error, const std::string& text) {
  const std::size_t at = std::min(text.size(), error.byte == 0 ? 0 : error.byte - 1);
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  const std::size_t line_start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1: 0
  std::string_view what = error.what();
  if (const auto reason = what.find(" - "); reason != std::string_view::npos)
    what.remove_prefix(reason + 3);
  what = what.substr(0, what.find("; last read"));  // which may quote a password
  return fmt::format("line {}, column {}: {}", line, at - line_start + 1, what);
}

Result<void> apply_file(Config& config, const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) {
    return fail(ErrorKind::bad_input, "config.unreadable",
                fmt::format("{} cannot be read", file.string()),
                "Name an existing file with --config, or leave it out");
  }
  std::ostringstream content;
  content << stream.rdbuf();
  Json document;
  try {
    document = Json::parse(content.str(), nullptr, true, true);
  } catch (const Json::parse_error& error) {
    return fail(ErrorKind::bad_input, "config.not_json",
                fmt::format("{}: {}", file.string(), said_of(error, content.str())),
                "It must be one JSON object; comments are allowed, a comma before } or ] is not");
  }
  if (!document.is_object()) {
    return fail(ErrorKind::bad_input, "config.not_json",
                fmt::format("{} holds no JSON object", file.string()),
                "It must be one JSON object; comments are allowed");
  }
  return apply_object(config, document, "", file.string());
}

/// A setting given as text: JSON when it is JSON of the right type, else a string.
Result<void> apply_text(Config& config, const std::string& key, const std::string& text,
                        const std::string& where) {
  const Setting* setting = find_setting(key);
  if (setting == nullptr) return std::unexpected(unknown_key(key, where));
  const Json parsed =
      setting->key.type == "string" ? Json(text) : Json::parse(text, nullptr, false);
  return apply(config, key, parsed.is_discarded() ? Json(text) : parsed, where);
}

/// SLUICE_DATABASE_POOL_SIZE -> database.pool_size: the first word is the group.
std::string key_of_variable(const std::string& variable) {
  std::string key = in_lower_case(variable.substr(7));
  if (const auto first = key.find('_'); first != std::string::npos) key[first] = '.';
  return key;
}

std::filesystem::path default_data_directory(
    const std::map<std::string, std::string>& environment) {
  if (::geteuid() == 0) return "/var/lib/sluice";
  const auto home = environment.find("HOME");
  return std::filesystem::path(home == environment.end() ? "." : home->second) /
         ".local/share/sluice";
}

/// Tokens and vendors' keys go over the first, what this host does over the second.
Result<void> check_listeners(const Config& config) {
  if (config.listen_tls_certificate.empty() != config.listen_tls_key.empty()) {
    return fail(ErrorKind::bad_input, "config.bad_value",
                "listen.tls_certificate and listen.tls_key belong together, and one is missing",
                "Name both, or none");
  }
  const bool sql_has_tls = !config.sql_tls_certificate.empty() && !config.sql_tls_key.empty();
  if (!config.sql_listen.empty() && !config.database_url.empty()) {
    return fail(ErrorKind::bad_input, "config.bad_value",
                "sql.listen is for the private database, and database.url names another",
                "Leave sql.listen out: that server says itself where it listens");
  }
  if (!config.sql_listen.empty() && !sql_has_tls) {
    return fail(ErrorKind::bad_input, "config.listens_in_clear",
                "sql.listen is " + config.sql_listen +
                    ", and without TLS what people ask and are answered goes there in clear",
                "Name sql.tls_certificate and sql.tls_key");
  }
  if (config.listen_insecure) return {};
  const bool is_open =
      config.listen_tls_certificate.empty() && !is_this_machines(config.listen_address);
  const bool is_watched = config.watch_port >= 0 && !is_this_machines(config.watch_address);
  if (!is_open && !is_watched) return {};
  return fail(
      ErrorKind::bad_input, "config.listens_in_clear",
      is_open ? "listen.address is " + config.listen_address +
                    ", which other machines may reach, and without TLS tokens and vendors' keys "
                    "go there in clear"
              : "watch.address is " + config.watch_address +
                    ", which other machines may reach, and it asks for no token",
      is_open ? "Name listen.tls_certificate and listen.tls_key; or say listen.insecure=true where "
                "something before this host does that"
              : "Say listen.insecure=true where only who watches this host can reach it");
}

}  // namespace

bool is_this_machines(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> all;
    for (const Setting& setting : settings_table()) all.push_back(setting.key);
    return all;
  }();
  return keys;
}

Result<Config> read_config(const std::filesystem::path& file,
                           const std::map<std::string, std::string>& environment,
                           const std::vector<std::string>& settings) {
  // Variables of ours that are no settings.
  static constexpr std::string_view kNotSettings[] = {
      "SLUICE_ROOT_KEY", "SLUICE_FAILPOINTS", "SLUICE_FAIL_STATEMENT", "SLUICE_CHECK_ANSWERS",
      "SLUICE_TOKEN",    "SLUICE_URL",        "SLUICE_WORKSPACE",      "SLUICE_CONFIG",
      "SLUICE_PRESET",   "SLUICE_TEST_PG",    "SLUICE_INSECURE",       "SLUICE_CA_FILE",
      "SLUICE_SQL_USER", "SLUICE_CONTEXT"};
#ifdef SLUICE_NO_FAILPOINTS
  for (const char* const name :
       {"SLUICE_FAILPOINTS", "SLUICE_FAIL_STATEMENT", "SLUICE_CHECK_ANSWERS"}) {
    if (!environment.contains(name)) continue;
    return fail(ErrorKind::bad_input, "config.no_failpoints",
                fmt::format("environment variable {}: this build has no failpoints, which are for "
                            "tests",
                            name),
                "Leave it out");
  }
#endif
  Config config;
  config.data_directory = default_data_directory(environment);
  std::filesystem::path chosen = file;
  if (chosen.empty()) {
    const auto named = environment.find("SLUICE_CONFIG");
    if (named != environment.end()) chosen = named->second;
  }
  if (!chosen.empty()) {
    if (auto applied = apply_file(config, chosen); !applied)
      return std::unexpected(applied.error());
  }
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("SLUICE_")) continue;
    if (std::find(std::begin(kNotSettings), std::end(kNotSettings), variable) !=
        std::end(kNotSettings))
      continue;
    auto applied =
        apply_text(config, key_of_variable(variable), value, "environment variable " + variable);
    if (!applied) return std::unexpected(applied.error());
  }
  for (const std::string& setting : settings) {
    const auto equals = setting.find('=');
    if (equals == std::string::npos) {
      return fail(ErrorKind::bad_input, "config.bad_value", "--set " + setting + " has no '='",
                  "Write --set key=value");
    }
    auto applied =
        apply_text(config, setting.substr(0, equals), setting.substr(equals + 1), "--set");
    if (!applied) return std::unexpected(applied.error());
  }
  if (config.root_key_file.empty()) config.root_key_file = config.data_directory / "root.key";
  if (!config.database_owner_url.empty() && config.database_url.empty()) {
    return fail(
        ErrorKind::bad_input, "config.bad_value",
        "database.owner_url is set, and database.url is not",
        "Name the login with fewer rights in database.url; a private cluster needs neither");
  }
  if (auto listens = check_listeners(config); !listens) return std::unexpected(listens.error());
  return config;
}

ExitCode exit_code(const Error& error) {
  const std::string_view code = error.code;
  if (code.starts_with("config.") || code == "database.unsafe_setting" ||
      code == "database.row_security" || code.starts_with("schema."))
    return kExitConfig;
  if (code.starts_with("usage.")) return kExitUsage;
  if (code.starts_with("data_directory.") || code.starts_with("cluster.initdb") ||
      code.starts_with("cluster.socket"))
    return kExitCannotCreate;
  if (code.starts_with("vault.")) return kExitDenied;
  if (code.starts_with("cluster.") || code.starts_with("listen.") || code == "host.unreachable")
    return kExitUnavailable;
  return exit_code(error.kind);
}

}  // namespace sluice::wiring
