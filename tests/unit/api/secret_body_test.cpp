#include "api/secret_body.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

namespace sluice::api {
namespace {

std::map<std::string, std::string> taken(std::string_view text, SecretsAt at, std::string& rest) {
  WipedText body(text);
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : take_secrets(body, at))
    values[name] = std::string(value.expose_text());
  rest = std::string(body.view());
  return values;
}

struct Case {
  const char* body;
  SecretsAt at;
  std::map<std::string, std::string> values;
  const char* rest;
};

TEST(SecretBody, TakesTheValuesAndLeavesTheRestAsItWas) {
  constexpr auto kMembers = SecretsAt::members_of_secrets;
  constexpr auto kValue = SecretsAt::value;
  const std::vector<Case> cases = {
      {R"({"value":"sk_1"})", kValue, {{"value", "sk_1"}}, R"({"value":"*"})"},
      {R"( { "value" : "a\"b\\c\/d\u0041\u00e9\ud83d\ude00\n" } )",
       kValue,
       {{"value", "a\"b\\c/dA\xC3\xA9\xF0\x9F\x98\x80\n"}},
       R"( { "value" : "*" } )"},
      {R"({"value":""})", kValue, {{"value", ""}}, R"({"value":""})"},
      {R"({"value":1,"other":"x"})", kValue, {}, R"({"value":1,"other":"x"})"},
      {R"({"a":{"value":"inner"},"b":["value","x"]})",
       kValue,
       {},
       R"({"a":{"value":"inner"},"b":["value","x"]})"},
      {R"({"name":"n","secrets":{"api_key":"k","b":"l"},"config":{"secrets":{"x":"y"}}})",
       kMembers,
       {{"api_key", "k"}, {"b", "l"}},
       R"({"name":"n","secrets":{"api_key":"*","b":"*"},"config":{"secrets":{"x":"y"}}})"},
      {R"({"secrets":{"a":{"b":"c"},"d":["e"],"f":"g"}})",
       kMembers,
       {{"f", "g"}},
       R"({"secrets":{"a":{"b":"c"},"d":["e"],"f":"*"}})"},
      {R"({"s\u0065crets":{"\u0061":"first","a":"last"}})",
       kMembers,
       {{"a", "last"}},
       R"({"s\u0065crets":{"\u0061":"*","a":"*"}})"},
      {R"({"secrets":{"a":"\u0000"},"b":1})", kMembers, {}, R"({"secrets":{"a":"\u0000"},"b":1})"},
      {R"({"secrets":{"a":"\x"}})", kMembers, {}, R"({"secrets":{"a":"\x"}})"},
      {R"({"secrets":{"a":"\ud800"}})", kMembers, {}, R"({"secrets":{"a":"\ud800"}})"},
      {"{\"secrets\":{\"a\":\"\xFF\"}}", kMembers, {}, "{\"secrets\":{\"a\":\"\xFF\"}}"},
      {R"({"secrets":{"a":"no end)", kMembers, {}, R"({"secrets":{"a":"no end)"},
      {R"({"secrets":{"a":"no end\)", kMembers, {}, R"({"secrets":{"a":"no end\)"},
      {R"(]]}}"x")", kMembers, {}, R"(]]}}"x")"},
      {"", kMembers, {}, ""},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.body);
    std::string rest;
    EXPECT_EQ(taken(one.body, one.at, rest), one.values);
    EXPECT_EQ(rest, one.rest);
    EXPECT_EQ(nlohmann::json::accept(one.body), nlohmann::json::accept(rest));
  }
}

}  // namespace
}  // namespace sluice::api
