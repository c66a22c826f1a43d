#include "database_roles.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.hpp"
#include "pg/migrate.hpp"
#include "pg/roles.hpp"
#include "pg/server_endpoints.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

namespace sluice {
namespace {

constexpr const char* kWhatToDo =
    "name a login without rights in database.url, and the present one in database.owner_url; "
    "docs/operating/README.md has the statements";

/// A server's migrations, upkeep, probes, tools and superusers have their own.
constexpr int kConnectionsBesidePools = 40;
constexpr int kHostConnectionsMin = 100;

pg::ConnectOptions options_for(const std::string& conninfo) {
  pg::ConnectOptions options;
  options.conninfo = conninfo;
  options.application_name = "sluiced";
  return options;
}

Task<std::unique_ptr<pg::Connection>> connected(const std::string& conninfo) {
  const auto executor = co_await asio::this_coro::executor;
  pg::ConnectOptions options = options_for(conninfo);
  auto connection = co_await pg::Connection::connect(executor, std::move(options));
  co_return connection;
}

/// As the owner, or as who is all there is.
Task<void> bring_up_to_date(pg::Connection& connection) {
  co_await pg::require_safe_settings(connection);
  const bool may = co_await pg::may_migrate(connection);
  if (!may) {
    co_await pg::require_current(connection, pg::migrations());
    co_return;
  }
  const pg::MigrationOutcome outcome = co_await pg::migrate(connection, pg::migrations());
  if (outcome.from != outcome.to)
    log::info("database.migrated", {{"from", outcome.from}, {"to", outcome.to}});
}

/// Whether the role of the pools has got what it needs.
Task<bool> give_rights(pg::Connection& owner, std::string app, pg::AppLogin login) {
  const std::string me = co_await pg::session_role(owner);
  if (me == app) co_return true;
  const auto missing = co_await pg::settle_roles(owner, app, login);
  if (missing.empty()) co_return true;
  log::warning(
      "database.roles_missing",
      {{"owner", me},
       {"role", app},
       {"statements", fmt::format("{}", fmt::join(missing, "; "))},
       {"do", "run them as a superuser and start again; until then all is done as owner"}});
  co_return false;
}

Task<void> look_at_rights(const std::string& conninfo) {
  const auto connection = co_await connected(conninfo);
  co_await pg::require_all_rows(*connection);
  const auto too_many = co_await pg::rights_too_many(*connection);
  if (too_many.empty()) co_return;
  const std::string me = co_await pg::session_role(*connection);
  log::warning(
      "database.second_line_off",
      {{"role", me}, {"because", fmt::format("{}", fmt::join(too_many, "; "))}, {"do", kWhatToDo}});
}

// What PostgreSQL lets every login do, also one that only reads: large objects and temporary tables
// fill the disk, and stay with a login that is deleted.
constexpr const char* kTakeBackDefaults = R"(
  do $$
  declare
    one regprocedure;
  begin
    execute format('revoke temporary on database %I from public', current_database());
    for one in select p.oid from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace
               and (p.proname ^@ 'lo_' or p.proname in ('loread', 'lowrite')) loop
      execute format('revoke execute on function %s from public', one);
    end loop;
  end $$)";

Task<PreparedDatabase> prepare(const wiring::Config& config, const pg::Cluster* cluster) {
  std::string owner = cluster != nullptr ? cluster->conninfo() : config.database_owner_url;
  std::string app = cluster != nullptr ? cluster->app_conninfo() : config.database_url;
  PreparedDatabase prepared;
  const bool alone = owner.empty();
  const auto connection = co_await connected(alone ? app : owner);
  if (!alone) co_await pg::require_own_code(*connection, pg::migrations());
  co_await bring_up_to_date(*connection);
  if (!alone) {
    auto names = co_await pg::server_names(*connection);
    prepared.endpoints = co_await pg::server_endpoints(std::move(names));
    std::string name = pg::kAppRole;
    if (cluster == nullptr) {
      const auto as_app = co_await connected(app);
      name = co_await pg::session_role(*as_app);
    }
    const pg::AppLogin login = cluster != nullptr ? pg::AppLogin::make : pg::AppLogin::is_there;
    if (cluster != nullptr) co_await connection->script(kTakeBackDefaults);
    const bool given = co_await give_rights(*connection, std::move(name), login);
    if (!given) app = owner;
  }
  co_await look_at_rights(app);
  prepared.connect = options_for(app);
  co_return prepared;
}

}  // namespace

pg::ClusterOptions private_cluster(const wiring::Config& config) {
  pg::ClusterOptions options;
  options.directory = config.data_directory / "postgres";
  options.socket_directory = config.data_directory / "run";
  options.people_directory = config.data_directory / "sql";
  using SqlSocket = wiring::Config::SqlSocket;
  options.people_socket_mode = config.sql_socket == SqlSocket::everybody ? 0666
                               : config.sql_socket == SqlSocket::group   ? 0660
                                                                         : 0600;
  options.host_connections = std::max(
      kHostConnectionsMin, static_cast<int>(config.database_pool_size) + kConnectionsBesidePools);
  options.port = config.sql_port;
  options.tcp_address = config.sql_listen;
  options.tls_certificate = config.sql_tls_certificate;
  options.tls_key = config.sql_tls_key;
  return options;
}

PreparedDatabase prepare_database(const wiring::Config& config,
                                  const std::optional<pg::Cluster>& cluster) {
  asio::io_context loop(1);
  auto prepared =
      asio::co_spawn(loop, prepare(config, cluster ? &*cluster : nullptr), asio::use_future);
  loop.run();
  return prepared.get();
}

}  // namespace sluice
