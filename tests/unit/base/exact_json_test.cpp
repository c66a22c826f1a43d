#include "base/exact_json.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"

namespace sluice {
namespace {

using nlohmann::json;

TEST(ExactJson, is_written_with_the_digits_that_it_was_read_with) {
  const std::string_view rows[] = {
      "0",
      "-1",
      "9223372036854775807",
      "-9223372036854775808",
      "18446744073709551615",
      "18446744073709551616",
      "12345678901234567890123",
      "0.12345678901234567890123",
      "1.0",
      "1.50",
      "1e400",
      "1E+400",
      "-1e-400",
      "1.2345678901234567e22",
      R"("a\"b\\c\n\u0001é😀")",
      R"({"a":[1,2.50,{"b":null,"c":true,"d":false}],"e":{},"f":[],"g":""})",
  };
  for (const std::string_view text : rows) {
    const auto document = read_json(text);
    ASSERT_TRUE(document) << text << ": " << document.error().describe();
    EXPECT_EQ(write_json(*document), text);
    EXPECT_EQ(write_json(*read_ordered_json(text)), text);
  }
}

TEST(ExactJson, keeps_the_order_of_members_for_whoever_only_shows_them) {
  const std::string text = R"({"b":1,"aa":{"z":1.10,"y":2},"a":[{"d":1,"c":2}]})";
  EXPECT_EQ(write_json(*read_ordered_json(text)), text);
  EXPECT_EQ(write_json_lines(*read_ordered_json(R"({"b":1e400,"a":[1,{}],"c":[]})")),
            "{\n  \"b\": 1e400,\n  \"a\": [\n    1,\n    {}\n  ],\n  \"c\": []\n}");
}

TEST(ExactJson, of_a_name_that_comes_twice_the_later_one_prevails) {
  EXPECT_EQ(write_json(*read_json(R"({"a":1,"b":2,"a":1.50})")), R"({"a":1.50,"b":2})");
}

TEST(ExactJson, what_cannot_be_kept_is_refused_by_name) {
  struct Row {
    std::string text;
    std::string_view what;
  };
  const Row rows[] = {
      {R"({"n":1e400000})", "an exponent beyond 10000"},
      {R"({"n":)" + std::string(12'001, '9') + "}",
       "a number of more than 12000 digits when it is written out"},
      {R"({"n":)" + std::string(2'000, '9') + "e10000}",
       "a number of more than 12000 digits when it is written out"},
      {R"("\ud800")", "half of a surrogate pair (\\ud800)"},
      {"\"\xff\"", "text that is not UTF-8"},
      {"[[[]]]", "nested too deep"},
      {"[1,]", "a comma before the end"},
      {"", "no JSON value"},
      {"NaN", "no JSON value"},
  };
  for (const Row& row : rows) {
    const auto document = read_json(row.text, 2);
    ASSERT_FALSE(document) << row.text;
    EXPECT_EQ(document.error().what, row.what) << row.text;
  }
  EXPECT_EQ(read_json(R"({"n":1e400000})").error().describe(),
            "an exponent beyond 10000, at byte 13");
}

TEST(ExactJson, is_compared_as_jsonb_compares) {
  const auto same = [](std::string_view a, std::string_view b) {
    return same_json(*read_json(a), *read_json(b));
  };
  EXPECT_TRUE(same("1", "1.0"));
  EXPECT_TRUE(same("1.50", "1.5"));
  EXPECT_TRUE(same("100", "1e2"));
  EXPECT_TRUE(same(R"({"a":1,"b":[1.0]})", R"({"b":[1],"a":1.00})"));
  EXPECT_FALSE(same("9007199254740993", "9007199254740992.0"));
  EXPECT_FALSE(same("1", R"("1")"));
  EXPECT_FALSE(same("[1,2]", "[1]"));
  EXPECT_FALSE(same(R"({"a":1})", R"({"b":1})"));
  EXPECT_FALSE(same("0", "false"));
  EXPECT_TRUE(same_json(json(0.5), *read_json("0.50")));
  EXPECT_FALSE(same_json(json(1e22), *read_json("10000000000000000000001")));
}

TEST(ExactJson, ready_text_goes_out_as_it_is) {
  json document = json::object();
  document["changed"] = ready_json(R"({"b": [1.0, 1e400], "aa": null})");
  document["bad"] = "a\xff";
  EXPECT_EQ(write_json(document), R"({"bad":"a)"
                                  "\xEF\xBF\xBD"
                                  R"(","changed":{"b": [1.0, 1e400], "aa": null}})");
  EXPECT_FALSE(write_utf8_json(document));
  EXPECT_THROW((void)stored_json("{"), Failure);
}

TEST(ExactJson, digits_are_there_for_numbers_only_and_doubles_for_who_judges) {
  EXPECT_EQ(digits_of(*read_json("1.50")), "1.50");
  EXPECT_EQ(digits_of(json(7)), "7");
  EXPECT_EQ(digits_of(json("7")), std::nullopt);
  EXPECT_EQ(digits_of(ready_json("7")), std::nullopt);
  const json judged = with_doubles(*read_json(R"({"a":[0.50,1e400,3],"b":"x"})"));
  EXPECT_EQ(judged["a"][0], 0.5);
  EXPECT_TRUE(std::isinf(judged["a"][1].get<double>()));
  EXPECT_EQ(judged["a"][2], 3);
}

}  // namespace
}  // namespace sluice
