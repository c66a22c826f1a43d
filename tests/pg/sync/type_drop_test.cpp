// An own type is dropped: what goes, what stays for the feed, and who comes in between.
#include "sync/type_drop.hpp"

#include <algorithm>
#include <cstdio>

#include "base/failpoint.hpp"
#include "link/resolver.hpp"
#include "pg/feed/world.hpp"
#include "pg/sync/next_host.hpp"
#include "sync/link_rules.hpp"
#include "sync/view_work.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

class TypeDropTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    sql("delete from sluice.work;"
        "insert into sluice.lease_epoch values ({w}, 'work', 1), ({w}, 'link', 1)");
    id_ = catalog_->find("customer")->id;
  }

  /// "" or the code of the refusal.
  std::string drop(std::string name = "customer") {
    const Result<TypeDrop> dropped = run(drop_task(pool(), workspace_, std::move(name)));
    if (!dropped) return dropped.error().code;
    gone_rules_ = dropped->rules;
    return "";
  }
  static Task<Result<TypeDrop>> drop_task(pg::Pool& pool, WorkspaceId workspace, std::string name) {
    auto connection = co_await pool.acquire();
    co_return co_await drop_type(*connection, workspace, std::move(name), "token 1");
  }

  std::string create(std::string declaration) {
    return run(create_task(pool(), workspace_, std::move(declaration)));
  }
  static Task<std::string> create_task(pg::Pool& pool, WorkspaceId workspace,
                                       std::string declaration) {
    auto wanted = model::own_type_from_json(json::parse(declaration));
    auto connection = co_await pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    auto made = co_await model::create_own_type(transaction, workspace, std::move(*wanted));
    if (!made) co_return made.error().code;
    std::vector<std::string> attributes;
    for (const model::OwnAttribute& one : made->attributes) attributes.push_back(one.name);
    co_await apply_rules_of(transaction, workspace, made->name, std::move(attributes), "token 1");
    co_await transaction.commit();
    co_return "";
  }
  model::CatalogPtr load() { return run(load_task(pool(), workspace_)); }
  static Task<model::CatalogPtr> load_task(pg::Pool& pool, WorkspaceId workspace) {
    auto connection = co_await pool.acquire();
    co_return co_await model::load_catalog(*connection, workspace);
  }

  /// Customers from..to of our own.
  void people(int from, int to) {
    std::vector<model::OwnRow> rows(static_cast<std::size_t>(to - from));
    for (int n = from; n < to; ++n)
      rows[static_cast<std::size_t>(n - from)].values["email"] = fmt::format("{}@x.example", n);
    run(write(std::move(rows)));
  }

  [[nodiscard]] pg::LeaseProof lease(std::string name) {
    pg::LeaseProof proof;
    proof.workspace = workspace_;
    proof.epoch =
        Epoch(std::stoll(text("select epoch from sluice.lease_epoch where name = '" + name + "'")));
    proof.name = std::move(name);
    return proof;
  }
  /// So many batches of each piece of work at most. False: nothing was due.
  bool works(int batches = 1'000'000) {
    work::Runner runner(pool(), work_kinds());
    int asked = 0;
    const pg::LeaseProof proof = lease("work");
    return run(runner.run_once(proof, [&asked, batches] { return ++asked <= batches + 1; }));
  }
  void finish() {
    while (works()) {
    }
    EXPECT_EQ(text("select error from sluice.work where state <> 'done'"), "");
  }
  void resolve() {
    link::Resolver resolver(pool());
    const pg::LeaseProof proof = lease("link");
    const model::CatalogPtr catalog = load();
    while (run(resolver.run_once(catalog, proof)).queue_rows > 0) {
    }
  }
  void make_rule_of_ours() {
    NewRule rule;
    rule.name = "ours";
    rule.source_type = "acme.customer";
    rule.source_attribute = "email";
    rule.target_type = "customer";
    rule.target_attribute = "email";
    rule.kind = contract::KeyKind::email;
    ASSERT_TRUE(run(make_rule(pool(), workspace_, std::move(rule), "token 1")));
  }
  std::string state() {
    return text("select state from sluice.entity_type where name = 'customer'");
  }
  std::string left() {
    return text(fmt::format(
        "select (select count(*) from sluice.own_entity where type_id = {0}), (select count(*) "
        "from sluice.own_unique where type_id = {0}), (select count(*) from sluice.own_shared "
        "where type_id = {0}), (select count(*) from sluice.link_key where type_id = {0}), (select "
        "count(*) from sluice.attribute where type_id = {0}), (select count(*) from sluice.link "
        "where target_type_id = {0}), (select count(*) from sluice.link_decision)",
        id_.value));
  }
  static constexpr const char* kNothing = "0|0|0|0|0|0|0";

  EntityTypeId id_;
  std::vector<std::string> gone_rules_;
};

