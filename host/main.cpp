// sluiced, the host: everything it is made of, built by hand from top to bottom, and run.
#include <malloc.h>
#include <sys/resource.h>

#include <fmt/format.h>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "api/api.hpp"
#include "api/host_facts.hpp"
#include "api/server.hpp"
#include "base/log.hpp"
#include "connector/flight_recorder.hpp"
#include "connector/registry.hpp"
#include "database_roles.hpp"
#include "feed/upkeep.hpp"
#include "fetch/client.hpp"
#include "fetch/network.hpp"
#include "fetch/own_endpoints.hpp"
#include "first_start.hpp"
#include "ingest/writer.hpp"
#include "leave_root.hpp"
#include "link/resolver.hpp"
#include "model/catalog.hpp"
#include "model/gathered_writes.hpp"
#include "pg/cluster.hpp"
#include "pg/migrate.hpp"
#include "pg/pools.hpp"
#include "pg/server_endpoints.hpp"
#include "sync/audit.hpp"
#include "sync/connections.hpp"
#include "sync/deaths.hpp"
#include "sync/engine.hpp"
#include "sync/other_hosts.hpp"
#include "sync/page_budget.hpp"
#include "sync/send_scope.hpp"
#include "sync/step_pool.hpp"
#include "sync/view_work.hpp"
#include "vault/harden.hpp"
#include "vault/vault.hpp"
#include "wiring/config.hpp"
#include "wiring/directory_watch.hpp"
#include "wiring/shell.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVersion = SLUICE_VERSION;
constexpr auto kClusterLookInterval = std::chrono::milliseconds(500);
constexpr auto kReviveInterval = std::chrono::seconds(1);
constexpr auto kDiskLookInterval = std::chrono::seconds(5);
constexpr auto kSafeSettingsInterval = std::chrono::minutes(1);
/// From the signal on: sessions that wait for a vendor are given up (WorkOptions), then the loop
/// is, then the process.
constexpr std::chrono::seconds kStopMax{7};
constexpr std::chrono::seconds kRequestsEndMax{3};  ///< of kStopMax
constexpr std::chrono::milliseconds kLoopStopMax{500};
constexpr std::chrono::milliseconds kCallsLookGap{20};
constexpr std::chrono::seconds kStopDeadline{10};
/// From the first sign of a change in a connector directory to the look; a copy gives many signs.
constexpr auto kTouchedPause = std::chrono::milliseconds(200);
/// Between looks while a file is still being copied.
constexpr auto kUnsettledPause = std::chrono::milliseconds(500);
constexpr auto kRefusedPause = std::chrono::seconds(2);

/// Where connector files are looked for when the configuration names no place.
std::vector<fs::path> connector_directories(const wiring::Config& config) {
  if (!config.connector_directories.empty()) return config.connector_directories;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return {program.parent_path().parent_path() / "connectors", "/usr/lib/sluice/connectors"};
}

/// As many descriptors as the system lets us have; what the database, vendors, files and the
/// private cluster's children need stays free of clients.
std::size_t descriptors_for_clients() {
  constexpr rlim_t kOurs = 600;
  constexpr rlim_t kEnough = 65'536;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 400;
  const rlim_t wanted = std::min(limit.rlim_max, kEnough);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur > 2 * kOurs ? limit.rlim_cur - kOurs : limit.rlim_cur / 2;
}

void log_connectors(const connector::Shelved& shelved) {
  for (const connector::ShelfFile& file : shelved.files) {
    if (file.state == connector::FileState::admitted) {
      log::info("connector.admitted", {{"file", file.file.string()},
                                       {"id", file.manifest->id},
                                       {"version", file.manifest->version},
                                       {"sha256", file.sha256}});
      if (!file.conflict.empty()) {
        log::warning("connector.conflict",
                     {{"file", file.file.string()}, {"other", file.conflict}});
      }
    } else if (file.state == connector::FileState::incomplete) {
      log::info("connector.incomplete", {{"file", file.file.string()}});
    } else {
      log::warning("connector.refused",
                   {{"file", file.file.string()}, {"error", file.reason->describe()}});
    }
  }
  for (const Error& error : shelved.errors)
    log::warning("connector.directory", {{"error", error.describe()}});
}

