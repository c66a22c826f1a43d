#include "ingest/validate.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

#include "base/bytes.hpp"
#include "base/json_text.hpp"
#include "ingest/hash.hpp"

namespace sluice::ingest {
namespace {

using contract::AttributeType;
using contract::Kind;
using contract::Value;

constexpr std::array<std::pair<const char*, AttributeType>, 9> kColumns = {
    {{"name", AttributeType::text},
     {"count", AttributeType::integer},
     {"price", AttributeType::decimal},
     {"ratio", AttributeType::number},
     {"active", AttributeType::boolean},
     {"at", AttributeType::timestamp},
     {"day", AttributeType::date},
     {"data", AttributeType::json},
     {"blob", AttributeType::bytes}}};

class ValidateTest : public ::testing::Test {
 protected:
  ValidateTest() {
    manifest_.id = "acme";
    contract::EntityType& type = manifest_.entity_types.emplace_back();
    type.name = "thing";
    model::StoredType& stored = catalog_.types.emplace_back();
    stored.id = EntityTypeId(1);
    stored.name = "acme.thing";
    stored.table = "acme_thing";
    for (const auto& [name, kind] : kColumns) {
      contract::Attribute& attribute = type.attributes.emplace_back();
      attribute.name = name;
      attribute.type = kind;
      model::StoredAttribute& column = stored.attributes.emplace_back();
      column.name = name;
      column.type = kind;
      column.position = static_cast<std::int16_t>(type.attributes.size() - 1);
    }
  }

  void add(std::vector<Value> values, std::string_view id = "x") {
    contract::Record record;
    record.external_id = page_.keep(id);
    const auto kept = page_.allocate<Value>(values.size());
    std::copy(values.begin(), values.end(), kept.begin());
    record.values = kept;
    page_.records.push_back(record);
  }
  static Value text(std::uint32_t attribute, Kind kind, std::string_view content) {
    Value value;
    value.attribute = attribute;
    value.kind = kind;
    value.text = content;
    return value;
  }
  static Value number(std::uint32_t attribute, Kind kind, std::int64_t content) {
    Value value;
    value.attribute = attribute;
    value.kind = kind;
    value.number = content;
    return value;
  }
  static Value real(std::uint32_t attribute, double content) {
    Value value;
    value.attribute = attribute;
    value.kind = Kind::real;
    value.real = content;
    return value;
  }
  /// The code with which a record of this one value is refused; "" when it is stored.
  std::string code_of(Value value) {
    page_.records.clear();
    add({value});
    const Batch batch(manifest_, catalog_, page_);
    EXPECT_EQ(batch.rows.size() + batch.refusals.size(), 1U);
    return batch.refusals.empty() ? "" : batch.refusals[0].code;
  }