TEST_F(TypeDropTest, everything_of_it_goes_and_the_feed_tells_each_deletion_under_its_name) {
  for (int n = 0; n < 3; ++n) customer(fmt::format("cus_{}", n), fmt::format("{}@x.example", n));
  const std::string of_connector = text("select name from sluice.link_rule");
  make_rule_of_ours();
  people(0, 1203);
  // Two that were deleted before, a value that two share, and what somebody decided.
  std::vector<std::int64_t> ids;
  for (int n = 0; n < 3; ++n)
    ids.push_back(std::stoll(text(
        fmt::format("select id from sluice.own_entity where data->>'email' = '{}@x.example'", n))));
  sql(
      fmt::format("update sluice.own_entity set deleted_at = now() where id in ({}, {});"
                  "insert into sluice.own_shared values ({{w}}, {}, 'email', 'a', {})",
                  ids[1], ids[2], id_.value, ids[0]));
  for (const char* rule : {"ours", of_connector.c_str()}) {
    sql(fmt::format(
        "insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, state, "
        "target_id, target_type_id, kind) select {{w}}, r.rule_id, e.id, s.type_id, 'linked', {}, "
        "{}, 1 from sluice.link_rule r, vendor.acme_customer e, sluice.entity_type s where r.name "
        "= '{}' and s.name = 'acme.customer' and e.external_id <> 'cus_2';"
        "insert into sluice.link_decision (workspace_id, rule_id, source_id, target_id, "
        "source_type_id, target_type_id, verdict, decided_by) select {{w}}, r.rule_id, e.id, 0, "
        "s.type_id, {}, 'rejected', 'token 1' from sluice.link_rule r, vendor.acme_customer e, "
        "sluice.entity_type s where r.name = '{}' and s.name = 'acme.customer' and e.external_id "
        "= 'cus_2'",
        ids[0], id_.value, rule, id_.value, rule));
  }
  const auto uses = [](pg::Pool& pool, WorkspaceId workspace) -> Task<std::vector<RuleOfType>> {
    auto connection = co_await pool.acquire();
    co_return co_await rules_of_type(*connection, workspace, "customer");
  };
  std::vector<RuleOfType> rules = run(uses(pool(), workspace_));
  ASSERT_EQ(rules.size(), 2U);
  for (const RuleOfType& rule : rules) {
    EXPECT_EQ(rule.goes, rule.name == "ours") << rule.name;
    EXPECT_EQ(rule.links, 2) << rule.name;
    EXPECT_EQ(rule.decisions, 1) << rule.name;
    EXPECT_TRUE(rule.exact);
  }
  const std::string told_before = text("select max(position) from sluice.change");

  ASSERT_EQ(drop(), "");
  EXPECT_EQ(gone_rules_, std::vector<std::string>{"ours"});
  const model::CatalogPtr without = load();
  EXPECT_EQ(without->find("customer"), nullptr) << "from the answer on";
  EXPECT_TRUE(std::none_of(without->rules.begin(), without->rules.end(),
                           [](const auto& rule) { return rule.effective(); }));
  EXPECT_EQ(state(), "dropping");
  finish();

  EXPECT_EQ(left(), kNothing);
  EXPECT_EQ(state(), "dropped");
  EXPECT_EQ(text("select count(*) from sluice.link"), "0");
  EXPECT_EQ(text("select name, enabled from sluice.link_rule"), of_connector + "|t")
      << "a connector's stays";
  EXPECT_EQ(text("select to_regclass('acme.customer') is null"), "t") << "its view";
  EXPECT_EQ(text("select coalesce(sum(live), 0) from (select live, relation from sluice.row_count "
                 "union all select live, relation from sluice.row_delta) c where relation = "
                 "'own_entity'"),
            "0");
  const std::string since =
      " from sluice.change c left join sluice.entity_type t using "
      "(workspace_id, type_id) where position > " +
      told_before;
  EXPECT_EQ(text("select t.name, c.op, count(*), count(distinct entity_id), count(c.changed)" +
                 since + " group by 1, 2 order by 1, 2"),
            "acme.customer|unlink|4|2|4\ncustomer|delete|1201|1201|1201");
  EXPECT_EQ(text("select c.changed" + since + " and entity_id = " + std::to_string(ids[0]) +
                 " and op = 'delete'"),
            R"({"email": ["0@x.example", null]})");
  EXPECT_EQ(text("select max(position) filter (where op = 'unlink') < min(position) filter "
                 "(where op = 'delete')" +
                 since),
            "t")
      << "a link is no more before its end goes";
}

