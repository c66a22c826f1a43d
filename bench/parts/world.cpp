#include "bench/parts/world.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bench/parts/child.hpp"
#include "contract/manifest.hpp"
#include "model/storage.hpp"
#include "pg/connection.hpp"
#include "pg/migrate.hpp"

namespace sluice::bench {
namespace {

constexpr std::chrono::hours kLong{1};

/// Runs one task on a loop of its own.
template <class T>
T run(Task<T> task) {
  asio::io_context loop;
  auto future = asio::co_spawn(loop, std::move(task), asio::use_future);
  loop.run();
  return future.get();
}

Task<std::unique_ptr<pg::Connection>> connect(std::string conninfo) {
  pg::ConnectOptions options;
  options.conninfo = std::move(conninfo);
  options.query_timeout = kLong;
  auto connection = co_await pg::Connection::connect(co_await asio::this_coro::executor, options);
  co_return connection;
}

Task<std::string> ask_task(std::string conninfo, std::string sql) {
  const auto connection = co_await connect(std::move(conninfo));
  const pg::QueryResult result = co_await connection->query(sql);
  co_return result.rows() > 0 ? result.get<std::string>(0, 0) : std::string();
}

Task<void> script_task(std::string conninfo, std::string sql) {
  const auto connection = co_await connect(std::move(conninfo));
  co_await connection->script(std::move(sql));
}

Task<void> prepare_task(std::string conninfo, int workers) {
  const auto connection = co_await connect(std::move(conninfo));
  co_await pg::migrate(*connection, pg::migrations());
  std::string sql =
      "insert into sluice.workspace (name) values ('bench');"
      "insert into sluice.connector_version (connector, version, sha256, manifest) "
      "values ('bench', '0.1.0', decode(repeat('00', 32), 'hex'), '{}');"
      "insert into sluice.installation (workspace_id, connector, sha256) "
      "values (1, 'bench', decode(repeat('00', 32), 'hex'));";
  for (int worker = 1; worker <= workers; ++worker) {
    sql += fmt::format(
        "insert into sluice.connection (workspace_id, connector, name) values (1, 'bench', 'c{0}');"
        "insert into sluice.stream (workspace_id, connection_id, stream, mode) "
        "values (1, {0}, 'items', 'snapshot');"
        "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) "
        "values (1, {0}, 'items', 'full');"
        "insert into sluice.lease_epoch values (1, 'connection/{0}', 1);",
        worker);
  }
  co_await connection->script(std::move(sql));
  std::ifstream file(SLUICE_BENCH_MANIFEST);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const contract::Manifest manifest = expect(contract::parse_manifest(text));
  co_await model::install_types(*connection, WorkspaceId(1), manifest);
}

/// A short directory: a Unix socket's path ends at 107 bytes.
std::string make_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "sluice-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    throw std::runtime_error("no directory can be made in " + name);
  // The database runs as another user when we are root.
  std::filesystem::permissions(name, static_cast<std::filesystem::perms>(0711));
  return name;
}

}  // namespace

World::World(WorldOptions options) : options_(options), directory_(make_directory()) {
  pg::ClusterOptions cluster;
  cluster.directory = directory_ + "/postgres";
  cluster.socket_directory = directory_ + "/run";
  cluster.settings = {"shared_buffers = 2GB", "max_wal_size = 16GB", "checkpoint_timeout = 1h",
                      "autovacuum = off"};
  cluster_ = std::make_unique<pg::Cluster>(expect(pg::Cluster::start(cluster)));
  prepare();
}