/// The root key: what the sources hold; made only for a database that has none, because a new key
/// opens nothing old.
vault::RootKeyring root_keyring(const wiring::Config& config, bool database_has_one) {
  auto load = [&] {
    return vault::RootKeyring::load(
        vault::RootKeySources::from_environment(config.root_key_file, config.root_key_command));
  };
  Result<vault::RootKeyring> keyring = load();
  if (keyring) return std::move(*keyring);
  if (keyring.error().code != "vault.root_key.missing") throw Failure(keyring.error());
  if (database_has_one) {
    throw Failure(Error(
        ErrorKind::denied, "vault.root_key.missing",
        fmt::format("{} is not there, but this database has a root key, and only that one opens "
                    "its secrets",
                    config.root_key_file.string()),
        "Put the root key file back from your backup, or copy it from a host that works with this "
        "database; a new key cannot open what the old one sealed"));
  }
  expect(vault::create_root_key_file(config.root_key_file));
  log::info("vault.root_key.created", {{"file", config.root_key_file.string()}});
  return expect(load());
}

/// The root key of this database. Where it has none yet, ours becomes it in one transaction, which
/// other hosts wait for: the file is there before the commit, and a host that dies between the two
/// goes on with that file, if nobody else was faster.
Task<vault::RootKeyring> claim_database(pg::Connection& connection, const wiring::Config& config,
                                        const Clock& clock) {
  auto transaction = co_await pg::Transaction::begin(connection);
  co_await transaction.query(kOneBegins);
  const bool claimed = co_await vault::Vault::claimed(connection);
  vault::RootKeyring keyring = root_keyring(config, claimed);
  if (!claimed) {
    const Workspace workspace = co_await first_workspace(transaction, config);
    co_await vault::Vault::claim(transaction, clock, keyring, workspace.id);
  }
  co_await transaction.commit();
  co_return keyring;
}

/// No connector may reach these.
void close_database(const std::vector<asio::ip::tcp::endpoint>& endpoints,
                    fetch::OwnEndpoints& own) {
  for (const auto& endpoint : endpoints)
    own.add_server("this host's database", endpoint.address(), endpoint.port());
}

/// Where the database answers. Its names may lead elsewhere later.
Task<void> close_database(std::vector<pg::ServerName> names, fetch::OwnEndpoints& own) {
  const auto endpoints = co_await pg::server_endpoints(std::move(names));
  close_database(endpoints, own);
}

/// Gives the connection back before any name is looked up.
Task<std::vector<pg::ServerName>> look_at_server(pg::Pool& pool) {
  auto connection = co_await pool.acquire();
  co_await pg::require_safe_settings(*connection);
  auto names = co_await pg::server_names(*connection);
  co_return names;
}

Task<void> watch_settings(pg::Pool& pool, fetch::OwnEndpoints& own) {
  asio::steady_timer timer(pool.executor());
  for (;;) {
    timer.expires_after(kSafeSettingsInterval);
    co_await timer.async_wait(asio::use_awaitable);
    try {
      auto names = co_await look_at_server(pool);
      co_await close_database(std::move(names), own);
    } catch (const pg::QueryError& error) {
      log::warning("database.away", {{"error", error.what()}});
    } catch (const Failure& unsafe) {
      log::error("database.unsafe_setting", {{"error", unsafe.what()}});
      throw;
    }
  }
}

/// What is said of something that goes on: the first time, the second, the fourth, the eighth …
class GrowingPause {
 public:
  bool is_to_be_said() {
    const bool is = ++times_ == next_;
    if (is) next_ *= 2;
    return is;
  }
  [[nodiscard]] std::int64_t times() const { return times_; }
  void over() { *this = {}; }

 private:
  std::int64_t times_ = 0, next_ = 1;
};

