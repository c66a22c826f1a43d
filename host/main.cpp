// sluiced, the host: everything it is made of, built by hand from top to bottom, and run.
#include <malloc.h>

#include <fmt/format.h>
#include <csignal>
#include <filesystem>
#include <thread>

#include "api/api.hpp"
#include "api/server.hpp"
#include "base/log.hpp"
#include "connector/registry.hpp"
#include "feed/views.hpp"
#include "fetch/client.hpp"
#include "ingest/writer.hpp"
#include "link/resolver.hpp"
#include "model/catalog.hpp"
#include "pg/cluster.hpp"
#include "pg/migrate.hpp"
#include "pg/pool.hpp"
#include "sync/connections.hpp"
#include "sync/engine.hpp"
#include "sync/send_scope.hpp"
#include "vault/harden.hpp"
#include "vault/vault.hpp"
#include "wiring/config.hpp"
#include "wiring/shell.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVersion = SLUICE_VERSION;
constexpr auto kSafeSettingsInterval = std::chrono::minutes(1);

void make_data_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  // The private database runs as another user when we are root: it passes through, and sees no
  // names.
  if (!error) fs::permissions(directory, static_cast<fs::perms>(0711), error);
  if (error) {
    throw Failure(Error(ErrorKind::bad_input, "data_directory.unusable",
                        fmt::format("the data directory {} cannot be made: {}", directory.string(),
                                    error.message()),
                        "Name another with --data, or give this user the right to it"));
  }
}

/// Where connector files are looked for when the configuration names no place.
std::vector<fs::path> connector_directories(const wiring::Config& config) {
  if (!config.connector_directories.empty()) return config.connector_directories;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return {program.parent_path().parent_path() / "connectors", "/usr/lib/sluice/connectors"};
}

void load_connectors(connector::Registry& registry, const wiring::Config& config) {
  for (const fs::path& directory : connector_directories(config)) {
    std::error_code error;
    if (!fs::is_directory(directory, error)) continue;
    auto scanned = connector::Registry::scan(directory);
    if (!scanned) {
      log::warning("connector.directory",
                   {{"path", directory.string()}, {"error", scanned.error().describe()}});
      continue;
    }
    for (const connector::Scanned& file : *scanned) {
      auto code = file.inspected ? registry.load_file(file.file)
                                 : Result<std::shared_ptr<const connector::ConnectorCode>>(
                                       std::unexpected(file.inspected.error()));
      if (code) {
        log::info("connector.loaded",
                  {{"id", (*code)->manifest().id}, {"version", (*code)->manifest().version}});
      } else {
        log::warning("connector.refused",
                     {{"file", file.file.string()}, {"error", code.error().describe()}});
      }
    }
  }
}

/// The default workspace, and a token for whoever started us for the first time.
struct Bootstrap {
  WorkspaceId workspace;
  std::optional<std::string> token;
};

Task<Bootstrap> bootstrap(pg::Pool& pool, const wiring::Config& config) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query("select pg_advisory_xact_lock(7311004)");
  Bootstrap made;
  const auto existing =
      co_await transaction.query("select workspace_id from sluice.workspace order by 1 limit 1");
  if (existing.empty()) {
    const auto workspace = co_await transaction.query(
        "insert into sluice.workspace (name) values ($1) returning workspace_id",
        pg::Params(config.default_workspace));
    made.workspace = workspace.get<WorkspaceId>(0, 0);
    made.token = co_await api::create_token(*connection, made.workspace, "first start",
                                            api::Role::operator_);
  } else {
    made.workspace = existing.get<WorkspaceId>(0, 0);
  }
  co_await transaction.commit();
  if (made.token) {
    const model::CatalogPtr catalog = co_await model::load_catalog(*connection, made.workspace);
    co_await feed::refresh_views(*connection, *catalog, config.default_workspace);
  }
  co_return made;
}

