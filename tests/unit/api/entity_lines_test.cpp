// Entities as lines of a file: which form is asked for, and what stands in a field.
#include <gtest/gtest.h>

#include "api/entity_lines.hpp"
#include "base/error.hpp"
#include "base/exact_json.hpp"

namespace sluice::api {
namespace {

using contract::AttributeType;
using nlohmann::json;

TEST(EntityForm, what_a_client_likes_best_of_what_there_is) {
  const std::pair<const char*, EntityForm> all[] = {
      {"", EntityForm::json},
      {"*/*", EntityForm::json},
      {"text/html,application/xhtml+xml,*/*;q=0.8", EntityForm::json},
      {"text/html", EntityForm::json},
      {"text/csv", EntityForm::csv},
      {"TEXT/CSV; charset=utf-8", EntityForm::csv},
      {"text/*", EntityForm::csv},
      {"text/csv, */*", EntityForm::csv},
      {"*/*, text/csv", EntityForm::json},
      {"text/csv;q=0.5, application/x-ndjson", EntityForm::ndjson},
      {"text/csv;q=0, application/json;q=0.1", EntityForm::json},
      {"text/csv;q=0", EntityForm::json},
      {"application/x-ndjson;q=0.4,text/csv;q=0.6", EntityForm::csv},
      {",,;q=,text/csv;q=x", EntityForm::csv},
  };
  for (const auto& [accept, form] : all) EXPECT_EQ(entity_form(accept), form) << accept;
}

model::StoredType invoice() {
  model::StoredType type;
  type.name = "acme.invoice";
  type.connector = "acme";
  type.display_attribute = "number";
  const auto add = [&](const char* name, AttributeType kind, const char* currency = "") {
    model::StoredAttribute& attribute = type.attributes.emplace_back();
    attribute.name = name;
    attribute.type = kind;
    attribute.currency = currency;
  };
  add("total", AttributeType::integer, "currency");
  add("currency", AttributeType::text);
  add("number", AttributeType::text);
  add("lines", AttributeType::json);
  add("memo/note", AttributeType::text);
  return type;
}

json entity(const char* attributes) {
  json one = {{"id", "7"}, {"external_id", "in_7"}, {"provenance", {{"connection", "main"}}}};
  one["attributes"] = json::parse(attributes);
  return one;
}

std::string csv(const model::StoredType& type, const std::vector<json>& entities,
                LineWish wish = {}) {
  const EntityLines lines(type, std::move(wish));
  return lines.header() + lines.lines(entities);
}

TEST(EntityLines, columns_are_as_declared_behind_what_an_entity_is_called) {
  EXPECT_EQ(csv(invoice(), {}),
            "id,external_id,connection,number,total,total_major,currency,lines,memo/note\r\n");
  LineWish some;
  some.fields = {"currency", "total"};
  EXPECT_EQ(csv(invoice(), {}, some), "id,external_id,connection,currency,total\r\n");
  some.with_deleted = true;
  model::StoredType own = invoice();
  own.own = true;
  EXPECT_EQ(csv(own, {}, some), "id,currency,total,deleted_at\r\n");
}

TEST(EntityLines, a_field_is_quoted_where_it_must_be_and_nothing_is_no_empty_text) {
  json one = entity(R"({"number":"a,\"b\"\r\nc","total":12345678901234567890,"total_major":"1.00",
      "currency":"","memo/note":" x"})");
  one["attributes"]["lines"] = ready_json(R"([1,"x"])");
  EXPECT_EQ(csv(invoice(), {one}).substr(csv(invoice(), {}).size()),
            "7,in_7,main,\"a,\"\"b\"\"\r\nc\",12345678901234567890,1.00,\"\",\"[1,\"\"x\"\"]\",\" "
            "x\"\r\n");
  EXPECT_NE(csv(invoice(), {entity(R"({"number":"1","lines":"123"})")}).find(",\"\"\"123\"\"\","),
            std::string::npos)
      << "a text in JSON keeps its quotes: without them it is a number when it comes back";
  EXPECT_EQ(csv(invoice(), {entity("{\"number\":null}")}).substr(csv(invoice(), {}).size()),
            "7,in_7,main,,,,,,\r\n");
}

TEST(EntityLines, a_spreadsheet_is_given_no_formula_where_that_is_asked_for) {
  const std::vector<json> all = {entity(R"({"number":"=1+1","total":-5,"currency":"@x"})"),
                                 entity(R"({"number":"+49 30","total":1,"memo/note":"\t=1"})")};
  LineWish wish;
  EXPECT_NE(csv(invoice(), all, wish).find("main,=1+1,-5,,@x"), std::string::npos);
  wish.for_spreadsheets = true;
  const std::string text = csv(invoice(), all, wish);
  EXPECT_EQ(text.find("\xEF\xBB\xBFid,"), 0U) << text;
  EXPECT_NE(text.find("main,'=1+1,-5,,'@x"), std::string::npos) << "a number stays one: " << text;
  EXPECT_NE(text.find("main,'+49 30,1,"), std::string::npos) << text;
  EXPECT_NE(text.find(",'\t=1\r\n"), std::string::npos) << text;
}

TEST(EntityLines, a_row_that_cannot_be_read_is_no_line_of_csv_and_a_problem_in_ndjson) {
  json one = entity("null");
  one["problem"] = {{"code", "entity.unreadable"}, {"message", "what is stored is none"}};
  LineWish wish;
  try {
    csv(invoice(), {entity("{}"), one}, wish);
    ADD_FAILURE() << "it is a line";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "entity.unreadable");
    EXPECT_NE(failure.error().message.find("what is stored is none"), std::string::npos);
  }
  wish.form = EntityForm::ndjson;
  const std::string text = csv(invoice(), {entity(R"({"number":"\n"})"), one}, wish);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_EQ(json::parse(text.substr(text.find('\n')))["problem"]["code"], "entity.unreadable");
}

}  // namespace
}  // namespace sluice::api
