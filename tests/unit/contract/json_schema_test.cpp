// What each keyword asks for, and that nothing takes long.
#include "contract/json_schema.hpp"

#include <gtest/gtest.h>

#include "contract/manifest_schema.hpp"

namespace sluice::contract {
namespace {

using nlohmann::json;

/// "" when the document follows the schema, else "place: what".
std::string said_of(const char* schema, const json& document) {
  const JsonSchema compiled(json::parse(schema));
  EXPECT_TRUE(compiled.faults().empty()) << schema << ": " << compiled.faults().front().what;
  const auto flaw = compiled.flaw_of(document);
  if (!flaw) return "";
  std::string place;
  for (const std::string& step : flaw->place) place += "/" + step;
  return place + ": " + flaw->what;
}

struct Case {
  const char* schema;
  const char* document;
  const char* said;
};

TEST(JsonSchema, each_keyword_asks_for_what_draft_7_says) {
  const Case table[] = {
      {R"j({})j", R"j([1, "a"])j", ""},
      {R"j(true)j", R"j(1)j", ""},
      {R"j(false)j", R"j(1)j", ": nothing is allowed here"},
      {R"j({"type": "string"})j", R"j("a")j", ""},
      {R"j({"type": "string"})j", R"j(123)j", ": must be string, is integer"},
      {R"j({"type": ["string", "null"]})j", R"j(null)j", ""},
      {R"j({"type": ["string", "null"]})j", R"j({})j", ": must be null or string, is object"},
      {R"j({"type": "number"})j", R"j(1)j", ""},
      {R"j({"type": "integer"})j", R"j(1.5)j", ": must be integer, is number"},
      {R"j({"const": {"a": [1]}})j", R"j({"a": [1]})j", ""},
      {R"j({"const": 1})j", R"j(2)j", ": must be 1"},
      {R"j({"enum": ["a", 1, null]})j", R"j(1.0)j", ""},
      {R"j({"enum": ["a", "b"]})j", R"j("c")j", R"j(: must be one of: "a", "b")j"},
      {R"j({"minimum": 1, "maximum": 3})j", R"j(3)j", ""},
      {R"j({"minimum": 1})j", R"j(0.5)j", ": must be at least 1"},
      {R"j({"maximum": 3})j", R"j(4)j", ": must be at most 3"},
      {R"j({"exclusiveMinimum": 1})j", R"j(1)j", ": must be above 1"},
      {R"j({"exclusiveMaximum": 3})j", R"j(3)j", ": must be below 3"},
      {R"j({"multipleOf": 3})j", R"j(9)j", ""},
      {R"j({"multipleOf": 3})j", R"j(-9)j", ""},
      {R"j({"multipleOf": 3})j", R"j(-10)j", ": must be a multiple of 3"},
      {R"j({"multipleOf": 0.1})j", R"j(0.3)j", ""},
      {R"j({"multipleOf": 0.1})j", R"j(0.35)j", ": must be a multiple of 0.1"},
      {R"j({"minLength": 2, "maxLength": 2})j", R"j("éé")j", ""},
      {R"j({"minLength": 2})j", R"j("é")j", ": must have at least 2 characters"},
      {R"j({"maxLength": 1})j", R"j("ab")j", ": must have at most 1 characters"},
      {R"j({"pattern": "b+"})j", R"j("abba")j", ""},
      {R"j({"pattern": "^b+$"})j", R"j("abba")j", ": must match the pattern '^b+$'"},
      {R"j({"pattern": "^.$"})j", R"j("é")j", ""},
      {R"j({"pattern": "^b+$"})j", R"j(7)j", ""},
      {R"j({"format": "date"})j", R"j("2024-02-29")j", ""},
      {R"j({"format": "date"})j", R"j("2023-02-29")j", ": must be a date"},
      {R"j({"format": "date"})j", R"j("2023-13-01")j", ": must be a date"},
      {R"j({"format": "time"})j", R"j("23:59:60.5+01:00")j", ""},
      {R"j({"format": "time"})j", R"j("24:00:00Z")j", ": must be a time"},
      {R"j({"format": "date-time"})j", R"j("2024-02-29T12:00:00Z")j", ""},
      {R"j({"format": "date-time"})j", R"j("2024-02-30T12:00:00Z")j", ": must be a date-time"},
      {R"j({"format": "email"})j", R"j("no matter")j", ""},
      {R"j({"minItems": 1, "maxItems": 2})j", R"j([1, 2])j", ""},
      {R"j({"minItems": 1})j", R"j([])j", ": must have at least 1 items"},
      {R"j({"maxItems": 1})j", R"j([1, 2])j", ": must have at most 1 items"},
      {R"j({"uniqueItems": true})j", R"j([1, "1", [1]])j", ""},
      {R"j({"uniqueItems": true})j", R"j([{"a": 1}, 2, {"a": 1}])j",
       ": the same item stands in it twice"},
      {R"j({"items": {"type": "string"}})j", R"j(["a", 1])j", "/1: must be string, is integer"},
      {R"j({"items": [{"type": "string"}], "additionalItems": false})j", R"j(["a", 1])j",
       "/1: nothing is allowed here"},
      {R"j({"items": {}, "additionalItems": false})j", R"j(["a", 1])j", ""},
      {R"j({"contains": {"const": 1}})j", R"j([2, 1])j", ""},
      {R"j({"contains": {"const": 1}})j", R"j([2])j",
       ": none of the items is what one of them must be"},
      {R"j({"required": ["a"]})j", R"j({})j", ": 'a' is missing"},
      {R"j({"minProperties": 1})j", R"j({})j", ": must have at least 1 members"},
      {R"j({"maxProperties": 1})j", R"j({"a": 1, "b": 1})j", ": must have at most 1 members"},
      {R"j({"properties": {"a": {"type": "null"}}})j", R"j({"a": 1})j",
       "/a: must be null, is integer"},
      {R"j({"properties": {"a": {}}, "additionalProperties": false})j", R"j({"b": 1})j",
       ": 'b' is not known here; there are: a"},
      {R"j({"additionalProperties": false})j", R"j({"b": 1})j",
       ": 'b' is not known here; no member is"},
      {R"j({"additionalProperties": {"type": "string"}})j", R"j({"b": 1})j",
       "/b: must be string, is integer"},
      {R"j({"patternProperties": {"^x-": {"type": "object"}}, "additionalProperties": false})j",
       R"j({"x-a": {}})j", ""},
      {R"j({"patternProperties": {"^x-": {"type": "object"}}})j", R"j({"x-a": 1})j",
       "/x-a: must be object, is integer"},
      {R"j({"patternProperties": {"^x-": {}}, "additionalProperties": false})j", R"j({"y": 1})j",
       ": 'y' is not known here; a name here is of the pattern ^x-"},
      {R"j({"propertyNames": {"pattern": "^[a-z]+$"}})j", R"j({"A": 1})j",
       "/A: must match the pattern '^[a-z]+$'"},
      {R"j({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}})j", R"j({"b": 1})j", ""},
      {R"j({"dependencies": {"a": ["b"]}})j", R"j({"a": 1})j", ": 'a' needs 'b' beside it"},
      {R"j({"dependencies": {"c": {"required": ["d"]}}})j", R"j({"c": 1})j", ": 'd' is missing"},
      {R"j({"allOf": [{"type": "integer"}, {"minimum": 2}]})j", R"j(1)j", ": must be at least 2"},
      {R"j({"anyOf": [{"type": "string"}, {"minimum": 2}]})j", R"j(2)j", ""},
      {R"j({"anyOf": [{"type": "string"}, {"minimum": 2}]})j", R"j(1)j",
       ": is none of what is allowed here"},
      {R"j({"oneOf": [{"type": "integer"}, {"minimum": 2}]})j", R"j(2)j",
       ": is more than one of what is allowed here, and must be one"},
      {R"j({"oneOf": [{"type": "string"}, {"minimum": 2}]})j", R"j(2)j", ""},
      {R"j({"not": {"type": "string"}})j", R"j("a")j", ": is what is not allowed here"},
      {R"j({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}})j",
       R"j("a")j", ": must have at least 2 characters"},
      {R"j({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}})j",
       R"j(1)j", ": must be at least 2"},
      {R"j({"items": {"$ref": "#/definitions/word"}, "definitions": {"word": {"type": "string"}}})j",
       R"j([1])j", "/0: must be string, is integer"},
      {R"j({"unheard-of": 7})j", R"j(1)j", ""},
  };
  for (const Case& one : table)
    EXPECT_EQ(said_of(one.schema, json::parse(one.document)), one.said)
        << one.schema << " " << one.document;
}

TEST(JsonSchema, patterns_are_heeded_wherever_a_schema_may_stand) {
  const char* places[] = {
      R"j({"properties": {"a": @}})j",
      R"j({"properties": {"a": {"anyOf": [{"type": "number"}, @]}}})j",
      R"j({"properties": {"a": {"oneOf": [{"type": "number"}, @]}}})j",
      R"j({"properties": {"a": {"allOf": [{"type": "string"}, @]}}})j",
      R"j({"properties": {"a": {"not": {"not": @}}}})j",
      R"j({"properties": {"a": {"if": {"type": "string"}, "then": @}}})j",
      R"j({"properties": {"a": {"if": {"type": "number"}, "else": @}}})j",
      R"j({"properties": {"a": {"if": @, "else": false}}})j",
      R"j({"additionalProperties": @})j",
      R"j({"patternProperties": {"^a": @}})j",
      R"j({"dependencies": {"a": {"properties": {"a": @}}}})j",
      R"j({"anyOf": [{"properties": {"a": {"anyOf": [@]}}}]})j",
  };
  for (std::string schema : places) {
    schema.replace(schema.find('@'), 1, R"j({"pattern": "^[a-z]+$"})j");
    EXPECT_EQ(said_of(schema.c_str(), json::parse(R"j({"a": "abc"})j")), "") << schema;
    EXPECT_NE(said_of(schema.c_str(), json::parse(R"j({"a": "a_c"})j")), "") << schema;
  }
  const char* lists[] = {R"j({"items": {"pattern": "^[a-z]+$"}})j",
                         R"j({"items": [{"pattern": "^[a-z]+$"}]})j",
                         R"j({"items": [], "additionalItems": {"pattern": "^[a-z]+$"}})j",
                         R"j({"contains": {"pattern": "^[a-z]+$"}})j"};
  for (std::string schema : lists) {
    if (schema.find("[],") != std::string::npos)
      schema.replace(schema.find("[]"), 2, R"j([{"type": "string"}])j");
    EXPECT_EQ(said_of(schema.c_str(), json::parse(R"j(["abc", "abc"])j")), "") << schema;
    EXPECT_NE(said_of(schema.c_str(), json::parse(R"j(["a_c", "a_c"])j")), "") << schema;
  }
}

std::string faults_of(const char* schema) {
  std::string all;
  const JsonSchema compiled(json::parse(schema));
  for (const JsonSchema::Fault& fault : compiled.faults()) all += fault.pointer + "\n";
  return all;
}

TEST(JsonSchema, what_cannot_be_used_is_named_by_its_place) {
  const Case table[] = {
      {R"j({"type": 7})j", "", "/type\n"},
      {R"j({"type": "text"})j", "", "/type\n"},
      {R"j({"enum": []})j", "", "/enum\n"},
      {R"j({"minimum": "1"})j", "", "/minimum\n"},
      {R"j({"maxLength": -1})j", "", "/maxLength\n"},
      {R"j({"multipleOf": 0})j", "", "/multipleOf\n"},
      {R"j({"required": "a"})j", "", "/required\n"},
      {R"j({"anyOf": {}})j", "", "/anyOf\n"},
      {R"j({"properties": {"a/b": 7}})j", "", "/properties/a~1b\n"},
      {R"j({"pattern": "("})j", "", "/pattern\n"},
      {R"j({"pattern": "(?=a)"})j", "", "/pattern\n"},
      {R"j({"pattern": "(a)\\1"})j", "", "/pattern\n"},
      {R"j({"pattern": "((a{1000}){1000}){1000}"})j", "", "/pattern\n"},
      {R"j({"patternProperties": {"(": {}}})j", "", "/patternProperties/(\n"},
      {R"j({"items": {"anyOf": [{}, {"not": {"pattern": "(?!a)"}}]}})j", "",
       "/items/anyOf/1/not/pattern\n"},
      {R"j({"$ref": "#/definitions/none"})j", "", "/$ref\n"},
      {R"j({"properties": {"pattern": {"type": "string"}}})j", "", ""},
      {R"j({"default": {"pattern": "("}, "enum": [{"pattern": "("}], "const": {"type": 7}})j", "",
       ""},
  };
  for (const Case& one : table) EXPECT_EQ(faults_of(one.schema), one.said) << one.schema;
  EXPECT_NE(faults_of(R"j({"$ref": "#/definitions/a", "definitions": {"a": {"$ref":
      "#/definitions/a"}}})j"),
            "")
      << "a schema that leads to itself";
}

TEST(JsonSchema, the_patterns_of_one_schema_are_bounded_together) {
  json schema;
  for (int i = 0; i < 100; ++i)
    schema["properties"]["p" + std::to_string(i)]["pattern"] = "^.{1,999}$";
  const JsonSchema compiled(schema);
  EXPECT_GT(compiled.faults().size(), 50U);
  EXPECT_EQ(compiled.faults().front().what, "the patterns of this schema are too large");
  json many;
  for (int i = 0; i < 500; ++i)
    many["properties"]["p" + std::to_string(i)]["pattern"] = "^[a-z0-9-]{1,60}$";
  EXPECT_TRUE(JsonSchema(many).faults().empty());
}

TEST(JsonSchema, the_schema_of_manifests_is_heeded_whole) {
  EXPECT_TRUE(JsonSchema(json::parse(kManifestSchema)).faults().empty());
}

TEST(JsonSchema, what_cannot_be_used_refuses_nothing_wherever_it_stands) {
  const char* schemas[] = {
      R"j({"pattern": "(?=b)"})j",
      R"j({"not": {"pattern": "(?=b)"}})j",
      R"j({"not": {"not": {"pattern": "(?=b)"}}})j",
      R"j({"if": {"pattern": "(?=b)"}, "then": false})j",
      R"j({"if": {"not": {"pattern": "(?=b)"}}, "else": false})j",
      R"j({"oneOf": [{"type": "string"}, {"pattern": "(?=b)"}]})j",
      R"j({"anyOf": [{"type": "number"}, {"pattern": "(?=b)"}]})j",
  };
  for (const char* schema : schemas) {
    const JsonSchema compiled(json::parse(schema));
    EXPECT_FALSE(compiled.faults().empty()) << schema;
    EXPECT_FALSE(compiled.flaw_of("a")) << schema;
  }
  const JsonSchema members(json::parse(
      R"j({"patternProperties": {"(?=b)": {"type": "string"}}, "additionalProperties": false})j"));
  EXPECT_FALSE(members.flaw_of(json::parse(R"j({"anything": 1})j")));
  const JsonSchema rest(json::parse(R"j({"pattern": "(?=b)", "maxLength": 2})j"));
  EXPECT_TRUE(rest.flaw_of("abc")) << "the rest is judged";
}

TEST(JsonSchema, no_pattern_and_no_schema_takes_longer_than_so_many_steps) {
  const std::string evil = std::string(2000, 'a') + "_";
  for (const char* pattern :
       {R"j({"pattern": "^([a-z0-9]+[-.]?)+$"})j", R"j({"pattern": "^(a|a)*$"})j",
        R"j({"pattern": "^(a|aa)+$"})j", R"j({"pattern": "^((a*)*)*b$"})j"}) {
    EXPECT_NE(said_of(pattern, evil), "") << pattern;
  }
  EXPECT_NE(said_of(R"j({"patternProperties": {"^([a-z0-9]+[-.]?)+$": {}},
                        "additionalProperties": false})j",
                    {{evil, 1}}),
            "");
  json many = json::array();
  for (int i = 0; i < 3000; ++i) many.push_back(i);
  const JsonSchema unique(json::parse(R"j({"uniqueItems": true})j"));
  ASSERT_TRUE(unique.flaw_of(many));
  EXPECT_NE(unique.flaw_of(many)->what.find("takes too long"), std::string::npos);
  EXPECT_FALSE(unique.flaw_of(many, 10'000'000));
}

}  // namespace
}  // namespace sluice::contract
