#include "model/storage.hpp"

#include <gtest/gtest.h>

#include <set>

#include "model/catalog.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;
using sluice::testing::acme_manifest;
using sluice::testing::attribute;
using sluice::testing::make_workspace;

class StorageTest : public sluice::testing::PgTest {
 protected:
  Task<Installed> install_and_tell(WorkspaceId workspace, contract::Manifest manifest) {
    auto lease = co_await pool().acquire();
    co_return co_await install_types(*lease, workspace, manifest);
  }
  Task<void> install(WorkspaceId workspace, contract::Manifest manifest) {
    co_await install_and_tell(workspace, std::move(manifest));
  }
  /// The code with which the installation is refused, and its hint; "" when it is not.
  Error refusal(WorkspaceId workspace, const contract::Manifest& manifest) {
    try {
      run(install(workspace, manifest));
    } catch (const Failure& failure) {
      return failure.error();
    }
    return Error(ErrorKind::internal, "", "it was installed");
  }
  Task<CatalogPtr> load(WorkspaceId workspace) {
    auto lease = co_await pool().acquire();
    co_return co_await load_catalog(*lease, workspace);
  }
  std::string text(std::string sql) {
    const auto rows = run(pool().query(sql));
    std::string out;
    for (int i = 0; i < rows.rows(); ++i) out += (i ? "," : "") + rows.get<std::string>(i, 0);
    return out;
  }
};

TEST_F(StorageTest, InstallingMakesATypedTableForEachEntityType) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  EXPECT_EQ(
      text("select string_agg(attname || ':' || format_type(atttypid, atttypmod), ' ' order by "
           "attnum)"
           " from pg_attribute where attrelid = 'vendor.acme_invoice'::regclass and attnum > 14"),
      "number:text customer:text total:bigint rate:numeric score:double precision paid:boolean"
      " created:timestamp with time zone due:date lines:jsonb hash:bytea memo:text");
  EXPECT_EQ(text("select string_agg(attname::text, ' ' order by attnum)"
                 " from pg_attribute where attrelid = 'vendor.acme_invoice'::regclass and attnum "
                 "between 1 and 14"),
            "workspace_id connection_id external_id id source_version observed_version "
            "content_hash deleted_at"
            " first_synced_at last_synced_at sync_version source_url extra overlay");
  EXPECT_EQ(
      text("select indexdef from pg_indexes where schemaname = 'vendor' and tablename = "
           "'acme_invoice'"
           " order by indexname"),
      "CREATE INDEX acme_invoice_at_customer ON vendor.acme_invoice USING btree (workspace_id,"
      " connection_id, customer COLLATE \"C\") WHERE (customer IS NOT NULL),"
      "CREATE UNIQUE INDEX acme_invoice_by_id ON vendor.acme_invoice USING btree (workspace_id, "
      "id) WHERE (id IS NOT NULL),"
      "CREATE UNIQUE INDEX acme_invoice_pkey ON vendor.acme_invoice USING btree (workspace_id,"
      " connection_id, external_id)");
  EXPECT_EQ(
      text("select reloptions::text from pg_class where oid = 'vendor.acme_invoice'::regclass"),
      "{fillfactor=80}");
}

TEST_F(StorageTest, TheCatalogueSaysWhatTheManifestSaid) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  const auto catalog = run(load(workspace));
  ASSERT_EQ(catalog->types.size(), 2u);
  const StoredType* customer = catalog->find("acme.customer");
  const StoredType* invoice = catalog->find("acme.invoice");
  ASSERT_TRUE(customer && invoice);
  EXPECT_FALSE(customer->own);
  EXPECT_EQ(customer->connector, "acme");
  EXPECT_EQ(customer->table, "acme_customer");
  EXPECT_EQ(customer->display_attribute, "email");
  ASSERT_EQ(customer->attributes.size(), 4u);
  EXPECT_EQ(customer->attributes[0].name, "email");
  EXPECT_EQ(customer->attributes[0].key_kind, contract::KeyKind::email);
  EXPECT_TRUE(customer->attributes[0].personal);
  EXPECT_TRUE(customer->attributes[1].required);
  EXPECT_FALSE(customer->attributes[3].is_protected);
  ASSERT_EQ(invoice->relationships.size(), 1u);
  EXPECT_EQ(invoice->relationships[0].target, customer->id);
  EXPECT_EQ(invoice->relationships[0].target_name, "acme.customer");
  ASSERT_EQ(catalog->rules.size(), 1u);
  const StoredRule& rule = catalog->rules[0];
  EXPECT_EQ(rule.name, "acme.customer.email");
  EXPECT_EQ(rule.source_type, customer->id);
  EXPECT_EQ(rule.source_position, 0);
  EXPECT_EQ(rule.target_position, -1) << "the own type does not exist yet";
  EXPECT_FALSE(rule.effective());
  EXPECT_TRUE(rule.from_connector);
}

