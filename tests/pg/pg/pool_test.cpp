#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/task_group.hpp"
#include "pg/pools.hpp"
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
    options.connect.search_path = kOfTests;
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

/// Takes a turn for an owner and keeps the connection until it is told to go on.
Task<void> hold_for(Pool& pool, int owner, std::vector<int>& turns, const bool& go_on) {
  Pool share = pool.share(owner);
  const auto lease = co_await share.acquire();
  turns.push_back(owner);
  asio::steady_timer look(pool.executor());
  while (!go_on) {
    look.expires_after(std::chrono::milliseconds(1));
    co_await look.async_wait(asio::use_awaitable);
  }
}

class SharedPool : public PoolTest {
 protected:
  Pool make_shared_pool(std::size_t size, std::size_t share_max, std::size_t kept_free) {
    PoolOptions options;
    options.connect.conninfo = conninfo();
    options.connect.search_path = kOfTests;
    options.size_max = size;
    options.share_max = share_max;
    options.kept_free = kept_free;
    options.acquire_timeout = std::chrono::seconds(20);
    return Pool(executor(), std::move(options));
  }
  void hold(Pool& pool, int owner) {
    asio::co_spawn(io(), hold_for(pool, owner, turns_, go_on_), asio::detached);
  }
  bool turns_are(std::vector<int> wanted) {
    return run_until_true([&] { return turns_ == wanted; });
  }
  void let_all_go(Pool& pool, std::size_t all) {
    go_on_ = true;
    EXPECT_TRUE(run_until_true([&] { return turns_.size() == all && pool.in_use() == 0; }));
  }
  std::vector<int> turns_;
  bool go_on_ = false;
};

TEST_F(SharedPool, AnOwnerHasHisShareAtMostAndTheOthersGetTheRest) {
  Pool four = make_shared_pool(4, 2, 0);
  for (int i = 0; i < 5; ++i) hold(four, 1);
  ASSERT_TRUE(turns_are({1, 1}));
  hold(four, 2);  // came last, and a connection is free for him
  ASSERT_TRUE(turns_are({1, 1, 2}));
  EXPECT_EQ(run(four.query("SELECT 1")).get<int>(0, 0), 1) << "nobody's question";
  let_all_go(four, 6);
}

TEST_F(SharedPool, OfThoseWhoWaitTheOneThatHasTheFewestIsNext) {
  Pool two = make_shared_pool(2, 2, 0);
  for (int i = 0; i < 2; ++i) hold(two, 1);
  ASSERT_TRUE(turns_are({1, 1}));
  for (int i = 0; i < 2; ++i) hold(two, 1);
  hold(two, 2);
  io().poll();
  go_on_ = true;
  ASSERT_TRUE(run_until_true([&] { return turns_.size() == 5 && two.in_use() == 0; }));
  EXPECT_LE(std::find(turns_.begin(), turns_.end(), 2) - turns_.begin(), 3) << "not behind all";
}

TEST_F(SharedPool, WhatIsKeptFreeIsForWhatIsNobodys) {
  Pool two = make_shared_pool(2, 2, 1);
  for (int i = 0; i < 3; ++i) hold(two, i + 1);
  ASSERT_TRUE(turns_are({1}));
  EXPECT_EQ(run(two.query("SELECT 1")).get<int>(0, 0), 1);
  let_all_go(two, 3);
}

TEST_F(SharedPool, AShareThatIsCancelledWhileItWaitsOrBreaksIsFreeAgain) {
  Pool two = make_shared_pool(2, 1, 0);
  asio::cancellation_signal stop;
  bool ended = false;
  hold(two, 1);
  ASSERT_TRUE(turns_are({1}));
  const bool never = false;
  asio::co_spawn(
      io(), hold_for(two, 1, turns_, never),
      asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { ended = true; }));
  io().restart();
  io().poll();
  stop.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(run_until_true([&] { return ended; }));
  let_all_go(two, 1);
  const auto again = run(two.share(1).acquire());
  run(pool().query("SELECT pg_terminate_backend($1, 5000)", Params(pid_of(again))));
  EXPECT_THROW(run(again->query("SELECT 1")), QueryError);
  hold(two, 2);
  ASSERT_TRUE(turns_are({1, 2}));
}

