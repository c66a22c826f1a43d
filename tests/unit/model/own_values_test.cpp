#include "model/own_values.hpp"

#include <gtest/gtest.h>

#include "base/exact_json.hpp"
#include "model/indexed_text.hpp"

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

TEST(OwnValues, AValueIsShownInItsOwnLettersOnOneLineAndCutBetweenThem) {
  const StoredAttribute attribute = of(AttributeType::decimal);
  EXPECT_EQ(shown_value(attribute, "12,50 \u20ac"), "'12,50 \u20ac'");
  EXPECT_EQ(shown_value(attribute, "a\nb\x1b\xff"), "'a\\x0ab\\x1b\\xff'");
  const std::string longest = std::string(39, 'x') + "\u00e9";
  EXPECT_EQ(shown_value(attribute, longest), "'" + std::string(39, 'x') + "\u2026'");
  StoredAttribute personal = attribute;
  personal.personal = true;
  EXPECT_EQ(shown_value(personal, "12"), "a value (not shown: personal data)");
}

TEST(OwnValues, JsonIsTakenStrictly) {
  const std::vector<Case> cases = {
      {AttributeType::text, R"("a")", R"("a")"},
      {AttributeType::text, "5", ""},
      {AttributeType::text, R"("a\u0000b")", ""},
      {AttributeType::integer, "5", "5"},
      {AttributeType::integer, "5.0", "5"},
      {AttributeType::integer, "-1e3", "-1000"},
      {AttributeType::integer, "9007199254740993.00", "9007199254740993"},
      {AttributeType::integer, "5.5", ""},
      {AttributeType::integer, "1e19", ""},
      {AttributeType::integer, R"("5")", ""},
      {AttributeType::integer, "9223372036854775807", "9223372036854775807"},
      {AttributeType::integer, "9223372036854775808", ""},
      {AttributeType::decimal, R"("12.50")", R"("12.5")"},
      {AttributeType::decimal, R"("-00.0")", R"("0")"},
      {AttributeType::decimal, "12345678901234567890.10", R"("12345678901234567890.1")"},
      {AttributeType::decimal, "1e3", R"("1000")"},
      {AttributeType::decimal, "1e1000", ""},
      {AttributeType::decimal, "12", R"("12")"},
      {AttributeType::decimal, "12.5", R"("12.5")"},
      {AttributeType::decimal, R"("1e5")", ""},
      {AttributeType::decimal, R"("NaN")", ""},
      {AttributeType::decimal, R"(".5")", ""},
      {AttributeType::number, "1.5", "1.5"},
      {AttributeType::number, "2", "2.0"},
      {AttributeType::number, "2.50", "2.5"},
      {AttributeType::number, "1e400", ""},
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
      {AttributeType::json, R"({"n":12345678901234567890123,"d":1.50,"e":1e400})",
       R"({"d":1.50,"e":1e400,"n":12345678901234567890123})"},
      {AttributeType::integer, "null", "null"},
  };
  for (const Case& c : cases) {
    const auto stored = stored_value(of(c.type), *read_json(c.given));
    const std::string got = stored ? write_json(*stored) : "";
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
    const std::string got = stored ? write_json(*stored) : "";
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
  text.unique = false;
  EXPECT_TRUE(stored_value_of_text(text, std::string(kEmailBytesMax + 1, 'x')));
  text.format = "email";
  EXPECT_TRUE(stored_value_of_text(text, std::string(kEmailBytesMax, 'x')));
  EXPECT_EQ(stored_value_of_text(text, std::string(kEmailBytesMax + 1, 'x')).error().fault,
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

TEST(OwnValues, JsonThatCannotBeKeptIsRefusedByName) {
  const StoredAttribute attribute = of(AttributeType::json);
  const auto reason = [&](const std::string& text) {
    return stored_value_of_text(attribute, text).error().reason;
  };
  EXPECT_EQ(
      reason(R"({"n":1e400000})"),
      R"('{"n":1e400000}' is not JSON that can be stored: an exponent beyond 10000, at byte 13)");
  EXPECT_EQ(reason(R"({"a":"\u0000"})"), "the JSON contains a NUL character");
  EXPECT_TRUE(stored_value_of_text(
      attribute, std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')));
  EXPECT_NE(reason(std::string(kJsonDepthMax + 1, '[') + std::string(kJsonDepthMax + 1, ']'))
                .find("nested too deep"),
            std::string::npos);
}

// Six characters of JSON are 10,000 when they are read again.
TEST(OwnValues, JsonIsAsLongAsItIsPrinted) {
  const StoredAttribute attribute = of(AttributeType::json);
  std::string many = "[1e9999";
  for (int i = 0; i < 30; ++i) many += ",1e9999";
  const auto stored = stored_value_of_text(attribute, many + "]");
  ASSERT_FALSE(stored);
  EXPECT_EQ(stored.error().fault, FieldFault::too_long);
  EXPECT_TRUE(stored_value_of_text(attribute, "[1e9999]"));
}

TEST(OwnValues, WhatIsStoredIsReadInTheFormOfToday) {
  StoredType type;
  type.name = "x";
  type.attributes = {of(AttributeType::decimal), of(AttributeType::number),
                     of(AttributeType::json)};
  type.attributes[1].name = "number";
  type.attributes[2].name = "json";
  const auto values = stored_values(
      type, R"({"x": "1.50", "json": {"n": 1.50}, "number": 10000000000000000000000})");
  ASSERT_TRUE(values);
  EXPECT_EQ(write_json(*values), R"({"json":{"n":1.50},"number":1e+22,"x":"1.5"})");
  EXPECT_FALSE(stored_values(type, "[1]"));
}

}  // namespace
}  // namespace sluice::model
