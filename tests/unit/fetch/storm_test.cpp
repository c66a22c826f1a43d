// Many connections of one vendor account at once, in virtual time: what the vendor sees.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fakes.hpp"
#include "fetch/client.hpp"

namespace sluice::fetch {
namespace {

using fetch_test::FakeClock;
using fetch_test::SeededEntropy;
using fetch_test::VirtualTime;
using std::chrono::milliseconds;
using std::chrono::seconds;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr int kClients = 350;
constexpr milliseconds kLatency{120};

/// A vendor that bears `rate` requests a second (counted over the second that ends with each
/// request) and answers 429 to what is above it, or to everything while it is down.
class FakeVendor final : public Transport {
 public:
  FakeVendor(FakeClock& clock, VirtualTime& time) : clock_(clock), time_(time) {}

  Task<Result<RawResponse>> perform(RawRequest request) override {
    seen.push_back(clock_.steady());
    ++under_way;
    under_way_max = std::max(under_way_max, under_way);
    const bool limited = clock_.steady() < down_until || over_rate();
    co_await time_.wait(kLatency);
    --under_way;
    Result<RawResponse> answer = RawResponse();
    answer->status = limited ? 429 : 200;
    if (limited && !retry_after.empty()) answer->headers.emplace_back("Retry-After", retry_after);
    if (!limited) served.insert(request.url);
    (limited ? limited_answers : good_answers) += 1;
    co_return answer;
  }
  std::size_t in_flight() const override { return static_cast<std::size_t>(under_way); }

  /// The most requests that any span of this length saw.
  std::size_t most_within(std::chrono::nanoseconds span) const {
    std::size_t most = 0;
    for (std::size_t first = 0, last = 0; last < seen.size(); ++last) {
      while (seen[last] - seen[first] >= span) ++first;
      most = std::max(most, last - first + 1);
    }
    return most;
  }
  /// How many arrived from `from` on, before `to`.
  std::size_t between(TimePoint from, TimePoint to) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(seen, [&](TimePoint at) { return at >= from && at < to; }));
  }

  double rate = 1e9;
  TimePoint down_until{};
  std::string retry_after;
  std::vector<TimePoint> seen;
  std::set<std::string> served;
  int under_way = 0, under_way_max = 0, limited_answers = 0, good_answers = 0;

 private:
  bool over_rate() const {
    const auto recent = std::ranges::count_if(
        seen, [&](TimePoint at) { return clock_.steady() - at < seconds(1); });
    return static_cast<double>(recent) > rate;
  }
  FakeClock& clock_;
  VirtualTime& time_;
};

class Storm : public testing::Test {
 protected:
  Storm() {
    auto vendor = std::make_unique<FakeVendor>(clock_, time_);
    vendor_ = vendor.get();
    contract::Host host;
    host.name = "api";
    host.url = "https://api.example.com";
    hosts_.push_back(host);
    options_.requests_per_second = 20;
    options_.concurrency = 4;
    client_.emplace(std::move(vendor), ClientOptions{}, clock_, entropy_, time_);
  }

  /// One connection: sends its pages one after the other, and waits as a schedule does where the
  /// vendor's answer was still a 429.
  Task<> connection(int number, int pages) {
    SendContext context{hosts_, auth_, config_, allowance_, credentials_, *budget_, stats_};
    context.priority = number % 10 == 0 ? Priority::change : Priority::snapshot;
    for (int page = 0; page < pages;) {
      contract::Request request;
      request.target = fmt::format("/c/{}/{}", number, page);
      request.idempotent = true;
      auto response = co_await client_->send(std::move(request), context);
      EXPECT_TRUE(response);
      if (response && response->status == 200) {
        ++page;
        continue;
      }
      ++failures_;
      const auto asked = response ? retry_after(response->headers, clock_.now()) : std::nullopt;
      co_await time_.wait(asked.value_or(seconds(2 + static_cast<int>(entropy_.below(30)))));
    }
    ++finished_;
  }

  void run(int pages) {
    budget_.emplace(options_, clock_, time_);
    for (int i = 0; i < kClients; ++i) asio::co_spawn(loop_, connection(i, pages), asio::detached);
    EXPECT_TRUE(time_.run(loop_, [&] { return finished_ == kClients; }));
    EXPECT_EQ(vendor_->served.size(), static_cast<std::size_t>(kClients * pages));
    EXPECT_EQ(stats_.attempts, vendor_->seen.size());
    EXPECT_EQ(client_->totals().attempts, stats_.attempts);
  }
  TimePoint start() const { return TimePoint(std::chrono::hours(1)); }