TEST_F(PoolTest, AStatementThatTakesLongerThanThePoolAllowsIsEndedByTheServer) {
  PoolOptions options;
  options.connect.conninfo = conninfo();
  options.statement_timeout = std::chrono::milliseconds(50);
  Pool impatient(executor(), options);
  try {
    run(impatient.query("SELECT pg_sleep(30)"));
    FAIL() << "it was not ended";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.sqlstate(), "57014");
    EXPECT_EQ(error.kind(), ErrorKind::retry_later);
  }
}

TEST(PoolSizesTest, TheSplitLeavesSomethingToEachPurpose) {
  for (std::size_t total = 4; total <= 500; ++total) {
    const PoolSizes sizes = split(total);
    EXPECT_EQ(sizes.leases + sizes.work + sizes.changing + sizes.asking, total);
    EXPECT_GE(std::min({sizes.leases, sizes.work, sizes.changing, sizes.asking}), 1U) << total;
    EXPECT_GE(sizes.work, sizes.asking);
  }
  const PoolSizes usual = split(22);
  EXPECT_EQ(usual.leases, 4U);
  EXPECT_EQ(usual.work, 10U);
  EXPECT_EQ(usual.changing, 4U);
  EXPECT_EQ(usual.asking, 4U);
}

Task<void> ask_while_holding(Pool& held, Pool& asked) {
  const auto lease = co_await held.acquire();
  co_await asked.query("SELECT 1");
}

Task<void> hold_one_after_the_other(Pool& one, Pool& other) {
  {
    const auto lease = co_await one.acquire();
    co_await lease->query("SELECT 1");
  }
  co_await other.query("SELECT 1");
  const auto lease = co_await one.acquire();
  co_await lease->query("SELECT 1");
}

Task<void> use(Pool::Lease lease) { co_await lease->query("SELECT 1"); }

Task<void> hand_it_to_another_flow(Pool& pool) {
  auto lease = co_await pool.acquire();
  TaskGroup group(pool.executor());
  group.spawn(use(std::move(lease)));
  co_await group.wait();
  co_await pool.query("SELECT 1");
}

Task<void> read_behind_a_child(Pool& pool) {
  const auto lease = co_await pool.acquire();
  TaskGroup group(pool.executor());
  group.spawn(hold_one_after_the_other(pool, pool));  // a flow of its own, with hands of its own
  co_await group.wait();
}

class HoldingTest : public PoolTest {
 protected:
  void SetUp() override {
    PoolTest::SetUp();
    if (!kWatchesHolding) GTEST_SKIP() << "debug builds only";
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // the loop does not survive a fork
  }
};

TEST_F(HoldingTest, WhoAsksForASecondConnectionOfThePoolEndsTheProgram) {
  Pool two = make_pool(2);
  EXPECT_DEATH(run(ask_while_holding(two, two)),
               "pool_test.cpp:[0-9]+ asks for work while it holds a connection of the pool 'work'");
}

TEST_F(HoldingTest, WhoAsksAnotherPoolWhileHoldingEndsTheProgram) {
  Pool one = make_pool(1);
  Pool other = make_pool(1);
  EXPECT_DEATH(run(ask_while_holding(one, other)), "while it holds a connection");
}

TEST_F(HoldingTest, OneAfterTheOtherIsFineAndSoAreOthersFlows) {
  Pool two = make_pool(2);
  Pool other = make_pool(1);
  run(hold_one_after_the_other(two, other));
  run(hand_it_to_another_flow(two));
  run(read_behind_a_child(two));
  int ended = 0;
  for (int i = 0; i < 20; ++i) {
    asio::co_spawn(io(), hold_one_after_the_other(two, other),
                   [&](std::exception_ptr error) { ended += error ? 0 : 1; });
  }
  EXPECT_TRUE(run_until_true([&] { return ended == 20; }));
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
