#include "support/pg_fixture.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "pg/migrate.hpp"
#include "pg/roles.hpp"
#include "support/pg_test_cluster.hpp"

namespace sluice::testing {
namespace {

// Lives from the first test that needs it to the end of the program.
TestCluster& cluster() {
  static TestCluster shared;
  return shared;
}

std::string conninfo_of(const std::string& database) {
  return fmt::format("{} dbname={}", cluster().conninfo(), database);
}

template <class Work>
void on_server(const std::string& database, Work work) {
  asio::io_context io;
  std::exception_ptr failure;
  pg::ConnectOptions options;
  options.conninfo = conninfo_of(database);
  options.query_timeout = std::chrono::seconds(60);
  asio::co_spawn(io, work(io.get_executor(), options),
                 [&](std::exception_ptr error) { failure = error; });
  io.run();
  if (failure) std::rethrow_exception(failure);
}

void execute(const std::string& sql) {
  const auto work = [&sql](Executor executor, pg::ConnectOptions options) -> Task<void> {
    const auto connection = co_await pg::Connection::connect(executor, options);
    co_await connection->query(sql);
  };
  on_server("postgres", work);
}

bool exists(const std::string& database) {
  bool found = false;
  const auto work = [&](Executor executor, pg::ConnectOptions options) -> Task<void> {
    const auto connection = co_await pg::Connection::connect(executor, options);
    pg::Params name(database);
    const auto result =
        co_await connection->query("SELECT 1 FROM pg_database WHERE datname = $1", std::move(name));
    found = !result.empty();
  };
  on_server("postgres", work);
  return found;
}

// Names the set of migrations, so that a changed one means another template.
std::string template_name() {
  std::uint64_t hash = 14695981039346656037ull;
  for (const auto& migration : pg::migrations()) {
    for (const char c : migration.sql)
      hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211ull;
  }
  // And what was done with it besides: 1.
  return fmt::format("sluice_template_1_{:016x}", hash);
}

// Made under another name and renamed when it is complete.
std::string migrated_template() {
  const std::string name = template_name();
  const TestCluster::Guard guard("template");
  if (exists(name)) return name;
  const std::string fresh = name + "_new";
  execute("DROP DATABASE IF EXISTS " + fresh + " WITH (FORCE)");
  execute("CREATE DATABASE " + fresh);
  const auto work = [](Executor executor, pg::ConnectOptions options) -> Task<void> {
    const auto connection = co_await pg::Connection::connect(executor, options);
    co_await pg::migrate(*connection, pg::migrations());
    const auto denied = co_await pg::settle_roles(*connection, pg::kAppRole, pg::AppLogin::make);
    if (!denied.empty()) throw std::runtime_error("the test cluster's role may not: " + denied[0]);
  };
  on_server(fresh, work);
  // The server counts our connection until its process is gone.
  execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '" +
          fresh + "'");
  execute("ALTER DATABASE " + fresh + " RENAME TO " + name);
  return name;
}

std::string unused_name() {
  static int count = 0;
  return fmt::format("sluice_test_{}_{}", ::getpid(), ++count);
}

}  // namespace

PgTest::PgTest(Database database) : kind_(database), io_(std::make_unique<asio::io_context>(1)) {}

PgTest::~PgTest() = default;

void PgTest::SetUp() {
  static const std::string migrated =
      kind_ == Database::migrated ? migrated_template() : std::string();
  name_ = unused_name();
  const std::string source = kind_ == Database::empty ? "template1"
                             : migrated.empty()       ? migrated_template()
                                                      : migrated;
  execute(fmt::format("CREATE DATABASE {} TEMPLATE {}", name_, source));
  // A copy of a database has not its grants.
  if (kind_ == Database::migrated) {
    execute(
        fmt::format("GRANT CREATE, CONNECT, TEMPORARY ON DATABASE {} TO {}", name_, pg::kAppRole));
  }
}

void PgTest::TearDown() {
  if (pool_) pool_->close();
  if (superuser_pool_) superuser_pool_->close();
  io_.reset();  // destroys what still waits
  pool_.reset();
  superuser_pool_.reset();
  if (!name_.empty()) execute(fmt::format("DROP DATABASE IF EXISTS {} WITH (FORCE)", name_));
}

pg::Pool& PgTest::pool() {
  if (!pool_) {
    pg::PoolOptions options;
    options.connect.conninfo = kind_ == Database::migrated ? app_conninfo() : conninfo();
    if (kind_ == Database::empty) options.connect.search_path = kOfTests;
    options.size_max = 8;
    pool_ = std::make_unique<pg::Pool>(executor(), std::move(options));
  }
  return *pool_;
}

pg::Pool& PgTest::superuser_pool() {
  if (!superuser_pool_) {
    pg::PoolOptions options;
    options.connect.conninfo = conninfo();
    options.size_max = 2;
    superuser_pool_ = std::make_unique<pg::Pool>(executor(), std::move(options));
  }
  return *superuser_pool_;
}

std::unique_ptr<pg::Connection> PgTest::connect() {
  pg::ConnectOptions options;
  options.conninfo = conninfo();
  if (kind_ == Database::empty) options.search_path = kOfTests;
  return run(pg::Connection::connect(executor(), std::move(options)));
}

std::unique_ptr<pg::Connection> PgTest::connect_as_app() {
  pg::ConnectOptions options;
  options.conninfo = app_conninfo();
  return run(pg::Connection::connect(executor(), std::move(options)));
}

std::string PgTest::app_conninfo() const {
  return fmt::format("{} user={}", conninfo(), pg::kAppRole);
}

std::string PgTest::conninfo() const { return conninfo_of(name_); }

void PgTest::run_until(Task<void> task, const bool& done) {
  asio::co_spawn(*io_, std::move(task), asio::detached);
  const auto until = std::chrono::steady_clock::now() + kRunTimeout;
  io_->restart();
  while (!done) {
    if (io_->run_one_until(until) > 0) continue;
    if (std::chrono::steady_clock::now() >= until)
      throw std::runtime_error("a task did not end within 60 s");
    throw std::runtime_error("a task waits for something that nothing on the loop will do");
  }
}

}  // namespace sluice::testing
