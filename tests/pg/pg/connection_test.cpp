#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

const Statement kAddOne{"test_add_one", "SELECT $1::int8 + 1"};

class ConnectionTest : public testing::PgTest {
 protected:
  ConnectionTest() : PgTest(Database::empty) {}

  // The statements of other connections to this database that are running now.
  std::int64_t running(const std::string& pattern) {
    const auto result =
        run(pool().query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                         "AND pid <> pg_backend_pid()"
                         " AND state = 'active' AND query LIKE $1",
                         Params(pattern)));
    return result.get<std::int64_t>(0, 0);
  }
};

TEST_F(ConnectionTest, TheSessionIsSetUp) {
  const auto connection = connect();
  const auto result = run(connection->query(
      "SELECT current_setting('timezone'), current_setting('jit'), "
      "current_setting('application_name'),"
      " current_setting('client_encoding'), current_setting('client_connection_check_interval')"));
  EXPECT_EQ(result.text(0, 0), "UTC");
  EXPECT_EQ(result.text(0, 1), "off");
  EXPECT_EQ(result.text(0, 2), "sluice");
  EXPECT_EQ(result.text(0, 3), "UTF8");
  EXPECT_EQ(result.text(0, 4), "500ms");
  EXPECT_GE(connection->server_version(), 150000);
}

// Whatever an administrator of the database set for it: each of these changes what is stored, what
// is answered, or whether anything can be written.
TEST_F(ConnectionTest, WhatTheDatabaseSaysOfSessionsIsOverruled) {
  run(pool().query(fmt::format(
      "do $$ begin execute 'alter database {0} set default_transaction_isolation to serializable';"
      "execute 'alter database {0} set default_transaction_read_only to on';"
      "execute 'alter database {0} set extra_float_digits to -15';"
      "execute 'alter database {0} set quote_all_identifiers to on';"
      "execute 'alter database {0} set search_path to public'; end $$",
      database_name())));
  ConnectOptions options;
  options.conninfo = conninfo();
  const auto connection = run(Connection::connect(executor(), std::move(options)));
  EXPECT_EQ(run(connection->query("show transaction_isolation")).text(0, 0), "read committed");
  EXPECT_EQ(run(connection->query("show transaction_read_only")).text(0, 0), "off");
  EXPECT_EQ(run(connection->query("select (100.0 / 3)::float8::text")).text(0, 0),
            "33.333333333333336");
  EXPECT_EQ(run(connection->query("select format_type(25, null), quote_ident('a')")).text(0, 1),
            "a");
  EXPECT_EQ(run(connection->query("show search_path")).text(0, 0), "pg_catalog, pg_temp");
}

TEST_F(ConnectionTest, AnIdleConnectionKeepsNoLoopAlive) {
  const auto connection = connect();
  run(connection->query("SELECT 1"));
  io().restart();
  io().run_for(std::chrono::seconds(5));
  EXPECT_TRUE(io().stopped());
}

TEST_F(ConnectionTest, AStatementIsPreparedOncePerParameterTypes) {
  const auto connection = connect();
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(run(connection->query(kAddOne, Params(i))).get<std::int64_t>(0, 0), i + 1);
  }
  EXPECT_TRUE(run(connection->query(kAddOne, Params(nullptr))).is_null(0, 0));
  EXPECT_EQ(run(connection->query(kAddOne, Params(std::int64_t{5}))).get<std::int64_t>(0, 0), 6);
  EXPECT_EQ(run(connection->query("SELECT count(*) FROM pg_prepared_statements")).get<int>(0, 0),
            2);
}

TEST_F(ConnectionTest, AStatementWhosePlanDdlMadeStaleWorksTheSecondTime) {
  const auto connection = connect();
  run(connection->query("CREATE TABLE t AS SELECT 1 AS a"));
  const Statement all{"test_all", "SELECT * FROM t"};
  EXPECT_EQ(run(connection->query(all)).columns(), 1);
  run(connection->query("ALTER TABLE t ADD COLUMN b int"));
  try {
    run(connection->query(all));
    ADD_FAILURE() << "PostgreSQL no longer minds";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry_later);
  }
  EXPECT_EQ(run(connection->query(all)).columns(), 2);
}

TEST_F(ConnectionTest, AStatementWhoseTextChangesIsPreparedAnew) {
  const auto connection = connect();
  const Statement before{"test_text", "SELECT 1"};
  const Statement after{"test_text", "SELECT 2"};
  EXPECT_EQ(run(connection->query(before)).get<int>(0, 0), 1);
  EXPECT_EQ(run(connection->query(after)).get<int>(0, 0), 2);
}

