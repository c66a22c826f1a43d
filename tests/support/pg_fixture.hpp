// A database of its own for every test, on a real server.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/async.hpp"
#include "pg/pool.hpp"

namespace sluice::testing {

/// Workspace 1 with connection 1 of the connector "acme", and its snapshot stream "people".
inline constexpr const char* kOneStream =
    "insert into sluice.workspace (name) values ('w');"
    "insert into sluice.connector_version (connector, version, sha256, manifest) "
    "values ('acme', '1.0.0', decode(repeat('00', 32), 'hex'), '{}');"
    "insert into sluice.installation (workspace_id, connector, sha256) "
    "values (1, 'acme', decode(repeat('00', 32), 'hex'));"
    "insert into sluice.connection (workspace_id, connector, name) values (1, 'acme', 'a');"
    "insert into sluice.stream (workspace_id, connection_id, stream, mode) values (1, 1, "
    "'people', 'snapshot');";

/// Base of tests that need PostgreSQL:
///   class IngestTest : public sluice::testing::PgTest {};
///   TEST_F(IngestTest, AStatementAnswers) {
///     auto result = run(pool().query("SELECT 1"));
///   }
/// Each test gets a fresh database that has all migrations (copied from a template, 30 ms), dropped
/// afterwards; with Database::empty as constructor argument, one without any. In a test's coroutine
/// use EXPECT_…; ASSERT_… needs a function that returns void.
class PgTest : public ::testing::Test {
 public:
  /// Of an empty database, where a test makes tables of its own: the product looks for no name
  /// there.
  static constexpr const char* kOfTests = "public";
  enum class Database { migrated, empty };
  static constexpr std::chrono::seconds kRunTimeout{60};

 protected:
  explicit PgTest(Database database = Database::migrated);
  ~PgTest() override;
  void SetUp() override;
  void TearDown() override;

  asio::io_context& io() { return *io_; }
  Executor executor() { return io_->get_executor(); }
  /// Of this test's database; opened when first used, at most 8 connections. As the role that a
  /// host works as (pg::kAppRole), so that a statement which lacks a right fails here; of an empty
  /// database as superuser.
  pg::Pool& pool();
  /// The same as superuser: for what no host does.
  pg::Pool& superuser_pool();
  /// A connection beside the pools, as superuser.
  std::unique_ptr<pg::Connection> connect();
  std::unique_ptr<pg::Connection> connect_as_app();
  /// For libpq: this test's database, as superuser.
  [[nodiscard]] std::string conninfo() const;
  [[nodiscard]] std::string app_conninfo() const;
  [[nodiscard]] const std::string& database_name() const { return name_; }

  /// Runs the loop until the task has ended and returns or throws what it did. Throws
  /// std::runtime_error after kRunTimeout, and the test is lost.
  template <class T>
  T run(Task<T> task) {
    auto outcome = std::make_shared<Outcome<T>>();
    run_until(keep<T>(std::move(task), outcome), outcome->done);
    if (outcome->error) std::rethrow_exception(outcome->error);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome->value);
  }
  /// Runs the loop until `condition()` is true; fails the test and returns false after `wait`.
  template <class Condition>
  bool run_until_true(Condition condition,
                      std::chrono::milliseconds wait = std::chrono::seconds(20)) {
    const auto until = std::chrono::steady_clock::now() + wait;
    io_->restart();
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) {
        ADD_FAILURE() << "a condition did not become true in time";
        return false;
      }
      io_->run_one_for(std::chrono::milliseconds(5));
      if (io_->stopped()) io_->restart();
    }
    return true;
  }

 private:
  template <class T>
  struct Outcome {
    bool done = false;
    std::exception_ptr error;
    std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> value;
  };
  template <class T>
  static Task<void> keep(Task<T> task, std::shared_ptr<Outcome<T>> outcome) {
    try {
      if constexpr (std::is_void_v<T>) {
        co_await std::move(task);
      } else {
        outcome->value.emplace(co_await std::move(task));
        co_await pg::disown_held();  // a lease that is the result is the test's now
      }
    } catch (...) {
      outcome->error = std::current_exception();
    }
    outcome->done = true;
  }
  /// Spawned here, so that not every test compiles what that takes.
  void run_until(Task<void> task, const bool& done);

  Database kind_;
  std::string name_;
  std::unique_ptr<asio::io_context> io_;
  std::unique_ptr<pg::Pool> pool_, superuser_pool_;
};

}  // namespace sluice::testing