/// When the files of people's TLS were written last; other with each renewal.
std::string renewal_of(const wiring::Config& config) {
  std::string all;
  for (const std::string& file : {config.sql_tls_certificate, config.sql_tls_key}) {
    std::error_code missing;
    const auto at = fs::last_write_time(file, missing);
    if (!file.empty() && !missing) all += fmt::format("{} ", at.time_since_epoch().count());
  }
  return all;
}

/// The private database is ours to look after: when its postmaster is killed, it is started again,
/// and everything that waits for it goes on from what was committed. As long as it cannot be, such
/// as while its disk is full, that is tried every second, and said less and less often.
Task<void> keep_alive(pg::Cluster& cluster, api::HostFacts& facts, const wiring::Config& config) {
  std::string renewal = renewal_of(config);
  asio::steady_timer timer(co_await asio::this_coro::executor);
  std::future<Result<void>> reviving;  // blocks, so it has a thread of its own
  GrowingPause failures;
  for (;;) {
    timer.expires_after(failures.times() > 0 ? kReviveInterval : kClusterLookInterval);
    co_await timer.async_wait(asio::use_awaitable);
    if (reviving.valid()) {
      if (reviving.wait_for(std::chrono::seconds(0)) != std::future_status::ready) continue;
      const Result<void> revived = reviving.get();
      if (revived) {
        failures.over();
      } else {
        facts.database_not_started(revived.error().message);
        if (failures.is_to_be_said()) {
          log::error("database.not_started",
                     {{"error", revived.error().describe()}, {"tries", failures.times()}});
        }
      }
    }
    if (cluster.alive()) {
      if (const std::string now = renewal_of(config); now != renewal) {
        renewal = now;
        cluster.reload();
      }
      continue;
    }
    facts.database_died();
    if (failures.times() == 0)
      log::error("database.died", {{"pid", std::int64_t{cluster.postmaster_pid()}}});
    reviving = std::async(std::launch::async, [&cluster] { return cluster.revive(); });
  }
}

Task<void> watch_disks(api::HostFacts& facts) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  bool was_low = false;
  for (;;) {
    facts.look();
    bool is_low = false;
    for (const api::DiskNow& disk : facts.disks()) {
      is_low = is_low || disk.running_out;
      if (!disk.running_out || was_low) continue;
      log::warning("disk.running_out", {{"disk", disk.name},
                                        {"directory", disk.directory.string()},
                                        {"free_bytes", disk.free_bytes},
                                        {"total_bytes", disk.total_bytes}});
    }
    was_low = is_low;
    timer.expires_after(kDiskLookInterval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

api::HostWatch host_watch(const wiring::Config& config) {
  api::HostWatch watch;
  api::HostWatch::Disk& data = watch.disks.emplace_back();
  data.name = "data";
  data.directory = config.data_directory;
  watch.free_percent_min = config.disk_free_percent_min;
  watch.free_bytes_min = config.disk_free_bytes_min;
  watch.free_bytes_enough = config.disk_free_bytes_enough;
  watch.full_in_days_min = config.disk_full_in_days_min;
  watch.database_is_private = config.database_url.empty();
  return watch;
}

fetch::NetworkSettings network_of(const wiring::Config& config) {
  fetch::NetworkSettings network;
  network.total = std::chrono::seconds(config.fetch_total_seconds);
  network.idle = std::chrono::seconds(config.fetch_idle_seconds);
  network.ca_file = config.fetch_ca_file;
  network.proxy = config.fetch_proxy;
  network.nat64_prefixes = config.fetch_nat64_prefixes;
  return network;
}

/// Ends the process when it has not ended by itself kStopDeadline after it was told to, whatever
/// stands: the loop, a connector's code, a log that nobody reads. A thread of its own, which is
/// there before it is needed.
class StopWatchdog {
 public:
  StopWatchdog() : thread_([this] { watch(); }) {}
  ~StopWatchdog() {
    say(State::over);
    thread_.join();
  }
  StopWatchdog(const StopWatchdog&) = delete;
  StopWatchdog& operator=(const StopWatchdog&) = delete;

  void arm() { say(State::armed); }

 private:
  enum class State { idle, armed, over };

  void say(State state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    changed_.notify_all();
  }

  void watch() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ != State::idle; });
    if (changed_.wait_for(lock, kStopDeadline, [this] { return state_ == State::over; })) return;
    std::_Exit(kExitForced);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::idle;
  std::thread thread_;
};