/// The root key: what the sources hold; made at the very first start only, because a new key opens
/// nothing old.
vault::RootKeyring root_keyring(const wiring::Config& config, bool database_has_keys) {
  auto load = [&] {
    return vault::RootKeyring::load(
        vault::RootKeySources::from_environment(config.root_key_file, config.root_key_command));
  };
  Result<vault::RootKeyring> keyring = load();
  if (keyring) return std::move(*keyring);
  if (keyring.error().code != "vault.root_key.missing") throw Failure(keyring.error());
  if (database_has_keys) {
    throw Failure(Error(
        ErrorKind::denied, "vault.root_key.missing",
        fmt::format("{} is not there, but this database holds secrets that only its root key opens",
                    config.root_key_file.string()),
        "Put the root key file back from your backup; a new key cannot open what the old one "
        "sealed"));
  }
  expect(vault::create_root_key_file(config.root_key_file));
  log::info("vault.root_key.created", {{"file", config.root_key_file.string()}});
  return expect(load());
}

Task<void> watch_settings(pg::Pool& pool) {
  asio::steady_timer timer(pool.executor());
  for (;;) {
    timer.expires_after(kSafeSettingsInterval);
    co_await timer.async_wait(asio::use_awaitable);
    try {
      auto connection = co_await pool.acquire();
      co_await pg::require_safe_settings(*connection);
    } catch (const pg::QueryError& error) {
      log::warning("database.away", {{"error", error.what()}});
    } catch (const Failure& unsafe) {
      log::error("database.unsafe_setting", {{"error", unsafe.what()}});
      throw;
    }
  }
}

pg::PoolOptions pool_options(const wiring::Config& config,
                             const std::optional<pg::Cluster>& cluster) {
  pg::PoolOptions options;
  options.connect.conninfo = cluster ? cluster->conninfo() : config.database_url;
  options.connect.application_name = "sluiced";
  options.size_max = config.database_pool_size;
  return options;
}

/// Everything that lives on the loop, in the order in which data passes through it.
class Host {
 public:
  Host(const wiring::Config& config, const std::optional<pg::Cluster>& cluster)
      : config_(config), pool_(loop_.get_executor(), pool_options(config, cluster)) {}

  /// Blocks until the database is ready and everything is built. Throws Failure.
  void start() {
    run_now(open_database());
    registry_ = std::make_unique<connector::Registry>(
        connector::Store(config_.data_directory / "connectors"));
    load_connectors(*registry_, config_);
    client_ = std::make_unique<fetch::Client>(loop_.get_executor(), fetch::ClientOptions{}, clock_,
                                              entropy_, delay_);
    budgets_ = std::make_unique<sync::Budgets>(clock_, delay_);
    catalogs_ = std::make_unique<model::Catalogs>(pool_, clock_);
    writer_ = std::make_unique<ingest::Writer>(pool_);
    resolver_ = std::make_unique<link::Resolver>(pool_);
    const sync::Services services{pool_,    clock_,     entropy_, *registry_, *vault_,
                                  *client_, *catalogs_, *writer_, *resolver_, *budgets_};
    connections_ = std::make_unique<sync::Connections>(services);
    sync::EngineOptions options;
    options.runs_max = config_.sync_runs_max;
    options.poll = std::chrono::milliseconds(config_.poll_ms);
    options.lease.ttl = std::chrono::milliseconds(config_.lease_ttl_ms);
    options.lease.renew_every = options.lease.ttl / 4;
    engine_ = std::make_unique<sync::Engine>(services, *connections_, options);
    connections_->on_change([this](WorkspaceId) { engine_->kick(); });
    const api::Services api_services{pool_,      clock_,        *registry_, *vault_,
                                     *catalogs_, *connections_, *engine_,   kVersion};
    api_ = std::make_unique<api::Api>(api_services);
    server_ = expect(api::Server::listen(
        loop_.get_executor(), config_.listen_address, config_.listen_port,
        [this](api::HttpRequest& request) { return api_->handle(request); }, {}));
    const Bootstrap made = run_now(bootstrap(pool_, config_));
    fmt::print("sluiced {} listening on http://{}:{}\n", kVersion, config_.listen_address,
               server_->port());
    if (made.token) {
      fmt::print("admin token, shown this once: {}\n", *made.token);
    }
    std::fflush(stdout);
  }

