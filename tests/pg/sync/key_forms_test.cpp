// Which rows are one by their keys, whatever came first and whatever was stored in another form.
#include "link/idle.hpp"
#include "link/normalise.hpp"
#include "link/resolver.hpp"
#include "model/catalog_version.hpp"
#include "pg/feed/world.hpp"
#include "pg/migrate.hpp"
#include "sync/link_rules.hpp"
#include "sync/work_kinds.hpp"
#include "work/runner.hpp"

namespace sluice::sync {
namespace {

using contract::KeyKind;

/// A workspace with the connector acme, whose rule leads from its customers' addresses to those of
/// an own type "customer", which is made when a test says so.
class VendorFirst : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
  }
  Task<void> prepare() {
    workspace_ = co_await sluice::testing::make_workspace(pool());
    auto lease = co_await pool().acquire();
    co_await install(*lease, sluice::testing::acme_manifest());
    co_await lease->script(
        "delete from sluice.work;"
        "insert into sluice.lease_epoch select workspace_id, n, 1 from sluice.workspace, "
        "unnest(array['link', 'work']) n;"
        "insert into sluice.connector_version (connector, version, sha256, manifest)"
        " values ('acme', '1.0.0', decode(repeat('00', 32), 'hex'), '{}');"
        "insert into sluice.installation (workspace_id, connector, sha256)"
        " select workspace_id, 'acme', decode(repeat('00', 32), 'hex') from sluice.workspace;"
        "insert into sluice.connection (workspace_id, connector, name) select workspace_id, "
        "'acme', "
        "'main' from sluice.workspace");
  }
  Task<void> install(pg::Connection& connection, contract::Manifest manifest) {
    auto transaction = co_await pg::Transaction::begin(connection);
    const model::Installed news = co_await model::install_types(transaction, workspace_, manifest);
    for (const std::string& rule : news.rules)
      co_await apply_rule(transaction, workspace_, rule, "t");
    co_await model::raise_catalog_version(transaction, workspace_);
    co_await transaction.commit();
  }
  Task<void> install_again(contract::Manifest manifest) {
    auto lease = co_await pool().acquire();
    co_await install(*lease, std::move(manifest));
  }

  void sql(const std::string& text) {
    const auto script = [](pg::Pool& pool, std::string all) -> Task<void> {
      auto lease = co_await pool.acquire();
      co_await lease->script(all);
    };
    run(script(pool(), text));
  }
  std::string text(const std::string& query) {
    const auto rows = run(pool().query(query));
    std::string out;
    for (int row = 0; row < rows.rows(); ++row) {
      out += row > 0 ? "; " : "";
      out += rows.is_null(row, 0) ? "null" : rows.get<std::string>(row, 0);
    }
    return out;
  }

  /// Rows as ingest writes them, with their keys made by durable work.
  void customers(const std::vector<std::string>& emails) {
    for (const std::string& email : emails) {
      sql(
          fmt::format("insert into vendor.acme_customer (workspace_id, connection_id, external_id, "
                      "content_hash, email) select workspace_id, connection_id, 'cus_' || (select "
                      "count(*) from "
                      "vendor.acme_customer), gen_random_uuid(), '{}' from sluice.connection",
                      email));
    }
    put_keys("acme.customer");
  }
  void put_keys(const std::string& type) {
    sql(fmt::format(
        "insert into sluice.work (workspace_id, kind, subject, task) select workspace_id, "
        "'keys.make', '{0}.email', '{{\"type\": \"{0}\", \"attribute\": \"email\"}}' from "
        "sluice.workspace",
        type));
  }
  static nlohmann::json attribute(const char* text) { return nlohmann::json::parse(text); }
  static constexpr const char* kEmail =
      R"({"name":"email","type":"text","format":"email","unique":true})";