/// Everything that lives on the loop, in the order in which data passes through it.
class Host {
 public:
  Host(const wiring::Config& config, fetch::ClientOptions fetching,
       std::optional<pg::Cluster>& cluster, PreparedDatabase prepared, BoundListeners bound)
      : config_(config),
        fetching_(std::move(fetching)),
        cluster_(cluster),
        database_(std::move(prepared)),
        bound_(bound),
        pools_(loop_.get_executor(), database_.connect, config.database_pool_size) {
    fetching_.curl.own = &own_;
    close_database(database_.endpoints, own_);
  }

  /// Blocks until the database is ready and everything is built. Throws Failure.
  void start() {
    run_now(open_database());
    recorder_ = expect(
        connector::FlightRecorder::open(config_.data_directory / "connector-calls", entropy_));
    registry_ = std::make_unique<connector::Registry>(
        connector::Store(config_.data_directory / "connectors"), connector_directories(config_),
        expect(connector::Owners::besides(config_.connector_owners)), recorder_.get());
    registry_->store().remove_leftovers(clock_.now());
    run_now(sync::count_deaths(pools_.changing, *recorder_));
    connector::FlightRecorder::watch_process();
    registry_->shelf().rescan(clock_.now(), connector::Shelf::Haste::immediate);
    log_connectors(*registry_->shelf().shelved());
    client_ =
        std::make_unique<fetch::Client>(loop_.get_executor(), fetching_, clock_, entropy_, delay_);
    budgets_ = std::make_unique<sync::Budgets>(
        clock_, delay_, static_cast<double>(config_.fetch_pace_percent) / 100);
    catalogs_ = std::make_unique<model::Catalogs>(pools_.work, clock_);
    writer_ = std::make_unique<ingest::Writer>(pools_.work);
    resolver_ = std::make_unique<link::Resolver>(pools_.work);
    steps_ =
        std::make_unique<sync::StepPool>(sync::StepPool::default_threads(), sync::kStepSecondsWarn,
                                         std::chrono::seconds(config_.sync_step_seconds_max));
    pages_ = std::make_unique<sync::PageBudget>(config_.sync_page_bytes_in_flight_max);
    const sync::Services services{
        .pool = pools_.work,
        .leases = pools_.leases,
        .changing = pools_.changing,
        .building = pools_.building,
        .clock = clock_,
        .entropy = entropy_,
        .registry = *registry_,
        .vault = *vault_,
        .client = *client_,
        .catalogs = *catalogs_,
        .writer = *writer_,
        .resolver = *resolver_,
        .budgets = *budgets_,
        .steps = *steps_,
        .pages = *pages_,
    };
    connections_ = std::make_unique<sync::Connections>(services);
    sync::EngineOptions options;
    options.connections_max = config_.sync_connections_max;
    options.work.poll = std::chrono::milliseconds(config_.poll_ms);
    options.work.reconcile.delete_share_max =
        static_cast<double>(config_.sync_delete_percent_max) / 100;
    options.poll = std::chrono::milliseconds(config_.poll_ms);
    options.lease.ttl = std::chrono::milliseconds(config_.lease_ttl_ms);
    options.lease.renew_every = options.lease.ttl / 4;
    options.retention.runs = std::chrono::days(config_.retention_runs_days);
    options.retention.audit = std::chrono::days(config_.retention_audit_days);
    options.retention.work = std::chrono::days(config_.retention_work_days);
    engine_ = std::make_unique<sync::Engine>(services, *connections_, options);
    connections_->on_change([this](WorkspaceId) { engine_->kick(); });
    facts_ = std::make_unique<api::HostFacts>(host_watch(config_), clock_);
    const api::Services api_services{
        .pools = pools_,
        .pool = pools_.asking,
        .clock = clock_,
        .registry = *registry_,
        .vault = *vault_,
        .catalogs = *catalogs_,
        .writes = writes_,
        .connections = *connections_,
        .engine = *engine_,
        .client = *client_,
        .pages = *pages_,
        .steps = *steps_,
        .host = *facts_,
        .version = kVersion,
        .sql = entrance(),
    };
    const std::size_t clients_max = std::min(config_.listen_clients_max, descriptors_for_clients());
    api_ = std::make_unique<api::Api>(api_services, clients_max);
    others_ = std::make_unique<sync::OtherHosts>(pools_.asking, clock_, own_, new_host());
    listen(clients_max);
    run_now(others_->beat());
    const std::optional<ShownToken> token = run_now(first_token(pools_.changing, config_));
    run_now(sync::renew_views_left_behind(pools_.changing));
    const std::string url =
        fmt::format("{}://{}:{}", config_.listen_tls_certificate.empty() ? "http" : "https",
                    config_.listen_address, server_->port());
    fmt::print("sluiced {} listening on {}\n", kVersion, url);
    if (watch_server_) {
      fmt::print("for Prometheus and probes: http://{}:{}/metrics\n", config_.watch_address,
                 watch_server_->port());
    }
    if (token) fmt::print("{}\n{}", token->text, what_comes_next(config_, url, *token));
    std::fflush(stdout);
  }

