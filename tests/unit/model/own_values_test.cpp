#include "model/own_values.hpp"

#include <gtest/gtest.h>

namespace sluice::model {
namespace {

using contract::AttributeType;
using nlohmann::json;

StoredAttribute of(AttributeType type) {
  StoredAttribute attribute;
  attribute.name = "x";
  attribute.type = type;
  return attribute;
}

struct Case {
  AttributeType type;
  const char* given;     // JSON
  const char* expected;  // JSON, or "" when it must be refused
};

TEST(OwnValues, JsonIsTakenStrictly) {
  const std::vector<Case> cases = {
      {AttributeType::text, R"("a")", R"("a")"},
      {AttributeType::text, "5", ""},
      {AttributeType::text, R"("a\u0000b")", ""},
      {AttributeType::integer, "5", "5"},
      {AttributeType::integer, "5.0", ""},
      {AttributeType::integer, R"("5")", ""},
      {AttributeType::integer, "9223372036854775807", "9223372036854775807"},
      {AttributeType::integer, "9223372036854775808", ""},
      {AttributeType::decimal, R"("12.50")", R"("12.50")"},
      {AttributeType::decimal, "12", R"("12")"},
      {AttributeType::decimal, "12.5", ""},
      {AttributeType::decimal, R"("1e5")", ""},
      {AttributeType::decimal, R"("NaN")", ""},
      {AttributeType::decimal, R"(".5")", ""},
      {AttributeType::number, "1.5", "1.5"},
      {AttributeType::number, "2", "2.0"},
      {AttributeType::number, R"("2")", ""},
      {AttributeType::boolean, "true", "true"},
      {AttributeType::boolean, "1", ""},
      {AttributeType::timestamp, R"("2026-11-23T06:00:00+01:00")", R"("2026-11-23T05:00:00Z")"},
      {AttributeType::timestamp, R"("2026-11-23")", ""},
      {AttributeType::date, R"("2024-02-29")", R"("2024-02-29")"},
      {AttributeType::date, R"("2026-02-29")", ""},
      {AttributeType::date, R"("0000-01-01")", ""},
      {AttributeType::bytes, R"("00FF")", R"("00ff")"},
      {AttributeType::bytes, R"("0")", ""},
      {AttributeType::json, R"({"a":[1,null]})", R"({"a":[1,null]})"},
      {AttributeType::json, R"({"a":"\u0000"})", ""},
      {AttributeType::integer, "null", "null"},
  };
  for (const Case& c : cases) {
    const auto stored = stored_value(of(c.type), json::parse(c.given));
    const std::string got = stored ? stored->dump() : "";
    EXPECT_EQ(got, c.expected) << contract::to_string(c.type) << " " << c.given;
  }
}

TEST(OwnValues, TextOfAFileIsTakenAsTheAttributesTypeSays) {
  const std::vector<Case> cases = {
      {AttributeType::text, " a ", R"(" a ")"},
      {AttributeType::integer, "-5", "-5"},
      {AttributeType::integer, "5 ", ""},
      {AttributeType::integer, "99999999999999999999", ""},
      {AttributeType::number, "1e3", "1000.0"},
      {AttributeType::number, "nan", ""},
      {AttributeType::number, "1e999", ""},
      {AttributeType::boolean, "TRUE", "true"},
      {AttributeType::boolean, "0", "false"},
      {AttributeType::boolean, "yes", ""},
      {AttributeType::json, "[1,{}]", "[1,{}]"},
      {AttributeType::json, "[1,", ""},
      {AttributeType::decimal, "-0.5", R"("-0.5")"},
  };
  for (const Case& c : cases) {
    const auto stored = stored_value_of_text(of(c.type), c.given);
    const std::string got = stored ? stored->dump() : "";
    EXPECT_EQ(got, c.expected) << contract::to_string(c.type) << " " << c.given;
  }
}

TEST(OwnValues, FaultsAreToldApart) {
  StoredAttribute text = of(AttributeType::text);
  EXPECT_EQ(stored_value_of_text(text, "\xff").error().fault, FieldFault::bad_utf8);
  EXPECT_EQ(stored_value_of_text(text, std::string(kOwnTextBytesMax + 1, 'x')).error().fault,
            FieldFault::too_long);
  text.unique = true;
  EXPECT_EQ(stored_value_of_text(text, std::string(kUniqueBytesMax + 1, 'x')).error().fault,
            FieldFault::too_long);
}

TEST(OwnValues, PersonalValuesAreNotQuoted) {
  StoredAttribute attribute = of(AttributeType::integer);
  EXPECT_NE(stored_value_of_text(attribute, "secret").error().reason.find("secret"),
            std::string::npos);
  attribute.personal = true;
  EXPECT_EQ(stored_value_of_text(attribute, "secret").error().reason.find("secret"),
            std::string::npos);
}

TEST(OwnValues, DeepJsonIsRefusedBeforeItIsParsed) {
  EXPECT_TRUE(parse_json(std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')));
  EXPECT_FALSE(
      parse_json(std::string(kJsonDepthMax + 1, '[') + std::string(kJsonDepthMax + 1, ']')));
  EXPECT_TRUE(parse_json("{\"a\":\"" + std::string(1000, '[') + "\"}"));
}

}  // namespace
}  // namespace sluice::model
