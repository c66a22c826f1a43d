#include "fetch/rate.hpp"

#include <gtest/gtest.h>

namespace sluice::fetch {
namespace {

using contract::Headers;
using contract::ResetUnit;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Micros kNow = seconds(1'790'000'000);  // Mon, 21 Sep 2026 14:13:20 GMT

std::optional<milliseconds> resets_in(ResetUnit unit, const std::string& text, Headers more = {}) {
  contract::RateHeaders names;
  names.remaining = "RateLimit-Remaining";
  names.reset = "RateLimit-Reset";
  names.unit = unit;
  more.emplace_back("ratelimit-remaining", "7");
  more.emplace_back("ratelimit-reset", text);
  const auto window = rate_window(names, more, kNow);
  if (!window) return std::nullopt;
  EXPECT_EQ(window->remaining, 7);
  return window->resets_in;
}

TEST(Rate, ReadsResetsInEveryUnit) {
  EXPECT_EQ(resets_in(ResetUnit::seconds, "12"), milliseconds(12'000));
  EXPECT_EQ(resets_in(ResetUnit::seconds, "0.25"), milliseconds(250));
  EXPECT_EQ(resets_in(ResetUnit::ms, "1500"), milliseconds(1'500));
  EXPECT_EQ(resets_in(ResetUnit::epoch_s, "1790000030"), milliseconds(30'000));
  EXPECT_EQ(resets_in(ResetUnit::epoch_ms, "1790000000400"), milliseconds(400));
  EXPECT_EQ(resets_in(ResetUnit::delta, "1m30s"), milliseconds(90'000));
  EXPECT_EQ(resets_in(ResetUnit::delta, "250ms"), milliseconds(250));
  EXPECT_EQ(resets_in(ResetUnit::delta, "1h0.5s"), milliseconds(3'600'500));
}

TEST(Rate, TakesTimesByTheVendorsOwnClock) {
  // The vendor's clock is 100 s ahead of ours.
  EXPECT_EQ(
      resets_in(ResetUnit::epoch_s, "1790000130", {{"Date", "Mon, 21 Sep 2026 14:15:00 GMT"}}),
      milliseconds(30'000));
  EXPECT_EQ(retry_after({{"Retry-After", "Mon, 21 Sep 2026 14:15:05 GMT"},
                         {"Date", "Mon, 21 Sep 2026 14:15:00 GMT"}},
                        kNow),
            milliseconds(5'000));
  EXPECT_EQ(retry_after({{"Retry-After", "Mon, 21 Sep 2026 14:13:19 GMT"}}, kNow), milliseconds(0))
      << "in the past";
}

TEST(Rate, ReadsDatesInTheThreeFormsOfHttp) {
  const auto at = [](const char* text) { return from_http_date(text, kNow); };
  const Micros expected = kNow + seconds(5);
  EXPECT_EQ(at("Mon, 21 Sep 2026 14:13:25 GMT"), expected);
  EXPECT_EQ(at("Monday, 21-Sep-26 14:13:25 GMT"), expected);
  EXPECT_EQ(at("Mon Sep 21 14:13:25 2026"), expected);
  EXPECT_EQ(at("Sun Nov  6 08:49:37 1994"), Micros(seconds(784'111'777)));
  EXPECT_EQ(at("Sunday, 06-Nov-94 08:49:37 GMT"), Micros(seconds(784'111'777)))
      << "2094 would be more than 50 years away";
  EXPECT_EQ(at("Sunday, 06-Nov-76 08:49:37 GMT"), at("Sun, 06 Nov 2076 08:49:37 GMT"));
  EXPECT_EQ(at("Sunday, 06-Nov-77 08:49:37 GMT"), at("Sun, 06 Nov 1977 08:49:37 GMT"));
  for (const char* text :
       {"", "soon", "Mon, 21 Sep 2026 25:13:25 GMT", "Mon, 21 Sep 2026 14-13-25 GMT",
        "Mon, 31 Sep 2026 14:13:25 GMT", "Mon, 21 Sip 2026 14:13:25 GMT",
        "Mon, 21 Sep 2026 14:13:25 CET", "Monday, 21 Sep 26 14:13:25 GMT", "Mon Sep 21 14:13:25 26",
        "Mon Sep 21 14:13:25 2026 GMT"})
    EXPECT_FALSE(at(text)) << text;
}

TEST(Rate, ReadsAResetThatIsATimeAndARemainderBelowZero) {
  EXPECT_EQ(resets_in(ResetUnit::epoch_s, "2026-09-21T14:13:50Z"), milliseconds(30'000));
  EXPECT_EQ(resets_in(ResetUnit::seconds, "2026-09-21T16:13:21+02:00"), milliseconds(1'000));
  contract::RateHeaders names;
  names.remaining = "left";
  names.reset = "reset";
  const auto window = rate_window(names, {{"left", "-1"}, {"reset", "60"}}, kNow);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->remaining, 0);
  EXPECT_FALSE(rate_window(names, {{"left", "-x"}, {"reset", "60"}}, kNow));
}

TEST(Rate, WhatIsNoNumberIsNoWindow) {
  for (const char* text :
       {"", "soon", "-5", "1e9", "0x10", "12s", "1.2.3", "99999999999999999999999"})
    EXPECT_FALSE(resets_in(ResetUnit::seconds, text)) << text;
  for (const char* text : {"", "12", "1m30", "s", "5y", "1m-3s"})
    EXPECT_FALSE(resets_in(ResetUnit::delta, text)) << text;
  EXPECT_EQ(resets_in(ResetUnit::epoch_s, "1"), milliseconds(0)) << "long ago";
  EXPECT_LE(*resets_in(ResetUnit::seconds, "99999999999999999999"), std::chrono::hours(24 * 366));
  EXPECT_FALSE(rate_window(contract::RateHeaders(), {{"", "3"}}, kNow)) << "nothing is declared";
}

TEST(Rate, ReadsRetryAfter) {
  EXPECT_EQ(retry_after({{"retry-after", "7"}}, kNow), milliseconds(7'000));
  EXPECT_EQ(retry_after({{"Retry-After", "0.5"}}, kNow), milliseconds(500));
  EXPECT_FALSE(retry_after({{"Retry-After", "soon"}}, kNow));
  EXPECT_FALSE(retry_after({{"Retry-After", "-1"}}, kNow));
  EXPECT_FALSE(retry_after({}, kNow));
}

TEST(Rate, HearsAnyVendorsWordOnRepeating) {
  EXPECT_EQ(should_retry({{"stripe-should-retry", "false"}}), false);
  EXPECT_EQ(should_retry({{"X-Acme-Should-Retry", "true"}}), true);
  EXPECT_FALSE(should_retry({{"Stripe-Should-Retry", "maybe"}}));
  EXPECT_FALSE(should_retry({{"Should-Retry-After", "true"}}));
}

}  // namespace
}  // namespace sluice::fetch
