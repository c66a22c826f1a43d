// A text from a command line as a schema's type.
#include "cli/typed_value.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/exact_json.hpp"

namespace sluice::cli {
namespace {

std::string typed(const std::string& text, const char* schema) {
  try {
    return write_json(typed_value("lag", text, *read_ordered_json(schema)));
  } catch (const Failure& failure) {
    return failure.error().message;
  }
}

TEST(TypedValue, is_what_the_schema_says) {
  EXPECT_EQ(typed("30", R"({"type":"integer"})"), "30");
  EXPECT_EQ(typed("30", R"({"type":"string"})"), R"("30")");
  EXPECT_EQ(typed("true", R"({"type":"string"})"), R"("true")");
  EXPECT_EQ(typed("\"30\"", R"({"type":"string"})"), R"("30")");
  EXPECT_EQ(typed("true", R"({"type":"boolean"})"), "true");
  EXPECT_EQ(typed("12345678901234567890.50", R"({"type":"number"})"), "12345678901234567890.50");
  EXPECT_EQ(typed("[1,2]", R"({"type":"array"})"), "[1,2]");
  EXPECT_EQ(typed("null", R"({"type":["string","null"]})"), "null");
  EXPECT_EQ(typed("acct_1", R"({"type":["string","null"]})"), R"("acct_1")");
  EXPECT_EQ(typed("5", R"({"type":["string","integer"]})"), "5");
  EXPECT_EQ(typed("", R"({"type":"string"})"), R"("")");
}

TEST(TypedValue, without_a_type_it_is_json_where_it_is_json) {
  EXPECT_EQ(typed("30", "{}"), "30");
  EXPECT_EQ(typed("acct_1", "{}"), R"("acct_1")");
  EXPECT_EQ(typed("30", "null"), "30");
  EXPECT_EQ(typed("x", R"({"type":"of another time"})"), R"("x")");
}

TEST(TypedValue, that_is_none_of_it_is_refused_with_what_would_be) {
  EXPECT_EQ(typed("soon", R"({"type":"integer"})"),
            "lag must be a whole number, and 'soon' is not");
  EXPECT_EQ(typed("3.5", R"({"type":"integer"})"), "lag must be a whole number, and '3.5' is not");
  EXPECT_EQ(typed("\"30\"", R"({"type":"integer"})"),
            "lag must be a whole number, and '\"30\"' is not");
  EXPECT_EQ(typed("yes", R"({"type":["boolean","null"]})"),
            "lag must be true or false or null, and 'yes' is not");
}

}  // namespace
}  // namespace sluice::cli