  void listen(std::size_t clients_max) {
    api::ServerLimits limits;
    limits.connections_max = clients_max;
    api::ListenAt at{config_.listen_address, config_.listen_port, config_.listen_tls_certificate,
                     config_.listen_tls_key, bound_.api};
    server_ = expect(api::Server::listen(
        loop_.get_executor(), std::move(at),
        [this](api::HttpRequest& request) { return api_->handle(request); }, limits));
    close_to_connectors("REST API", config_.listen_address, server_->port());
    if (config_.listen_tls_certificate.empty() && !wiring::is_this_machines(config_.listen_address))
      log::warning("host.listens_in_clear", {{"address", config_.listen_address}});
    if (config_.watch_port < 0) return;
    limits.connections_max = std::min<std::size_t>(limits.connections_max, 100);
    api::ListenAt watch{config_.watch_address, static_cast<std::uint16_t>(config_.watch_port), "",
                        "", bound_.watch};
    watch_server_ = expect(api::Server::listen(
        loop_.get_executor(), std::move(watch),
        [this](api::HttpRequest& request) { return api_->watch(request); }, limits));
    close_to_connectors("listener for probes", config_.watch_address, watch_server_->port());
  }

  /// To those of this host and of every other on this database.
  void close_to_connectors(const std::string& what, const std::string& address,
                           std::uint16_t port) {
    own_.add_listener("this host's " + what, asio::ip::make_address(address), port);
    others_->listens(what, asio::ip::make_address(address), port);
  }

  /// Where people ask by SQL.
  [[nodiscard]] api::SqlEntrance entrance() const {
    if (!cluster_) return api::entrance_of(config_.database_url);
    api::SqlEntrance entrance;
    const pg::ClusterOptions options = private_cluster(config_);
    entrance.host = fs::absolute(options.people_directory).string();
    entrance.port = std::to_string(options.port);
    entrance.database = options.database;
    entrance.tcp_host = options.tcp_address;
    return entrance;
  }