TEST_F(ConnectionTest, AnErrorLeavesTheConnectionUsable) {
  const auto connection = connect();
  EXPECT_THROW(run(connection->query("SELECT 1/0")), QueryError);
  EXPECT_THROW(run(connection->query("NONSENSE")), QueryError);
  EXPECT_THROW(run(connection->script("SELECT 1; NONSENSE; SELECT 2")), QueryError);
  EXPECT_EQ(run(connection->query("")).rows(), 0);
  EXPECT_TRUE(connection->usable());
  EXPECT_EQ(run(connection->query(kAddOne, Params(std::int64_t{1}))).get<int>(0, 0), 2);
}

TEST_F(ConnectionTest, AMissedDeadlineEndsTheStatementAtTheServer) {
  const auto connection = connect();
  connection->set_query_timeout(std::chrono::milliseconds(100));
  const auto before = std::chrono::steady_clock::now();
  try {
    run(connection->query("SELECT pg_sleep(300)"));
    FAIL() << "answered";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry_later);
    EXPECT_EQ(error.error().code, "pg.deadline");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  EXPECT_FALSE(connection->usable());
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_TRUE(run_until_true([&] { return running("%pg_sleep(300)%") == 0; }));
  try {
    run(connection->query("SELECT 1"));
    FAIL() << "answered";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.error().code, "pg.unusable");
    EXPECT_EQ(error.kind(), ErrorKind::reconnect);
  }
}

TEST_F(ConnectionTest, AStatementThatWaitsForALockEndsToo) {
  const auto holder = connect();
  const auto waiter = connect();
  run(holder->query("CREATE TABLE t AS SELECT 1 AS a"));
  run(holder->query("BEGIN"));
  run(holder->query("UPDATE t SET a = 2"));
  waiter->set_query_timeout(std::chrono::milliseconds(100));
  try {
    run(waiter->query("UPDATE t SET a = 3"));
    FAIL() << "did not wait";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unknown_outcome)
        << "a write outside a transaction commits by itself";
  }
  EXPECT_TRUE(run_until_true([&] { return running("UPDATE t%") == 0; }));
  run(holder->query("COMMIT"));
  EXPECT_EQ(run(holder->query("SELECT a FROM t")).get<int>(0, 0), 2);
}

TEST_F(ConnectionTest, ACancelledCallEndsTheStatementAtTheServer) {
  const auto connection = connect();
  asio::cancellation_signal stop;
  std::exception_ptr failure;
  bool done = false;
  auto sleeping = connection->query("SELECT pg_sleep(301)");
  asio::co_spawn(
      io(), std::move(sleeping),
      asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error, QueryResult) {
        failure = error;
        done = true;
      }));
  ASSERT_TRUE(run_until_true([&] { return running("%pg_sleep(301)%") == 1; }));
  stop.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(run_until_true([&] { return done; }));
  try {
    std::rethrow_exception(failure);
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
  }
  EXPECT_FALSE(connection->usable());
  EXPECT_TRUE(run_until_true([&] { return running("%pg_sleep(301)%") == 0; }));
}

TEST_F(ConnectionTest, ADestroyedCallLeavesTheConnectionUnusable) {
  asio::io_context own;
  std::unique_ptr<Connection> connection;
  {
    ConnectOptions options;
    options.conninfo = conninfo();
    auto connecting = Connection::connect(own.get_executor(), options);
    asio::co_spawn(own, std::move(connecting),
                   [&](std::exception_ptr, std::unique_ptr<Connection> made) {
                     connection = std::move(made);
                   });
    own.run();
  }
  ASSERT_TRUE(connection);
  {
    auto sleeping = connection->query("SELECT pg_sleep(302)");
    asio::co_spawn(own, std::move(sleeping), asio::detached);
    own.restart();
    own.run_for(std::chrono::milliseconds(50));
  }
  // The loop ends with the call in flight, as when the host stops: no leak, no use after free.
  connection.reset();
}

TEST_F(ConnectionTest, AKilledBackendMeansReconnect) {
  const auto connection = connect();
  const int pid = run(connection->query("SELECT pg_backend_pid()")).get<int>(0, 0);
  EXPECT_TRUE(connection->still_open());
  run(pool().query("SELECT pg_terminate_backend($1, 5000)", Params(pid)));
  try {
    run(connection->query("SELECT 1"));
    FAIL() << "answered";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::reconnect) << error.what();
  }
  EXPECT_FALSE(connection->usable());
}

TEST_F(ConnectionTest, ABackendKilledInTheMiddleOfAStatementMeansReconnect) {
  const auto connection = connect();
  const int pid = run(connection->query("SELECT pg_backend_pid()")).get<int>(0, 0);
  std::optional<ErrorKind> kind;
  asio::co_spawn(io(), connection->query("SELECT pg_sleep(303)"),
                 [&](std::exception_ptr error, QueryResult) {
                   try {
                     std::rethrow_exception(error);
                   } catch (const QueryError& query_error) {
                     kind = query_error.kind();
                   }
                 });
  ASSERT_TRUE(run_until_true([&] { return running("%pg_sleep(303)%") == 1; }));
  run(pool().query("SELECT pg_terminate_backend($1)", Params(pid)));
  ASSERT_TRUE(run_until_true([&] { return kind.has_value(); }));
  EXPECT_EQ(kind, ErrorKind::reconnect);
  EXPECT_FALSE(connection->usable());
}