  contract::Manifest manifest_;
  model::Catalog catalog_;
  contract::Page page_;
};

TEST_F(ValidateTest, a_value_of_the_wrong_kind_is_refused_and_of_the_right_kind_is_not) {
  const std::array<Value, 10> all = {number(0, Kind::null, 0),      number(0, Kind::boolean, 1),
                                     number(0, Kind::int64, 5),     real(0, 0.5),
                                     text(0, Kind::decimal, "1.5"), text(0, Kind::string, "a"),
                                     text(0, Kind::raw, "a"),       number(0, Kind::timestamp, 5),
                                     number(0, Kind::date, 5),      text(0, Kind::json, "{}")};
  const std::array<std::vector<Kind>, 9> right = {{{Kind::string},
                                                   {Kind::int64},
                                                   {Kind::decimal, Kind::int64},
                                                   {Kind::real, Kind::int64},
                                                   {Kind::boolean},
                                                   {Kind::timestamp},
                                                   {Kind::date},
                                                   {Kind::json},
                                                   {Kind::raw}}};
  for (std::uint32_t column = 0; column < right.size(); ++column) {
    for (Value value : all) {
      value.attribute = column;
      const auto& allowed = right[column];
      const bool good = value.kind == Kind::null ||
                        std::find(allowed.begin(), allowed.end(), value.kind) != allowed.end();
      EXPECT_EQ(code_of(value), good ? "" : "value.wrong_kind")
          << kColumns[column].first << " " << contract::to_string(value.kind);
    }
  }
}

TEST_F(ValidateTest, a_whole_number_is_an_integer_however_it_is_written) {
  const std::pair<const char*, std::int64_t> whole[] = {
      {"1999.0", 1999},
      {"1e3", 1000},
      {"-12.50e1", -125},
      {"-0.0", 0},
      {"9223372036854775807.00", std::numeric_limits<std::int64_t>::max()},
      {"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
      {"9007199254740993.0", 9'007'199'254'740'993}};  // no double holds it
  for (const auto& [written, number] : whole) {
    for (const Kind kind : {Kind::decimal, Kind::json}) {
      page_.records.clear();
      add({text(1, kind, written)});
      const Batch batch(manifest_, catalog_, page_);
      ASSERT_TRUE(batch.refusals.empty()) << written << ": " << batch.refusals[0].reason;
      const Value* const stored = batch.value(batch.rows.at(0), 1);
      EXPECT_EQ(stored->kind, Kind::int64) << written;
      EXPECT_EQ(stored->number, number) << written;
    }
  }
  for (const char* written : {"0.5", "9223372036854775808", "1e19", "1e99999", "1e-1", "", "one"})
    EXPECT_EQ(code_of(text(1, Kind::decimal, written)), "value.wrong_kind") << written;
  EXPECT_EQ(code_of(text(1, Kind::string, "1999")), "value.wrong_kind") << "a text is no number";
  EXPECT_EQ(code_of(text(2, Kind::json, "1e-05")), "");
  EXPECT_EQ(code_of(text(2, Kind::json, "1e99999")), "value.invalid_decimal");
}

TEST_F(ValidateTest, what_is_refused_shows_its_value_unless_it_is_personal_or_protected) {
  const auto reason = [&] {
    page_.records.clear();
    add({text(1, Kind::decimal, "19.5")});
    return Batch(manifest_, catalog_, page_).refusals.at(0).reason;
  };
  EXPECT_EQ(reason(),
            "attribute 'count' is integer, but the record has decimal '19.5'; send int64, or a "
            "decimal that is a whole number of 64 bits");
  catalog_.types[0].attributes[1].personal = true;
  EXPECT_EQ(reason().find("19.5"), std::string::npos) << reason();
  catalog_.types[0].attributes[1].personal = false;
  catalog_.types[0].attributes[1].is_protected = true;
  EXPECT_EQ(reason().find("19.5"), std::string::npos) << reason();
}

TEST_F(ValidateTest, what_postgresql_would_refuse_is_refused_here_by_name) {
  EXPECT_EQ(code_of(text(2, Kind::decimal, "1.2.3")), "value.invalid_decimal");
  EXPECT_EQ(code_of(text(2, Kind::decimal, "")), "value.invalid_decimal");
  EXPECT_EQ(code_of(text(2, Kind::decimal, "NaN")), "value.invalid_decimal");
  EXPECT_EQ(code_of(text(2, Kind::decimal, "1e99999")), "value.invalid_decimal");
  EXPECT_EQ(code_of(text(2, Kind::decimal, "-.5E-3")), "");
  EXPECT_EQ(code_of(real(3, std::nan(""))), "value.not_finite");
  EXPECT_EQ(code_of(number(5, Kind::timestamp, std::numeric_limits<std::int64_t>::min())),
            "value.out_of_range");
  EXPECT_EQ(code_of(number(6, Kind::date, 1LL << 40)), "value.out_of_range");
  EXPECT_EQ(code_of(text(7, Kind::json, "{oops}")), "value.invalid_json");
  EXPECT_EQ(code_of(text(0, Kind::string, "\xff")), "value.not_utf8");
  EXPECT_EQ(code_of(text(0, Kind::string, std::string(kTextBytesMax + 1, 'x'))), "value.too_long");
  EXPECT_EQ(code_of(number(9, Kind::int64, 1)), "value.unknown_attribute");
}

TEST_F(ValidateTest, an_external_id_that_no_index_can_hold_is_refused) {
  const std::string cases[] = {"", std::string(kExternalIdBytesMax + 1, 'x'),
                               std::string("a\0b", 3), "\xff"};
  for (const std::string& id : cases) {
    page_.records.clear();
    add({}, id);
    const Batch batch(manifest_, catalog_, page_);
    ASSERT_EQ(batch.refusals.size(), 1U);
    EXPECT_EQ(batch.refusals[0].code, "record.external_id_invalid");
  }
}

TEST_F(ValidateTest, u0000_is_replaced_and_noted) {
  add({text(0, Kind::string, std::string_view("a\0b", 3)),
       text(7, Kind::json, "{\"k\":\"\\u0000\"}")});
  const Batch batch(manifest_, catalog_, page_);
  ASSERT_EQ(batch.rows.size(), 1U);
  EXPECT_EQ(batch.values(batch.rows[0])[0].text,
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(batch.values(batch.rows[0])[1].text, "{\"k\":\"\\ufffd\"}");
  ASSERT_EQ(batch.notes.size(), 2U);
  EXPECT_EQ(batch.notes[0].code, "value.nul_replaced");
}

TEST_F(ValidateTest, the_hash_does_not_depend_on_the_order_of_a_record_but_on_all_else) {
  add({text(0, Kind::string, "a"), number(1, Kind::int64, 1)}, "1");
  add({number(1, Kind::int64, 1), text(0, Kind::string, "a")}, "2");
  add({number(1, Kind::int64, 2), text(0, Kind::string, "a")}, "3");
  add({text(0, Kind::string, "a")}, "4");
  add({text(0, Kind::string, "a"), number(1, Kind::null, 0)}, "5");
  const Batch batch(manifest_, catalog_, page_);
  ASSERT_EQ(batch.rows.size(), 5U);
  EXPECT_EQ(batch.rows[0].hash, batch.rows[1].hash);
  std::set<std::string> distinct;
  for (const Row& row : batch.rows) distinct.insert(to_hex(row.hash.bytes));
  EXPECT_EQ(distinct.size(), 4U);
  EXPECT_EQ(batch.rows[0].presence, batch.rows[1].presence);
  EXPECT_NE(batch.rows[0].presence, batch.rows[3].presence);
}

TEST_F(ValidateTest, an_attribute_that_is_there_twice_is_refused) {
  add({text(0, Kind::string, "a"), text(0, Kind::string, "b")});
  const Batch batch(manifest_, catalog_, page_);
  ASSERT_EQ(batch.refusals.size(), 1U);
  EXPECT_EQ(batch.refusals[0].code, "value.twice");
}

TEST_F(ValidateTest, a_manifest_whose_attributes_are_ordered_anew_finds_its_columns_by_name) {
  std::reverse(manifest_.entity_types[0].attributes.begin(),
               manifest_.entity_types[0].attributes.end());
  add({text(8, Kind::string, "a"), number(7, Kind::int64, 1)});
  const Batch batch(manifest_, catalog_, page_);
  ASSERT_EQ(batch.rows.size(), 1U);
  EXPECT_EQ(batch.values(batch.rows[0])[0].attribute, 0U);
  EXPECT_EQ(batch.values(batch.rows[0])[1].attribute, 1U);
}

TEST_F(ValidateTest, a_later_record_takes_the_place_of_those_it_covers_and_others_go_in_rounds) {
  add({text(0, Kind::string, "a"), number(1, Kind::int64, 1)}, "same");
  add({text(0, Kind::string, "b"), number(1, Kind::int64, 2)}, "same");
  add({number(1, Kind::int64, 3)}, "same");
  add({number(1, Kind::int64, 9)}, "other");
  const Batch batch(manifest_, catalog_, page_);
  const auto rounds = batch.rounds();
  ASSERT_EQ(rounds.size(), 2U);
  EXPECT_EQ(rounds[0], (std::vector<std::uint32_t>{3, 1}));
  EXPECT_EQ(rounds[1], (std::vector<std::uint32_t>{2}));
}

TEST_F(ValidateTest, a_type_that_is_not_installed_stops_the_page_and_says_what_to_do) {
  catalog_.types.clear();
  add({});
  try {
    const Batch batch(manifest_, catalog_, page_);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "ingest.catalog_behind");
    EXPECT_FALSE(failure.error().hint.empty());
  }
}

TEST_F(ValidateTest, a_quarantined_record_is_json_whatever_it_held) {
  add({text(0, Kind::string, std::string_view("\xff\0", 2)), text(7, Kind::json, "{oops"),
       real(3, INFINITY), number(5, Kind::timestamp, std::numeric_limits<std::int64_t>::min()),
       text(8, Kind::raw, "\x01")});
  const std::string json = record_as_json(manifest_.entity_types[0], page_.records[0]);
  EXPECT_TRUE(nlohmann::json::accept(json)) << json;
  EXPECT_FALSE(check_json(json).has_nul);
}

}  // namespace
}  // namespace sluice::ingest