  sync::OtherHosts::Options new_host() {
    sync::OtherHosts::Options options;
    entropy_.fill(options.host.bytes);
    return options;
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
    asio::co_spawn(loop_, work_until_told_to_stop(), [this, remember](std::exception_ptr surprise) {
      remember(surprise);
      loop_.stop();
    });
    asio::co_spawn(loop_, server_->run(), remember);
    if (watch_server_) asio::co_spawn(loop_, watch_server_->run(), remember);
    asio::co_spawn(loop_, api_->keep_records(), remember);
    asio::co_spawn(loop_, watch_settings(pools_.asking, own_), remember);
    asio::co_spawn(loop_, others_->keep_beating(), remember);
    pg::ReadersLimits readers;
    readers.kept = std::chrono::seconds(config_.sql_transaction_seconds_max);
    asio::co_spawn(loop_,
                   feed::keep_feed(loop_.get_executor(), database_.connect,
                                   std::chrono::days(config_.retention_changes_days),
                                   journal::kHeadPatience, readers),
                   remember);
    if (cluster_) asio::co_spawn(loop_, keep_alive(*cluster_, *facts_, config_), remember);
    asio::co_spawn(loop_, watch_disks(*facts_), remember);
    asio::co_spawn(loop_, watch_connectors(), remember);
    std::promise<void> ending;
    const std::future<void> ended = ending.get_future();
    std::thread thread([this, &ending] {
      loop_.run();
      ending.set_value();
    });
    wait_for_stop();
    watchdog_.arm();
    told_to_stop_ = std::chrono::steady_clock::now();
    log::info("host.stopping", {});
    asio::post(loop_, [this] {
      api_->begin_stop();
      server_->stop();
      if (watch_server_) watch_server_->stop();
      engine_->stop();
    });
    if (ended.wait_for(kStopMax) != std::future_status::ready) stop_by_force(ended);
    thread.join();
    // Their threads cannot be waited for, and must not outlive what they use.
    if (!steps_->slow_now().empty() || !calls_have_ended()) stop_by_force(ended);
    watch_.reset();  // its threads post to the loop
    pools_.close();
    if (first) std::rethrow_exception(first);
  }

 private:
  /// What the engine has under way ends, and then what clients asked for: an import says how much
  /// of it is stored, and its run is over.
  Task<void> work_until_told_to_stop() {
    co_await engine_->run();
    const auto left =
        told_to_stop_ + kStopMax - 2 * kLoopStopMax - std::chrono::steady_clock::now();
    co_await server_->requests_ended(std::chrono::duration_cast<std::chrono::milliseconds>(
        std::min<std::chrono::steady_clock::duration>(kRequestsEndMax, left)));
  }

  /// Steps end soon after they are asked to. One that was begun a moment ago is not slow yet, and
  /// may never return all the same.
  bool calls_have_ended() {
    std::promise<void> never;
    const std::future<void> pause = never.get_future();
    while (!recorder_->under_way().empty()) {
      if (std::chrono::steady_clock::now() - told_to_stop_ > kStopMax) return false;
      pause.wait_for(kCallsLookGap);
    }
    return true;
  }

  /// Something does not end, such as a connector that computes for ever. What was committed stays,
  /// and the next host goes on from there.
  [[noreturn]] void stop_by_force(const std::future<void>& loop_ended) {
    std::string calls;
    for (const connector::RecordedCall& call : recorder_->under_way()) {
      if (!calls.empty()) calls += ", ";
      calls += fmt::format("{} {} in {}() of {}/{}", call.connector, call.version, call.function,
                           call.connection_name, call.subject);
    }
    const auto waited = std::chrono::steady_clock::now() - told_to_stop_;
    log::error("host.stop_forced",
               {{"after_seconds", std::chrono::duration_cast<std::chrono::seconds>(waited).count()},
                {"calls_under_way", calls}});
    loop_.stop();
    // A private database that a stuck loop still looks after is left to the next host.
    if (loop_ended.wait_for(kLoopStopMax) == std::future_status::ready && cluster_)
      cluster_->stop();
    std::_Exit(kExitForced);
  }

  Task<void> open_database() {
    vault::RootKeyring keyring = co_await claim();
    vault_ = co_await vault::Vault::open(pools_.work, clock_, std::move(keyring));
  }

  Task<vault::RootKeyring> claim() {
    auto connection = co_await pools_.work.acquire();
    co_await feed::check_origin(*connection);
    auto names = co_await pg::server_names(*connection);
    co_await close_database(std::move(names), own_);
    co_return co_await claim_database(*connection, config_, clock_);
  }

