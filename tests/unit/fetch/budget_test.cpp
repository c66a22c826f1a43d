#include "fetch/budget.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "fakes.hpp"
#include "fetch/request_shares.hpp"

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

/// Waiters in virtual time, each of whom notes his name when he goes.
class BudgetInTime : public testing::Test {
 protected:
  Task<> go(Priority priority, std::string name, std::chrono::seconds keeps = {}) {
    const Budget::Permit permit = co_await budget_->acquire(priority);
    went_.push_back(std::move(name));
    at_.push_back(since_start());
    if (keeps.count() > 0) co_await time_.wait(keeps);
  }
  /// One request that the vendor answers at once.
  Task<> ask(int status, contract::Headers headers) {
    const Budget::Permit permit = co_await budget_->acquire();
    at_.push_back(since_start());
    budget_->heed(permit, status, headers, clock_.now());
  }
  void start(Priority priority, std::string name, std::chrono::seconds keeps = {}) {
    asio::co_spawn(loop_, go(priority, std::move(name), keeps), asio::detached);
  }
  void answer(int status, contract::Headers headers = {}) {
    asio::co_spawn(loop_, ask(status, std::move(headers)), asio::detached);
    finish();
  }
  void finish() {
    time_.run(loop_, [] { return false; });
  }
  milliseconds since_start() const {
    return std::chrono::duration_cast<milliseconds>(clock_.elapsed - std::chrono::hours(1));
  }
  void make(BudgetOptions options) { budget_.emplace(std::move(options), clock_, time_); }
  static BudgetOptions pace(double rate, int concurrency = 4) {
    BudgetOptions options;
    options.requests_per_second = rate;
    options.concurrency = concurrency;
    return options;
  }
  static BudgetOptions with_window(double rate, int concurrency = 1) {
    BudgetOptions options = pace(rate, concurrency);
    options.headers.limit = "X-Limit";
    options.headers.remaining = "X-Remaining";
    options.headers.reset = "X-Reset";
    return options;
  }

  asio::io_context loop_;
  FakeClock clock_;
  fetch_test::VirtualTime time_{clock_};
  std::optional<Budget> budget_;
  std::vector<std::string> went_;
  std::vector<milliseconds> at_;
};

TEST_F(BudgetInTime, ChangesGoBeforeSnapshotsThatWaitLonger) {
  make(pace(1, 1));
  for (const char* name : {"s1", "s2", "s3"}) start(Priority::snapshot, name);
  loop_.poll();
  for (const char* name : {"c1", "c2"}) start(Priority::change, name);
  finish();
  EXPECT_EQ(went_, (std::vector<std::string>{"s1", "c1", "c2", "s2", "s3"}));
  EXPECT_EQ(at_.back(), std::chrono::seconds(4));
}

TEST_F(BudgetInTime, ASnapshotIsNotStarvedByChanges) {
  make(pace(10, 1));
  for (int i = 0; i < 30; ++i) start(Priority::change, "c");
  start(Priority::snapshot, "s");
  finish();
  const auto at = std::find(went_.begin(), went_.end(), "s") - went_.begin();
  EXPECT_EQ(at, Budget::kChangesInARow);
}

TEST_F(BudgetInTime, WhoWaitsForThePaceOccupiesNoPlace) {
  make(pace(1, 2));
  for (int i = 0; i < 5; ++i) start(Priority::snapshot, "s", std::chrono::seconds(1));
  loop_.poll();
  EXPECT_EQ(budget_->in_use(), 1);
  EXPECT_EQ(budget_->waiting(), 4u);
  finish();
  EXPECT_EQ(went_.size(), 5u);
}

TEST_F(BudgetInTime, HalvesItsRateOnA429WithoutATimeAndRecoversStepByStep) {
  BudgetOptions options = pace(8);
  options.recover_every = std::chrono::seconds(10);
  options.recover_share = 0.25;
  make(options);
  answer(429);
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 4);
  clock_.advance(std::chrono::seconds(1));
  answer(429);
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 2);
  EXPECT_EQ(budget_->stats().slowdowns, 2u);
  clock_.advance(std::chrono::seconds(9));
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 2);
  clock_.advance(std::chrono::seconds(1));
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 4);
  clock_.advance(std::chrono::seconds(10));
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 6);
  clock_.advance(std::chrono::hours(1));
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 8) << "never above what is declared";
  for (int i = 0; i < 40; ++i) {
    answer(429);
    clock_.advance(std::chrono::seconds(9));
  }
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 8.0 / 64) << "never to a standstill";
}

