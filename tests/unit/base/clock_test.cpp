#include "base/clock.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// What is taken is written in the same form again, and PostgreSQL, which has no year 0, reads it.
TEST(Rfc3339, what_is_read_is_within_the_years_that_can_be_written) {
  for (const char* good : {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
                           "0001-01-01T01:00:00+01:00", "9999-12-31T22:59:59-01:00"}) {
    const auto time = from_rfc3339(good);
    ASSERT_TRUE(time) << good;
    EXPECT_EQ(from_rfc3339(to_rfc3339(*time)), time) << good;
    EXPECT_EQ(to_rfc3339(*time).find('-'), 4U) << good;
  }
  for (const char* bad : {"0000-01-01T00:00:00Z", "0000-12-31T23:59:59Z",
                          "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01"})
    EXPECT_FALSE(from_rfc3339(bad)) << bad;
}

}  // namespace
}  // namespace sluice
