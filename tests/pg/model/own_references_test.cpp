// What the database itself refuses of rows of own types and their unique values, whoever writes
// them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/own_types.hpp"
#include "pg/error.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using sluice::testing::make_workspace;

class OwnReferences : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
  }
  Task<void> prepare() {
    workspace_ = co_await make_workspace(pool());
    const auto request = nlohmann::json::parse(
        R"({"name":"lead","attributes":[{"name":"email","type":"text","unique":true}]})");
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await create_own_type(transaction, workspace_, std::move(*type));
    co_await transaction.commit();
  }
  std::string with_type(const std::string& sql) {
    std::string text = sql;
    const std::string ids = std::to_string(workspace_.value) +
                            ", (select max(type_id) from sluice.entity_type where name = 'lead')";
    for (auto at = text.find('#'); at != std::string::npos; at = text.find('#'))
      text.replace(at, 1, ids);
    return text;
  }
  /// The SQLSTATE it is refused with, or "".
  std::string refused(const std::string& sql) {
    try {
      run(superuser_pool().query(with_type(sql)));
    } catch (const pg::QueryError& error) {
      return error.sqlstate();
    }
    return "";
  }
  std::int64_t count(const std::string& table) {
    return run(pool().query("select count(*) from " + table)).get<std::int64_t>(0, 0);
  }
  WorkspaceId workspace_;
};

constexpr const char* kForeignKey = "23503";

TEST_F(OwnReferences, ARowIsOfATypeThatThereIs) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}')"),
            "");
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 2, '{}'), (1, 999999, 3, '{}')"),
            kForeignKey);
  EXPECT_EQ(count("sluice.own_entity"), 1) << "the one beside it is not stored either";
}

TEST_F(OwnReferences, ATypeWithRowsStays) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}')"),
            "");
  run(superuser_pool().query("delete from sluice.attribute where workspace_id = " +
                             std::to_string(workspace_.value)));
  const char* kDelete =
      "delete from sluice.entity_type where (workspace_id, type_id) in (select #)";
  EXPECT_EQ(refused(kDelete), kForeignKey);
  run(superuser_pool().query("delete from sluice.own_entity"));
  EXPECT_EQ(refused(kDelete), "");
}

TEST_F(OwnReferences, AUniqueValueIsOfARowThatThereIs) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}')"),
            "");
  const std::string put =
      "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id) values ";
  EXPECT_EQ(refused(put + "(#, 'email', 'a@x.example', 1)"), "");
  EXPECT_EQ(refused(put + "(#, 'email', 'b@x.example', 1), (#, 'email', 'c@x.example', 2)"),
            kForeignKey);
  EXPECT_EQ(refused(put + "(1, 999999, 'email', 'd@x.example', 1)"), kForeignKey)
      << "a row of this id, and of another type";
  EXPECT_EQ(count("sluice.own_unique"), 1);
}

TEST_F(OwnReferences, ARowTakesItsUniqueValuesAlongAndNoOther) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}'), (#, 2, '{}')"),
            "");
  EXPECT_EQ(refused("insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
                    " values (#, 'email', 'a@x.example', 1), (#, 'email', 'b@x.example', 2)"),
            "");
  run(superuser_pool().query("delete from sluice.own_entity where id = 1"));
  const auto left = run(pool().query("select value from sluice.own_unique"));
  ASSERT_EQ(left.rows(), 1);
  EXPECT_EQ(left.text(0, 0), "b@x.example");
}

TEST_F(OwnReferences, KeysOfRowsStayAndRowsGoWithTheirUniqueValues) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}')"),
            "");
  EXPECT_EQ(refused("insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
                    " values (#, 'email', 'a@x.example', 1)"),
            "");
  EXPECT_EQ(refused("update sluice.own_entity set type_id = 999999"), kForeignKey);
  EXPECT_EQ(refused("update sluice.own_unique set id = 2"), kForeignKey);
  EXPECT_EQ(refused("update sluice.own_entity set id = id, updated_at = now()"), "");
  EXPECT_EQ(refused("truncate sluice.own_entity"), kForeignKey);
  EXPECT_EQ(refused("truncate sluice.own_entity, sluice.own_unique"), "");
}

// Another transaction's view of the rows is from its beginning: one that it does not see would be
// taken for none.
TEST_F(OwnReferences, WhoDoesNotSeeWhatIsCommittedNowWritesNoRows) {
  EXPECT_EQ(refused("insert into sluice.own_entity (workspace_id, type_id, id, data)"
                    " values (#, 1, '{}')"),
            "");
  EXPECT_EQ(refused("insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
                    " values (#, 'email', 'a@x.example', 1)"),
            "");
  const std::string statements[] = {
      "insert into sluice.own_entity (workspace_id, type_id, id, data) values (#, 2, '{}')",
      "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
      " values (#, 'email', 'b@x.example', 1)",
      "delete from sluice.own_entity",
      "delete from sluice.entity_type where (workspace_id, type_id) in (select #)"};
  for (const char* level : {"repeatable read", "serializable"}) {
    for (const std::string& sql : statements) {
      const auto alone = connect();
      run(alone->query(fmt::format("begin isolation level {}", level)));
      std::string why;
      try {
        run(alone->query(with_type(sql)));
      } catch (const pg::QueryError& error) {
        why = error.error().message;
      }
      EXPECT_NE(why.find("read committed only"), std::string::npos) << level << sql << why;
    }
  }
  EXPECT_EQ(count("sluice.own_entity"), 1);
  EXPECT_EQ(count("sluice.own_unique"), 1);
}

TEST_F(OwnReferences, TheChecksMeanTheSameWhateverTheSearchPath) {
  const auto open = run(pool().query(
      "select string_agg(p.proname, ' ') from pg_proc p join pg_trigger t on t.tgfoid = p.oid "
      "where "
      "t.tgrelid in ('sluice.own_entity'::regclass, 'sluice.own_unique'::regclass, "
      "'sluice.entity_type'::regclass) and not t.tgisinternal and p.proname ~ '^(own|types)_' and "
      "not coalesce('search_path=\"\"' = any (p.proconfig), false)"));
  EXPECT_TRUE(open.is_null(0, 0)) << open.text(0, 0);
}

}  // namespace
}  // namespace sluice::model
