#include "link/resolver.hpp"

#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "base/failpoint.hpp"
#include "link/batches.hpp"
#include "link/listing.hpp"
#include "link/normalise.hpp"
#include "link/rekey.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::link {
namespace {

using contract::KeyKind;

constexpr std::int64_t kSourceType = 1, kTargetType = 2;

/// Two types by hand, source.email -> target.email; entities are written as ingest writes their
/// keys.
class ResolverTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
    auto catalog = std::make_shared<model::Catalog>();
    catalog->workspace = WorkspaceId(1);
    catalog->types.push_back(type(kSourceType, "acme.source", "acme_source"));
    catalog->types.push_back(type(kTargetType, "acme.target", "acme_target"));
    model::StoredRule rule;
    rule.id = RuleId(1);
    rule.name = "by_email";
    rule.source_type = EntityTypeId(kSourceType);
    rule.source_attribute = "email";
    rule.source_position = 0;
    rule.target_type = EntityTypeId(kTargetType);
    rule.target_attribute = "email";
    rule.target_position = 0;
    rule.key_kind = KeyKind::email;
    catalog->rules.push_back(rule);
    catalog_ = catalog;
  }

  static model::StoredType type(std::int64_t id, const char* name, const char* table) {
    model::StoredType made;
    made.id = EntityTypeId(id);
    made.name = name;
    made.table = table;
    return made;
  }

  Task<void> prepare() {
    auto connection = co_await pool().acquire();
    co_await connection->script(
        "insert into sluice.workspace (name) values ('w');"
        "insert into sluice.lease_epoch values (1, 'link', 3);"
        "insert into sluice.catalog_version values (1, 0);"
        "insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, "
        "target_type, "
        "target_attribute, key_kind, origin) values (1, 'by_email', 'acme.source', 'email', "
        "'acme.target', 'email', "
        "1, 'admin');"
        "create table vendor.acme_source (workspace_id bigint, id bigint, deleted_at timestamptz);"
        "create unique index on vendor.acme_source (workspace_id, id);"
        "create table vendor.acme_target (workspace_id bigint, id bigint, external_id text, "
        "deleted_at timestamptz);");
  }

  static std::string hex(std::string_view email) {
    return to_hex(digest(KeyKind::email, *normalise(KeyKind::email, email)).bytes);
  }
  static std::string gain(std::int64_t type_id, std::int64_t entity, std::string_view email) {
    std::string sql = "with k as (insert into sluice.link_key values (1, 1, '" + hex(email) +
                      "', " + std::to_string(type_id) + ", 0, " + std::to_string(entity) +
                      ") returning *) insert into sluice.link_queue (workspace_id, kind, digest, "
                      "type_id, attribute, "
                      "entity_id) select * from k";
    return sql;
  }
  static std::string lose(std::int64_t entity) {
    return "with k as (delete from sluice.link_key where entity_id = " + std::to_string(entity) +
           " returning *) insert into sluice.link_queue (workspace_id, kind, digest, type_id, "
           "attribute, "
           "entity_id) select * from k";
  }
  static pg::LeaseProof lease(std::int64_t epoch = 3) {
    pg::LeaseProof proof;
    proof.workspace = WorkspaceId(1);
    proof.name = "link";
    proof.epoch = Epoch(epoch);
    return proof;
  }
  std::int64_t rebuild(const model::StoredRule& rule) {
    const auto all = [](pg::Connection& connection, model::StoredRule of) -> Task<std::int64_t> {
      pg::Fenced fenced(connection, lease());
      EnqueuedPart part;
      std::int64_t enqueued = 0;
      do {
        part = co_await enqueue_part(fenced, WorkspaceId(1), of, part.digest, part.last);
        enqueued += part.enqueued;
      } while (part.more);
      co_await fenced.commit();
      co_return enqueued;
    };
    const auto connection = connect();
    return run(all(*connection, rule));
  }
  std::int64_t deactivate(RuleId rule) {
    const auto all = [](pg::Connection& connection, RuleId of) -> Task<std::int64_t> {
      pg::Fenced fenced(connection, lease());
      DeactivatedPart part;
      std::int64_t looked = 0;
      do {
        part = co_await deactivate_part(fenced, WorkspaceId(1), of, "by_email", part.last);
        looked += part.looked;
        pg::Pipeline told;
        part.changes.append_to(told, WorkspaceId(1));
        co_await fenced.run(std::move(told));
      } while (part.more);
      co_await fenced.commit();
      co_return looked;
    };
    const auto connection = connect();
    return run(all(*connection, rule));
  }
  std::int64_t rekey(const model::StoredType& type) {
    const auto all = [](pg::Connection& connection,
                        const model::StoredType& of) -> Task<std::int64_t> {
      std::int64_t looked = 0;
      RekeyPart part;
      do {
        pg::Fenced fenced(connection, lease());
        part = co_await rekey_part(fenced, WorkspaceId(1), of, of.attributes[0], part.last);
        looked += part.looked;
        co_await fenced.commit();
      } while (part.more);
      co_return looked;
    };
    const auto connection = connect();
    return run(all(*connection, type));
  }
  void sql(const std::string& text) { run(pool().query(text)); }
  std::string ask(const std::string& text) {
    const pg::QueryResult rows = run(pool().query(text));
    std::string out;
    for (int r = 0; r < rows.rows(); ++r) {
      out += r > 0 ? " " : "";
      out += rows.is_null(r, 0) ? "null" : rows.get<std::string>(r, 0);
    }
    return out;
  }
  ResolveCounts resolve(std::int64_t epoch = 3) {
    Resolver resolver(pool());
    ResolveCounts all;
    for (int i = 0; i < 1'000; ++i) {
      const ResolveCounts counts = run(resolver.run_once(catalog_, lease(epoch)));
      if (counts.queue_rows == 0) return all;
      all += counts;
    }
    ADD_FAILURE() << "the queue does not end";
    return all;
  }
  std::string links() {
    return ask(
        "select concat_ws(':', source_id, state, target_id, nullif(candidates::text, '{}')) from "
        "sluice.link "
        "order by source_id");
  }

  model::CatalogPtr catalog_;
};