  /// As the route does it.
  Task<void> make_type(nlohmann::json attribute) {
    nlohmann::json request;
    request["name"] = "customer";
    request["attributes"].push_back(std::move(attribute));
    auto wanted = model::own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    auto made = co_await model::create_own_type(transaction, workspace_, std::move(*wanted));
    EXPECT_TRUE(made);
    std::vector<std::string> names(1, made->attributes[0].name);
    co_await apply_rules_of(transaction, workspace_, "customer", std::move(names), "t");
    co_await transaction.commit();
  }
  Task<void> add_attribute(nlohmann::json attribute) {
    auto wanted = model::own_attribute_from_json(attribute);
    std::vector<std::string> names(1, wanted->name);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    auto made =
        co_await model::add_own_attribute(transaction, workspace_, "customer", std::move(*wanted));
    EXPECT_TRUE(made);
    co_await apply_rules_of(transaction, workspace_, "customer", std::move(names), "t");
    co_await transaction.commit();
  }
  Task<void> own_task(std::vector<std::string> emails) {
    auto lease = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*lease, workspace_);
    std::vector<model::OwnRow> rows;
    for (std::string& email : emails) rows.emplace_back().values["email"] = std::move(email);
    model::OwnWrite how;
    const auto outcomes = co_await model::write_own(*lease, workspace_, *catalog->find("customer"),
                                                    std::move(rows), std::move(how));
    EXPECT_EQ(outcomes.size(), emails.size());
  }
  void own(std::vector<std::string> emails) { run(own_task(std::move(emails))); }
  Task<model::OwnOutcome> rate_task(std::optional<std::int64_t> id, std::string rate) {
    std::vector<model::OwnRow> rows(1);
    rows[0].values["rate"] = rate;
    model::OwnWrite how;
    how.mode = id ? model::OwnMode::update : model::OwnMode::insert;
    if (id) rows[0].id = EntityId(*id);
    auto lease = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*lease, workspace_);
    const auto outcomes = co_await model::write_own(*lease, workspace_, *catalog->find("customer"),
                                                    std::move(rows), std::move(how));
    co_return outcomes.at(0);
  }
  /// Of a new customer, or of that one: what became of it.
  std::string write_rate(std::optional<std::int64_t> id, const std::string& rate) {
    const model::OwnOutcome outcome = run(rate_task(id, rate));
    if (outcome.action == model::OwnAction::inserted) return "inserted";
    if (outcome.action == model::OwnAction::updated) return "updated";
    if (outcome.action == model::OwnAction::unchanged) return "unchanged";
    const bool taken =
        !outcome.errors.empty() && outcome.errors[0].fault == model::FieldFault::duplicate_key;
    return taken ? "duplicate_key" : "rejected";
  }

  pg::LeaseProof proof(std::string name) {
    pg::LeaseProof proof;
    proof.workspace = workspace_;
    proof.name = std::move(name);
    proof.epoch = Epoch(1);
    return proof;
  }
  /// All that is due, until nothing is.
  void finish() {
    work::Runner runner(pool(), work_kinds());
    link::Resolver resolver(pool());
    const auto resolve = [](link::Resolver& with, pg::Pool& pool, WorkspaceId workspace,
                            pg::LeaseProof lease) -> Task<bool> {
      model::CatalogPtr catalog;
      {
        auto connection = co_await pool.acquire();
        catalog = co_await model::load_catalog(*connection, workspace);
      }
      const link::ResolveCounts counts = co_await with.run_once(catalog, std::move(lease));
      co_return counts.queue_rows > 0;
    };
    for (int round = 0; round < 100; ++round) {
      bool more = run(runner.run_once(proof("work"), [] { return true; }));
      more |= run(resolve(resolver, pool(), workspace_, proof("link")));
      if (!more) return;
    }
    ADD_FAILURE() << "it does not end";
  }
  std::string links() {
    return text(
        "select count(*) filter (where state = 'linked') || ' linked, ' || count(*) filter "
        "(where state = 'pending') || ' pending, ' || count(*) filter (where state = 'contested') "
        "|| ' contested' from sluice.link");
  }
  model::CatalogPtr catalog() {
    const auto load = [](pg::Pool& pool, WorkspaceId workspace) -> Task<model::CatalogPtr> {
      auto lease = co_await pool.acquire();
      co_return co_await model::load_catalog(*lease, workspace);
    };
    return run(load(pool(), workspace_));
  }
  WorkspaceId workspace_;
};

