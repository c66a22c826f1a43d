// Rates of runs, from counts seen at several times.
#include <gtest/gtest.h>

#include "api/progress.hpp"

namespace sluice::api {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class HandClock final : public Clock {
 public:
  [[nodiscard]] Micros now() const override { return Micros(0); }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override { return at; }
  std::chrono::steady_clock::time_point at{seconds(1000)};
};

TEST(Progress, is_over_the_last_ten_seconds) {
  HandClock clock;
  ProgressMeter meter(clock);
  std::int64_t records = 0;
  std::optional<double> rate;
  for (int second = 0; second <= 60; ++second) {
    rate = meter.note(1, records, seconds(second));
    records += second < 30 ? 1000 : 10;  // it slows down
    clock.at += seconds(1);
  }
  ASSERT_TRUE(rate.has_value());
  EXPECT_NEAR(*rate, 10, 0.001);
}

TEST(Progress, is_the_runs_average_when_nobody_looked_before) {
  HandClock clock;
  ProgressMeter meter(clock);
  EXPECT_EQ(meter.note(1, 5'000, seconds(50)), 100.0);
  clock.at += milliseconds(900);  // too little for a rate of its own
  EXPECT_NEAR(*meter.note(1, 5'000, milliseconds(50'900)), 98.2, 0.1);
}

TEST(Progress, says_nothing_of_a_run_that_has_just_begun) {
  HandClock clock;
  ProgressMeter meter(clock);
  EXPECT_EQ(meter.note(1, 100, milliseconds(300)), std::nullopt);
}

TEST(Progress, of_a_run_that_stands_still_is_zero) {
  HandClock clock;
  ProgressMeter meter(clock);
  for (int second = 0; second < 15; ++second) {
    (void)meter.note(1, 100, seconds(100 + second));
    clock.at += seconds(1);
  }
  EXPECT_EQ(meter.note(1, 100, seconds(115)), 0.0);
}

TEST(Progress, runs_are_kept_apart_and_forgotten) {
  HandClock clock;
  ProgressMeter meter(clock);
  EXPECT_EQ(meter.note(1, 100, seconds(10)), 10.0);
  EXPECT_EQ(meter.note(2, 500, seconds(10)), 50.0);
  EXPECT_EQ(meter.size(), 2U);
  clock.at += seconds(120);
  (void)meter.note(3, 1, seconds(10));
  EXPECT_EQ(meter.size(), 1U);
  for (std::int64_t run = 10; run < 5'000; ++run) (void)meter.note(run, 1, seconds(10));
  EXPECT_LE(meter.size(), kProgressRunsMax);
}

}  // namespace
}  // namespace sluice::api