TEST_F(TypeDropTest, made_again_it_has_its_id_the_attributes_of_now_and_no_rows) {
  customer("cus_0", "0@x.example");
  people(0, 3);
  ASSERT_EQ(drop(), "");
  finish();
  model::CatalogPtr old = catalog_;
  ASSERT_EQ(create(R"({"name":"customer","attributes":[{"name":"city","type":"text"},
      {"name":"email","type":"text","format":"email","unique":true}]})"),
            "");
  catalog_ = load();
  const model::StoredType* type = catalog_->find("customer");
  ASSERT_NE(type, nullptr);
  EXPECT_EQ(type->id, id_);
  ASSERT_EQ(type->attributes.size(), 2U);
  EXPECT_EQ(type->attributes[0].name, "city");
  EXPECT_EQ(type->attributes[1].position, 1);
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "0");

  // Who still goes by the one before writes nothing into this one.
  std::swap(catalog_, old);
  try {
    own("late@x.example");
    FAIL() << "it was written by the attributes of before";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "type.not_found") << failure.what();
  }
  std::swap(catalog_, old);
  people(0, 3);
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "3");
  // The connector's rule goes on with it.
  sql("insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select {w}, 1, k.digest, s.type_id, a.position, e.id from sluice.link_key k join "
      "sluice.own_entity o on o.id = k.entity_id and o.data->>'email' = '0@x.example', "
      "vendor.acme_customer e, sluice.entity_type s join sluice.attribute a on a.type_id = "
      "s.type_id and a.name = 'email' where s.name = 'acme.customer'");
  finish();
  resolve();
  EXPECT_EQ(text("select l.state, o.data->>'email' from sluice.link l join sluice.own_entity o on "
                 "o.id = l.target_id"),
            "linked|0@x.example");
  EXPECT_EQ(text("select string_agg(distinct t.name, ',') from sluice.change c left join "
                 "sluice.entity_type t using (workspace_id, type_id) where c.op in ('insert', "
                 "'delete')"),
            "customer");
}

TEST_F(TypeDropTest, the_owner_of_its_view_goes_too_and_who_looks_later_reads_how_much_went) {
  people(0, 7);
  make_rule_of_ours();
  const auto views = [&] {
    auto connection = connect_as_app();
    const auto notes = run(renew_views_now(*connection, workspace_, "acme"));
    EXPECT_TRUE(notes.empty()) << notes.front();
  };
  const std::string owned = fmt::format(
      "select (select count(*) from pg_roles where rolname = p.owner), (select count(*) from "
      "pg_policy where polname = p.owner) from (select 'sluice_view' || sluice.role_space() || "
      "{} || '_t' || {}) p (owner)",
      workspace_.value, id_.value);
  views();
  EXPECT_EQ(text(owned), "1|1");
  EXPECT_EQ(drop(), "");
  finish();
  EXPECT_EQ(text(owned), "0|0");
  EXPECT_EQ(text("select detail->>'rows', detail->>'links', detail->>'decisions', "
                 "detail->>'exact', detail->>'rules' from sluice.audit where action = 'type.drop'"),
            "7|0|0|true|[\"ours\"]");
}

