#include "base/outage.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using namespace std::chrono_literals;

TEST(OutageTest, speaks_as_it_begins_then_after_growing_pauses_and_once_when_it_is_over) {
  Outage outage;
  const Outage::Time begin{1h};
  EXPECT_FALSE(outage.succeeded(begin));
  std::vector<std::int64_t> spoke_at;
  for (auto at = 0ms; at <= 5min; at += 50ms) {
    if (outage.failed(begin + at)) spoke_at.push_back(at.count());
  }
  EXPECT_EQ(spoke_at, (std::vector<std::int64_t>{0, 1000, 3000, 7000, 15'000, 31'000, 63'000,
                                                 123'000, 183'000, 243'000}));
  const auto over = outage.succeeded(begin + 5min);
  ASSERT_TRUE(over);
  EXPECT_EQ(over->failures, 6001);
  EXPECT_EQ(over->lasted, 5min);
  EXPECT_FALSE(outage.succeeded(begin + 6min));
}

TEST(OutageTest, speaks_at_once_of_the_next_one) {
  Outage outage;
  const Outage::Time begin{1h};
  EXPECT_TRUE(outage.failed(begin));
  EXPECT_TRUE(outage.succeeded(begin + 10ms));
  EXPECT_TRUE(outage.failed(begin + 20ms));
  EXPECT_FALSE(outage.failed(begin + 30ms));
  EXPECT_EQ(outage.failures(), 2);
}

}  // namespace
}  // namespace sluice
