#include "fetch/retry.hpp"

#include <gtest/gtest.h>

#include "fakes.hpp"

namespace sluice::fetch {
namespace {

using fetch_test::HighEntropy;
using std::chrono::milliseconds;

constexpr Micros kNow = std::chrono::seconds(1'790'000'000);

std::optional<milliseconds> wait_for(int status, const contract::Headers& headers = {},
                                     bool idempotent = true, int number = 1) {
  HighEntropy entropy;
  Attempt attempt;
  attempt.number = number;
  attempt.idempotent = idempotent;
  attempt.status = status;
  attempt.headers = &headers;
  return next_wait(RetryOptions{}, attempt, kNow, entropy);
}

TEST(Retry, RepeatsOnlyWhatMayGoBetterNextTime) {
  for (const int status : {408, 409, 425, 429, 500, 502, 503, 504, 520, 529})
    EXPECT_TRUE(wait_for(status)) << status;
  for (const int status : {200, 204, 301, 400, 401, 403, 404, 422, 501, 505})
    EXPECT_FALSE(wait_for(status)) << status;
}

TEST(Retry, OfARequestThatIsNotIdempotentRepeatsOnlyWhatTheVendorDidNotDo) {
  EXPECT_FALSE(wait_for(500, {}, false));
  EXPECT_FALSE(wait_for(409, {}, false));
  EXPECT_TRUE(wait_for(429, {}, false));
  HighEntropy entropy;
  Attempt attempt;
  EXPECT_FALSE(next_wait(RetryOptions{}, attempt, kNow, entropy));
  attempt.sent = false;
  EXPECT_TRUE(next_wait(RetryOptions{}, attempt, kNow, entropy));
  attempt.repeatable = false;
  EXPECT_FALSE(next_wait(RetryOptions{}, attempt, kNow, entropy));
}

TEST(Retry, DoublesItsCeilingUpToTheCapAndEndsWithTheTries) {
  const milliseconds expected[] = {milliseconds(500), milliseconds(1000), milliseconds(2000),
                                   milliseconds(4000)};
  for (int number = 1; number <= 4; ++number)
    EXPECT_EQ(wait_for(503, {}, true, number), expected[number - 1]);
  EXPECT_FALSE(wait_for(503, {}, true, 5));
  HighEntropy entropy;
  Attempt attempt;
  attempt.number = 40;
  attempt.idempotent = true;
  RetryOptions many;
  many.tries_max = 100;
  EXPECT_EQ(next_wait(many, attempt, kNow, entropy), milliseconds(32'000));
}

TEST(Retry, HonoursRetryAfterInSecondsAndAsADate) {
  EXPECT_EQ(wait_for(429, {{"retry-after", "7"}}), milliseconds(7000));
  EXPECT_EQ(wait_for(503, {{"Retry-After", "Mon, 21 Sep 2026 14:13:25 GMT"}}), milliseconds(5000));
  EXPECT_EQ(wait_for(429, {{"Retry-After", "soon"}}), milliseconds(500));
  EXPECT_EQ(wait_for(429, {{"Retry-After", "0"}}), milliseconds(500));
  EXPECT_FALSE(wait_for(429, {{"Retry-After", "3600"}})) << "that long is the schedule's business";
}

TEST(Retry, HonoursRetryAfterInEachFormOfADate) {
  for (const char* date : {"Mon, 21 Sep 2026 14:13:25 GMT", "Monday, 21-Sep-26 14:13:25 GMT",
                           "Mon Sep 21 14:13:25 2026"})
    EXPECT_EQ(wait_for(503, {{"Retry-After", date}}), milliseconds(5000)) << date;
}

TEST(Retry, A403WithARetryAfterWasRefusedForItsHaste) {
  EXPECT_EQ(wait_for(403, {{"Retry-After", "7"}}), milliseconds(7000));
  EXPECT_TRUE(wait_for(403, {{"Retry-After", "7"}}, false)) << "whatever its method";
  EXPECT_FALSE(wait_for(403, {}));
  EXPECT_FALSE(wait_for(403, {{"Retry-After", "soon"}}));
}

TEST(Retry, AStatusThatHttpDoesNotKnowIsNoServerError) {
  EXPECT_TRUE(wait_for(599, {}));
  for (const int status : {600, 999, 501, 505}) EXPECT_FALSE(wait_for(status, {})) << status;
}

TEST(Retry, EndsWhenTheTotalTimeIsUsedUp) {
  HighEntropy entropy;
  const contract::Headers headers;
  Attempt attempt;
  attempt.idempotent = true;
  attempt.status = 503;
  attempt.headers = &headers;
  RetryOptions options;
  options.total_max = milliseconds(10'000);
  attempt.since_first = milliseconds(9'500);
  EXPECT_TRUE(next_wait(options, attempt, kNow, entropy));
  attempt.since_first = milliseconds(9'501);
  EXPECT_FALSE(next_wait(options, attempt, kNow, entropy));
}

TEST(Retry, WaitsAreSpreadOverTheWholeSpan) {
  fetch_test::SeededEntropy entropy(7);
  const contract::Headers headers;
  Attempt attempt;
  attempt.idempotent = true;
  attempt.status = 503;
  attempt.headers = &headers;
  attempt.number = 3;
  int low = 0, high = 0;
  for (int i = 0; i < 1'000; ++i) {
    const auto wait = next_wait(RetryOptions{}, attempt, kNow, entropy);
    ASSERT_TRUE(wait);
    ASSERT_LE(*wait, milliseconds(2'000));
    low += *wait < milliseconds(500) ? 1 : 0;
    high += *wait > milliseconds(1'500) ? 1 : 0;
  }
  EXPECT_GT(low, 150);
  EXPECT_GT(high, 150);
}

TEST(Retry, ObeysTheVendorsOwnWord) {
  EXPECT_FALSE(wait_for(500, {{"Stripe-Should-Retry", "false"}}));
  EXPECT_FALSE(wait_for(429, {{"stripe-should-retry", "false"}}));
  EXPECT_TRUE(wait_for(400, {{"Stripe-Should-Retry", "true"}}));
  EXPECT_FALSE(wait_for(400, {{"Stripe-Should-Retry", "true"}}, false));
  EXPECT_FALSE(wait_for(503, {{"X-Should-Retry", "false"}}));
}

}  // namespace
}  // namespace sluice::fetch