  /// Looks at the connector directories when the kernel says that something happened, while a file
  /// is still on its way, and now and then.
  Task<void> watch_connectors() {
    watch_ = std::make_unique<wiring::DirectoryWatch>(registry_->shelf().directories(), [this] {
      if (!touched_.exchange(true)) asio::post(loop_, [this] { look_at_connectors_.cancel(); });
    });
    const std::chrono::seconds interval(config_.connector_rescan_seconds);
    bool unsettled = true;  // what was there at the start may still grow
    bool refused = false;   // a directory that somebody is told to mend, of which no sign comes
    for (;;) {
      watch_->retry();
      boost::system::error_code woken;  // a sign may come while we wait for any reason
      if (!touched_) {
        look_at_connectors_.expires_after(unsettled ? kUnsettledPause
                                          : refused ? std::min(interval, kRefusedPause)
                                                    : interval);
        co_await look_at_connectors_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      }
      if (touched_) {
        look_at_connectors_.expires_after(kTouchedPause);
        co_await look_at_connectors_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
        touched_ = false;
      }
      const bool changed =
          co_await registry_->rescan(clock_.now(), connector::Shelf::Haste::patient);
      const connector::ShelvedPtr shelved = registry_->shelf().shelved();
      unsettled = shelved->unsettled();
      refused = !shelved->errors.empty();
      if (!changed) continue;
      log_connectors(*shelved);
      engine_->kick();  // an installed version may have arrived
    }
  }

  template <class T>
  T run_now(Task<T> task) {
    loop_.restart();
    auto future = asio::co_spawn(loop_, std::move(task), asio::use_future);
    while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) loop_.run_one();
    return future.get();
  }

  StopWatchdog watchdog_;  ///< outlives the rest, and what of it has to be waited for
  const wiring::Config& config_;
  fetch::ClientOptions fetching_;
  fetch::OwnEndpoints own_;  ///< closed to connectors
  std::optional<pg::Cluster>& cluster_;
  const PreparedDatabase database_;
  const BoundListeners bound_;
  SystemClock clock_;
  SystemEntropy entropy_;
  fetch::TimerDelay delay_;
  asio::io_context loop_{1};
  std::chrono::steady_clock::time_point told_to_stop_;
  asio::steady_timer look_at_connectors_{loop_};
  std::atomic<bool> touched_ = false;  ///< something happened in a connector directory
  pg::Pools pools_;
  model::GatheredWrites writes_{pools_.changing};
  std::unique_ptr<sync::OtherHosts> others_;
  std::unique_ptr<vault::Vault> vault_;
  std::unique_ptr<connector::FlightRecorder> recorder_;
  std::unique_ptr<connector::Registry> registry_;
  std::unique_ptr<fetch::Client> client_;
  std::unique_ptr<sync::Budgets> budgets_;
  std::unique_ptr<model::Catalogs> catalogs_;
  std::unique_ptr<ingest::Writer> writer_;
  std::unique_ptr<link::Resolver> resolver_;
  std::unique_ptr<sync::StepPool> steps_;
  std::unique_ptr<sync::PageBudget> pages_;
  std::unique_ptr<sync::Connections> connections_;
  std::unique_ptr<sync::Engine> engine_;
  std::unique_ptr<api::HostFacts> facts_;
  std::unique_ptr<api::Api> api_;
  std::unique_ptr<api::Server> server_;
  std::unique_ptr<api::Server> watch_server_;  ///< without tokens; nullptr: none is wanted
  std::unique_ptr<wiring::DirectoryWatch> watch_;
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
  if (config.reset_operator_token) return reset_operator_token(config);
  const BoundListeners bound = leave_root(config);
  expect(connector::Store(config.data_directory / "connectors").check());
  expect(vault::harden_process());
  std::signal(SIGPIPE, SIG_IGN);
  // Pages of records come and go by the megabyte: keep that memory instead of asking the kernel for
  // zeroed pages each time, which cost more than copying the records.
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
  fetch::ClientOptions fetching = expect(fetch::client_options(network_of(config)));
  std::optional<pg::Cluster> cluster;
  if (config.database_url.empty()) {
    cluster.emplace(expect(pg::Cluster::start(private_cluster(config))));
  }
  block_stop_signals();
  PreparedDatabase database = prepare_database(config, cluster);
  Host host(config, std::move(fetching), cluster, std::move(database), bound);
  host.start();
  host.run(wait_for_stop);
  return kExitOk;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::wiring::run_shell(argc, argv, SLUICE_VERSION, sluice::run_host);
}