TEST_F(BudgetInTime, AnswersToWhatWasSentBeforeAHalvingDoNotHalveAgain) {
  BudgetOptions options = pace(1000, 10);
  make(options);
  std::vector<Budget::Permit> kept;
  for (int i = 0; i < 5; ++i) {
    asio::co_spawn(loop_, keep(*budget_, kept), asio::detached);
    finish();
  }
  ASSERT_EQ(kept.size(), 5u);
  for (const Budget::Permit& permit : kept) budget_->heed(permit, 429, {}, clock_.now());
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 500);
  EXPECT_EQ(budget_->stats().rate_limited, 5u);
}

TEST_F(BudgetInTime, ARetryAfterHoldsTheAccountAndKeepsItsRate) {
  make(pace(8));
  answer(429, {{"Retry-After", "20"}});
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 8);
  EXPECT_EQ(budget_->stats().held_for, std::chrono::seconds(20));
  start(Priority::change, "c");
  finish();
  EXPECT_EQ(at_.back(), std::chrono::seconds(20));
  answer(503, {{"Retry-After", "5"}});
  EXPECT_GT(budget_->stats().held_for, std::chrono::seconds(4)) << "a 503 with a time holds too";
}

TEST_F(BudgetInTime, NoVendorHoldsAnAccountLongerThanHoldMax) {
  BudgetOptions options = pace(8);
  options.hold_max = std::chrono::minutes(10);
  make(options);
  answer(429, {{"Retry-After", "31536000"}});
  start(Priority::change, "c");
  finish();
  EXPECT_EQ(at_.back(), std::chrono::minutes(10));
}

Task<> try_for(Budget& budget, milliseconds patience, std::vector<Budget::Permit>& out) {
  out.push_back(co_await budget.acquire(Priority::change, patience));
}

TEST_F(BudgetInTime, WhoHasNotThePatienceIsToldHowLongTheHoldIs) {
  make(pace(8));
  answer(429, {{"Retry-After", "90"}});
  std::vector<Budget::Permit> out;
  asio::co_spawn(loop_, try_for(*budget_, std::chrono::seconds(60), out), asio::detached);
  finish();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_FALSE(out[0].granted());
  EXPECT_EQ(out[0].held_for(), std::chrono::seconds(90));
  EXPECT_EQ(budget_->stats().held_back, 1u);
  EXPECT_EQ(budget_->in_use(), 0);
  EXPECT_EQ(budget_->waiting(), 0u);
}

TEST_F(BudgetInTime, ShrinksToWhatTheHeadersSayIsLeftAndRecoversAtTheReset) {
  make(with_window(100));
  answer(200, {{"X-Remaining", "3"}, {"X-Reset", "60"}});
  EXPECT_EQ(budget_->stats().left, 3);
  for (int i = 0; i < 5; ++i) start(Priority::snapshot, "s");
  finish();
  ASSERT_EQ(at_.size(), 6u);
  EXPECT_LT(at_[3], std::chrono::seconds(1)) << "three may go at the declared pace";
  EXPECT_EQ(at_[4], std::chrono::seconds(60)) << "the fourth waits for the next window";
  EXPECT_LT(at_[5], std::chrono::seconds(61));
  EXPECT_FALSE(budget_->stats().left) << "the window that was told is over";
}

