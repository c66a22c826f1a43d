// What has been goes after its time, and nothing else does, wherever a host dies.
#include "sync/retention.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/failpoint.hpp"
#include "support/pg_fixture.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

/// Workspace 1, whose retention is due, and workspace 2, whose is not; each with a connection of
/// two streams.
class RetentionTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    sql("insert into sluice.connector_version (connector, version, sha256, manifest) values "
        "('acme', '1.0.0', decode(repeat('00', 32), 'hex'), '{}');"
        "insert into sluice.workspace (name) values ('one'), ('two');"
        "insert into sluice.installation (workspace_id, connector, sha256) "
        "select workspace_id, 'acme', decode(repeat('00', 32), 'hex') from sluice.workspace;"
        "insert into sluice.connection (workspace_id, connector, name) "
        "select workspace_id, 'acme', 'a' from sluice.workspace order by workspace_id;"
        "insert into sluice.lease_epoch values (1, 'work', 1);"
        "delete from sluice.work where kind = 'secrets.tidy';"  // they have that, too
        "update sluice.work set not_before = now() where workspace_id = 1");
  }
  void sql(std::string text) { run(script(std::move(text))); }
  Task<void> script(std::string text) {
    auto lease = co_await pool().acquire();
    co_await lease->script(std::move(text));
  }
  std::string ask(const std::string& text) {
    return run(pool().query(text)).get<std::string>(0, 0);
  }
  /// In both workspaces, one an hour, the last of them so many days ago.
  void runs(const std::string& stream, int count, int days_ago) {
    sql(
        fmt::format("insert into sluice.sync_run (workspace_id, connection_id, stream, kind, "
                    "started_at, finished_at, outcome) select workspace_id, connection_id, '{}', "
                    "'incremental', t, t, 'done' from sluice.connection cross join lateral (select "
                    "now() - interval '{} days' - n * interval '1 hour' as t from "
                    "generate_series({}, 1, -1) n) s",
                    stream, days_ago, count));
  }
  std::string runs_of(const std::string& stream) {
    return ask(
        fmt::format("select string_agg(n::text, ' ' order by w) from (select c.workspace_id as w, "
                    "count(r.run_id) "
                    "as n from sluice.connection c left join sluice.sync_run r on r.workspace_id = "
                    "c.workspace_id and r.stream = '{}' group by 1) x",
                    stream));
  }
  /// A host begins, and dies after so many batches. False: nothing was due.
  bool works(int batches = 1'000'000, Retention kept = {}) {
    work::Runner runner(pool(), work_kinds(kept));
    pg::LeaseProof proof;
    proof.workspace = WorkspaceId(1);
    proof.name = "work";
    proof.epoch = Epoch(1);
    int asked = 0;  // once for the piece of work, and before each of its batches
    return run(runner.run_once(proof, [&asked, batches] { return ++asked <= batches + 1; }));
  }
  void works_off(Retention kept = {}) {
    for (int turn = 0; turn < 100; ++turn)
      if (!works(1'000'000, kept)) return;
    ADD_FAILURE() << "it does not end";
  }
};

TEST_F(RetentionTest, every_workspace_has_it_from_its_first_moment_and_takes_it_along) {
  EXPECT_EQ(ask("select string_agg(kind, ' ') from sluice.work"),
            "retention.apply retention.apply");
  EXPECT_TRUE(work_kinds().contains(kApplyRetention));
  EXPECT_EQ(run(work::list_open(pool(), WorkspaceId(1))).size(), 0U) << "nobody waits for it";
  works_off();
  EXPECT_EQ(ask("select state || ' ' || (not_before - now() > interval '59 minutes') from "
                "sluice.work where workspace_id = 1"),
            "waiting true");
  sql("delete from sluice.connection; delete from sluice.installation; delete from "
      "sluice.workspace where workspace_id = 2");
  EXPECT_EQ(ask("select count(*) from sluice.work"), "1");
}

