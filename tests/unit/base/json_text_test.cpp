#include "base/json_text.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice {
namespace {

struct Case {
  std::string_view text;
  bool ok;
};

const Case kCases[] = {
    {"{}", true},
    {"[]", true},
    {" { \"a\" : [ 1 , 2.5e3 , -0 , true , false , null , \"x\" ] } ", true},
    {"\"\"", true},
    {"123456789012345678901234567890", true},
    {"1e10000", true},
    {"[[[]]]", true},
    {"{\"a\":{},\"b\":[]}", true},
    {"\"\\u00e9\\n\\\\\"", true},
    {"\"\\ud83d\\ude00\"", true},
    {"", false},
    {" ", false},
    {"{", false},
    {"}", false},
    {"[1,]", false},
    {"{\"a\":1,}", false},
    {"[,1]", false},
    {"{a:1}", false},
    {"{\"a\"}", false},
    {"{\"a\":}", false},
    {"[1 2]", false},
    {"01", false},
    {"1.", false},
    {".5", false},
    {"1e", false},
    {"+1", false},
    {"-", false},
    {"nul", false},
    {"NaN", false},
    {"\"a", false},
    {"\"\\x\"", false},
    {"\"\\u12\"", false},
    {"\"\n\"", false},
    {"{} {}", false},
    {"[1]]", false},
    {"1e10001", false},
    {"[}", false},
    {"{\"a\":1]", false},
    {"\"\\", false},
};

TEST(JsonCheck, takes_json_and_nothing_else) {
  for (const Case& row : kCases) {
    SCOPED_TRACE(row.text);
    const JsonCheck check = check_json(row.text);
    EXPECT_EQ(check.ok(), row.ok) << check.problem;
    // The exponents differ on purpose: jsonb holds what a double does not.
    if (row.text.find("1e1000") == std::string_view::npos) {
      EXPECT_EQ(nlohmann::json::accept(row.text), row.ok);
    }
  }
}

TEST(JsonCheck, stops_where_nesting_is_too_deep) {
  EXPECT_TRUE(
      check_json(std::string(kJsonTextDepthMax, '[') + std::string(kJsonTextDepthMax, ']')).ok());
  EXPECT_FALSE(
      check_json(std::string(kJsonTextDepthMax + 1, '[') + std::string(kJsonTextDepthMax + 1, ']'))
          .ok());
}

TEST(JsonCheck, sees_what_postgresql_cannot_store_and_replaces_only_that) {
  const std::string text = R"({"a\u0000":"\\u0000 \ud83d\ude00 \ud800 \udc00x \u0041"})";
  const JsonCheck check = check_json(text);
  EXPECT_TRUE(check.ok());
  EXPECT_TRUE(check.has_nul);
  EXPECT_TRUE(check.has_lone_surrogate);
  const std::string replaced = replace_unstorable(text);
  EXPECT_EQ(replaced, R"({"a\ufffd":"\\u0000 \ud83d\ude00 \ufffd \ufffdx \u0041"})");
  EXPECT_FALSE(check_json(replaced).has_nul);
  EXPECT_FALSE(check_json(R"("\\u0000")").has_nul);
}

TEST(JsonMembers, splits_what_jsonb_prints) {
  const auto all =
      members(R"({"a": 1, "bb": "x, \"y\"}", "cc": {"d": [1, "]"], "e": {}}, "dd": null})");
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].second, "1");
  EXPECT_EQ(all[1].second, R"("x, \"y\"}")");
  EXPECT_EQ(all[2].second, R"({"d": [1, "]"], "e": {}})");
  EXPECT_EQ(all[3].first, "dd");
  EXPECT_EQ(all[3].second, "null");
  EXPECT_TRUE(members("{}").empty());
}

TEST(JsonMembers, of_what_is_no_object_there_are_none) {
  EXPECT_TRUE(members("[1, 2]").empty());
  EXPECT_TRUE(members("\"a\"").empty());
  EXPECT_TRUE(members("").empty());
}

TEST(JsonCheck, says_how_long_a_text_may_be_when_it_is_printed) {
  EXPECT_EQ(check_json("{}").printed_bytes, 2U);
  EXPECT_GE(check_json("1e9999").printed_bytes, 10'000U);
  EXPECT_GE(check_json("1e-9999").printed_bytes, 10'001U);
  EXPECT_GE(check_json("[1,{\"a\":2}]").printed_bytes, std::string_view("[1, {\"a\": 2}]").size());
}

TEST(Jsonb, is_equal_by_its_numbers_and_not_by_their_zeros) {
  EXPECT_TRUE(same_jsonb("1", "1.0"));
  EXPECT_TRUE(same_jsonb(R"({"a": [1.50, -0.0], "b": "1"})", R"({"a": [1.5, 0], "b": "1"})"));
  EXPECT_FALSE(same_jsonb(R"({"b": "1"})", R"({"b": "1.0"})"));
  EXPECT_FALSE(same_jsonb(R"({"b": "a\"1"})", R"({"b": "a\"1.0"})"));
  EXPECT_FALSE(same_jsonb("[1, 2]", "[1, 2, 3]"));
  EXPECT_FALSE(same_jsonb("[1]", "1"));
  EXPECT_FALSE(same_jsonb("12345678901234567890123", "12345678901234567890124"));
  EXPECT_FALSE(same_jsonb("null", "0"));
}

TEST(JsonString, is_read_back_as_it_was) {
  std::string out;
  const std::string text = "a\"b\\c\n\x01\xC3\xA9";
  append_json_string(out, text);
  EXPECT_EQ(nlohmann::json::parse(out).get<std::string>(), text);
  EXPECT_EQ(text_of_json_string(out), text);
  EXPECT_EQ(text_of_json_string(R"("\ud83d\ude00\u00e9\b\f\n\r\t\/\u0000x")"),
            std::string("\xF0\x9F\x98\x80\xC3\xA9\b\f\n\r\t/\0x", 14));
}

}  // namespace
}  // namespace sluice