TEST_F(BudgetInTime, TheLastFifthOfAWindowIsSpreadOverItsTime) {
  make(with_window(100));
  answer(200, {{"X-Limit", "100"}, {"X-Remaining", "10"}, {"X-Reset", "50"}});
  for (int i = 0; i < 10; ++i) start(Priority::snapshot, "s");
  finish();
  ASSERT_EQ(at_.size(), 11u);
  for (std::size_t i = 2; i <= 10; ++i) {
    EXPECT_GE(at_[i] - at_[i - 1], milliseconds(4'500)) << i;
    EXPECT_LE(at_[i] - at_[i - 1], milliseconds(5'500)) << i;
  }
}

TEST_F(BudgetInTime, AWindowThatBeginsAnewEndsWhatTheOldOneSpread) {
  make(with_window(100));
  answer(200, {{"X-Limit", "100"}, {"X-Remaining", "3"}, {"X-Reset", "3600"}});
  for (int i = 0; i < 30; ++i) start(Priority::snapshot, "s");
  finish();
  ASSERT_EQ(at_.size(), 31u);
  EXPECT_LE(at_.back() - at_.front(), std::chrono::seconds(3'601)) << "nobody waits for longer";
}

TEST_F(BudgetInTime, ASpreadThatIsLongerThanThePatienceIsNotWaitedFor) {
  make(with_window(100));
  answer(200, {{"X-Limit", "5000"}, {"X-Remaining", "3"}, {"X-Reset", "3600"}});
  std::optional<milliseconds> held_for;
  const auto ask = [](Budget& budget, std::optional<milliseconds>& out) -> Task<> {
    const Budget::Permit permit =
        co_await budget.acquire(Priority::snapshot, std::chrono::seconds(60));
    if (!permit.granted()) out = permit.held_for();
  };
  asio::co_spawn(loop_, ask(*budget_, held_for), asio::detached);
  finish();
  ASSERT_TRUE(held_for);
  EXPECT_GE(*held_for, std::chrono::minutes(19)) << "one of three in an hour";
  EXPECT_LE(*held_for, std::chrono::minutes(20));
  EXPECT_EQ(budget_->stats().held_back, 1u);
}

TEST_F(BudgetInTime, SaysWhoWaitsForTheVendorsRateAndHowLong) {
  make(with_window(100));
  EXPECT_TRUE(budget_->held().empty());
  budget_->hold_until(clock_.steady() + std::chrono::seconds(30));
  EXPECT_TRUE(budget_->held().empty()) << "nobody waits";
  start(Priority::change, "c");
  start(Priority::snapshot, "s");
  loop_.restart();
  loop_.poll();
  ASSERT_EQ(budget_->held().size(), 2u);
  EXPECT_EQ(budget_->held().front().left, std::chrono::seconds(30));
  finish();
  EXPECT_TRUE(budget_->held().empty());
  EXPECT_GE(at_.front(), milliseconds(30'000));
}

TEST_F(BudgetInTime, A403WithARetryAfterHoldsTheAccountAndOneWithoutIsAPermission) {
  make(with_window(100));
  answer(403, {});
  EXPECT_EQ(budget_->stats().held_for, milliseconds(0));
  EXPECT_EQ(budget_->stats().rate_limited, 0u);
  answer(403, {{"Retry-After", "7"}});
  EXPECT_EQ(budget_->stats().held_for, std::chrono::seconds(7));
  EXPECT_EQ(budget_->stats().rate_limited, 1u);
}

TEST_F(BudgetInTime, ANewWindowReplacesTheOldOneAndAnEmptyOneIsNoSlowdown) {
  make(with_window(100));
  answer(200, {{"X-Remaining", "1"}, {"X-Reset", "10"}});
  clock_.advance(std::chrono::seconds(5));
  answer(200, {{"X-Remaining", "50"}, {"X-Reset", "60"}});
  EXPECT_EQ(budget_->stats().left, 50);
  answer(429, {{"X-Remaining", "0"}, {"X-Reset", "30"}});
  EXPECT_EQ(budget_->stats().held_for, std::chrono::seconds(30));
  EXPECT_DOUBLE_EQ(budget_->stats().rate, 100) << "the vendor said when: nothing is halved";
}

TEST_F(BudgetInTime, RequestsUnderWayCountAgainstWhatIsLeft) {
  make(with_window(1000, 4));
  std::vector<Budget::Permit> kept;
  for (int i = 0; i < 4; ++i) {
    asio::co_spawn(loop_, keep(*budget_, kept), asio::detached);
    finish();
  }
  const contract::Headers five = {{"X-Remaining", "5"}, {"X-Reset", "60"}};
  budget_->heed(kept[0], 200, five, clock_.now());
  EXPECT_EQ(budget_->stats().left, 2) << "three others may not be in the vendor's count yet";
  kept.clear();
}

TEST_F(BudgetInTime, AnswersWithoutThoseHeadersChangeNothing) {
  make(with_window(100));
  answer(200, {{"X-Remaining", "many"}, {"X-Reset", "60"}});
  answer(200, {{"X-Remaining", "0"}});
  answer(200, {{"X-Reset", "60"}});
  EXPECT_FALSE(budget_->stats().left);
  EXPECT_EQ(budget_->stats().held_for, milliseconds(0));
}

/// Streams of one account, some of which the vendor never answers.
class BudgetWithHungRequests : public BudgetInTime {
 protected:
  void SetUp() override {
    BudgetOptions options = pace(0, 4);
    options.kept_for_changes = 1;
    options.of_one_max = 2;
    options.hung_after = std::chrono::seconds(10);
    make(options);
  }
  /// Its permit first waits for a place of this host.
  Task<> request_behind(std::string what, std::chrono::seconds waits, std::chrono::seconds keeps) {
    Asker asker;
    asker.connection = ConnectionId(7);
    asker.what = what;
    Budget::Permit permit =
        co_await budget_->acquire(Priority::snapshot, Budget::kPatient, std::move(asker));
    permit.waits_here();
    co_await time_.wait(waits);
    permit.goes();
    went_.push_back(what);
    co_await time_.wait(keeps);
  }
  Task<> request(Priority priority, std::string what, std::chrono::seconds keeps, bool answered) {
    Asker asker;
    asker.connection = ConnectionId(7);
    asker.what = what;
    const Budget::Permit permit =
        co_await budget_->acquire(priority, Budget::kPatient, std::move(asker));
    went_.push_back(what);
    at_.push_back(since_start());
    if (keeps.count() > 0) co_await time_.wait(keeps);
    if (answered) budget_->heed(permit, 200, {}, clock_.now());
  }
  void ask_for(Priority priority, const std::string& what, int keeps_s = 0, bool answered = true) {
    asio::co_spawn(loop_, request(priority, what, std::chrono::seconds(keeps_s), answered),
                   asio::detached);
    loop_.restart();
    loop_.poll();
  }
  bool until_went(const std::string& what) {
    return time_.run(loop_,
                     [&] { return std::find(went_.begin(), went_.end(), what) != went_.end(); });
  }
  static constexpr int kForever = 60;  ///< what a transfer gets
};

TEST_F(BudgetWithHungRequests, APlaceIsKeptForChangesAtOnce) {
  for (const char* name : {"invoices", "charges", "prices", "products", "coupons"})
    ask_for(Priority::snapshot, name, kForever, false);
  EXPECT_EQ(went_.size(), 3u);
  ask_for(Priority::change, "events");
  EXPECT_EQ(went_.back(), "events");
  EXPECT_EQ(since_start().count(), 0);
}

TEST_F(BudgetWithHungRequests, FiveThatHangLeaveTheAccountToTheOthers) {
  for (const char* name : {"invoices", "charges", "prices", "products", "coupons"})
    ask_for(Priority::snapshot, name, kForever, false);
  ask_for(Priority::snapshot, "customers");
  ask_for(Priority::snapshot, "refunds");
  ASSERT_TRUE(until_went("customers"));
  ASSERT_TRUE(until_went("refunds"));
  EXPECT_LE(since_start(), std::chrono::seconds(20));
  EXPECT_LE(budget_->in_use(), 4);
  const auto hung = budget_->hung();
  ASSERT_GE(hung.size(), 3u);
  EXPECT_EQ(hung.front().asker.what, "invoices");
  EXPECT_GE(hung.front().since, std::chrono::seconds(10));
}

TEST_F(BudgetWithHungRequests, WhatHungIsAskedForAgainBesideThePlacesUntilItAnswers) {
  ask_for(Priority::snapshot, "invoices", kForever, false);
  ask_for(Priority::snapshot, "a", 20);
  ask_for(Priority::snapshot, "b", 20);
  ask_for(Priority::snapshot, "c", 0);  // waits, so that somebody looks
  ASSERT_TRUE(until_went("c"));
  finish();
  went_.clear();
  ask_for(Priority::snapshot, "invoices", 5, true);
  EXPECT_EQ(budget_->in_use(), 0) << "beside the places from the start";
  ask_for(Priority::snapshot, "invoices", 5, true);
  EXPECT_EQ(went_.size(), 1u) << "and only one at a time";
  finish();
  EXPECT_EQ(went_.size(), 2u);
  went_.clear();
  ask_for(Priority::snapshot, "invoices", 5);
  EXPECT_EQ(budget_->in_use(), 1) << "it has answered";
}

TEST_F(BudgetWithHungRequests, OneStreamHasTwoPlacesAtMost) {
  for (int n = 0; n < 4; ++n) ask_for(Priority::snapshot, "invoices", 5);
  EXPECT_EQ(went_.size(), 2u);
  ask_for(Priority::snapshot, "customers", 5);
  EXPECT_EQ(went_.back(), "customers");
  for (int n = 0; n < 4; ++n) ask_for(Priority::change, "objects", 5);
  EXPECT_EQ(budget_->in_use(), 4);
  finish();
  EXPECT_EQ(went_.size(), 9u);
}

TEST_F(BudgetWithHungRequests, WaitingForAPlaceOfThisHostIsNoHanging) {
  for (const char* name : {"invoices", "charges", "prices"}) {
    asio::co_spawn(loop_, request_behind(name, std::chrono::seconds(40), std::chrono::seconds(60)),
                   asio::detached);
  }
  ask_for(Priority::snapshot, "customers");
  ASSERT_TRUE(time_.run(loop_, [&] { return went_.size() >= 3; }));
  EXPECT_EQ(since_start(), std::chrono::seconds(40));
  EXPECT_EQ(budget_->hung().size(), 0u);
  EXPECT_EQ(budget_->in_use(), 3);
  // From then on the vendor lets them wait, and whoever waits for a place is told in time.
  ASSERT_TRUE(until_went("customers"));
  EXPECT_EQ(since_start(), std::chrono::seconds(50));
  EXPECT_EQ(budget_->hung().size(), 3u);
}

Task<> take_share(RequestShares& shares, WorkspaceId workspace,
                  std::vector<RequestShares::Place>& kept) {
  kept.push_back(co_await shares.acquire(workspace));
}

TEST(RequestShares, AWorkspaceWhoseVendorNeverAnswersLeavesPlacesToTheOthers) {
  RequestShares shares(8);
  asio::io_context loop;
  std::vector<RequestShares::Place> evil;
  std::vector<RequestShares::Place> other;
  evil.reserve(100);
  other.reserve(100);
  for (int n = 0; n < 20; ++n)
    asio::co_spawn(loop, take_share(shares, WorkspaceId(1), evil), asio::detached);
  loop.poll();
  EXPECT_EQ(evil.size(), 6u);
  asio::co_spawn(loop, take_share(shares, WorkspaceId(2), other), asio::detached);
  loop.restart();
  loop.poll();
  EXPECT_EQ(other.size(), 1u);
  evil.pop_back();
  loop.restart();
  loop.poll();
  EXPECT_EQ(shares.under_way(), 7u) << "one stays free";
  other.clear();
  evil.pop_back();
  loop.restart();
  loop.poll();
  EXPECT_EQ(evil.size(), 6u);
  evil.clear();
  for (int n = 0; n < 20; ++n) {
    loop.restart();
    loop.poll();
    evil.clear();
  }
  EXPECT_EQ(shares.under_way(), 0u);
  EXPECT_EQ(shares.waiting(), 0u);
}

TEST(RequestShares, WhoIsCancelledHoldsNothing) {
  RequestShares shares(1);
  asio::io_context loop;
  std::vector<RequestShares::Place> kept;
  kept.reserve(10);
  asio::co_spawn(loop, take_share(shares, WorkspaceId(1), kept), asio::detached);
  asio::cancellation_signal signal;
  bool gave_up = false;
  asio::co_spawn(loop, take_share(shares, WorkspaceId(2), kept),
                 asio::bind_cancellation_slot(
                     signal.slot(), [&](std::exception_ptr error) { gave_up = error != nullptr; }));
  loop.poll();
  EXPECT_EQ(shares.waiting(), 1u);
  signal.emit(asio::cancellation_type::terminal);
  loop.restart();
  loop.poll();
  EXPECT_TRUE(gave_up);
  EXPECT_EQ(shares.waiting(), 0u);
  kept.clear();
  EXPECT_EQ(shares.under_way(), 0u);
}

}  // namespace
}  // namespace sluice::fetch
