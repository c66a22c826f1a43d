#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

class PoolTest : public testing::PgTest {
 protected:
  PoolTest() : PgTest(Database::empty) {}

  Pool make_pool(std::size_t size,
                 std::chrono::milliseconds acquire_timeout = std::chrono::seconds(20)) {
    PoolOptions options;
    options.connect.conninfo = conninfo();
    options.size_max = size;
    options.acquire_timeout = acquire_timeout;
    return Pool(executor(), std::move(options));
  }
  int pid_of(const Pool::Lease& lease) {
    return run(lease->query("SELECT pg_backend_pid()")).get<int>(0, 0);
  }
};

Task<void> note_turn(Pool& pool, int number, std::vector<int>& turns) {
  const auto lease = co_await pool.acquire();
  turns.push_back(number);
  co_await lease->query("SELECT 1");
}

TEST_F(PoolTest, AReturnedConnectionIsUsedAgain) {
  Pool two = make_pool(2);
  const int first = [&] {
    const auto lease = run(two.acquire());
    EXPECT_EQ(two.in_use(), 1u);
    return pid_of(lease);
  }();
  EXPECT_EQ(two.in_use(), 0u);
  EXPECT_EQ(pid_of(run(two.acquire())), first);
}

TEST_F(PoolTest, WhoeverFindsItExhaustedIsToldAfterTheTimeout) {
  Pool one = make_pool(1, std::chrono::milliseconds(50));
  const auto lease = run(one.acquire());
  try {
    run(one.acquire());
    FAIL() << "there was a second connection";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry_later);
    EXPECT_EQ(error.error().code, "pool.exhausted");
  }
}

TEST_F(PoolTest, WaitersAreServedInOrderOfArrival) {
  Pool one = make_pool(1);
  std::vector<int> turns;
  for (int i = 0; i < 10; ++i) asio::co_spawn(io(), note_turn(one, i, turns), asio::detached);
  ASSERT_TRUE(run_until_true([&] { return turns.size() == 10; }));
  EXPECT_TRUE(std::is_sorted(turns.begin(), turns.end()));
  EXPECT_TRUE(run_until_true([&] { return one.in_use() == 0; }));
}

TEST_F(PoolTest, AConnectionLeftInATransactionIsRolledBack) {
  Pool one = make_pool(1);
  run(one.query("CREATE TABLE t (a int)"));
  int pid = 0;
  {
    const auto lease = run(one.acquire());
    pid = pid_of(lease);
    run(lease->query("BEGIN"));
    run(lease->query("INSERT INTO t VALUES (1)"));
  }
  const auto lease = run(one.acquire());
  EXPECT_EQ(pid_of(lease), pid);
  EXPECT_FALSE(lease->in_transaction());
  EXPECT_EQ(run(lease->query("SELECT count(*) FROM t")).get<int>(0, 0), 0);
}

TEST_F(PoolTest, AConnectionTheServerClosedWhileIdleIsReplaced) {
  Pool one = make_pool(1);
  const int pid = pid_of(run(one.acquire()));
  run(pool().query("SELECT pg_terminate_backend($1, 5000)", Params(pid)));
  EXPECT_NE(pid_of(run(one.acquire())), pid);
}

TEST_F(PoolTest, AConnectionThatBrokeInUseIsReplacedForWhoeverWaits) {
  Pool one = make_pool(1);
  std::vector<int> turns;
  {
    const auto lease = run(one.acquire());
    const int pid = pid_of(lease);
    asio::co_spawn(io(), note_turn(one, 1, turns), asio::detached);
    run(pool().query("SELECT pg_terminate_backend($1, 5000)", Params(pid)));
    EXPECT_THROW(run(lease->query("SELECT 1")), QueryError);
    EXPECT_TRUE(turns.empty());
  }
  EXPECT_TRUE(run_until_true([&] { return turns.size() == 1 && one.in_use() == 0; }));
}

TEST_F(PoolTest, AFailedConnectFreesItsPlace) {
  PoolOptions options;
  options.connect.conninfo = conninfo() + " dbname=no_such_database";
  options.size_max = 1;
  Pool broken(executor(), options);
  for (int i = 0; i < 3; ++i) EXPECT_THROW(run(broken.acquire()), QueryError);
  EXPECT_EQ(broken.in_use(), 0u);
}

TEST_F(PoolTest, TheQueryTimeoutIsSetBack) {
  Pool one = make_pool(1);
  {
    const auto lease = run(one.acquire());
    lease->set_query_timeout(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(run(one.acquire())->query_timeout(), ConnectOptions().query_timeout);
}

TEST_F(PoolTest, ACancelledWaiterLeavesTheLine) {
  Pool one = make_pool(1);
  asio::cancellation_signal stop;
  std::vector<int> turns;
  bool ended = false;
  {
    const auto lease = run(one.acquire());
    asio::co_spawn(io(), note_turn(one, 1, turns),
                   asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) {
                     ended = true;
                     EXPECT_TRUE(error);
                   }));
    asio::co_spawn(io(), note_turn(one, 2, turns), asio::detached);
    io().restart();
    io().poll();
    stop.emit(asio::cancellation_type::terminal);
    ASSERT_TRUE(run_until_true([&] { return ended; }));
  }
  ASSERT_TRUE(run_until_true([&] { return one.in_use() == 0; }));
  EXPECT_EQ(turns, std::vector<int>{2});
}

TEST_F(PoolTest, AClosedPoolRefusesAndLeasesEndAsTheyAreReturned) {
  Pool two = make_pool(2);
  std::optional<std::string> code;
  {
    const auto first = run(two.acquire());
    const auto second = run(two.acquire());
    asio::co_spawn(io(), two.query("SELECT 1"), [&](std::exception_ptr error, QueryResult) {
      try {
        std::rethrow_exception(error);
      } catch (const QueryError& query_error) {
        code = query_error.error().code;
      }
    });
    io().restart();
    io().poll();
    two.close();
    ASSERT_TRUE(run_until_true([&] { return code.has_value(); }));
    EXPECT_EQ(code, "pool.closed");
    EXPECT_EQ(run(first->query("SELECT 1")).get<int>(0, 0), 1);
  }
  EXPECT_EQ(two.in_use(), 0u);
  EXPECT_THROW(run(two.acquire()), QueryError);
}

TEST_F(PoolTest, ManyUsersShareFewConnections) {
  Pool three = make_pool(3);
  std::vector<int> turns;
  for (int i = 0; i < 300; ++i) asio::co_spawn(io(), note_turn(three, i, turns), asio::detached);
  ASSERT_TRUE(run_until_true([&] { return turns.size() == 300 && three.in_use() == 0; }));
  EXPECT_LE(
      run(three.query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"))
          .get<int>(0, 0),
      3);
}

}  // namespace
}  // namespace sluice::pg