const std::vector<std::string> kThree = {"a@x.example", "b@x.example", "c@x.example"};

TEST_F(VendorFirst, what_waits_is_pending_whether_the_type_was_there_before_or_comes_later) {
  customers(kThree);
  finish();
  EXPECT_EQ(links(), "0 linked, 0 pending, 0 contested");
  run(make_type(attribute(kEmail)));
  finish();
  EXPECT_EQ(links(), "0 linked, 3 pending, 0 contested");
  own({"a@x.example"});
  finish();
  EXPECT_EQ(links(), "1 linked, 2 pending, 0 contested");
}

TEST_F(VendorFirst, what_waits_is_pending_when_the_type_was_first) {
  run(make_type(attribute(kEmail)));
  customers(kThree);
  own({"a@x.example"});
  finish();
  EXPECT_EQ(links(), "1 linked, 2 pending, 0 contested");
}

TEST_F(VendorFirst, what_waits_is_pending_when_only_the_attribute_came_later) {
  customers(kThree);
  run(make_type(attribute(R"({"name":"name","type":"text"})")));
  finish();
  run(add_attribute(attribute(kEmail)));
  finish();
  EXPECT_EQ(links(), "0 linked, 3 pending, 0 contested");
}

TEST_F(VendorFirst, a_rule_says_why_it_can_find_nothing) {
  const auto why = [&] {
    const model::CatalogPtr now = catalog();
    EXPECT_EQ(now->rules.size(), 1U);
    const auto found = link::why_idle(*now, now->rules[0]);
    EXPECT_EQ(found.has_value(), now->rules[0].enabled && !now->rules[0].effective());
    return found ? found->code : std::string();
  };
  EXPECT_EQ(why(), "rule.unknown_type");
  run(make_type(attribute(R"({"name":"email","type":"text"})")));
  EXPECT_EQ(why(), "rule.no_such_key") << "an address that nobody declared as a key";
  sql("update sluice.attribute set key_kind = 4 where name = 'email' and is_unique = false");
  EXPECT_EQ(why(), "rule.no_such_key") << "a key of another kind";
  sql("update sluice.attribute set key_kind = 1");
  EXPECT_EQ(why(), "");
  sql("update sluice.link_rule set enabled = false");
  EXPECT_EQ(why(), "");
}

TEST_F(VendorFirst, addresses_that_only_look_alike_are_not_linked_and_those_of_one_form_say_so) {
  run(make_type(attribute(kEmail)));
  own({"jak@example.org", "user2@example.org", "strasse@example.org", "joe.smith@example.org",
       "info@b\u00fccher.example", "same@example.org"});
  customers({"ja\u212a@example.org", "user\u00b2@example.org", "stra\u00dfe@example.org",
             "joe\u2024smith@example.org", "info@xn--bcher-kva.example", "same@example.org"});
  finish();
  EXPECT_EQ(
      text("select v.email || ' ' || l.state || coalesce(' ' || "
           "(l.evidence->>'only_after_folding'), "
           "'') from sluice.link l join vendor.acme_customer v on v.id = l.source_id order by "
           "v.external_id"),
      "ja\u212a@example.org linked true; user\u00b2@example.org pending; "
      "stra\u00dfe@example.org pending; joe\u2024smith@example.org pending; "
      "info@xn--bcher-kva.example linked true; same@example.org linked false");
}