TEST_F(ResolverTest, whichever_side_comes_first_they_end_linked_with_evidence) {
  sql("insert into vendor.acme_source values (1, 10, null), (1, 11, null)");
  sql(gain(kSourceType, 10, "Ann@x.example"));
  EXPECT_EQ(resolve().pending, 1);
  EXPECT_EQ(links(), "10:pending");
  sql(gain(kTargetType, 20, "ann@X.example"));
  sql(gain(kSourceType, 11, "ann@x.example"));
  EXPECT_EQ(resolve().linked, 2);
  EXPECT_EQ(links(), "10:linked:20 11:linked:20");
  EXPECT_EQ(
      ask("select (evidence - 'at')::text from sluice.link where source_id = 10"),
      R"({"rule": "by_email", "key_kind": "email", "source_attribute": "email", "target_attribute": "email"})");
  EXPECT_EQ(ask("select op || changed::text from sluice.change order by entity_id"),
            R"(link{"by_email": [null, 20]} link{"by_email": [null, 20]})");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "0");
}

TEST_F(ResolverTest, more_than_one_candidate_is_contested_until_one_leaves) {
  sql("insert into vendor.acme_source values (1, 10, null)");
  sql(gain(kSourceType, 10, "a@b"));
  sql(gain(kTargetType, 20, "a@b"));
  resolve();
  sql(gain(kTargetType, 21, "a@b"));
  resolve();
  EXPECT_EQ(links(), "10:contested:{20,21}");
  sql(lose(20));
  resolve();
  EXPECT_EQ(links(), "10:linked:21");
  sql(lose(21));
  resolve();
  EXPECT_EQ(links(), "10:pending");
  EXPECT_EQ(ask("select op from sluice.change order by position"), "link unlink link unlink");
}