TEST_F(StorageTest, InstallingAgainChangesNothing) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  const std::string all =
      "select string_agg(t::text, ';' order by t::text) from (select type_id::text || name || "
      "declaration::text"
      " from sluice.entity_type union all select a::text from sluice.attribute a union all"
      " select r::text from sluice.relationship r union all select l::text from sluice.link_rule "
      "l) t";
  const std::string before = text(all);
  run(install(workspace, acme_manifest()));
  EXPECT_EQ(text(all), before);
}

TEST_F(StorageTest, ANewerManifestAddsColumnsAndKeepsPositionsByName) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  auto newer = acme_manifest();
  newer.version = "1.1.0";
  auto& attributes = newer.entity_types[0].attributes;
  attributes.erase(attributes.begin() + 1);  // created is no longer declared
  attributes.insert(attributes.begin(), attribute("phone", AttributeType::text));
  run(install(workspace, newer));
  const auto catalog = run(load(workspace));
  const StoredType* customer = catalog->find("acme.customer");
  EXPECT_EQ(customer->find("email")->position, 0);
  EXPECT_EQ(customer->find("created")->position, 1);
  EXPECT_FALSE(customer->find("created")->required) << "records no longer have it";
  EXPECT_EQ(customer->find("balance")->position, 2);
  EXPECT_EQ(customer->find("nickname")->position, 3);
  EXPECT_EQ(customer->find("phone")->position, 4);
  EXPECT_EQ(text("select format_type(atttypid, atttypmod) from pg_attribute"
                 " where attrelid = 'vendor.acme_customer'::regclass and attname = 'phone'"),
            "text");
}

TEST_F(StorageTest, AnInstallTellsWhichLinkKeysAndRulesAreNotWhatTheyWere) {
  const auto workspace = run(make_workspace(pool()));
  const Installed first = run(install_and_tell(workspace, acme_manifest()));
  EXPECT_TRUE(first.keys.empty()) << "no row can be there";
  ASSERT_EQ(first.rules.size(), acme_manifest().link_rules.size());
  const Installed again = run(install_and_tell(workspace, acme_manifest()));
  EXPECT_TRUE(again.keys.empty());
  EXPECT_TRUE(again.rules.empty());
  auto newer = acme_manifest();
  contract::LinkKey nickname;
  nickname.attribute = "nickname";
  nickname.kind = contract::KeyKind::username;
  newer.entity_types[0].link_keys = {nickname};  // and no longer email
  newer.link_rules[0].source_attribute = "nickname";
  const Installed changed = run(install_and_tell(workspace, newer));
  ASSERT_EQ(changed.keys.size(), 2U);
  EXPECT_EQ(changed.keys[0].type, "acme.customer");
  EXPECT_EQ(std::set<std::string>({changed.keys[0].attribute, changed.keys[1].attribute}),
            std::set<std::string>({"email", "nickname"}));
  EXPECT_EQ(changed.rules, std::vector<std::string>{newer.link_rules[0].name});
}

TEST_F(StorageTest, ATableThatIsOlderThanTheObservedOrderGetsItsColumn) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  run(pool().query("alter table vendor.acme_invoice drop column observed_version"));
  run(install(workspace, acme_manifest()));
  EXPECT_EQ(
      text("select count(*) from pg_attribute where attrelid = 'vendor.acme_invoice'::regclass"
           " and attname = 'observed_version' and not attisdropped"),
      "1");
}