TEST_F(VendorFirst, keys_of_an_older_form_are_made_again_and_links_follow) {
  run(make_type(attribute(kEmail)));
  own({"strasse@example.org", "Ann@example.org", "second@example.org"});
  customers({"stra\u00dfe@example.org", "ann@example.org"});
  finish();
  // As an older host has stored them: folded to two letters, and unique as they are written.
  const std::string strasse = to_hex(link::digest(KeyKind::email, "strasse@example.org").bytes);
  sql("update sluice.link_key k set digest = '" + strasse +
      "' from vendor.acme_customer v where v.id = k.entity_id and v.email like 'stra%';"
      "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select * from sluice.link_key;"
      "update sluice.own_unique set value = 'Ann@example.org' where value = 'ann@example.org';"
      "update sluice.own_entity set data = '{\"email\": \"ANN@example.org\"}' where data->>'email' "
      "= 'second@example.org';"
      "update sluice.own_unique set value = 'ANN@example.org' where value = 'second@example.org'");
  finish();
  EXPECT_EQ(links(), "2 linked, 0 pending, 0 contested");
  put_keys("acme.customer");
  put_keys("customer");
  finish();
  EXPECT_EQ(links(), "0 linked, 1 pending, 1 contested")
      << "the sharp s is linked no more, and the two that are one are shown";
  EXPECT_EQ(text("select value from sluice.own_unique order by value"),
            "ann@example.org; strasse@example.org");
  EXPECT_EQ(text("select value || ' ' || (s.id = (select max(id) from sluice.own_entity)) from "
                 "sluice.own_shared s"),
            "ann@example.org true")
      << "the younger one shares it";
  EXPECT_EQ(text("select count(*)::text from sluice.own_entity where deleted_at is null"), "3");
}

/// From before a unique decimal had one form: what one upgrade has made of two values.
TEST_F(VendorFirst, decimals_that_became_one_value_are_listed_and_only_what_is_new_is_refused) {
  run(make_type(attribute(R"({"name":"rate","type":"decimal","unique":true})")));
  sql("delete from sluice.work;"
      "insert into sluice.own_entity (workspace_id, type_id, data) select t.workspace_id, "
      "t.type_id, jsonb_build_object('rate', r) from sluice.entity_type t, unnest(array['1.50', "
      "'1.5', '7.0', '1.500']) r where t.name = 'customer';"
      "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id) select "
      "workspace_id, type_id, 'rate', data->>'rate', id from sluice.own_entity");
  for (const pg::Migration& migration : pg::migrations()) {
    if (migration.name.find("one_form_of_decimals") != std::string_view::npos ||
        migration.name.find("shared_decimals") != std::string_view::npos)
      sql(std::string(migration.sql));
  }
  finish();
  const auto shared = [this]() -> Task<std::vector<model::SharedKey>> {
    auto lease = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*lease, workspace_);
    co_return co_await model::shared_keys(*lease, *catalog);
  };
  const std::int64_t first = std::stoll(text("select min(id)::text from sluice.own_entity"));
  const auto listed = run(shared());
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].attribute, "rate");
  EXPECT_EQ(listed[0].other.value, first);
  EXPECT_EQ(listed[0].id.value, first + 1);
  EXPECT_EQ(listed[1].other.value, first);
  EXPECT_EQ(listed[1].id.value, first + 3);
  EXPECT_EQ(text("select value || '=' || id - (select min(id) from sluice.own_entity) from "
                 "sluice.own_unique order by id"),
            "1.5=0; 7=2");
  EXPECT_EQ(write_rate(std::nullopt, "1.5000"), "duplicate_key") << "what is new is refused";
  EXPECT_EQ(write_rate(first + 1, "1.50"), "unchanged") << "what was there stays";
  EXPECT_EQ(write_rate(first + 1, "2"), "updated");
  EXPECT_EQ(run(shared()).size(), 1U) << "and is listed no more once it has another value";
  EXPECT_EQ(write_rate(first, "3"), "updated");
  EXPECT_EQ(write_rate(std::nullopt, "1.5"), "duplicate_key") << "the last of them has it still";
}