TEST_F(TypeDropTest, while_it_is_going_its_name_is_refused) {
  people(0, 1100);
  ASSERT_EQ(drop(), "");
  const char* const again = R"({"name":"customer","attributes":[{"name":"n","type":"text"}]})";
  for (int batch = 0; batch < 3; ++batch) {
    EXPECT_EQ(create(again), "type.being_dropped");
    EXPECT_EQ(drop(), "type.being_dropped");
    const auto found = run(model::find_dropped_type(pool(), workspace_, "customer"));
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->going);
    EXPECT_EQ(found->id, id_);
    works(1);
  }
  finish();
  EXPECT_EQ(drop(), "type.not_found") << "it is gone";
  EXPECT_EQ(create(again), "");
  EXPECT_EQ(create(again), "type.name_taken");
  EXPECT_FALSE(run(model::find_dropped_type(pool(), workspace_, "customer")));
  EXPECT_EQ(drop("acme.customer"), "type.read_only");
  EXPECT_EQ(drop("nobody"), "type.not_found");
  EXPECT_EQ(text("select count(*) from sluice.audit where action = 'type.drop'"), "1")
      << "of what was done";
}

TEST_F(TypeDropTest, who_writes_or_decides_when_it_is_dropped_is_waited_for) {
  people(0, 2);
  // A writer between its insert and its commit, and somebody who decides of a link.
  auto writer = connect();
  run(writer->query("begin"));
  run(writer->query(
      fmt::format("insert into sluice.own_entity (workspace_id, type_id, data) values "
                  "({}, {}, '{{\"email\": \"late@x.example\"}}')",
                  workspace_.value, id_.value)));
  auto decider = connect();
  run(decider->query("begin"));
  run(decider->query("select 1 from sluice.lease_epoch where name = 'link' for update"));
  ASSERT_EQ(drop(), "") << "the answer waits for neither";
  EXPECT_THROW(own("later@x.example"), Failure) << "by the catalogue of before";
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "2");
  const auto ends_in_vain = [&](const std::string& left) {
    for (int round = 0; round < 4; ++round) works();
    EXPECT_EQ(state(), "dropping");
    EXPECT_EQ(text("select attempts > 0 from sluice.work where kind = 'type.drop'"), "t")
        << "it says that it fails, and waits";
    EXPECT_EQ(text("select count(*) from sluice.own_entity"), left) << "all but the last is done";
    run(script("update sluice.work set not_before = now()"));
  };
  ends_in_vain("0");
  run(decider->query("commit"));
  ends_in_vain("0");
  run(writer->query("commit"));
  run(decider->query("begin"));
  run(decider->query("select 1 from sluice.lease_epoch where name = 'link' for update"));
  ends_in_vain("1");
  run(decider->query("commit"));
  finish();
  EXPECT_EQ(left(), kNothing);
  EXPECT_EQ(state(), "dropped");
  EXPECT_EQ(text("select count(*) from sluice.change where op = 'delete'"), "3")
      << "also who came late";
}