TEST_F(StorageTest, AnAttributeOfAnotherTypeIsRefusedAndNothingIsLeftBehind) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  auto newer = acme_manifest();
  newer.entity_types[0].attributes.push_back(attribute("extra_one", AttributeType::text));
  newer.entity_types[1].attributes[2].type = AttributeType::decimal;
  const Error error = refusal(workspace, newer);
  EXPECT_EQ(error.code, "type.attribute_retyped");
  EXPECT_NE(error.message.find("acme.invoice.total"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("decimal"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("integer"), std::string::npos) << error.message;
  EXPECT_NE(error.hint.find("total_decimal"), std::string::npos) << error.hint;
  EXPECT_EQ(text("select count(*) from pg_attribute where attname = 'extra_one'"), "0");
}

TEST_F(StorageTest, ARetypedAttributeIsRefusedInAWorkspaceThatNeverSawTheOldOne) {
  run(install(run(make_workspace(pool(), "one")), acme_manifest()));
  const auto other = run(make_workspace(pool(), "two"));
  auto newer = acme_manifest();
  newer.entity_types[1].attributes[2].type = AttributeType::text;
  EXPECT_EQ(refusal(other, newer).code, "type.attribute_retyped");
}

TEST_F(StorageTest, ANameOfAColumnThatEveryTableHasIsRefused) {
  const auto workspace = run(make_workspace(pool()));
  auto manifest = acme_manifest();
  manifest.entity_types[0].attributes.push_back(attribute("external_id", AttributeType::text));
  const Error error = refusal(workspace, manifest);
  EXPECT_EQ(error.code, "type.reserved_attribute");
  EXPECT_NE(error.hint.find("vendor_external_id"), std::string::npos);
}

TEST_F(StorageTest, ANameThatAnotherConnectorOrAnOwnTypeHasIsRefused) {
  const auto workspace = run(make_workspace(pool()));
  pg::Params values(workspace);
  run(
      pool().query("insert into sluice.entity_type (workspace_id, name, origin, connector, "
                   "relation, declaration)"
                   " values ($1, 'acme.customer', 'preset', 'other', 'vendor.x', '{}')",
                   values));
  EXPECT_EQ(refusal(workspace, acme_manifest()).code, "type.name_taken");
  run(pool().query(
      "update sluice.entity_type set name = 'acme_customer', origin = 'own', connector = null"));
  EXPECT_EQ(refusal(workspace, acme_manifest()).code, "type.name_taken");
}

TEST_F(StorageTest, AnAdminsSwitchOnADefaultRuleSurvivesANewVersion) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  run(pool().query("update sluice.link_rule set enabled = false"));
  auto newer = acme_manifest();
  newer.link_rules[0].target_attribute = "mail";
  run(install(workspace, newer));
  EXPECT_EQ(text("select enabled::text || ' ' || target_attribute from sluice.link_rule"),
            "false mail");
}

TEST_F(StorageTest, ARuleIsItsConnectorsOwnWhateverOthersCallTheirs) {
  const auto workspace = run(make_workspace(pool()));
  const auto named = [](const char* id, const char* attribute) {
    auto manifest = acme_manifest();
    manifest.id = id;
    manifest.link_rules[0].name = "customers by email";
    manifest.link_rules[0].source_attribute = attribute;
    return manifest;
  };
  const std::string rules =
      "select name || ': ' || source_type || '.' || source_attribute from sluice.link_rule order "
      "by "
      "rule_id";
  const Installed first = run(install_and_tell(workspace, named("aone", "email")));
  EXPECT_TRUE(first.notes.empty());
  const Installed second = run(install_and_tell(workspace, named("btwo", "email")));
  EXPECT_EQ(second.rules, std::vector<std::string>{"btwo.customers by email"});
  ASSERT_EQ(second.notes.size(), 1U);
  EXPECT_EQ(second.notes[0],
            "its link rule 'customers by email' is called 'btwo.customers by email' here: another "
            "rule has that name");
  EXPECT_EQ(text(rules),
            "customers by email: aone.customer.email,btwo.customers by email: btwo.customer.email");
  // Each defines its own anew, and no other.
  EXPECT_TRUE(run(install_and_tell(workspace, named("aone", "email"))).rules.empty());
  const Installed anew = run(install_and_tell(workspace, named("btwo", "nickname")));
  EXPECT_EQ(anew.rules, std::vector<std::string>{"btwo.customers by email"});
  EXPECT_EQ(text(rules),
            "customers by email: aone.customer.email,btwo.customers by email: "
            "btwo.customer.nickname");
}

