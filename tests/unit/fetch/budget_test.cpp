#include "fetch/budget.hpp"

#include <gtest/gtest.h>

#include "fakes.hpp"

namespace sluice::fetch {
namespace {

using fetch_test::FakeClock;
using fetch_test::FakeDelay;
using std::chrono::milliseconds;

Task<> take(Budget& budget, FakeClock& clock, std::vector<milliseconds>& starts) {
  const Budget::Permit permit = co_await budget.acquire();
  starts.push_back(std::chrono::duration_cast<milliseconds>(clock.elapsed - std::chrono::hours(1)));
}

Task<> keep(Budget& budget, std::vector<Budget::Permit>& kept) {
  kept.push_back(co_await budget.acquire());
}

TEST(Budget, PacesRequestsEvenlyAfterTheBurst) {
  FakeClock clock;
  FakeDelay delay(clock);
  BudgetOptions options;
  options.requests_per_second = 20;
  options.concurrency = 100;
  options.burst = 3;
  Budget budget(options, clock, delay);
  asio::io_context loop;
  std::vector<milliseconds> starts;
  for (int i = 0; i < 6; ++i) {
    asio::co_spawn(loop, take(budget, clock, starts), asio::detached);
    loop.restart();
    loop.run();
  }
  std::vector<milliseconds> expected;
  for (const int ms : {0, 0, 0, 50, 100, 150}) expected.emplace_back(ms);
  EXPECT_EQ(starts, expected);
  clock.advance(std::chrono::seconds(10));
  starts.clear();
  for (int i = 0; i < 4; ++i) {
    asio::co_spawn(loop, take(budget, clock, starts), asio::detached);
    loop.restart();
    loop.run();
  }
  EXPECT_EQ(starts[2] - starts[0], milliseconds(0)) << "a pause fills the bucket up to its burst";
  EXPECT_EQ(starts[3] - starts[0], milliseconds(50));
}

TEST(Budget, HoldsEverybodyBackUntilTheVendorsTime) {
  FakeClock clock;
  FakeDelay delay(clock);
  Budget budget(BudgetOptions{}, clock, delay);
  asio::io_context loop;
  std::vector<milliseconds> starts;
  budget.hold_until(clock.steady() + std::chrono::seconds(5));
  budget.hold_until(clock.steady() + std::chrono::seconds(1));
  asio::co_spawn(loop, take(budget, clock, starts), asio::detached);
  loop.run();
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0], std::chrono::seconds(5));
}

TEST(Budget, GivesAFreePlaceToWhoWaitsLongest) {
  FakeClock clock;
  FakeDelay delay(clock);
  BudgetOptions options;
  options.requests_per_second = 0;
  options.concurrency = 2;
  Budget budget(options, clock, delay);
  asio::io_context loop;
  std::vector<Budget::Permit> kept;
  for (int i = 0; i < 5; ++i) asio::co_spawn(loop, keep(budget, kept), asio::detached);
  loop.poll();
  EXPECT_EQ(kept.size(), 2u);
  EXPECT_EQ(budget.waiting(), 3u);
  kept.erase(kept.begin());
  loop.poll();
  EXPECT_EQ(kept.size(), 2u);
  EXPECT_EQ(budget.in_use(), 2);
  EXPECT_TRUE(kept.back().waited());
  kept.clear();
  loop.restart();
  loop.poll();
  EXPECT_EQ(budget.waiting(), 0u);
  kept.clear();
  EXPECT_EQ(budget.in_use(), 0);
}

TEST(Budget, LosesNoPlaceToAWaiterThatGaveUp) {
  FakeClock clock;
  FakeDelay delay(clock);
  BudgetOptions options;
  options.requests_per_second = 0;
  options.concurrency = 1;
  Budget budget(options, clock, delay);
  asio::io_context loop;
  std::vector<Budget::Permit> kept;
  asio::co_spawn(loop, keep(budget, kept), asio::detached);
  asio::cancellation_signal signal;
  bool gave_up = false;
  asio::co_spawn(loop, keep(budget, kept),
                 asio::bind_cancellation_slot(
                     signal.slot(), [&](std::exception_ptr error) { gave_up = error != nullptr; }));
  loop.poll();
  EXPECT_EQ(budget.waiting(), 1u);
  signal.emit(asio::cancellation_type::terminal);
  loop.poll();
  EXPECT_TRUE(gave_up);
  EXPECT_EQ(budget.waiting(), 0u);
  kept.clear();
  EXPECT_EQ(budget.in_use(), 0);
}

TEST(Budget, MayGoBeforeItsWaiters) {
  FakeClock clock;
  FakeDelay delay(clock);
  BudgetOptions options;
  options.requests_per_second = 0;
  options.concurrency = 1;
  std::vector<Budget::Permit> kept;
  {
    asio::io_context loop;
    {
      Budget budget(options, clock, delay);
      for (int i = 0; i < 3; ++i) asio::co_spawn(loop, keep(budget, kept), asio::detached);
      loop.poll();
    }
    EXPECT_EQ(kept.size(), 1u);
  }
}

}  // namespace
}  // namespace sluice::fetch