World::~World() {
  cluster_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void World::prepare() {
  run(script_task(cluster_->conninfo(), "create database template_bench"));
  run(prepare_task(cluster_->conninfo() + " dbname=template_bench", options_.workers));
}

std::string World::make_database(const std::string& name) {
  run(script_task(cluster_->conninfo(),
                  fmt::format("create database {} template template_bench", name)));
  checkpoint();
  return cluster_->conninfo() + " dbname=" + name;
}

void World::drop_database(const std::string& name) {
  run(script_task(cluster_->conninfo(), fmt::format("drop database {} with (force)", name)));
}

void World::checkpoint() { run(script_task(cluster_->conninfo(), "checkpoint")); }

double World::backends_cpu_since(double before) {
  // A backend leaves pg_stat_activity before it has ended, and its CPU is counted when the
  // postmaster has reaped it: only then is it no child any more.
  const std::string resident = ask(cluster_->conninfo(),
                                   "select string_agg(pid::text, ' ') from pg_stat_activity where "
                                   "backend_type <> 'client backend'");
  std::set<pid_t> stays;
  std::istringstream pids(resident);
  for (pid_t pid = 0; pids >> pid;) stays.insert(pid);
  constexpr std::chrono::seconds kReapedMax{30};
  const auto until = std::chrono::steady_clock::now() + kReapedMax;
  for (;;) {
    const std::vector<pid_t> children = children_of(postmaster_pid());
    if (std::ranges::all_of(children, [&](pid_t pid) { return stays.contains(pid); })) break;
    if (std::chrono::steady_clock::now() > until)
      throw std::runtime_error("backends of a pass did not end: their CPU cannot be counted");
    ::usleep(1000);
  }
  return children_cpu_seconds(postmaster_pid()) - before;
}

std::int64_t World::wal_position() {
  return std::stoll(
      ask(cluster_->conninfo(), "select (pg_current_wal_insert_lsn() - '0/0')::bigint"));
}

std::string World::ask(const std::string& conninfo, const std::string& sql) {
  return run(ask_task(conninfo, sql));
}

void World::seed_one_row(const std::string& conninfo) {
  run(script_task(conninfo,
                  "insert into vendor.bench_item (workspace_id, connection_id, external_id, "
                  "content_hash) select 1, c, 'seed', gen_random_uuid() "
                  "from generate_series(1, " +
                      std::to_string(options_.workers) + ") as c"));
}

void World::load_existing(const std::string& conninfo, std::int64_t rows) {
  constexpr std::int64_t kParts = 4;
  constexpr std::int64_t kStep = 100'000;
  std::vector<std::thread> threads;
  for (std::int64_t part = 0; part < kParts; ++part) {
    threads.emplace_back([=] {
      const std::int64_t end = rows * (part + 1) / kParts;
      for (std::int64_t at = rows * part / kParts; at < end; at += kStep) {
        const std::string sql = fmt::format(
            "with made as (insert into vendor.bench_item (workspace_id, connection_id, "
            "external_id, "
            "content_hash, number, status, currency, amount, amount_captured, amount_refunded, "
            "fee, "
            "created, available_on, paid, captured, disputed, livemode, risk_score, customer, "
            "email, description, payment_method, statement_descriptor, receipt_number) "
            "select 1, 1, 'it_' || left(translate(md5('a' || i), 'abcdef', 'GhIjKl'), 22), "
            "md5('h' || i)::uuid, 'N-' || i, 'succeeded', 'eur', i, i, 0, 12.34, now(), now(), "
            "true, true, false, false, 12.5, 'cus_' || left(md5('c' || i), 14), "
            "left(md5('e' || i), 22) || '@example.com', "
            "'Subscription creation, order ' || i || ' of the year', "
            "'pm_' || left(md5('p' || i), 24), 'SPRINGFIELD SHOP', '1234-5678' "
            "from generate_series({}, {}) as i returning id) "
            "insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, "
            "entity_id) select 1, 1, md5('k' || id)::uuid, 1, 15, id from made",
            at + 1, std::min(at + kStep, end));
        run(script_task(conninfo, sql));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  run(script_task(conninfo, "vacuum analyze vendor.bench_item"));
  run(script_task(conninfo, "vacuum analyze sluice.link_key"));
}

}  // namespace sluice::bench
