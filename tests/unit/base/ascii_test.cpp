#include "base/ascii.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Ascii, lower_case_is_of_the_26_letters_and_of_nothing_else) {
  EXPECT_EQ(in_lower_case("AZaz@[`{09-_"), "azaz@[`{09-_");
  EXPECT_EQ(in_lower_case("\xC3\x84"), "\xC3\x84");
  EXPECT_EQ(in_lower_case(std::string_view("A\0B", 3)), std::string_view("a\0b", 3));
  EXPECT_EQ(in_lower_case(""), "");
}

TEST(Ascii, texts_are_equal_whatever_the_case_of_their_letters) {
  EXPECT_TRUE(equal_without_case("Content-Type", "content-TYPE"));
  EXPECT_FALSE(equal_without_case("Content", "content-type"));
  EXPECT_FALSE(equal_without_case("content-type", "content"));
  EXPECT_FALSE(equal_without_case("@", "`"));
  EXPECT_TRUE(equal_without_case("", ""));
}

TEST(Ascii, what_is_blank_goes_at_both_ends_only) {
  EXPECT_EQ(trimmed(" \t\r\na b\tc\r\n \t"), "a b\tc");
  EXPECT_EQ(trimmed("a"), "a");
  EXPECT_EQ(trimmed(" \r\n"), "");
  EXPECT_EQ(trimmed(""), "");
  EXPECT_EQ(trimmed("\xC2\xA0"), "\xC2\xA0");
}

}  // namespace
}  // namespace sluice
