#include "base/numbers.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace sluice {
namespace {

TEST(Numbers, a_whole_number_is_one_from_its_beginning_to_its_end) {
  EXPECT_EQ(whole_number("0"), 0);
  EXPECT_EQ(whole_number("-17"), -17);
  EXPECT_EQ(whole_number("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(whole_number("007"), 7);
  for (const char* text : {"", "-", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808"})
    EXPECT_EQ(whole_number(text), std::nullopt) << text;
}

TEST(Numbers, a_comma_stands_at_each_thousand) {
  const std::pair<std::int64_t, const char*> all[] = {
      {0, "0"}, {999, "999"}, {1000, "1,000"}, {1'234'567, "1,234,567"}, {-123'456, "-123,456"}};
  for (const auto& [number, words] : all) EXPECT_EQ(with_commas(number), words);
}

}  // namespace
}  // namespace sluice