TEST_F(ResolverTest, a_source_that_lost_its_key_has_no_link_and_a_deleted_one_is_inactive) {
  sql("insert into vendor.acme_source values (1, 10, null), (1, 11, null)");
  for (const std::int64_t id : {10, 11}) sql(gain(kSourceType, id, "a@b"));
  sql(gain(kTargetType, 20, "a@b"));
  resolve();
  sql("update vendor.acme_source set deleted_at = now() where id = 11");
  sql(lose(10));
  sql(lose(11));
  const ResolveCounts counts = resolve();
  EXPECT_EQ(counts.removed, 1);
  EXPECT_EQ(counts.inactive, 1);
  EXPECT_EQ(links(), "11:inactive");
}

TEST_F(ResolverTest, a_humans_decision_outranks_every_key) {
  sql("insert into vendor.acme_source values (1, 10, null)");
  sql(gain(kSourceType, 10, "a@b"));
  sql(gain(kTargetType, 20, "a@b"));
  resolve();
  sql("update sluice.link set state = 'rejected', target_id = null, decided_by = 'human'");
  sql(gain(kTargetType, 21, "a@b"));
  sql(lose(20));
  resolve();
  EXPECT_EQ(links(), "10:rejected");
  sql(lose(10));
  resolve();
  EXPECT_EQ(links(), "10:rejected");
}

TEST_F(ResolverTest,
       two_transactions_that_insert_both_sides_at_once_end_linked_in_every_interleaving) {
  // S and T insert, s and t commit, R resolves: every order with S before s and T before t, R
  // anywhere.
  std::string steps = "RRSTst";
  std::sort(steps.begin(), steps.end());
  auto source = connect();
  auto target = connect();
  int orders = 0;
  std::int64_t id = 100;
  sql("insert into vendor.acme_source select 1, i, null from generate_series(100, 2000) i");
  do {
    if (steps.find('S') > steps.find('s') || steps.find('T') > steps.find('t')) continue;
    SCOPED_TRACE(steps);
    ++orders;
    const std::int64_t s = ++id, t = ++id;
    const std::string email = "e" + std::to_string(id) + "@x";
    run(source->query("begin"));
    run(target->query("begin"));
    for (const char step : steps) {
      if (step == 'S') run(source->query(gain(kSourceType, s, email)));
      if (step == 'T') run(target->query(gain(kTargetType, t, email)));
      if (step == 's') run(source->query("commit"));
      if (step == 't') run(target->query("commit"));
      if (step == 'R') resolve();
    }
    resolve();
    EXPECT_EQ(
        ask("select state || target_id from sluice.link where source_id = " + std::to_string(s)),
        "linked" + std::to_string(t));
  } while (std::next_permutation(steps.begin(), steps.end()));
  EXPECT_EQ(orders, 90);
}