TEST_F(TypeDropTest, a_batch_is_bounded_by_bytes_too) {
  std::vector<model::OwnRow> rows(30);
  for (std::size_t n = 0; n < rows.size(); ++n) {
    rows[n].values["email"] = fmt::format("{}@x.example", n);
    rows[n].values["info"] = std::string(250'000, 'x');
  }
  run(write(std::move(rows)));
  ASSERT_EQ(text("select count(*) from sluice.own_entity"), "30");
  ASSERT_EQ(drop(), "");
  works(1);  // no rule has links
  for (int batch = 0; batch < 8 && text("select count(*) from sluice.own_entity") == "30"; ++batch)
    works(1);
  const int after_one = std::stoi(text("select count(*) from sluice.own_entity"));
  EXPECT_GT(after_one, 10) << "4 MiB are 16 of them";
  EXPECT_LT(after_one, 20);
  finish();
  EXPECT_EQ(left(), kNothing);
}

/// One host after the other is stopped at a statement that none before it was stopped at; the next
/// one goes on.
TEST_F(TypeDropTest, at_any_statement_a_former_holder_writes_nothing_more) {
  static constexpr const char* kEverything =
      "select md5(concat_ws('|', (select string_agg(x::text, ',' order by x::text) from "
      "sluice.work x), (select string_agg(x::text, ',' order by x::text) from sluice.entity_type "
      "x), (select string_agg(x::text, ',' order by x::text) from sluice.own_entity x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.own_unique x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.own_shared x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_key x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_decision x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_rule x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.change x)))";
  customer("cus_0", "0@x.example");
  make_rule_of_ours();
  people(0, 2);
  link("cus_0", EntityId(std::stoll(text("select min(id) from sluice.own_entity"))));
  sql("insert into sluice.link_decision (workspace_id, rule_id, source_id, target_id, "
      "source_type_id, target_type_id, verdict, decided_by) select {w}, r.rule_id, 1, 0, 1, 1, "
      "'rejected', 'token 1' from sluice.link_rule r;"
      "delete from sluice.work");
  ASSERT_EQ(drop(), "");
  Stop stop;
  stop.conninfo = app_conninfo();
  stop.workspace = workspace_;
  stop.lease = "work";
  stop.everything = kEverything;
  bool stopped = true;
  while (stopped || text("select count(*) from sluice.work where state = 'waiting'") != "0") {
    run(script("delete from sluice.lease_hold; update sluice.work set not_before = now()"));
    work::Runner runner(pool(), work_kinds());
    const pg::LeaseProof proof = lease("work");
    stopped = is_stopped(stop, [&] { run(runner.run_once(proof, [] { return true; })); });
  }
  EXPECT_EQ(left(), kNothing);
  EXPECT_EQ(state(), "dropped");
  EXPECT_EQ(text("select count(*) from sluice.change where op = 'delete'"), "2") << "each once";
  EXPECT_EQ(text("select count(*) from sluice.change where op = 'unlink'"), "2") << "each once";
  for (const char* name :
       {"type_drop_next_rule", "link_of_rule", "link_forget_links", "link_forget_decisions",
        "link_forget_rule", "type_drop_next_entities", "type_drop_keys", "type_drop_entities",
        "type_drop_patience", "type_drop_nobody_decides", "type_drop_nobody_writes",
        "type_drop_shared", "type_drop_dropped"}) {
    EXPECT_TRUE(stop.at.contains(std::string("fenced.before.") + name)) << name;
    EXPECT_TRUE(stop.at.contains(std::string("fenced.after.") + name)) << name;
  }
}

/// Runs as pg.type_drop_failpoints, where type.drop.before_commit and type.drop.after_commit each
/// throw at their first passage.
TEST_F(TypeDropTest, dropped_is_all_of_it_or_nothing) {
  if (!failpoint::armed)
    GTEST_SKIP() << "set SLUICE_FAILPOINTS, as ctest's pg.type_drop_failpoints does";
  const std::string stored =
      "select (select state from sluice.entity_type where name = 'customer'), (select count(*) "
      "from sluice.work where state = 'waiting'), (select count(*) from sluice.audit)";
  EXPECT_THROW(drop(), Failure);
  EXPECT_EQ(text(stored), "active|0|0") << "nothing of it";
  EXPECT_THROW(drop(), Failure);
  EXPECT_EQ(text(stored), "dropping|2|1") << "all of it";
  finish();
  EXPECT_EQ(left(), kNothing);
}

}  // namespace
}  // namespace sluice::sync
