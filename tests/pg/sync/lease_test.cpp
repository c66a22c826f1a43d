// Leases against a real server: one holder at a time, a higher epoch for each next one.
#include "sync/lease.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

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

}  // namespace
}  // namespace sluice::sync
