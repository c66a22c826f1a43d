// Leases against a real server: one holder at a time, a higher epoch for each next one.
#include "sync/lease.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <time.h>

#include "base/task_group.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::sync {
namespace {

/// Steady time that a test moves by hand; wall time stands still.
class HandClock final : public Clock {
 public:
  Micros now() const override { return Micros(0); }
  std::chrono::steady_clock::time_point steady() const override { return now_; }
  void advance(std::chrono::milliseconds by) { now_ += by; }

 private:
  std::chrono::steady_clock::time_point now_ =
      std::chrono::steady_clock::time_point(std::chrono::hours(1));
};

pg::Uuid holder(std::uint8_t number) {
  pg::Uuid uuid;
  uuid.bytes[0] = number;
  return uuid;
}

class LeaseTest : public sluice::testing::PgTest {
 protected:
  LeaseTest() {
    options_.ttl = std::chrono::milliseconds(1500);
    options_.renew_every = std::chrono::milliseconds(100);
  }

  std::optional<LeaseGrant> acquire(Leases& leases, const std::string& name = "work") {
    return run(leases.acquire(WorkspaceId(1), name));
  }

  Task<void> wait(std::chrono::milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    timer.expires_after(time);
    co_await timer.async_wait(asio::use_awaitable);
  }

  /// Ends every hold at the database, as if the time to live had passed.
  void expire_all() {
    run(pool().query(
        "update sluice.lease_hold set expires_at = clock_timestamp() - interval '1 ms'"));
  }

  LeaseOptions options_;
  HandClock clock_;
};

TEST_F(LeaseTest, is_held_by_one_at_a_time) {
  Leases mine(pool(), clock_, options_, holder(1));
  Leases theirs(pool(), clock_, options_, holder(2));
  const auto grant = acquire(mine);
  ASSERT_TRUE(grant);
  EXPECT_FALSE(acquire(theirs));
  EXPECT_FALSE(acquire(mine)) << "not even a second time by the same process";
  EXPECT_TRUE(acquire(theirs, "other work"));
}

TEST_F(LeaseTest, goes_to_the_next_at_once_when_it_is_given_back_and_with_a_higher_epoch) {
  Leases mine(pool(), clock_, options_, holder(1));
  Leases theirs(pool(), clock_, options_, holder(2));
  const auto first = acquire(mine);
  run(mine.release(*first));
  EXPECT_FALSE(mine.held(*first));
  const auto second = acquire(theirs);
  ASSERT_TRUE(second);
  EXPECT_GT(second->epoch, first->epoch);
}

TEST_F(LeaseTest,
       of_a_dead_holder_goes_to_another_after_its_time_and_giving_it_back_late_harms_nobody) {
  Leases dead(pool(), clock_, options_, holder(1));
  Leases next(pool(), clock_, options_, holder(2));
  const auto old_grant = acquire(dead);
  expire_all();
  const auto new_grant = acquire(next);
  ASSERT_TRUE(new_grant);
  EXPECT_GT(new_grant->epoch, old_grant->epoch);
  run(dead.release(*old_grant));
  Leases third(pool(), clock_, options_, holder(3));
  EXPECT_FALSE(acquire(third)) << "the late release took the new holder's lease away";
}

TEST_F(LeaseTest, is_not_trusted_beyond_half_its_time_without_a_renewal) {
  Leases leases(pool(), clock_, options_, holder(1));
  const auto grant = acquire(leases);
  clock_.advance(options_.ttl / 2 - std::chrono::milliseconds(1));
  EXPECT_TRUE(leases.held(*grant));
  clock_.advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(leases.held(*grant));
}

TEST_F(LeaseTest, says_what_waits_under_it_as_of_the_last_renewal_and_a_next_holder_nothing) {
  SystemClock clock;
  Leases mine(pool(), clock, options_, holder(1));
  const auto grant = acquire(mine);
  bool waits = true;
  mine.on_renewal([&] {
    Leases::Waits all;
    if (waits) all[std::pair(WorkspaceId(1), "work")]["stream charges"] = std::chrono::seconds(30);
    all[std::pair(WorkspaceId(1), "others'")]["stream charges"] = std::chrono::seconds(90);
    return all;
  });
  asio::cancellation_signal stop;
  asio::co_spawn(pool().executor(), mine.keep_renewing(),
                 asio::bind_cancellation_slot(stop.slot(), asio::detached));
  const auto left = [&] {
    return run(pool().query(
                   "select coalesce(round((waits->>'stream charges')::numeric / 1000 - "
                   "extract(epoch from clock_timestamp()))::int, -1) from sluice.lease_hold"))
        .get<std::int32_t>(0, 0);
  };
  EXPECT_EQ(left(), -1);
  run(wait(std::chrono::milliseconds(500)));
  EXPECT_GE(left(), 29);
  EXPECT_LE(left(), 30);
  waits = false;
  run(wait(std::chrono::milliseconds(500)));
  EXPECT_EQ(left(), -1);
  waits = true;
  run(wait(std::chrono::milliseconds(500)));
  stop.emit(asio::cancellation_type::terminal);
  run(wait(std::chrono::milliseconds(50)));
  expire_all();
  EXPECT_GE(left(), 28);
  Leases next(pool(), clock, options_, holder(2));
  ASSERT_TRUE(acquire(next));
  EXPECT_EQ(left(), -1) << "the next holder waits for nothing yet";
}

TEST_F(LeaseTest, lives_on_while_it_is_renewed) {
  SystemClock clock;
  Leases mine(pool(), clock, options_, holder(1));
  Leases theirs(pool(), clock, options_, holder(2));
  const auto grant = acquire(mine);
  asio::cancellation_signal stop;
  asio::co_spawn(pool().executor(), mine.keep_renewing(),
                 asio::bind_cancellation_slot(stop.slot(), asio::detached));
  run(wait(options_.ttl + std::chrono::milliseconds(500)));
  EXPECT_TRUE(mine.held(*grant));
  EXPECT_FALSE(acquire(theirs));
  stop.emit(asio::cancellation_type::terminal);
  run(wait(std::chrono::milliseconds(50)));
}

TEST_F(LeaseTest, is_not_renewed_once_somebody_else_took_it) {
  SystemClock clock;
  Leases frozen(pool(), clock, options_, holder(1));
  Leases next(pool(), clock, options_, holder(2));
  const auto old_grant = acquire(frozen);
  expire_all();
  ASSERT_TRUE(acquire(next));
  asio::cancellation_signal stop;
  asio::co_spawn(pool().executor(), frozen.keep_renewing(),
                 asio::bind_cancellation_slot(stop.slot(), asio::detached));
  run(wait(options_.ttl));
  EXPECT_FALSE(frozen.held(*old_grant));
  stop.emit(asio::cancellation_type::terminal);
  run(wait(std::chrono::milliseconds(50)));
}

/// keep_renewing() for as long as it lives.
class Renewing {
 public:
  Renewing(pg::Pool& pool, Leases& leases) : group_(pool.executor()) {
    group_.spawn(leases.keep_renewing());
  }