  /// Runs the loop on a thread of its own until stop() has let everything end.
  void run(const std::function<void()>& wait_for_stop) {
    loop_.restart();
    std::exception_ptr first;
    const auto remember = [&first](std::exception_ptr surprise) {
      if (!surprise) return;
      if (!first) first = surprise;
      wiring::request_stop();  // a host without one of its parts must not look alive
    };
    asio::co_spawn(loop_, engine_->run(), [this, remember](std::exception_ptr surprise) {
      remember(surprise);
      loop_.stop();
    });
    asio::co_spawn(loop_, server_->run(), remember);
    asio::co_spawn(loop_, watch_settings(pool_), remember);
    std::thread thread([this] { loop_.run(); });
    wait_for_stop();
    log::info("host.stopping", {});
    asio::post(loop_, [this] {
      server_->stop();
      engine_->stop();
    });
    thread.join();
    pool_.close();
    if (first) std::rethrow_exception(first);
  }

 private:
  Task<void> open_database() {
    auto connection = co_await pool_.acquire();
    co_await pg::require_safe_settings(*connection);
    const pg::MigrationOutcome outcome = co_await pg::migrate(*connection, pg::migrations());
    if (outcome.from != outcome.to)
      log::info("database.migrated", {{"from", outcome.from}, {"to", outcome.to}});
    const auto keys = co_await connection->query("select exists (select 1 from sluice.data_key)");
    vault_ =
        co_await vault::Vault::open(pool_, clock_, root_keyring(config_, keys.get<bool>(0, 0)));
  }

  template <class T>
  T run_now(Task<T> task) {
    loop_.restart();
    auto future = asio::co_spawn(loop_, std::move(task), asio::use_future);
    while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) loop_.run_one();
    return future.get();
  }

  const wiring::Config& config_;
  SystemClock clock_;
  SystemEntropy entropy_;
  fetch::TimerDelay delay_;
  asio::io_context loop_{1};
  pg::Pool pool_;
  std::unique_ptr<vault::Vault> vault_;
  std::unique_ptr<connector::Registry> registry_;
  std::unique_ptr<fetch::Client> client_;
  std::unique_ptr<sync::Budgets> budgets_;
  std::unique_ptr<model::Catalogs> catalogs_;
  std::unique_ptr<ingest::Writer> writer_;
  std::unique_ptr<link::Resolver> resolver_;
  std::unique_ptr<sync::Connections> connections_;
  std::unique_ptr<sync::Engine> engine_;
  std::unique_ptr<api::Api> api_;
  std::unique_ptr<api::Server> server_;
};

/// SIGTERM and SIGINT go to whoever waits for them, never to the loop's thread.
void block_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGQUIT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int run_host(const wiring::Config& config, const std::function<void()>& wait_for_stop) {
  expect(vault::harden_process());
  std::signal(SIGPIPE, SIG_IGN);
  // Pages of records come and go by the megabyte: keep that memory instead of asking the kernel for
  // zeroed pages each time, which cost more than copying the records.
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
  make_data_directory(config.data_directory);
  std::optional<pg::Cluster> cluster;
  if (config.database_url.empty()) {
    pg::ClusterOptions options;
    options.directory = config.data_directory / "postgres";
    options.socket_directory = config.data_directory / "run";
    cluster.emplace(expect(pg::Cluster::start(options)));
  }
  block_stop_signals();
  Host host(config, cluster);
  host.start();
  host.run(wait_for_stop);
  return wiring::kExitOk;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::wiring::run_shell(argc, argv, SLUICE_VERSION, sluice::run_host);
}