TEST_F(StorageTest, AnAdminsRuleOfTheSameNameIsLeftAloneAndTheConnectorsIsMadeAllTheSame) {
  const auto workspace = run(make_workspace(pool()));
  run(
      pool().query("insert into sluice.link_rule (workspace_id, name, source_type, "
                   "source_attribute, target_type, target_attribute, key_kind, origin) values "
                   "(1, 'acme.customer.email', 'a', 'b', 'c', 'd', 1, 'admin'),"
                   "(1, 'taken', 'a', 'b', 'c', 'd', 1, 'admin'),"
                   "(1, 'acme.taken', 'a', 'b', 'c', 'd', 1, 'admin')"));
  run(install(workspace, acme_manifest()));
  EXPECT_EQ(
      text("select name || ' ' || origin from sluice.link_rule where name like '%email' order "
           "by rule_id"),
      "acme.customer.email admin,acme.acme.customer.email connector");
  auto unlucky = acme_manifest();
  unlucky.link_rules[0].name = "taken";
  EXPECT_EQ(refusal(workspace, unlucky).code, "type.rule_name_taken");
}

TEST_F(StorageTest, ARuleThatANewerManifestDroppedIsGoingAndComesBackWithIt) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  auto newer = acme_manifest();
  newer.link_rules.clear();
  const Installed dropped = run(install_and_tell(workspace, newer));
  EXPECT_EQ(dropped.rules, std::vector<std::string>{"acme.customer.email"});
  EXPECT_EQ(dropped.notes.size(), 1U);
  const std::string is = "select enabled::text || ' ' || going from sluice.link_rule";
  EXPECT_EQ(text(is), "false true");
  EXPECT_TRUE(run(install_and_tell(workspace, newer)).rules.empty());
  const Installed back = run(install_and_tell(workspace, acme_manifest()));
  EXPECT_EQ(back.rules, std::vector<std::string>{"acme.customer.email"});
  EXPECT_EQ(text(is), "true false");
}

TEST_F(StorageTest, TwoHostsMayInstallAtOnce) {
  const auto one = run(make_workspace(pool(), "one"));
  const auto two = run(make_workspace(pool(), "two"));
  int done = 0;
  std::string problem;
  const auto record = [&](std::exception_ptr error) {
    ++done;
    try {
      if (error) std::rethrow_exception(error);
    } catch (const std::exception& e) {
      problem = e.what();
    }
  };
  asio::co_spawn(io(), install(one, acme_manifest()), record);
  asio::co_spawn(io(), install(two, acme_manifest()), record);
  asio::co_spawn(io(), install(one, acme_manifest()), record);
  run_until_true([&] { return done == 3; });
  EXPECT_EQ(problem, "");
  EXPECT_EQ(text("select count(*) from sluice.entity_type"), "4");
}

TEST_F(StorageTest, NamesThatAreTooLongForPostgreSqlAreFittedNotCut) {
  const auto workspace = run(make_workspace(pool()));
  auto manifest = acme_manifest();
  manifest.id = "averylongconnectornameofthirty1";
  const std::string stem(50, 'x');
  manifest.entity_types[0].name = stem + "_a";
  manifest.entity_types[1].name = stem + "_b";
  manifest.entity_types[1].relationships[0].target = stem + "_a";
  manifest.link_rules.clear();
  run(install(workspace, manifest));
  run(install(workspace, manifest));
  const auto catalog = run(load(workspace));
  const StoredType* a = catalog->find(manifest.id + "." + stem + "_a");
  const StoredType* b = catalog->find(manifest.id + "." + stem + "_b");
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->table, b->table);
  EXPECT_EQ(text("select count(*) from pg_tables where schemaname = 'vendor'"), "2");
}

TEST_F(StorageTest, CatalogueSnapshotsAreKeptAndReplacedWhenInvalidated) {
  const auto workspace = run(make_workspace(pool()));
  run(install(workspace, acme_manifest()));
  SystemClock clock;
  Catalogs catalogs(pool(), clock);
  const auto first = run(catalogs.get(workspace));
  EXPECT_EQ(run(catalogs.get(workspace)), first);
  auto newer = acme_manifest();
  newer.entity_types[0].attributes.push_back(attribute("phone", AttributeType::text));
  run(install(workspace, newer));
  catalogs.invalidate(workspace);
  const auto second = run(catalogs.get(workspace));
  EXPECT_TRUE(second->find("acme.customer")->find("phone"));
  EXPECT_FALSE(first->find("acme.customer")->find("phone")) << "a snapshot never changes";
}

}  // namespace
}  // namespace sluice::model