TEST_F(ConnectionTest, AnIdleConnectionNoticesThatItWasClosed) {
  const auto connection = connect();
  const int pid = run(connection->query("SELECT pg_backend_pid()")).get<int>(0, 0);
  run(pool().query("SELECT pg_terminate_backend($1, 5000)", Params(pid)));
  EXPECT_TRUE(run_until_true([&] { return !connection->still_open(); }));
  EXPECT_FALSE(connection->usable());
}

TEST_F(ConnectionTest, ATransactionCommitsOrRollsBack) {
  const auto connection = connect();
  run(connection->query("CREATE TABLE t (a int)"));
  const auto insert = [](Connection& c, bool commits) -> Task<void> {
    Transaction transaction = co_await Transaction::begin(c, "ISOLATION LEVEL SERIALIZABLE");
    EXPECT_TRUE(c.in_transaction());
    co_await transaction.query("INSERT INTO t VALUES (1)");
    if (commits) {
      co_await transaction.commit();
    } else {
      co_await transaction.rollback();
    }
  };
  run(insert(*connection, true));
  run(insert(*connection, false));
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(run(connection->query("SELECT count(*) FROM t")).get<int>(0, 0), 1);
}

TEST_F(ConnectionTest, CommittingAFailedTransactionIsAnError) {
  const auto connection = connect();
  const auto work = [](Connection& c) -> Task<std::string> {
    Transaction transaction = co_await Transaction::begin(c);
    try {
      co_await transaction.query("SELECT 1/0");
    } catch (const QueryError&) {
    }
    std::string code;
    try {
      co_await transaction.commit();
    } catch (const QueryError& error) {
      code = error.error().code;
    }
    co_return code;
  };
  EXPECT_EQ(run(work(*connection)), "pg.rolled_back");
  EXPECT_TRUE(connection->usable());
  EXPECT_FALSE(connection->in_transaction());
}

TEST_F(ConnectionTest, TransactionsDoNotNest) {
  const auto connection = connect();
  run(connection->query("BEGIN"));
  EXPECT_THROW(run(Transaction::begin(*connection)), QueryError);
}

TEST_F(ConnectionTest, NotificationsArriveOneByOneAndSilenceIsNoError) {
  const auto connection = connect();
  run(connection->query("LISTEN news"));
  EXPECT_FALSE(run(connection->wait_for_notification(std::chrono::milliseconds(20))));
  run(pool().query(
      "SELECT pg_notify('news', 'a'), pg_notify('news', 'b'), pg_notify('other', 'c')"));
  EXPECT_TRUE(run(connection->wait_for_notification(std::chrono::seconds(5))));
  EXPECT_TRUE(run(connection->wait_for_notification(std::chrono::seconds(5))));
  EXPECT_FALSE(run(connection->wait_for_notification(std::chrono::milliseconds(20))));
  EXPECT_TRUE(connection->usable());
  EXPECT_EQ(run(connection->query("SELECT 1")).get<int>(0, 0), 1);
}

TEST_F(ConnectionTest, ANotificationThatCameDuringAStatementIsNotLost) {
  const auto connection = connect();
  run(connection->query("LISTEN news"));
  run(pool().query("NOTIFY news"));
  run(connection->query("SELECT pg_sleep(0.05)"));
  EXPECT_TRUE(run(connection->wait_for_notification(std::chrono::seconds(5))));
}

TEST_F(ConnectionTest, WaitingForNotificationsEndsWhenTheConnectionBreaks) {
  const auto connection = connect();
  const int pid = run(connection->query("SELECT pg_backend_pid()")).get<int>(0, 0);
  run(connection->query("LISTEN news"));
  std::optional<ErrorKind> kind;
  asio::co_spawn(io(), connection->wait_for_notification(std::chrono::seconds(60)),
                 [&](std::exception_ptr error, bool) {
                   try {
                     std::rethrow_exception(error);
                   } catch (const QueryError& query_error) {
                     kind = query_error.kind();
                   }
                 });
  run(pool().query("SELECT pg_terminate_backend($1)", Params(pid)));
  ASSERT_TRUE(run_until_true([&] { return kind.has_value(); }));
  EXPECT_EQ(kind, ErrorKind::reconnect);
}

TEST_F(ConnectionTest, TwoUsersAtOnceStopTheProgram) {
  EXPECT_DEATH(
      {
        const auto connection = connect();
        asio::co_spawn(io(), connection->query("SELECT pg_sleep(1)"), asio::detached);
        run(connection->query("SELECT 1"));
      },
      "busy_");
}

}  // namespace
}  // namespace sluice::pg