 private:
  TaskGroup group_;
};

TEST_F(LeaseTest, that_sql_gave_to_somebody_else_is_lost_at_the_next_renewal_and_its_work_is_told) {
  SystemClock clock;
  options_.ttl = std::chrono::seconds(60);
  Leases mine(pool(), clock, options_, holder(1));
  std::string told;
  mine.on_lost([&told](WorkspaceId, const std::string& name) { told = name; });
  const auto moved = acquire(mine, "moved");
  const auto kept = acquire(mine, "kept");
  run(pool().query("update sluice.lease_epoch set epoch = epoch + 1 where name = 'moved'"));
  Renewing renewing(pool(), mine);
  ASSERT_TRUE(run_until_true([&] { return mine.is_lost(*moved); }));
  EXPECT_EQ(told, "moved");
  EXPECT_FALSE(mine.held(*moved));
  EXPECT_TRUE(mine.held(*kept));
}

TEST_F(LeaseTest, is_not_trusted_after_the_machine_was_suspended_for_longer_than_it_lives) {
  Leases mine(pool(), clock_, options_, holder(1));
  const auto grant = acquire(mine);
  clock_.advance(std::chrono::hours(8));  // no timer has run out meanwhile
  EXPECT_FALSE(mine.held(*grant));
  // What the host reads the time from goes on while the machine sleeps.
  timespec before{}, after{};
  ::clock_gettime(CLOCK_BOOTTIME, &before);
  const auto now = SystemClock().steady().time_since_epoch();
  ::clock_gettime(CLOCK_BOOTTIME, &after);
  const auto at = [](const timespec& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  EXPECT_GE(now, at(before));
  EXPECT_LE(now, at(after));
}

TEST_F(LeaseTest, a_row_that_is_being_taken_holds_up_no_renewal_of_the_others) {
  SystemClock clock;
  options_.ttl = std::chrono::seconds(60);
  Leases mine(pool(), clock, options_, holder(1));
  const auto taken = acquire(mine, "taken");
  const auto other = acquire(mine, "other");
  auto taker = connect_as_app();
  run(taker->query("begin"));
  run(taker->query("select 1 from sluice.lease_hold where name = 'taken' for update"));
  run(
      pool().query("update sluice.lease_hold set expires_at = clock_timestamp() + interval '1 s' "
                   "where name = 'other'"));
  Renewing renewing(pool(), mine);
  EXPECT_TRUE(run_until_true([&] {
    return run(pool().query("select expires_at > clock_timestamp() + interval '30 s' from "
                            "sluice.lease_hold where name = 'other'"))
        .get<bool>(0, 0);
  }));
  EXPECT_TRUE(mine.held(*other));
  EXPECT_TRUE(mine.is_lost(*taken));
}

/// A host that froze inside a transaction under its lease, and the one that comes after it.
class TakingOver : public LeaseTest {
 protected:
  void SetUp() override {
    LeaseTest::SetUp();
    options_.ttl = std::chrono::seconds(30);
    frozen_ = std::make_unique<Leases>(pool(), clock_, options_, holder(1));
    next_ = std::make_unique<Leases>(pool(), system_, options_, holder(2));
    run(
        connect()->script("create table public.written (by text); grant all on public.written to "
                          "sluice_app"));
    grant_ = *acquire(*frozen_);
    connection_ = connect_as_app();
    fenced_ = std::make_unique<pg::Fenced>(*connection_, grant_);
    run(fenced_->query(std::string("insert into public.written values ('frozen')")));
  }

  void TearDown() override {  // before their loop
    fenced_.reset();
    connection_.reset();
    frozen_.reset();
    next_.reset();
    LeaseTest::TearDown();
  }

  std::int64_t written() {
    return run(pool().query("select count(*) from public.written")).get<std::int64_t>(0, 0);
  }

  SystemClock system_;
  std::unique_ptr<Leases> frozen_, next_;
  LeaseGrant grant_;
  std::unique_ptr<pg::Connection> connection_;
  std::unique_ptr<pg::Fenced> fenced_;
};

TEST_F(TakingOver, ends_what_the_former_holder_left_open_and_nothing_of_it_is_stored) {
  Renewing renewing(pool(), *next_);
  EXPECT_FALSE(acquire(*next_)) << "it has not expired";
  expire_all();
  const auto taken = acquire(*next_);
  ASSERT_TRUE(taken);
  EXPECT_GT(taken->epoch, grant_.epoch);
  EXPECT_THROW(run(fenced_->commit()), pg::QueryError);
  EXPECT_EQ(written(), 0);
}

TEST_F(TakingOver, leaves_alone_what_has_not_expired) {
  Renewing renewing(pool(), *next_);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(acquire(*next_));
  run(fenced_->commit());
  EXPECT_EQ(written(), 1);
}

TEST_F(TakingOver, leaves_alone_whoever_is_no_host_and_comes_back_later) {
  run(fenced_->rollback());
  run(connection_->query("set application_name = 'psql'"));
  run(connection_->query("begin"));
  run(connection_->query("select 1 from sluice.lease_epoch for share"));
  Renewing renewing(pool(), *next_);
  expire_all();
  EXPECT_FALSE(acquire(*next_));
  run(connection_->query("commit"));
  EXPECT_TRUE(acquire(*next_));
}

TEST_F(TakingOver, leaves_alone_whoever_locks_a_whole_relation) {
  run(fenced_->rollback());
  run(connection_->query("begin"));
  run(connection_->query("lock table sluice.lease_epoch in exclusive mode"));
  Renewing renewing(pool(), *next_);
  expire_all();
  std::string code;
  try {
    EXPECT_FALSE(acquire(*next_));
  } catch (const pg::QueryError& error) {
    code = error.error().code;  // the row of the epoch could not even be made sure of
  }
  EXPECT_NE(code, "pg.lost");
  run(connection_->query("commit"));
  EXPECT_TRUE(acquire(*next_));
}

/// Behind its end the connection is in no transaction: whatever it sent would be stored unguarded.
TEST_F(TakingOver, a_fence_that_has_ended_sends_nothing_more) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the loop does not survive a fork
  const std::string late = "insert into public.written values ('late')";
  run(fenced_->commit());
  EXPECT_DEATH(run(fenced_->query(late)), "ended_");
  EXPECT_DEATH(run(fenced_->commit()), "ended_");
  EXPECT_EQ(written(), 1);
}

TEST_F(TakingOver, lets_no_transaction_of_the_former_epoch_begin) {
  run(fenced_->rollback());
  expire_all();
  ASSERT_TRUE(acquire(*next_));
  pg::Fenced late(*connection_, grant_);
  try {
    run(late.query(std::string("insert into public.written values ('late')")));
    ADD_FAILURE() << "it wrote";
  } catch (const Failure& failure) {
    EXPECT_TRUE(pg::is_lease_lost(failure.error())) << failure.what();
  }
  run(late.rollback());
  EXPECT_EQ(written(), 0);
}

}  // namespace
}  // namespace sluice::sync