TEST_F(VendorFirst, a_rule_that_its_connector_dropped_goes_with_its_links_and_the_feed_is_told) {
  run(make_type(attribute(kEmail)));
  customers(kThree);
  own({"a@x.example", "b@x.example"});
  finish();
  EXPECT_EQ(links(), "2 linked, 1 pending, 0 contested");
  auto newer = sluice::testing::acme_manifest();
  newer.link_rules.clear();
  run(install_again(newer));
  finish();
  EXPECT_EQ(text("select count(*)::text from sluice.link"), "0");
  EXPECT_EQ(text("select count(*)::text from sluice.link_rule"), "0");
  EXPECT_EQ(text("select count(*)::text from sluice.change where op = 'unlink'"), "2");
  EXPECT_EQ(text("select count(*)::text from sluice.work where state <> 'done'"), "0");
  run(install_again(sluice::testing::acme_manifest()));
  finish();
  EXPECT_EQ(links(), "2 linked, 1 pending, 0 contested") << "it comes back with the connector";
}

class KeyFormMigration : public sluice::testing::PgTest {
 protected:
  KeyFormMigration() : PgTest(Database::empty) {}
  Task<void> migrate(std::size_t first) {
    auto lease = co_await pool().acquire();
    co_await pg::migrate(*lease, pg::migrations().first(first));
  }
  Task<void> script(std::string text) {
    auto lease = co_await pool().acquire();
    co_await lease->script(std::move(text));
  }
};

TEST_F(KeyFormMigration, keys_and_rules_of_before_are_due_at_the_first_start) {
  std::size_t before = 0;
  while (!pg::migrations()[before].name.ends_with("_keys_by_form")) ++before;
  run(migrate(before));
  run(script(
      "insert into sluice.workspace (name) values ('acme');"
      "insert into sluice.entity_type (workspace_id, name, origin, connector, relation, "
      "declaration) values (1, 'customer', 'own', null, 'sluice.own_entity', '{}'),"
      "(1, 'acme.customer', 'preset', 'acme', 'vendor.acme_customer', '{}');"
      "insert into sluice.attribute (workspace_id, type_id, name, position, type, key_kind) select "
      "1, type_id, n, p, 'text', k from sluice.entity_type, (values ('email', 0, 1), ('code', 1, "
      "6), ('name', 2, null)) v(n, p, k);"
      "insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, "
      "target_type, target_attribute, key_kind, enabled, origin) values "
      "(1, 'by email', 'acme.customer', 'email', 'customer', 'email', 1, true, 'connector'),"
      "(1, 'off', 'acme.customer', 'code', 'customer', 'code', 6, false, 'admin');"
      "delete from sluice.work"));
  run(migrate(pg::migrations().size()));
  const auto list = [&](const char* query) {
    const auto rows = run(pool().query(query));
    std::string out;
    for (int row = 0; row < rows.rows(); ++row)
      out += (row > 0 ? "; " : "") + rows.get<std::string>(row, 0);
    return out;
  };
  EXPECT_EQ(
      list("select kind || ' ' || subject || ' ' || task from sluice.work where kind in "
           "('keys.make', 'rule.apply') order by kind, subject"),
      "keys.make acme.customer.email {\"type\": \"acme.customer\", \"attribute\": \"email\"}; "
      "keys.make customer.email {\"type\": \"customer\", \"attribute\": \"email\"}; "
      "rule.apply by email {\"keeps_links\": true}");
  EXPECT_EQ(list("select name || '=' || coalesce(connector || '/' || declared_name, 'none') from "
                 "sluice.link_rule order by rule_id"),
            "by email=acme/by email; off=none");
}

}  // namespace
}  // namespace sluice::sync
