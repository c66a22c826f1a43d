// What an operator can set, read once at start. Later layers win: built-in defaults, the file, the
// environment (SLUICE_DATABASE_URL for database.url), the command line (--set database.url=…).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/exit_codes.hpp"

namespace sluice::wiring {

struct Config {
  std::filesystem::path data_directory;
  std::string data_user;  ///< as whom a host that root started works; empty: one that hosts share
  bool reset_operator_token = false;  ///< --reset-operator-token: no setting, that alone is done
  std::string listen_address = "127.0.0.1";
  std::uint16_t listen_port = 8420;                    ///< 0: any free port, printed at start
  std::string listen_tls_certificate, listen_tls_key;  ///< PEM files; both or none
  bool listen_insecure = false;  ///< in clear also where others than this machine can listen in
  std::size_t listen_clients_max = 10'000;  ///< connected to the REST API at once
  std::string watch_address = "127.0.0.1";
  std::int64_t watch_port = -1;    ///< of the listener without tokens; -1: none, 0: any free port
  std::string database_url;        ///< empty: the private cluster in the data directory
  std::string database_owner_url;  ///< the same one by its owner's login; empty: by database_url
  std::size_t database_pool_size = 22;
  enum class SqlSocket { everybody, group, nobody };
  SqlSocket sql_socket = SqlSocket::everybody;  ///< who may reach the private cluster's for people
  std::string sql_listen;         ///< address where people reach the private cluster; empty: no TCP
  std::uint16_t sql_port = 5432;  ///< of the private cluster, by TCP and in its sockets' names
  std::int64_t sql_transaction_seconds_max = 900;
  std::string sql_tls_certificate, sql_tls_key;  ///< PEM files, for sql_listen
  std::vector<std::filesystem::path> connector_directories;
  std::vector<std::string> connector_owners;   ///< besides root and this host's user
  std::int64_t connector_rescan_seconds = 60;  ///< besides what the kernel reports
  std::string default_workspace = "main";
  std::filesystem::path root_key_file;        ///< empty: <data>/root.key
  std::vector<std::string> root_key_command;  ///< prints the root key; for a KMS
  std::string log_level = "info";
  std::vector<std::string> log_levels;    ///< "fetch=debug": other levels for events of an area
  std::string log_format = "auto";        ///< json, text, or auto: text on a terminal
  std::size_t sync_connections_max = 64;  ///< connections that this host works on at once
  std::int64_t sync_delete_percent_max =
      20;  ///< share of a type's entities that may go without a yes
  std::size_t sync_page_bytes_in_flight_max = 64u << 20;  ///< pages between vendor and store
  std::int64_t fetch_total_seconds =
      300;                               ///< one request, from its start to its answer's last byte
  std::int64_t fetch_idle_seconds = 30;  ///< without one more byte of an answer
  std::string fetch_ca_file;             ///< vouches for vendors besides the system's
  std::string fetch_proxy;
  std::int64_t fetch_pace_percent = 100;  ///< of the requests a second that connectors declare
  std::vector<std::string> fetch_nat64_prefixes = {"64:ff9b::/96"};
  std::int64_t sync_step_seconds_max = 60;  ///< a connector that does not come back is given up
  std::int64_t lease_ttl_ms = 12'000;
  std::int64_t poll_ms = 500;             ///< how often this host looks for due work
  std::int64_t retention_runs_days = 30;  ///< 0, here and below: for ever
  std::int64_t retention_changes_days = 119;
  std::int64_t retention_audit_days = 400;
  std::int64_t retention_work_days = 30;
  std::int64_t disk_free_percent_min = 10;  ///< when a disk is running out: api/host_facts.hpp
  std::int64_t disk_free_bytes_min = std::int64_t{256} << 20;
  std::int64_t disk_free_bytes_enough = std::int64_t{20} << 30;
  std::int64_t disk_full_in_days_min = 3;
};

/// An address that only this machine reaches: 127.0.0.0/8 or ::1.
[[nodiscard]] bool is_this_machines(const std::string& address);

/// Every key there is, for --help and docs/operating: key, type, default, meaning.
struct ConfigKey {
  std::string_view key;
  std::string_view type;
  std::string_view fallback;
  std::string_view meaning;
};
[[nodiscard]] const std::vector<ConfigKey>& config_keys();

/// Errors: config.unreadable, config.not_json, config.unknown_key (with the nearest known one),
/// config.bad_value (key, what stands there, what should), each naming the layer it came from.
/// `file` may be empty: then <data>/sluice.json is read when it exists. `environment` holds the
/// SLUICE_… variables.
Result<Config> read_config(const std::filesystem::path& file,
                           const std::map<std::string, std::string>& environment,
                           const std::vector<std::string>& settings);

/// What sluiced ends with after this error (base/exit_codes.hpp).
[[nodiscard]] ExitCode exit_code(const Error& error);

}  // namespace sluice::wiring
