// Decimals have one form: in unique values, in filters and in answers.
#include <gtest/gtest.h>

#include "pg/exact/world.hpp"
#include "pg/migrate.hpp"

namespace sluice {
namespace {

using nlohmann::json;

class DecimalsTest : public testing::ExactWorld {
 protected:
  Task<void> script(std::string text) {
    auto lease = co_await pool().acquire();
    co_await lease->script(std::move(text));
  }
  std::size_t found(const std::string& left, std::vector<std::string> values) {
    std::vector<feed::Filter> filters;
    filters.push_back(expect(feed::parse_filter(left, std::move(values))));
    const std::string answer = rest("thing", std::move(filters));
    return command_line(answer)["entities"].size();
  }
};

TEST_F(DecimalsTest, one_value_is_one_whatever_zeros_it_is_written_with) {
  EXPECT_EQ(put(R"({"rate":"12.50","name":"a"})", "rate"), "inserted");
  EXPECT_EQ(put(R"({"rate":"12.5","name":"a"})", "rate"), "unchanged");
  EXPECT_EQ(put(R"({"rate":"012.5","name":"a"})", "rate"), "unchanged");
  EXPECT_EQ(put(R"({"rate":12.500,"name":"a"})", "rate"), "unchanged");
  EXPECT_EQ(put(R"({"rate":"12.500","name":"b"})", "name"), "rate: duplicate_key");
  EXPECT_EQ(put(R"({"rate":"-0","name":"z"})", "rate"), "inserted");
  EXPECT_EQ(put(R"({"rate":"0.00","name":"z"})", "rate"), "unchanged");
  EXPECT_EQ(ask("select value from sluice.own_unique where attribute = 'rate' order by value"),
            "0 12.5");
  for (const char* text : {"12.5", "12.50", "012.500"}) {
    EXPECT_EQ(found("rate", {text}), 1U) << text;
    EXPECT_EQ(found("rate[in]", {text, "7"}), 1U) << text;
    EXPECT_EQ(found("rate[gte]", {text}), 1U) << text;
  }
  EXPECT_NE(rest("thing").find(R"("rate":"12.5")"), std::string::npos) << rest("thing");
}

TEST_F(DecimalsTest, an_answer_says_a_vendors_decimal_in_the_same_form_and_with_all_its_digits) {
  auto first = page();
  write(first.record("person", "p", {{"name", "Ann"}, {"price", "12.50"}}).page);
  EXPECT_NE(rest("acme.person").find(R"("price":"12.5")"), std::string::npos);
  auto second = page();
  write(second.record("person", "p", {{"name", "Ann"}, {"price", "12345678901234567.123456789012"}})
            .page);
  EXPECT_NE(changes().find(R"({"price": ["12.5", "12345678901234567.123456789012"]})"),
            std::string::npos)
      << changes();
  EXPECT_NE(rest("acme.person").find(R"("price":"12345678901234567.123456789012")"),
            std::string::npos);
}

/// A row of before, as it was stored then.
const char* const kOldRow =
    "with made as (insert into sluice.own_entity (workspace_id, type_id, data) select 1, type_id, "
    "jsonb_build_object('name', '{n}', 'rate', '{r}') from sluice.entity_type where name = 'thing' "
    "returning type_id, id) insert into sluice.own_unique (workspace_id, type_id, attribute, "
    "value, "
    "id) select 1, type_id, 'rate', '{r}', id from made union all select 1, type_id, 'name', "
    "'{n}', id from made returning 1";

TEST_F(DecimalsTest,
       those_of_before_hold_their_value_in_its_one_form_and_the_older_of_two_holds_it) {
  const auto old = [&](const std::string& name, const std::string& rate) {
    std::string statement = kOldRow;
    for (const auto& [mark, by] :
         {std::pair<std::string, std::string>("{n}", name), {"{r}", rate}}) {
      for (std::size_t at = 0; (at = statement.find(mark, at)) != std::string::npos;)
        statement.replace(at, mark.size(), by);
    }
    ask(statement);
  };
  old("first", "1.50");
  old("second", "1.5");
  old("third", "007.0");
  for (const pg::Migration& migration : pg::migrations()) {
    if (migration.name.find("one_form_of_decimals") != std::string_view::npos)
      run(script(std::string(migration.sql)));
  }
  EXPECT_EQ(ask("select u.value || '=' || (e.data->>'name') from sluice.own_unique u join "
                "sluice.own_entity e using (workspace_id, type_id, id) where u.attribute = 'rate' "
                "order by 1"),
            "1.5=first 7=third");
  EXPECT_EQ(found("rate", {"1.500"}), 1U);
  EXPECT_NE(rest("thing").find(R"("rate":"7")"), std::string::npos) << rest("thing");
  // The other one stays, and can be written to; only what is new is refused.
  EXPECT_EQ(put(R"({"name":"second","d":"1"})"), "updated");
  EXPECT_EQ(put(R"({"name":"third","rate":"1.50"})"), "rate: duplicate_key");
  EXPECT_EQ(put(R"({"name":"second","rate":"2.0"})"), "updated");
  EXPECT_EQ(put(R"({"name":"third","rate":"1.50"})"), "rate: duplicate_key");
  EXPECT_EQ(put(R"({"name":"first","rate":"3"})"), "updated");
  EXPECT_EQ(put(R"({"name":"third","rate":"1.50"})"), "updated");
  EXPECT_EQ(ask("select value from sluice.own_unique where attribute = 'rate' order by value"),
            "1.5 2 3");
}

}  // namespace
}  // namespace sluice