TEST_F(ResolverTest, a_key_with_very_many_sources_is_taken_apart_and_none_is_forgotten) {
  sql("insert into vendor.acme_source select 1, i, null from generate_series(1, 5000) i");
  sql("insert into sluice.link_key select 1, 1, '" + hex("shared@x") +
      "', 1, 0, i from generate_series(1, 5000) i");
  sql(gain(kTargetType, 9'000, "shared@x"));
  EXPECT_EQ(resolve().enqueued, 5'000);
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'linked' and target_id = 9000"),
            "5000");
}

TEST_F(ResolverTest, a_key_with_many_sources_and_many_targets_is_taken_apart_once) {
  sql("insert into vendor.acme_source select 1, i, null from generate_series(1, 3000) i");
  sql("insert into sluice.link_key select 1, 1, '" + hex("shared@x") +
      "', 1, 0, i from generate_series(1, 3000) i");
  sql("with k as (insert into sluice.link_key select 1, 1, '" + hex("shared@x") +
      "', 2, 0, 10000 + i from generate_series(1, 6000) i returning *) insert into "
      "sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select * from k");
  const ResolveCounts counts = resolve();
  EXPECT_EQ(counts.enqueued, 3'000) << "not once for each batch of targets";
  EXPECT_EQ(counts.queue_rows, 9'000);
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'contested'"), "3000");
  EXPECT_EQ(ask("select count(*) from sluice.link_spread"), "0");
  sql(gain(kTargetType, 20'000, "shared@x"));
  EXPECT_EQ(resolve().enqueued, 3'000) << "a target that comes later is not missed";
}

TEST_F(ResolverTest, a_target_that_comes_while_sources_are_taken_is_seen_by_all_of_them) {
  sql("insert into vendor.acme_source select 1, i, null from generate_series(1, 5000) i");
  sql("insert into sluice.link_key select 1, 1, '" + hex("shared@x") +
      "', 1, 0, i from generate_series(1, 5000) i");
  sql(gain(kTargetType, 9'000, "shared@x"));
  Resolver resolver(pool());
  for (int batch = 0; batch < 2; ++batch) run(resolver.run_once(catalog_, lease()));
  sql(gain(kTargetType, 9'001, "shared@x"));
  resolve();
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'contested' and candidate_count = "
                "2"),
            "5000");
}

TEST_F(ResolverTest, a_lost_lease_writes_nothing) {
  sql(gain(kSourceType, 10, "a@b"));
  try {
    resolve(2);
    FAIL() << "it was written";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "lease.lost");
  }
  EXPECT_EQ(links(), "");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "1");
}

TEST_F(ResolverTest, a_new_rule_is_applied_to_what_is_there_and_can_be_taken_back) {
  sql("insert into vendor.acme_source values (1, 10, null), (1, 11, null)");
  for (const std::int64_t id : {10, 11}) sql(gain(kSourceType, id, "a@b"));
  sql(gain(kTargetType, 20, "a@b"));
  sql("delete from sluice.link_queue");
  auto connection = connect();
  EXPECT_EQ(rebuild(catalog_->rules[0]), 2);
  EXPECT_EQ(resolve().linked, 2);
  const auto summary = run(link_summary(*connection, WorkspaceId(1)));
  ASSERT_EQ(summary.size(), 1U);
  EXPECT_EQ(summary[0].state, "linked");
  EXPECT_EQ(summary[0].count, 2);
  sql("alter table vendor.acme_source add column external_id text default 'x'");
  LinkQuery query;
  query.rule = RuleId(1);
  query.state = "linked";
  query.after_rule = RuleId(1);
  query.after_source = EntityId(10);
  const auto listed = run(list_links(*connection, WorkspaceId(1), catalog_, query));
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].source, EntityId(11));
  EXPECT_EQ(listed[0].target, EntityId(20));
  EXPECT_EQ(deactivate(RuleId(1)), 2);
  EXPECT_EQ(links(), "10:inactive 11:inactive");
}

TEST_F(ResolverTest, links_are_listed_by_rule_and_source_in_pages_that_miss_none) {
  sql("alter table vendor.acme_source add column external_id text");
  sql("insert into vendor.acme_source select 1, i, null, 'x' || i from generate_series(1, 7) i");
  sql("insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, "
      "target_type, target_attribute, key_kind, origin) select 1, 'rule' || i, 'acme.source', "
      "'email', "
      "'acme.target', 'email', 1, 'admin' from generate_series(2, 3) i");
  sql("insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, state, kind, "
      "candidates, candidate_count, evidence) select 1, r, i, 1, case when i % 3 = 0 then "
      "'contested' else 'pending' end, 1, case when i % 3 = 0 then '{8,9}'::bigint[] else '{}' "
      "end, "
      "case when i % 3 = 0 then 2 else 0 end, '{\"rule\": \"r\"}' "
      "from generate_series(1, 3) r, generate_series(1, 7) i");
  const auto connection = connect();
  const auto pages = [&](LinkQuery query) {
    std::string all;
    for (;;) {
      const auto page = run(list_links(*connection, WorkspaceId(1), catalog_, query));
      if (page.empty()) return all;
      for (const ListedLink& link : page) {
        all += std::to_string(link.rule.value) + "." + std::to_string(link.source.value) + " ";
        EXPECT_EQ(link.source_face.external_id, "x" + std::to_string(link.source.value));
        EXPECT_EQ(link.candidates.size(), link.state == "contested" ? 2U : 0U);
        EXPECT_EQ(link.evidence["rule"], "r");
      }
      query.after_rule = page.back().rule;
      query.after_source = page.back().source;
    }
  };
  LinkQuery query;
  query.limit = 2;
  EXPECT_EQ(pages(query),
            "1.1 1.2 1.3 1.4 1.5 1.6 1.7 2.1 2.2 2.3 2.4 2.5 2.6 2.7 3.1 3.2 3.3 3.4 3.5 3.6 3.7 ");
  query.rule = RuleId(2);
  EXPECT_EQ(pages(query), "2.1 2.2 2.3 2.4 2.5 2.6 2.7 ");
  query.state = "contested";
  EXPECT_EQ(pages(query), "2.3 2.6 ");
  query.rule.reset();
  EXPECT_EQ(pages(query), "1.3 1.6 2.3 2.6 3.3 3.6 ");
}

TEST_F(ResolverTest, an_attribute_that_becomes_a_link_key_gives_the_rows_that_exist_their_keys) {
  sql("alter table vendor.acme_source add column email text");
  sql("insert into vendor.acme_source select 1, n, null, 'U' || n || '@x' from generate_series(1, "
      "2500) n");
  sql("insert into vendor.acme_source values (1, 3001, now(), 'gone@x'), (1, 3002, null, 'no "
      "address'), "
      "(1, 3003, null, null), (2, 4001, null, 'other@workspace')");
  sql(gain(kSourceType, 1, "old@x"));  // a key of another value: left behind
  sql(gain(kTargetType, 20, "u7@x"));
  resolve();
  model::StoredType source = type(kSourceType, "acme.source", "acme_source");
  model::StoredAttribute& email = source.attributes.emplace_back();
  email.name = "email";
  email.key_kind = KeyKind::email;
  EXPECT_EQ(rekey(source), 2'502);
  const std::string keys =
      "select count(*) || '/' || count(distinct entity_id) from sluice.link_key where type_id = 1";
  EXPECT_EQ(ask(keys), "2500/2500");
  EXPECT_EQ(ask("select count(*) from sluice.link_key where digest = '" + hex("old@x") + "'"), "0");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "2501");
  resolve();
  EXPECT_EQ(ask("select source_id || ':' || target_id from sluice.link where state = 'linked'"),
            "7:20");
  EXPECT_EQ(rekey(source), 2'502);
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "0");  // nothing is new
  email.key_kind = KeyKind::username;  // the same attribute, keys of another kind
  rekey(source);
  EXPECT_EQ(
      ask("select string_agg(distinct kind::text, ',') from sluice.link_key where type_id = 1"),
      std::to_string(static_cast<int>(KeyKind::username)));
  email.key_kind.reset();
  rekey(source);
  EXPECT_EQ(ask(keys), "0/0");
  resolve();
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'linked'"), "0");
}

/// Runs as pg.link_failpoints, where link.before_commit throws at its first passage.
TEST_F(ResolverTest, a_failure_before_the_commit_leaves_the_queue_as_it_was) {
  if (!failpoint::armed)
    GTEST_SKIP() << "set SLUICE_FAILPOINTS, as ctest's pg.link_failpoints does";
  sql(gain(kSourceType, 10, "a@b"));
  EXPECT_THROW(resolve(), Failure);
  EXPECT_EQ(ask("select (select count(*) from sluice.link) || '/' || (select count(*) from "
                "sluice.link_queue)"),
            "0/1");
  EXPECT_EQ(resolve().pending, 1);
}

}  // namespace
}  // namespace sluice::link
