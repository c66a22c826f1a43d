#include "model/own_types.hpp"

#include <gtest/gtest.h>

#include "model/catalog.hpp"
#include "model/storage.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;
using sluice::testing::make_workspace;

class OwnTypesTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    workspace_ = run(make_workspace(pool()));
  }
  /// "" or the code of the refusal.
  std::string create(std::string_view text) {
    auto type = own_type_from_json(json::parse(text));
    if (!type) return type.error().code;
    const auto made = run(create_task(std::move(*type)));
    return made ? "" : made.error().code;
  }
  std::string add(std::string type, std::string_view text) {
    auto attribute = own_attribute_from_json(json::parse(text));
    if (!attribute) return attribute.error().code;
    const auto made = run(add_task(std::move(type), std::move(*attribute)));
    return made ? "" : made.error().code;
  }
  Task<Result<OwnType>> create_task(OwnType type) {
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    auto made = co_await create_own_type(transaction, workspace_, std::move(type));
    if (made) co_await transaction.commit();
    co_return made;
  }
  Task<Result<OwnType>> add_task(std::string type, OwnAttribute attribute) {
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    auto made =
        co_await add_own_attribute(transaction, workspace_, std::move(type), std::move(attribute));
    if (made) co_await transaction.commit();
    co_return made;
  }
  Task<CatalogPtr> load() {
    auto lease = co_await pool().acquire();
    co_return co_await load_catalog(*lease, workspace_);
  }
  Task<std::vector<OwnType>> list() {
    auto lease = co_await pool().acquire();
    co_return co_await list_own_types(*lease, workspace_);
  }
  Task<void> install() {
    auto lease = co_await pool().acquire();
    const auto manifest = sluice::testing::acme_manifest();
    co_await install_types(*lease, workspace_, manifest);
  }
  WorkspaceId workspace_;
};

TEST_F(OwnTypesTest, ATypeIsStoredListedAndPartOfTheCatalogue) {
  EXPECT_EQ(create(R"({"name":"customer","display_attribute":"email","attributes":[
      {"name":"email","type":"text","format":"email","unique":true},
      {"name":"site","type":"text","link_key":"domain"},
      {"name":"plain","type":"text","format":"email","unique":true,"link_key":null},
      {"name":"billing","type":"text","format":"email"},
      {"name":"age","type":"integer","required":true}]})"),
            "");
  const auto catalog = run(load());
  const StoredType* type = catalog->find("customer");
  ASSERT_TRUE(type);
  EXPECT_TRUE(type->own);
  EXPECT_EQ(type->table, "");
  EXPECT_EQ(type->find("email")->key_kind, contract::KeyKind::email) << "unique and an email";
  EXPECT_EQ(type->find("billing")->key_kind, contract::KeyKind::email)
      << "two may share it: then a link by it is contested, not missing";
  EXPECT_EQ(type->find("site")->key_kind, contract::KeyKind::domain);
  EXPECT_FALSE(type->find("plain")->key_kind) << "null says no";
  EXPECT_EQ(type->find("age")->position, 4);
  const auto types = run(list());
  ASSERT_EQ(types.size(), 1u);
  EXPECT_EQ(to_json(types[0])["attributes"][1]["link_key"], "domain");
  EXPECT_EQ(to_json(types[0])["display_attribute"], "email");
}

TEST_F(OwnTypesTest, AMisspeltFormatIsToldWhatWasMeant) {
  const auto read = [](const char* format) {
    return own_attribute_from_json({{"name", "a"}, {"type", "text"}, {"format", format}});
  };
  ASSERT_FALSE(read("emial"));
  EXPECT_NE(read("emial").error().hint.find("Did you mean 'email'?"), std::string::npos);
  EXPECT_NE(read("postcode").error().hint.find("There are email, url"), std::string::npos);
  for (const char* known : {"", "email", "url"}) EXPECT_TRUE(read(known)) << known;
}

TEST_F(OwnTypesTest, WhatCannotBeIsRefusedWithItsCode) {
  EXPECT_EQ(create(R"({"name":"Customer","attributes":[{"name":"a","type":"text"}]})"),
            "type.bad_name");
  EXPECT_EQ(create(R"({"name":"a.b","attributes":[{"name":"a","type":"text"}]})"), "type.bad_name");
  EXPECT_EQ(create(R"({"name":"link","attributes":[{"name":"a","type":"text"}]})"),
            "type.reserved_name");
  EXPECT_EQ(create(R"({"name":"a","attributes":[]})"), "type.no_attributes");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"a","type":"varchar"}]})"),
            "attribute.unknown_type");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"id","type":"text"}]})"),
            "attribute.reserved_name");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"9","type":"text"}]})"),
            "attribute.bad_name");
  EXPECT_EQ(
      create(
          R"({"name":"a","attributes":[{"name":"b","type":"text"},{"name":"b","type":"text"}]})"),
      "attribute.name_taken");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"json","unique":true}]})"),
            "attribute.cannot_be_unique");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"date","link_key":"email"}]})"),
            "attribute.cannot_be_key");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"text","link_key":"mail"}]})"),
            "attribute.unknown_key_kind");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"text","format":"emial"}]})"),
            "attribute.unknown_format");
  EXPECT_EQ(create(R"({"name":"a","colour":1,"attributes":[]})"), "type.bad_request");
  EXPECT_EQ(
      create(R"({"name":"a","display_attribute":"z","attributes":[{"name":"b","type":"text"}]})"),
      "type.unknown_display_attribute");
  EXPECT_TRUE(run(list()).empty()) << "nothing is left behind";
}

TEST_F(OwnTypesTest, ANameThatIsTakenIsRefused) {
  run(install());
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"text"}]})"), "");
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"text"}]})"), "type.name_taken");
  EXPECT_EQ(create(R"({"name":"acme_invoice","attributes":[{"name":"b","type":"text"}]})"),
            "type.name_taken")
      << "a view has the name";
}

TEST_F(OwnTypesTest, AttributesAreAddedBehindTheOthers) {
  EXPECT_EQ(create(R"({"name":"a","attributes":[{"name":"b","type":"text"}]})"), "");
  EXPECT_EQ(add("a", R"({"name":"c","type":"integer","required":true})"), "");
  EXPECT_EQ(add("a", R"({"name":"c","type":"text"})"), "attribute.name_taken");
  EXPECT_EQ(add("zzz", R"({"name":"c","type":"text"})"), "type.not_found");
  EXPECT_EQ(run(load())->find("a")->find("c")->position, 1);
  run(
      pool().query("insert into sluice.own_entity (workspace_id, type_id, data)"
                   " select workspace_id, type_id, '{}' from sluice.entity_type"));
  EXPECT_EQ(add("a", R"({"name":"d","type":"text","required":true})"),
            "attribute.required_with_rows");
  EXPECT_EQ(add("a", R"({"name":"d","type":"text"})"), "");
}

}  // namespace
}  // namespace sluice::model