  asio::io_context loop_;
  FakeClock clock_;
  VirtualTime time_{clock_};
  SeededEntropy entropy_{20261123};
  FakeVendor* vendor_ = nullptr;
  BudgetOptions options_;
  std::vector<contract::Host> hosts_;
  std::vector<contract::AuthSlot> auth_;
  nlohmann::json config_ = nlohmann::json::object();
  EgressAllowance allowance_;
  fetch_test::TableCredentials credentials_;
  FetchStats stats_;
  std::optional<Budget> budget_;
  std::optional<Client> client_;
  int finished_ = 0, failures_ = 0;
};

TEST_F(Storm, With350ConnectionsTheVendorSeesTheBudgetedRateOnly) {
  run(4);
  EXPECT_LE(vendor_->most_within(seconds(1)), 20u);
  EXPECT_LE(vendor_->most_within(milliseconds(49)), 1u) << "evenly, not in bursts";
  EXPECT_LE(vendor_->under_way_max, 4);
  EXPECT_EQ(vendor_->limited_answers, 0);
  EXPECT_EQ(vendor_->seen.size(), 1400u) << "no request is wasted";
  // 1400 requests at 20 a second.
  EXPECT_LT(clock_.steady() - start(), seconds(72)) << "and the budget is used up";
}

TEST_F(Storm, AVendorThatSays429ToEveryoneForAMinuteSeesNoMoreThanTheBudget) {
  vendor_->down_until = start() + seconds(60);
  run(4);
  EXPECT_LE(vendor_->most_within(seconds(1)), 20u);
  EXPECT_LE(vendor_->under_way_max, 4);
  // Without a time in its answers the rate is halved again and again while it lasts.
  EXPECT_LT(vendor_->between(start() + seconds(10), start() + seconds(60)), 150u);
  EXPECT_GT(stats_.rate_limited, 0u);
  EXPECT_EQ(stats_.rate_limited, static_cast<std::uint64_t>(vendor_->limited_answers));
  EXPECT_EQ(stats_.by_status_class[2], 1400u);
  EXPECT_EQ(stats_.by_status_class[4], stats_.rate_limited);
}

TEST_F(Storm, A429WithATimeIsAskedOnceAndThenLeftAlone) {
  vendor_->down_until = start() + seconds(30);
  vendor_->retry_after = "30";
  run(2);
  // Those four that were under way when the first 429 came.
  EXPECT_LE(vendor_->between(start() + milliseconds(1), start() + seconds(30)), 4u);
  EXPECT_LE(vendor_->limited_answers, 5);
  EXPECT_LE(vendor_->most_within(seconds(1)), 20u) << "nor all at once when the time has come";
  EXPECT_EQ(failures_, 0) << "half a minute is waited out in place";
}

TEST_F(Storm, ALongRetryAfterIsPassedOnAndNobodyAsksMeanwhile) {
  vendor_->down_until = start() + seconds(600);
  vendor_->retry_after = "600";
  run(1);
  EXPECT_LE(vendor_->between(start() + milliseconds(500), start() + seconds(600)), 0u);
  EXPECT_GE(failures_, kClients) << "each run is told, instead of sitting in memory";
  EXPECT_GE(stats_.held_back, static_cast<std::uint64_t>(kClients - 5));
  EXPECT_LE(vendor_->limited_answers, 5);
  EXPECT_LE(vendor_->most_within(seconds(1)), 20u);
}

TEST_F(Storm, AVendorThatBearsLessThanDeclaredIsMetHalfway) {
  vendor_->rate = 5;
  run(4);
  EXPECT_LE(vendor_->most_within(seconds(1)), 20u);
  // What a client without a budget would get: 350 answers of 429 at once, and again at each retry.
  EXPECT_LT(vendor_->limited_answers, vendor_->good_answers / 5);
  const auto took = clock_.steady() - start();
  EXPECT_LT(took, seconds(700)) << "1400 requests at 5 a second are 280 s; AIMD gets half of it";
}

}  // namespace
}  // namespace sluice::fetch
