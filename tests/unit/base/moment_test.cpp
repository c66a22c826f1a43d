#include "base/moment.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace sluice {
namespace {

TEST(Moment, a_span_is_a_count_and_a_unit) {
  using std::chrono::seconds;
  const std::pair<const char*, int> all[] = {{"45s", 45},     {"90m", 5'400}, {"2h", 7'200},
                                             {"0d", 0},       {"1d", 86'400}, {"1w", 604'800},
                                             {"007m", 7 * 60}};
  for (const auto& [text, count] : all) EXPECT_EQ(span_of(text), seconds(count)) << text;
  for (const char* text : {"", "d", "1", "-1d", "1.5h", "1 h", "1y", "1D", "365001d", "h1",
                           "9223372036854775807w", "99999999999999999999s"})
    EXPECT_EQ(span_of(text), std::nullopt) << text;
}

TEST(Moment, is_a_time_a_day_or_a_span_before_now) {
  const Micros now = from_rfc3339("2026-11-28T15:30:00Z").value();
  const std::pair<const char*, const char*> all[] = {
      {"2h", "2026-11-28T13:30:00.000000Z"},
      {"1w", "2026-11-21T15:30:00.000000Z"},
      {"today", "2026-11-28T00:00:00.000000Z"},
      {"yesterday", "2026-11-27T00:00:00.000000Z"},
      {"2026-11-20", "2026-11-20T00:00:00.000000Z"},
      {"2026-11-20T01:02:03+01:00", "2026-11-20T00:02:03.000000Z"}};
  for (const auto& [text, time] : all) {
    const auto moment = moment_of(text, now);
    ASSERT_TRUE(moment.has_value()) << text;
    EXPECT_EQ(*moment, from_rfc3339(time)) << text;
  }
  for (const char* text :
       {"", "tomorrow", "Today", "2026-13-01", "2026-11-2", "20261120", "-2h", "0d"})
    EXPECT_EQ(moment_of(text, now), std::nullopt) << text;
}

}  // namespace
}  // namespace sluice
