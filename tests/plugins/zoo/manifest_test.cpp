// Manifests as an author may get them wrong: what is said, and where.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "contract/config.hpp"
#include "contract/manifest.hpp"

namespace sluice::contract {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json toy() {
  std::ifstream file(SLUICE_SOURCE_DIR "/tests/plugins/zoo/manifest.json");
  return json::parse(file);
}

std::string refusal(const std::string& text) {
  const Result<Manifest> manifest = parse_manifest(text);
  if (manifest) return "accepted";
  EXPECT_EQ(manifest.error().code, "manifest.invalid");
  return manifest.error().message;
}

/// The toy's manifest with one place changed.
std::string refusal_of(const char* pointer, json value) {
  json document = toy();
  document[json::json_pointer(pointer)] = std::move(value);
  return refusal(document.dump());
}

TEST(Manifest, the_toys_manifest_is_read_completely) {
  const Result<Manifest> manifest = parse_manifest(toy().dump());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->id, "toy");
  EXPECT_EQ(manifest->version, "1.2.3");
  EXPECT_EQ(manifest->hosts.at(0).url, "https://api.toy.example");
  EXPECT_EQ(manifest->auth.at(1).scheme, AuthScheme::header);
  EXPECT_EQ(manifest->auth.at(1).parameter, "X-Toy-Token");
  EXPECT_EQ(manifest->budget.requests_per_second, 5);
  EXPECT_EQ(manifest->budget.requests_per_second_test, 5) << "as the other when it is not given";
  EXPECT_EQ(manifest->checkpoint_reads, (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(manifest->checkpoint_writes, 2u);
  const EntityType& widget = manifest->entity_types.at(0);
  EXPECT_EQ(widget.attributes.at(5).type, AttributeType::timestamp);
  EXPECT_TRUE(widget.attributes.at(0).is_protected);
  EXPECT_TRUE(widget.attributes.at(0).required);
  EXPECT_TRUE(widget.attributes.at(10).personal);
  EXPECT_EQ(widget.relationships.at(0).target, "box");
  EXPECT_EQ(widget.link_keys.at(0).kind, KeyKind::email);
  EXPECT_EQ(manifest->find_stream("boxes")->mode, StreamMode::poll);
  EXPECT_EQ(manifest->link_rules.at(0).target_type, "customer");
  EXPECT_EQ(manifest->document, toy());
}

TEST(Manifest, keys_of_the_future_are_taken_only_as_x_objects_and_webhook) {
  EXPECT_EQ(refusal_of("/webhook", {{"scheme", "hmac-sha256"}}), "accepted");
  EXPECT_EQ(refusal_of("/x-notes", {{"any", 1}}), "accepted");
  EXPECT_THAT(refusal_of("/x-notes", 1), HasSubstr("/x-notes"));
  EXPECT_THAT(refusal_of("/colour", "red"), HasSubstr("colour"));
}

/// The toy's widget with an amount and its currency.
json with_money(const char* pointer, const json& value) {
  json document = toy();
  json& attributes = document["entity_types"][0]["attributes"];
  attributes.push_back({{"name", "currency"}, {"type", "text"}});
  attributes.push_back(
      {{"name", "fee"}, {"type", "integer"}, {"format", "minor_units"}, {"currency", "currency"}});
  if (pointer[0] == '/') document[json::json_pointer(pointer)] = value;
  if (pointer[0] == '.') attributes.back()[pointer + 1] = value;
  if (pointer[0] == '+') attributes.push_back({{"name", pointer + 1}, {"type", "text"}});
  return document;
}
std::string money_refusal(const char* pointer, const json& value = nullptr) {
  return refusal(with_money(pointer, value).dump());
}

TEST(Manifest, an_amount_in_minor_units_names_a_text_attribute_with_its_currency) {
  EXPECT_EQ(money_refusal(""), "accepted");
  EXPECT_EQ(money_refusal(".type", "decimal"), "accepted");
  EXPECT_THAT(money_refusal(".type", "number"), HasSubstr("integer or decimal, never number"));
  EXPECT_THAT(money_refusal(".currency", "nothing"), HasSubstr("'nothing' is no text attribute"));
  EXPECT_THAT(money_refusal(".currency", "fee"), HasSubstr("'fee' is no text attribute"));
  EXPECT_THAT(money_refusal(".format", "url"), HasSubstr("has the format 'minor_units'"));
  EXPECT_THAT(refusal_of("/entity_types/0/attributes/0/format", "minor_units"),
              testing::AnyOf(HasSubstr("/currency: missing"), HasSubstr("integer or decimal")));
  EXPECT_THAT(money_refusal("+fee_major"), HasSubstr("'fee_major' is reserved"));
}

TEST(Manifest, an_amounts_name_leaves_room_for_its_column_in_major_units) {
  EXPECT_EQ(money_refusal(".name", std::string(57, 'f')), "accepted");
  const std::string said = money_refusal(".name", std::string(58, 'f'));
  EXPECT_THAT(said,
              testing::AllOf(HasSubstr("/entity_types/0/attributes/"), HasSubstr("/name: "),
                             HasSubstr("'" + std::string(58, 'f') + "' has 58 letters"),
                             HasSubstr("at most 57"), HasSubstr(std::string(58, 'f') + "_major")));
  const auto before =
      parse_manifest(with_money(".name", std::string(58, 'f')).dump(), Admission::before);
  ASSERT_TRUE(before) << before.error().describe();
  EXPECT_EQ(before->flaws.size(), 1u) << "an installed one goes on";
}

TEST(Manifest, one_timestamp_says_when_an_object_was_changed_and_one_when_it_was_made) {
  const auto said = [](const char* type, const char* format, const char* other) {
    json document = toy();
    json& attributes = document["entity_types"][0]["attributes"];
    attributes.push_back({{"name", "edited"}, {"type", type}, {"format", format}});
    attributes.push_back({{"name", "more"}, {"type", "timestamp"}, {"format", other}});
    return document.dump();
  };
  EXPECT_EQ(refusal(said("timestamp", "modified_at", "created_at")), "accepted");
  EXPECT_THAT(refusal(said("date", "modified_at", "")),
              HasSubstr("an attribute of format 'modified_at' is timestamp, never date"));
  EXPECT_THAT(refusal(said("timestamp", "created_at", "created_at")),
              HasSubstr("'edited' has the format 'created_at' already"));
  EXPECT_TRUE(parse_manifest(said("text", "created_at", ""), Admission::before))
      << "an installed one goes on, without the time";
}

TEST(Manifest, currencies_that_a_vendor_counts_otherwise_are_small_letters_and_digits) {
  EXPECT_EQ(money_refusal("/currency_exponents", {{"isk", 2}, {"usdc", 6}}), "accepted");
  EXPECT_THAT(money_refusal("/currency_exponents", {{"ISK", 2}}), HasSubstr("ISK"));
  EXPECT_THAT(money_refusal("/currency_exponents", {{"isk", 2.5}}), HasSubstr("isk"));
  EXPECT_THAT(money_refusal("/currency_exponents", {{"isk", -1}}), HasSubstr("isk"));
  // What was wrong, where, and what to write.
  for (const json& wrong : {json{{"ISK", 2}}, json{{"isk", "2"}}, json{{"isk", 19}}, json(2)}) {
    const std::string said = money_refusal("/currency_exponents", wrong);
    EXPECT_THAT(
        said, testing::AllOf(HasSubstr("/currency_exponents"), HasSubstr("{\"isk\": 2}"),
                             HasSubstr("here stands: "), testing::Not(HasSubstr("no member is"))));
  }
  EXPECT_THAT(money_refusal("/currency_exponents", {{"ISK", 2}}),
              HasSubstr("'ISK' is not known here; a name here is of the pattern ^[a-z0-9]{3,8}$"));
  const auto before = parse_manifest(with_money(".currency", "nothing").dump(), Admission::before);
  ASSERT_TRUE(before) << before.error().describe();
  EXPECT_EQ(before->flaws.size(), 1u) << "an installed one goes on, without the amount";
}

/// Which amounts Stripe has is told by their names; all of them have to be said to be such.
TEST(Manifest, each_amount_of_stripe_says_its_currency) {
  std::ifstream file(SLUICE_SOURCE_DIR "/plugins/stripe/manifest.json");
  std::stringstream text;
  text << file.rdbuf();
  const Result<Manifest> manifest = parse_manifest(text.str());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  int amounts = 0;
  for (const EntityType& type : manifest->entity_types) {
    for (const Attribute& one : type.attributes) {
      const bool counts = one.name.find("month") != std::string::npos ||
                          one.name.find("year") != std::string::npos ||
                          one.name.find("count") != std::string::npos ||
                          one.name.find("day") != std::string::npos ||
                          one.name.find("quantity") != std::string::npos ||
                          one.name.find("redem") != std::string::npos ||
                          one.name.find("redeem") != std::string::npos ||
                          one.name == "next_invoice_sequence";
      const bool number = one.type == AttributeType::integer || one.type == AttributeType::decimal;
      if (!number || (counts && one.name.find("discount") == std::string::npos)) continue;
      EXPECT_EQ(one.format, kMinorUnits) << type.name << "." << one.name;
      ++amounts;
    }
  }
  EXPECT_GT(amounts, 40);
  EXPECT_EQ(manifest->currency_exponents["ugx"], 2);
}

TEST(Manifest, a_schema_violation_names_the_place_and_what_stands_there) {
  EXPECT_THAT(refusal_of("/id", "Not An Id"),
              testing::AllOf(HasSubstr("/id"), HasSubstr("Not An Id")));
  EXPECT_THAT(refusal_of("/entity_types/0/attributes/3/type", "float"),
              testing::AllOf(HasSubstr("/entity_types/0/attributes/3/type"), HasSubstr("float")));
  EXPECT_THAT(refusal_of("/version", "1"), HasSubstr("/version"));
  EXPECT_THAT(refusal_of("/hosts/0/url", "http://plain.example"), HasSubstr("/hosts/0/url"));
}

struct Wrong {
  const char* pointer;
  json value;
  const char* said;
};

TEST(Manifest, what_a_schema_cannot_say_is_checked_after_it) {
  const Wrong table[] = {
      {"/entity_types/0/relationships/0/target", "crate", "no entity type"},
      {"/entity_types/0/relationships/0/attribute", "size", "must be text"},
      {"/entity_types/0/relationships/0/attribute", "colour", "no attribute"},
      {"/entity_types/0/link_keys/0/attribute", "size", "must be text"},
      {"/entity_types/0/display_attribute", "colour", "no attribute"},
      {"/entity_types/0/attributes/1/name", "name", "unique"},
      {"/entity_types/0/attributes/1/name", "workspace_id", "reserved"},
      {"/entity_types/0/attributes/1/name", "overlay", "reserved"},
      {"/entity_types/0/attributes/1/name", "ctid", "PostgreSQL has a column of that name"},
      {"/entity_types/0/attributes/1/name", "connection_name", "the SQL view of every type has"},
      {"/entity_types/0/attributes/1/name", "sluice_connection_name", "reserved"},
      {"/entity_types/0/attributes/1/name", "box_ref", "for what 'box' refers to"},
      {"/streams/0/entity_types/0", "crate", "no entity type"},
      {"/streams/1/name", "widgets", "unique"},
      {"/streams/1/entity_types/0", "widget", "no stream lists entity type 'box'"},
      {"/operations", json::array({"check", "fetch"}), "'read' is not listed"},
      {"/hosts/0/url", "https://{subdomain}.toy.example", "no property of config_schema"},
      {"/hosts/0/url", "https://{colour.toy.example", "without '}'"},
      {"/hosts/0/url", "https://user@toy.example", "scheme, host"},
      {"/hosts/0/url", "https://api.toy.example/", "ends in '/'"},
      {"/hosts/0/url", "https://api.toy.example/v1/", "ends in '/'"},
      {"/hosts/0/url", "https://api.toy.example:99999", "'99999' is no port"},
      {"/hosts/0/url", "https://api.toy.example:0", "'0' is no port"},
      {"/hosts/0/url", "https://api.toy.example:", "'' is no port"},
      {"/hosts/0/url", "https://10.0.0.1:8443", "not a vendor's DNS name"},
      {"/hosts/0/url", "https://localhost", "not a vendor's DNS name"},
      {"/hosts/0/url", "https://api_toy.example", "not a vendor's DNS name"},
      {"/hosts/0/url", "https://api..example", "not a vendor's DNS name"},
      {"/version", "00.1.0", "/version: must match the pattern"},
      {"/version", "0.01.0", "/version: must match the pattern"},
      {"/auth/1/parameter", "X Token", "no name"},
      {"/auth/1/parameter", "Host", "only the host may set"},
      {"/auth/1/parameter", "content-length", "only the host may set"},
      {"/auth/1/parameter", "Transfer-Encoding", "only the host may set"},
      {"/auth/1/parameter", "Proxy-Authorization", "only the host may set"},
      {"/auth/0/scheme", "basic", "missing"},
      {"/checkpoint_formats/writes", 3, "not read"},
      {"/link_rules/0/source", "widget.size", "must be text"},
      {"/link_rules/0/source", "crate.size", "no entity type"},
      {"/config_schema/$ref", "#", "$ref"},
      {"/config_schema/type", "array", "/config_schema/type: a configuration is an object"},
      {"/config_schema/properties/colour/type", 7, "/properties/colour/type: must be of: null"},
      {"/config_schema/properties/colour/pattern", "^(?!test-)",
       "/config_schema/properties/colour/pattern: '^(?!test-)' is no regular expression that can "
       "be "
       "matched in linear time: invalid perl operator: (?!"},
      {"/config_schema/properties/colour/anyOf",
       json::array({{{"type", "null"}}, {{"pattern", "(a)\\1"}}}),
       "/config_schema/properties/colour/anyOf/1/pattern: "},
      {"/config_schema/properties/colour/pattern", "[a-",
       "/properties/colour/pattern: '[a-' is no"},
      {"/config_schema/properties/colour/pattern", std::string(501, '('), "at most 500"},
      {"/config_schema/patternProperties", {{"(", {{"type", "string"}}}}, "no regular expression"},
  };
  for (const Wrong& wrong : table) {
    const std::string said = refusal_of(wrong.pointer, wrong.value);
    EXPECT_THAT(said, HasSubstr(wrong.said)) << wrong.pointer;
  }
  EXPECT_EQ(refusal_of("/hosts/0/url", "https://{colour}.toy.example"), "accepted");
  EXPECT_EQ(refusal_of("/hosts/0/url", "https://api.toy.example:8443/v1"), "accepted");
  EXPECT_EQ(refusal_of("/version", "0.10.0-rc.1+b2"), "accepted");
  EXPECT_EQ(refusal_of("/auth/1/parameter", "Authorization"), "accepted") << "that is who asks";
  EXPECT_EQ(refusal_of("/config_schema/properties/pattern", {{"type", "string"}}), "accepted")
      << "a property may be called so";
}

TEST(Manifest, a_word_that_is_not_among_the_allowed_ones_is_answered_with_them) {
  EXPECT_THAT(refusal_of("/entity_types/0/attributes/3/type", "string"),
              HasSubstr(R"(must be one of: "text", "integer", "decimal")"));
}

/// What was admitted before a rule came goes on, and says what the rule would refuse.
TEST(Manifest, one_that_was_admitted_before_is_read_with_its_flaws) {
  const Wrong younger[] = {
      {"/entity_types/0/attributes/1/name", "connection_name", "/entity_types/0/attributes/1/name"},
      {"/entity_types/0/attributes/1/name", "box_ref", "/entity_types/0/attributes/1/name"},
      {"/hosts/0/url", "https://api.toy.example:99999", "/hosts/0/url"},
      {"/version", "00.1.0", "/version"},
      {"/auth/1/parameter", "Host", "/auth/1/parameter"},
      {"/config_schema/type", "array", "/config_schema/type"},
      {"/config_schema/properties/colour/pattern", "^(?!test-)",
       "/config_schema/properties/colour/pattern"},
  };
  for (const Wrong& wrong : younger) {
    json document = toy();
    document[json::json_pointer(wrong.pointer)] = wrong.value;
    const std::string text = document.dump();
    EXPECT_FALSE(parse_manifest(text)) << wrong.pointer;
    const Result<Manifest> before = parse_manifest(text, Admission::before);
    ASSERT_TRUE(before) << before.error().describe();
    ASSERT_EQ(before->flaws.size(), 1U) << wrong.pointer;
    EXPECT_EQ(before->flaws[0].pointer, wrong.said);
  }
  EXPECT_TRUE(expect(parse_manifest(toy().dump(), Admission::before)).flaws.empty());
  json document = toy();
  document["entity_types"][0]["relationships"][0]["target"] = "crate";
  EXPECT_FALSE(parse_manifest(document.dump(), Admission::before)) << "that was never admitted";
}

TEST(Manifest, a_configuration_is_judged_without_a_pattern_that_is_refused_by_now) {
  json document = toy();
  document["config_schema"]["properties"]["colour"]["pattern"] = "^(?!test-)";
  const Manifest manifest = expect(parse_manifest(document.dump(), Admission::before));
  EXPECT_TRUE(check_config(manifest, {{"colour", "test-red"}}));
  EXPECT_THAT(check_config(manifest, {{"colour", 7}}).error().message,
              HasSubstr("colour: must be string, is integer"));
}

TEST(Manifest, no_configuration_keeps_the_host_from_its_work) {
  json document = toy();
  document["config_schema"]["properties"]["colour"]["pattern"] = "^([a-z0-9]+[-.]?)+$";
  const Manifest manifest = expect(parse_manifest(document.dump()));
  const std::string colour = std::string(2000, 'a') + "_";
  EXPECT_THAT(check_config(manifest, {{"colour", colour}}).error().message,
              HasSubstr("colour: must match the pattern '^([a-z0-9]+[-.]?)+$'"));
  EXPECT_TRUE(check_config(manifest, {{"colour", "my-shop.example"}}));
  json many;
  many["list"] = std::vector<int>(2000, 1);
  EXPECT_THAT(check_config(manifest, many).error().message, HasSubstr("more than 2000 values"));
}

TEST(Manifest, a_configuration_is_bounded_before_its_patterns_are_matched) {
  json document = toy();
  document["config_schema"]["properties"]["colour"]["pattern"] = "^[a-z0-9-]*$";
  const Manifest manifest = expect(parse_manifest(document.dump()));
  const auto check = [&](const json& colour) {
    json config;
    config["colour"] = colour;
    const Result<void> checked = check_config(manifest, config);
    return checked ? "accepted" : checked.error().message;
  };
  EXPECT_EQ(check("red"), "accepted");
  EXPECT_THAT(check("Red"), HasSubstr("colour"));
  EXPECT_EQ(check(std::string(2048, 'a')), "accepted") << "the stack is deep enough for that";
  EXPECT_THAT(check(std::string(2049, 'a')), HasSubstr("colour: a text of more than 2048 bytes"));
  EXPECT_THAT(check({"red", std::string(500'000, 'a')}), HasSubstr("colour.1"));
}

TEST(Manifest, type_names_are_unique_and_fit_into_a_table_name) {
  json document = toy();
  json another = document["entity_types"][1];
  document["entity_types"].push_back(another);
  EXPECT_THAT(refusal(document.dump()),
              HasSubstr("/entity_types/2/name: 'box' stands in this list already"));
  const std::string longest(63 - std::string("toy_").size(), 'a');
  document["entity_types"][2]["name"] = longest;
  document["streams"][1]["entity_types"].push_back(longest);
  EXPECT_EQ(refusal(document.dump()), "accepted");
  document["entity_types"][2]["name"] = longest + "a";
  EXPECT_THAT(refusal(document.dump()), HasSubstr("has 64 bytes; at most 63"));
}

TEST(Manifest, a_changes_stream_needs_fetch) {
  json document = toy();
  document["operations"] = {"check", "read"};
  EXPECT_EQ(refusal(document.dump()), "accepted");
  document["streams"][0]["mode"] = "changes";
  EXPECT_THAT(refusal(document.dump()), HasSubstr("/streams/0/mode"));
}

/// Forgotten, the stream would be read once and then never again, and nobody would hear of it.
TEST(Manifest, a_stream_that_is_read_again_and_again_says_how_often) {
  const auto streams = [](const char* mode, const json& interval) {
    json document = toy();
    json& stream = document["streams"][1];
    stream["mode"] = mode;
    stream.erase("interval_seconds");
    if (!interval.is_null()) stream["interval_seconds"] = interval;
    return document.dump();
  };
  for (const char* mode : {"poll", "changes"}) {
    const std::string said = refusal(streams(mode, nullptr));
    EXPECT_THAT(said, HasSubstr("/streams/1/interval_seconds: ")) << mode;
    EXPECT_THAT(said, HasSubstr("'" + std::string(mode) + "' stream says how often it is read"));
    EXPECT_THAT(said, HasSubstr("(SLP-M01)"));
    EXPECT_EQ(refusal(streams(mode, 60)), "accepted");
    EXPECT_EQ(refusal(streams(mode, 0)), "accepted") << "only when somebody asks: said, too";
    const Manifest before = expect(parse_manifest(streams(mode, nullptr), Admission::before));
    ASSERT_EQ(before.flaws.size(), 1U) << "what is installed goes on";
    EXPECT_EQ(before.flaws[0].pointer, "/streams/1/interval_seconds");
  }
  EXPECT_EQ(refusal(streams("snapshot", nullptr)), "accepted") << "once, and when somebody asks";
}

TEST(Manifest, json_is_bounded_before_anything_looks_at_it) {
  EXPECT_THAT(refusal(""), HasSubstr("no valid JSON"));
  EXPECT_THAT(refusal("{\"id\": \"\xff\"}"), HasSubstr("no valid JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("manifest: /"));
  EXPECT_THAT(refusal(R"({"a": [{"b": 1, "b": 2}]})"), HasSubstr("/a/0/b: this key stands twice"));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("deeper than 32"));
  EXPECT_THAT(refusal(std::string(300'000, ' ')), HasSubstr("at most 262144"));
  EXPECT_THAT(refusal(R"({"a": ")" + std::string(5000, 'x') + "\"}"), HasSubstr("at most 4096"));
  EXPECT_THAT(refusal(R"({"a": "\u0000"})"), HasSubstr("control character"));
  EXPECT_THAT(refusal(R"({"\u001b[2J": 1})"), HasSubstr("/\\x1b[2J: a string with the control"));
}

TEST(Manifest, a_type_has_at_most_a_thousand_attributes) {
  json document = toy();
  json& attributes = document["entity_types"][1]["attributes"];
  for (int i = 0; i < 999; ++i)
    attributes.push_back({{"name", fmt::format("a{}", i)}, {"type", "text"}});
  EXPECT_EQ(refusal(document.dump()), "accepted");
  attributes.push_back({{"name", "one_more"}, {"type", "text"}});
  EXPECT_THAT(refusal(document.dump()), HasSubstr("/entity_types/1/attributes"));
}

}  // namespace
}  // namespace sluice::contract
