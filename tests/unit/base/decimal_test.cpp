#include "base/decimal.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Decimal, has_one_form) {
  struct Row {
    std::string_view given, form;
  };
  const Row rows[] = {
      {"1.5", "1.5"},
      {"1.50", "1.5"},
      {"1.500", "1.5"},
      {"01.5", "1.5"},
      {"+1.5", "1.5"},
      {"-1.50", "-1.5"},
      {"12", "12"},
      {"120", "120"},
      {"120.00", "120"},
      {"0", "0"},
      {"-0", "0"},
      {"-0.00", "0"},
      {"000", "0"},
      {"0.050", "0.05"},
      {"1e3", "1000"},
      {"1.5E+2", "150"},
      {"15e-1", "1.5"},
      {"1e-3", "0.001"},
      {"-12.5e1", "-125"},
      {"0e400", "0"},
      {"NaN", "NaN"},
      {"Infinity", "Infinity"},
      {"", ""},
      {"true", "true"},
      {"12345678901234567890123.00000000000000000001",
       "12345678901234567890123.00000000000000000001"},
  };
  for (const Row& row : rows) EXPECT_EQ(plain_decimal(row.given), row.form) << row.given;
  EXPECT_EQ(plain_decimal("1e400"), "1" + std::string(400, '0'));
  EXPECT_EQ(plain_decimal("25e-402"), "0." + std::string(400, '0') + "25");
}

TEST(Decimal, is_compared_as_numeric_compares) {
  EXPECT_TRUE(same_number("1", "1.0"));
  EXPECT_TRUE(same_number("1", "10e-1"));
  EXPECT_TRUE(same_number("-0.0", "0"));
  EXPECT_TRUE(same_number("1e400", "10e399"));
  EXPECT_TRUE(same_number("1e9999999", "10e9999998"));
  EXPECT_FALSE(same_number("1", "-1"));
  EXPECT_FALSE(same_number("9007199254740993", "9007199254740992"));
  EXPECT_FALSE(same_number("0.1", "0.10000000000000000000000000001"));
  EXPECT_FALSE(same_number("1e400", "1e401"));
}

}  // namespace
}  // namespace sluice