TEST_F(RetentionTest, runs_of_before_go_but_for_the_last_of_each_stream_and_those_under_way) {
  runs("busy", 5'000, 31);  // all old, in three batches
  runs("busy", 24, 1);
  runs("seldom", 25, 300);
  sql("insert into sluice.sync_run (workspace_id, connection_id, stream, kind, started_at) "
      "select workspace_id, connection_id, 'frozen', 'full', now() - interval '90 days' from "
      "sluice.connection");
  works_off();
  EXPECT_EQ(runs_of("busy"), "24 5024") << "the other workspace's stay";
  EXPECT_EQ(runs_of("seldom"), "20 25");
  EXPECT_EQ(runs_of("frozen"), "1 1");
  EXPECT_EQ(ask("select count(*) from sluice.sync_run r where workspace_id = 1 and stream = "
                "'seldom' and started_at < (select max(started_at) from sluice.sync_run where "
                "stream = 'seldom') - interval '20 hours'"),
            "0")
      << "the youngest are those that stay";
  works_off();
  EXPECT_EQ(runs_of("busy"), "24 5024");
}

TEST_F(RetentionTest, the_audit_and_finished_work_go_by_their_age) {
  sql("insert into sluice.audit (workspace_id, at, actor, action, subject) select w, now() - d * "
      "interval '1 day', 't', 'a.b', 's' from generate_series(1, 2) w, unnest(array[1, 399, 401, "
      "800]) d, generate_series(1, 1100);"
      "insert into sluice.work (workspace_id, kind, subject, state, finished_at, created_at) "
      "select w, 'k', 's', 'done', now() - d * interval '1 day', now() - interval '900 days' from "
      "generate_series(1, 2) w, unnest(array[29, 31]) d, generate_series(1, 2100);"
      "insert into sluice.work (workspace_id, kind, subject, created_at) values "
      "(1, 'unknown', 's', now() - interval '900 days')");
  works_off();
  const std::string audit =
      "select string_agg(n::text, ' ' order by w) from (select workspace_id w, count(*) n from "
      "sluice.audit group by 1) x";
  EXPECT_EQ(ask(audit), "2200 4400");
  EXPECT_EQ(ask("select string_agg(n::text, ' ' order by w) from (select workspace_id w, count(*) "
                "n from sluice.work where state = 'done' group by 1) x"),
            "2100 4200");
  EXPECT_EQ(ask("select count(*) from sluice.work where kind = 'unknown'"), "1")
      << "what is to be done is never old";
  EXPECT_EQ(ask("select max(now() - at) < interval '400 days' from sluice.audit where "
                "workspace_id = 1"),
            "t");
  Retention for_ever;
  for_ever.runs = for_ever.audit = for_ever.work = std::chrono::days(0);
  sql("update sluice.audit set at = now() - interval '4000 days'; update sluice.work set "
      "not_before = now() where workspace_id = 1");
  works_off(for_ever);
  EXPECT_EQ(ask(audit), "2200 4400") << "zero is for ever";
}

TEST_F(RetentionTest, a_host_that_dies_between_two_batches_leaves_the_rest_to_the_next) {
  runs("busy", 4'500, 31);
  works(1);
  EXPECT_EQ(runs_of("busy"), "2500 4500");
  EXPECT_EQ(ask("select items from sluice.work where workspace_id = 1"), "2000");
  works(1);
  EXPECT_EQ(runs_of("busy"), "500 4500");
  works_off();
  EXPECT_EQ(runs_of("busy"), "20 4500");
}

TEST_F(RetentionTest, a_failure_at_any_statement_or_a_lost_lease_forgets_nothing) {
  runs("busy", 100, 31);
  sql("insert into sluice.audit (workspace_id, at, actor, action, subject) values (1, now() - "
      "interval '500 days', 't', 'a.b', 's');"
      "insert into sluice.work (workspace_id, kind, subject, state, finished_at) values (1, 'k', "
      "'s', 'done', now() - interval '500 days')");
  const std::string rows =
      "select (select count(*) from sluice.sync_run where workspace_id = 1) || ' ' || (select "
      "count(*) from sluice.audit) || ' ' || (select count(*) from sluice.work where state = "
      "'done')";
  const std::pair<const char*, const char*> stops[] = {{"retention_forget_runs", "100 1 1"},
                                                       {"retention_forget_audit", "20 1 1"},
                                                       {"retention_forget_work", "20 0 1"}};
  for (const auto& [statement, left] : stops) {
    const failpoint::Observer stop([name = std::string("fenced.after.") + statement](auto passed) {
      if (passed == name) throw Failure(Error(ErrorKind::internal, "test.stopped", "here"));
    });
    works();
    EXPECT_EQ(ask(rows), left) << statement;
    EXPECT_EQ(ask("select error->>'code' from sluice.work where workspace_id = 1 and kind = "
                  "'retention.apply'"),
              "test.stopped");
    sql("update sluice.work set not_before = now() where workspace_id = 1");
  }
  sql("update sluice.lease_epoch set epoch = 2");
  EXPECT_THROW(works(), Failure);
  EXPECT_EQ(ask(rows), "20 0 1");
  sql("update sluice.lease_epoch set epoch = 1");
  works_off();
  EXPECT_EQ(ask(rows), "20 0 0");
}

}  // namespace
}  // namespace sluice::sync
