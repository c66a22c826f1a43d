// What happens to links when a rule is made, changed or switched off, whatever is under way on
// whichever host, and wherever one of them dies.
#include "sync/link_rules.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/failpoint.hpp"
#include "base/task_group.hpp"
#include "link/resolver.hpp"
#include "model/catalog_version.hpp"
#include "model/own_turns.hpp"
#include "pg/feed/world.hpp"
#include "pg/sync/next_host.hpp"
#include "sync/work_kinds.hpp"
#include "work/runner.hpp"

namespace sluice::sync {
namespace {

using contract::KeyKind;

/// Does not move: what a host remembers stays as old as it is.
class StandingClock final : public Clock {
 public:
  [[nodiscard]] Micros now() const override { return Micros(0); }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override { return {}; }
};

pg::LeaseProof lease_of(WorkspaceId workspace, std::string name) {
  pg::LeaseProof proof;
  proof.workspace = workspace;
  proof.name = std::move(name);
  proof.epoch = Epoch(1);
  return proof;
}
pg::LeaseProof work_lease(WorkspaceId workspace) { return lease_of(workspace, "work"); }

/// What one process has of its own.
struct HostParts {
  explicit HostParts(pg::Pool& pool)
      : catalogs(pool, clock), resolver(pool), runner(pool, work_kinds()) {}
  StandingClock clock;
  model::Catalogs catalogs;
  link::Resolver resolver;
  work::Runner runner;
};

class LinkRules : public sluice::testing::PgTest {
 protected:
  static constexpr int kPairs = 6;

  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
  }

  Task<void> prepare() {
    auto connection = co_await pool().acquire();
    co_await connection->script(
        "insert into sluice.workspace (name) values ('w');"
        "delete from sluice.work;"  // what every workspace has
        "insert into sluice.lease_epoch values (1, 'link', 1), (1, 'work', 1)");
    for (const char* name : {"lead", "member"}) {
      nlohmann::json type;
      type["name"] = name;
      type["attributes"] = nlohmann::json::parse(
          R"([{"name":"email","type":"text","format":"email"},{"name":"other","type":"text","link_key":"email"}])");
      auto wanted = model::own_type_from_json(type);
      auto transaction = co_await pg::Transaction::begin(*connection);
      auto made = co_await model::create_own_type(transaction, WorkspaceId(1), std::move(*wanted));
      EXPECT_TRUE(made);
      co_await transaction.commit();
    }
  }

  /// Leads and members from..to, who belong together by twos.
  Task<void> write(int from, int to) {
    auto connection = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
    for (const char* name : {"lead", "member"}) {
      std::vector<model::OwnRow> rows;
      for (int n = from; n < to; ++n) {
        model::OwnRow& row = rows.emplace_back();
        row.values["email"] = fmt::format("{}@x.example", n);
        row.values["other"] = fmt::format("{}@x.example", n);
      }
      model::OwnWrite how;
      how.mode = model::OwnMode::insert;
      if (!rows.empty()) {
        co_await model::write_own(*connection, WorkspaceId(1), *catalog->find(name),
                                  std::move(rows), how);
      }
    }
  }

  Task<void> write_one(const char* name, bool with_key = true) {
    auto connection = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
    std::vector<model::OwnRow> rows(1);
    if (with_key) rows[0].values["email"] = "late@x.example";
    model::OwnWrite how;
    how.mode = model::OwnMode::insert;
    co_await model::write_own(*connection, WorkspaceId(1), *catalog->find(name), std::move(rows),
                              std::move(how));
  }

  static NewRule rule(const char* attribute = "email") {
    NewRule made;
    made.name = "r";
    made.source_type = "lead";
    made.source_attribute = attribute;
    made.target_type = "member";
    made.target_attribute = attribute;
    made.kind = KeyKind::email;
    return made;
  }

  std::string ask(const std::string& text) {
    return run(pool().query(text)).get<std::string>(0, 0);
  }
  std::string links() {
    return ask(
        "select count(*) filter (where state = 'linked') || ' linked, ' || count(*) filter "
        "(where state not in ('linked', 'inactive')) || ' open, ' || (select count(*) from "
        "sluice.link_queue) || ' queued' from sluice.link");
  }

  bool resolves(HostParts& host) {
    const pg::LeaseProof proof = lease_of(WorkspaceId(1), "link");
    return run(link::resolve_some(host.resolver, host.catalogs, proof)).queue_rows > 0;
  }
  /// So many batches of durable work at most.
  bool works(HostParts& host, int batches = 1'000'000) {
    const pg::LeaseProof proof = work_lease(WorkspaceId(1));
    // Asked once for the piece of work, and before each of its batches.
    int asked = 0;
    return run(host.runner.run_once(proof, [&asked, batches] { return ++asked <= batches + 1; }));
  }
  void finish(HostParts& host, bool resolver_first) {
    for (int round = 0; round < 100; ++round) {
      bool more = resolver_first && resolves(host);
      more |= works(host);
      more |= !resolver_first && resolves(host);
      if (!more && !resolves(host)) return;
    }
    ADD_FAILURE() << "it does not end";
  }

  /// As an install does it that defines the rule anew.
  Task<void> redefine() {
    auto connection = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    co_await transaction.query(
        "update sluice.link_rule set source_attribute = 'other', target_attribute = 'other'");
    co_await apply_rule(transaction, WorkspaceId(1), "r", "");
    co_await model::raise_catalog_version(transaction, WorkspaceId(1));
    co_await transaction.commit();
  }

  /// All durable work that there is, beside others.
  static Task<void> work_beside(HostParts* host, bool* ended) {
    const pg::LeaseProof proof = work_lease(WorkspaceId(1));
    const std::function<bool()> goes_on = [] { return true; };
    for (bool more = true; more;) {
      Task<bool> one = host->runner.run_once(proof, goes_on);
      more = co_await std::move(one);
    }
    *ended = true;
  }
  /// Makes the rule, and has its work begin; whether that waits, and keeps nobody else.
  Task<bool> rule_waits(TaskGroup* beside, HostParts* host, bool* ended) {
    NewRule wanted = rule();
    Actor actor("t");
    auto made = co_await make_rule(pool(), WorkspaceId(1), std::move(wanted), std::move(actor));
    EXPECT_TRUE(made);
    beside->spawn(work_beside(host, ended));
    asio::steady_timer timer(pool().executor());
    timer.expires_after(std::chrono::milliseconds(300));
    co_await timer.async_wait(asio::use_awaitable);
    const bool waits = !*ended;
    for (const char* others : {"lead", "member"}) co_await write_one(others, false);
    co_return waits;
  }
  /// Writes a row of the type, and has the rule made before that commits; whether its work waited.
  Task<bool> write_while_a_rule_is_made(pg::Connection* connection, const char* name,
                                        HostParts* host) {
    const model::CatalogPtr catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
    const model::StoredType& type = *catalog->find(name);
    std::vector<model::PreparedRow> rows;
    rows.push_back(model::prepare(type, nlohmann::json::parse(R"({"email":"late@x.example"})")));
    TaskGroup beside(pool().executor());
    bool waited = false, ended = false;
    model::OwnTurns turns;
    turns.before_telling = [&]() -> Task<bool> {
      Task<bool> waits = rule_waits(&beside, host, &ended);
      waited = co_await std::move(waits);
      co_return true;
    };
    model::OwnWrite how;
    how.mode = model::OwnMode::insert;
    co_await model::write_own_in_turn(*connection, WorkspaceId(1), type, std::move(rows),
                                      std::move(how), std::move(turns));
    co_await beside.wait();
    co_return waited&& ended;
  }

  void change(const std::string& what) {
    if (what == "made") {
      EXPECT_TRUE(run(make_rule(pool(), WorkspaceId(1), rule(), "t")));
    } else if (what == "changed") {
      run(redefine());
    } else {
      EXPECT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "r", what == "on", "t")));
    }
  }
};

TEST_F(LinkRules, no_link_is_missed_and_none_is_left_wherever_a_host_dies) {
  int cases = 0;
  for (const std::string what : {"made", "changed", "off", "on"}) {
    for (const int resolved : {kPairs, kPairs / 2, 0}) {  // the queue: empty, half, full
      for (int commits = 1; commits <= 4; ++commits) {
        for (const bool old_catalog : {true, false}) {
          for (const bool resolver_first : {true, false}) {
            run(superuser_pool().query(
                "truncate sluice.link, sluice.link_rule, sluice.link_key, "
                "sluice.link_queue, sluice.own_entity, sluice.work cascade"));
            HostParts first(pool()), second(pool());
            if (what != "made") {
              EXPECT_TRUE(run(make_rule(pool(), WorkspaceId(1), rule(), "t")));
            }
            if (what == "on") change("off");
            run(write(0, resolved));
            finish(first, true);
            run(write(resolved, kPairs));
            run(pool().query("update sluice.work set state = 'done'"));
            if (old_catalog) run(second.catalogs.get(WorkspaceId(1)));
            // One host changes the rule and dies behind so many commits; the other goes on.
            change(what);
            for (int commit = 2; commit <= commits; ++commit) {
              if (commit == 3) resolves(first);
              works(first, 1);
            }
            finish(second, resolver_first);
            const std::string expected =
                fmt::format("{} linked, 0 open, 0 queued", what == "off" ? 0 : kPairs);
            const std::string name = fmt::format(
                "{}, {} of {} resolved before, dies behind commit {}, the other's catalogue {}, {}",
                what, resolved, kPairs, commits, old_catalog ? "old" : "new",
                resolver_first ? "queue first" : "work first");
            std::printf("%-100s %s\n", name.c_str(), links().c_str());
            EXPECT_EQ(links(), expected) << name;
            EXPECT_EQ(ask("select count(*) from sluice.work where state <> 'done'"), "0") << name;
            ++cases;
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 192);
}

TEST_F(LinkRules, rows_wait_in_no_queue_while_no_rule_names_their_type) {
  run(write(0, 3));
  EXPECT_EQ(links(), "0 linked, 0 open, 0 queued");
  change("made");
  run(write(3, 5));
  EXPECT_EQ(links(), "0 linked, 0 open, 8 queued");
  HostParts host(pool());
  finish(host, true);
  EXPECT_EQ(links(), "5 linked, 0 open, 0 queued");
  change("off");
  finish(host, true);
  run(write(5, 6));
  EXPECT_EQ(links(), "0 linked, 0 open, 0 queued");
  change("on");
  finish(host, true);
  EXPECT_EQ(links(), "6 linked, 0 open, 0 queued");
}

TEST_F(LinkRules, a_rule_waits_for_rows_at_either_end_that_are_on_their_way_and_links_them) {
  for (const char* late : {"lead", "member"}) {
    run(superuser_pool().query(
        "truncate sluice.link, sluice.link_rule, sluice.link_key, sluice.link_queue, "
        "sluice.own_entity, sluice.own_unique, sluice.work cascade"));
    run(write_one(std::string(late) == "lead" ? "member" : "lead"));
    HostParts host(pool());
    const auto connection = connect_as_app();
    EXPECT_TRUE(run(write_while_a_rule_is_made(connection.get(), late, &host))) << late;
    finish(host, true);
    EXPECT_EQ(links(), "1 linked, 0 open, 0 queued") << late;
  }
}

TEST_F(LinkRules, what_was_to_go_goes_also_when_the_rule_is_switched_on_twice_meanwhile) {
  HostParts host(pool());
  change("made");
  run(write(0, kPairs));
  finish(host, true);
  ASSERT_EQ(links(), fmt::format("{} linked, 0 open, 0 queued", kPairs));
  change("off");
  // A source loses its key while the rule is off and its links still stand.
  run(
      pool().query("delete from sluice.link_key where entity_id = (select min(source_id) from "
                   "sluice.link)"));
  change("on");
  change("on");  // a client's retry
  finish(host, false);
  EXPECT_EQ(links(), fmt::format("{} linked, 0 open, 0 queued", kPairs - 1));
  EXPECT_EQ(ask("select state from sluice.link where source_id = (select min(source_id) from "
                "sluice.link)"),
            "inactive");
}

TEST_F(LinkRules, a_resolver_with_an_old_catalogue_takes_nothing_off_the_queue) {
  HostParts host(pool());
  const model::CatalogPtr old = run(host.catalogs.get(WorkspaceId(1)));
  change("made");
  run(write(0, kPairs));
  const pg::LeaseProof proof = lease_of(WorkspaceId(1), "link");
  try {
    run(host.resolver.run_once(old, proof));
    FAIL() << "it was consumed";
  } catch (const Failure& failure) {
    EXPECT_TRUE(model::is_catalog_changed(failure)) << failure.what();
    EXPECT_EQ(failure.error().kind, ErrorKind::retry_later);
  }
  EXPECT_EQ(links(), fmt::format("0 linked, 0 open, {} queued", 4 * kPairs));
}

TEST_F(LinkRules, at_any_statement_of_the_resolver_a_former_holder_writes_nothing_more) {
  ASSERT_TRUE(run(make_rule(pool(), WorkspaceId(1), rule(), "t")));
  HostParts host(pool());
  Stop stop;
  stop.conninfo = app_conninfo();
  stop.workspace = WorkspaceId(1);
  stop.lease = "link";
  stop.everything =
      "select md5(concat_ws('|', (select string_agg(x::text, ',' order by x::text) from "
      "sluice.link x), (select string_agg(x::text, ',' order by x::text) from sluice.link_queue "
      "x), (select string_agg(x::text, ',' order by x::text) from sluice.link_spread x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.change x)))";
  const auto resolve_all = [&] {
    bool stopped = true, more = true;
    while (stopped || more) {
      run(pool().query("delete from sluice.lease_hold"));
      pg::LeaseProof proof = lease_of(WorkspaceId(1), "link");
      proof.epoch =
          Epoch(std::stoll(ask("select epoch from sluice.lease_epoch where name = 'link'")));
      stopped = is_stopped(stop, [&] {
        more = run(link::resolve_some(host.resolver, host.catalogs, proof)).queue_rows > 0;
      });
    }
  };
  run(write(0, 2));
  resolve_all();
  EXPECT_EQ(links(), "2 linked, 0 open, 0 queued");
  // One key of many sources: they are put back into the queue, and decided in parts.
  const std::string shared = ask("select digest from sluice.link_key limit 1");
  run(pool().query(fmt::format(
      "insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select k.workspace_id, k.kind, k.digest, k.type_id, k.attribute, 1000000 + n from "
      "sluice.link_key k, generate_series(1, {}) n, sluice.link_rule r where k.digest = '{}' and "
      "k.type_id = (select type_id from sluice.entity_type where name = r.source_type) and "
      "k.attribute = 0 on conflict do nothing",
      link::kInlineSourcesMax + 1, shared)));
  run(pool().query(
      "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select k.workspace_id, k.kind, k.digest, k.type_id, k.attribute, k.entity_id from "
      "sluice.link_key k where k.digest = '" +
      shared + "' and k.entity_id < 1000000"));
  resolve_all();
  EXPECT_EQ(links(), fmt::format("{} linked, 0 open, 0 queued", link::kInlineSourcesMax + 3));
  // A source that has no key any more.
  run(pool().query(
      "with gone as (delete from sluice.link_key where entity_id = (select min(source_id) from "
      "sluice.link) returning *) "
      "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select workspace_id, kind, digest, type_id, attribute, entity_id from gone"));
  resolve_all();
  EXPECT_EQ(links(), fmt::format("{} linked, 0 open, 0 queued", link::kInlineSourcesMax + 2));
  // What somebody decided, of a target that has gone and come back with its key.
  const std::string source =
      "(select min(k.entity_id) from sluice.link_key k where k.digest = '" + shared +
      "' and k.entity_id < 1000000 and k.type_id = (select type_id from sluice.entity_type where "
      "name = 'lead'))";
  run(pool().query(
      "insert into sluice.own_entity (workspace_id, type_id, id, data, created_at, deleted_at) "
      "select 1, type_id, 999999, '{}', '2026-01-01', '2026-01-02' from sluice.entity_type where "
      "name = 'member'"));
  run(pool().query(
      "insert into sluice.link_decision (workspace_id, rule_id, source_id, target_id, "
      "source_type_id, target_type_id, verdict, target_digest, decided_by) select 1, r.rule_id, " +
      source + ", 999999, s.type_id, t.type_id, 'confirmed', '" + shared +
      "', 't' from sluice.link_rule r, sluice.entity_type s, sluice.entity_type t where s.name = "
      "'lead' and t.name = 'member'"));
  run(pool().query(
      "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select k.workspace_id, k.kind, k.digest, k.type_id, k.attribute, k.entity_id from "
      "sluice.link_key k where k.digest = '" +
      shared + "' and k.entity_id < 1000000"));
  resolve_all();
  EXPECT_EQ(ask("select state from sluice.link where source_id = " + source), "confirmed");
  for (const char* name :
       {"fence_begin", "fence_guard", "fence_commit", "link_take", "link_sources",
        "link_enqueue_sources", "link_unmark", "link_decide", "link_put", "link_remove",
        "link_forget", "link_any_decision", "link_decisions", "link_decided_sources",
        "link_decided_ends", "link_returned", "link_decision_follow", "journal_append"}) {
    EXPECT_TRUE(stop.at.contains(std::string("fenced.before.") + name)) << name;
    EXPECT_TRUE(stop.at.contains(std::string("fenced.after.") + name)) << name;
  }
}

TEST_F(LinkRules, links_of_a_rule_that_is_switched_off_go_and_none_is_left_by_a_kill) {
  // SLUICE_TEST_LONG: a million, within ten minutes.
  const bool is_long = std::getenv("SLUICE_TEST_LONG") != nullptr;
  const int count = is_long ? 1'000'000 : 30'000;
  ASSERT_TRUE(run(make_rule(pool(), WorkspaceId(1), rule(), "t")));
  // As they are without statistics: autoanalyze is told to stay away.
  run(superuser_pool().query("alter table sluice.link set (autovacuum_enabled = off)"));
  run(pool().query(
      fmt::format("insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, "
                  "state, target_id, target_type_id, kind) select 1, r.rule_id, n, 1, 'linked', "
                  "n + 1000000, 2, 1 from sluice.link_rule r, generate_series(1, {}) n",
                  count)));
  run(pool().query("update sluice.work set state = 'done'"));  // that it was made
  const auto began = std::chrono::steady_clock::now();
  change("off");
  const auto answered = std::chrono::steady_clock::now();
  EXPECT_LT(answered - began, std::chrono::seconds(1));
  {
    HostParts dies(pool());
    for (int batch = 0; batch < 3; ++batch) works(dies, 1);
  }
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'inactive'"), "6000");
  EXPECT_EQ(ask("select items from sluice.work where kind = 'rule.apply' and state = 'waiting'"),
            "6000");
  HostParts other(pool());
  int kills = 1;
  while (is_long && kills < 20) {  // each of the next hosts dies, too
    HostParts dies(pool());
    for (int batch = 0; batch < 10; ++batch) works(dies, 1);
    ++kills;
  }
  while (works(other)) {
  }
  const auto done = std::chrono::steady_clock::now();
  EXPECT_LT(done - began, std::chrono::seconds(is_long ? 600 : 60));
  std::printf("%d links: answered in %lld ms, gone in %lld ms, %d kills\n", count,
              static_cast<long long>((answered - began) / std::chrono::milliseconds(1)),
              static_cast<long long>((done - began) / std::chrono::milliseconds(1)), kills);
  EXPECT_EQ(ask("select count(*) from sluice.link where state = 'inactive'"),
            std::to_string(count));
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'unlink'"), std::to_string(count));
}

TEST_F(LinkRules, work_of_a_lost_lease_stores_nothing) {
  change("made");
  run(pool().query("update sluice.lease_epoch set epoch = 2 where name = 'work'"));
  HostParts host(pool());
  try {
    works(host);
    FAIL() << "it was stored";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "lease.lost");
  }
  EXPECT_EQ(ask("select count(*) from sluice.work where state = 'waiting'"), "2");
}

/// Runs as pg.work_failpoints, where rule.before_commit, rule.after_commit, work.before_commit and
/// work.after_commit each throw at their first passage.
TEST_F(LinkRules, a_failure_before_or_behind_a_commit_loses_no_work) {
  if (!failpoint::armed)
    GTEST_SKIP() << "set SLUICE_FAILPOINTS, as ctest's pg.work_failpoints does";
  run(write(0, kPairs));
  const std::string stored =
      "select (select count(*) from sluice.link_rule) || '/' || (select count(*) from sluice.work "
      "where state = 'waiting')";
  EXPECT_THROW(run(make_rule(pool(), WorkspaceId(1), rule(), "t")), Failure);
  EXPECT_EQ(ask(stored), "0/0") << "nothing of it";
  EXPECT_THROW(run(make_rule(pool(), WorkspaceId(1), rule(), "t")), Failure);
  EXPECT_EQ(ask(stored), "1/2") << "all of it";
  HostParts host(pool());
  works(host);
  EXPECT_EQ(ask("select attempts || ' ' || (error->>'code') from sluice.work where kind = "
                "'rule.apply'"),
            "1 " + ask("select error->>'code' from sluice.work where kind = 'rule.apply'"));
  EXPECT_EQ(ask("select state from sluice.work where kind = 'views.renew'"), "done");
  run(pool().query("update sluice.work set not_before = now()"));
  finish(host, false);
  EXPECT_EQ(links(), fmt::format("{} linked, 0 open, 0 queued", kPairs));
}

/// A kind that fails so often.
class Stumbling final : public work::Kind {
 public:
  explicit Stumbling(int times) : times_(times) {}
  Task<work::Batch> batch(pg::Connection& connection, pg::Fenced& fenced,
                          const work::Item& item) override {
    (void)connection;
    (void)fenced;
    (void)item;
    if (times_-- > 0) throw Failure(Error(ErrorKind::internal, "test.stumbled", "fell", "get up"));
    work::Batch batch;
    batch.done = true;
    co_return batch;
  }

 private:
  int times_;
};

TEST_F(LinkRules, work_that_fails_says_why_waits_and_keeps_nobody_else) {
  const auto put = [](pg::Pool& pool, std::string kind) -> Task<void> {
    auto connection = co_await pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    work::NewWork work;
    work.kind = std::move(kind);
    co_await work::put(transaction, WorkspaceId(1), std::move(work));
    co_await transaction.commit();
  };
  for (const char* kind : {"a.bad", "b.good", "c.unknown"}) run(put(pool(), kind));
  std::map<std::string, std::unique_ptr<work::Kind>> kinds;
  kinds["a.bad"] = std::make_unique<Stumbling>(1);
  kinds["b.good"] = std::make_unique<Stumbling>(0);
  work::Runner runner(pool(), std::move(kinds));
  const pg::LeaseProof proof = work_lease(WorkspaceId(1));
  run(runner.run_once(proof, [] { return true; }));
  const auto open = run(work::list_open(pool(), WorkspaceId(1)));
  ASSERT_EQ(open.size(), 2U);
  EXPECT_EQ(open[0].kind, "a.bad");
  EXPECT_EQ(open[0].attempts, 1);
  EXPECT_EQ(open[0].error["code"], "test.stumbled");
  EXPECT_EQ(open[1].kind, "c.unknown") << "left to a host that knows it";
  EXPECT_EQ(ask("select not_before > now() from sluice.work where kind = 'a.bad'"), "t");
  run(pool().query("update sluice.work set not_before = now()"));
  run(runner.run_once(proof, [] { return true; }));
  EXPECT_EQ(ask("select count(*) from sluice.work where state = 'done'"), "2");
}

/// Work on what a connector brought.
class ConnectorWork : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    sql("delete from sluice.work; insert into sluice.lease_epoch values ({w}, 'work', 1)");
  }
  void work(const std::string& kind, const std::string& subject, const std::string& task) {
    sql("insert into sluice.work (workspace_id, kind, subject, task) values ({w}, '" + kind +
        "', '" + subject + "', '" + task + "')");
    auto kinds = work_kinds();
    kinds.merge(build_kinds());
    work::Runner runner(pool(), std::move(kinds));
    const pg::LeaseProof proof = work_lease(workspace_);
    while (run(runner.run_once(proof, [] { return true; }))) {
    }
    EXPECT_EQ(text("select error from sluice.work where state <> 'done'"), "");
  }
};

TEST_F(ConnectorWork, a_deleted_connection_leaves_its_places_in_the_feed_and_nobodys_data) {
  for (int n = 0; n < 450; ++n) customer(fmt::format("cus_{}", n), fmt::format("a{}@x.example", n));
  sql("select sluice.append_changes({w}, {c}, 0, array_agg(t.type_id), array_agg(e.id), "
      "array_agg('update'::text), array_agg(e.external_id), "
      "array_agg('{\"email\": [\"pii.canary@example.org\", null]}'::jsonb)) "
      "from vendor.acme_customer e, sluice.entity_type t where t.name = 'acme.customer';"
      "insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
      "reason) "
      "select {w}, {c}, 'acme.customer', n::text, 'c', 'r' from generate_series(1, 2500) n;"
      "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) "
      "select {w}, {c}, 's', 'full' from generate_series(1, 4100) n;"
      "update sluice.connection set state = 'DISCONNECTED'");
  const EntityId own_one = own("own@x.example");
  const std::string places = "select count(*) from sluice.change";
  const std::int64_t before = std::stoll(text(places));
  const std::string connection = text("select connection_id from sluice.connection");
  work("connection.delete", "main", R"({"connector": "acme", "connection": )" + connection + "}");
  EXPECT_EQ(text("select (select count(*) from sluice.connection) + (select count(*) from "
                 "sluice.quarantine) + (select count(*) from sluice.sync_run) + (select count(*) "
                 "from vendor.acme_customer)"),
            "0");
  EXPECT_EQ(std::stoll(text(places)), before + 450) << "each place stays, each deletion is told";
  EXPECT_EQ(text("select count(*) from sluice.change where op = 'erased'"), "450");
  EXPECT_EQ(text("select count(*) from sluice.change where changed::text like '%canary%' or "
                 "external_id <> ''"),
            "0");
  EXPECT_EQ(
      text("select count(*) from sluice.own_entity where id = " + std::to_string(own_one.value)),
      "1");
}

TEST_F(ConnectorWork, a_row_that_comes_late_keeps_no_deletion_from_its_end) {
  sql("update sluice.connection set state = 'DISCONNECTED';"
      "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values ({w}, {c}, "
      "'s', 'full')");
  const std::string connection = text("select connection_id from sluice.connection");
  sql("insert into sluice.work (workspace_id, kind, subject, task, progress) values ({w}, "
      "'connection.delete', 'main', '{\"connector\": \"acme\", \"connection\": " +
      connection + "}', '{\"entities_gone\": true, \"table\": 99}')");
  work::Runner runner(pool(), work_kinds());
  const pg::LeaseProof proof = work_lease(workspace_);
  while (run(runner.run_once(proof, [] { return true; }))) {
  }
  EXPECT_EQ(text("select count(*) from sluice.work where state <> 'done'"), "0");
  EXPECT_EQ(text("select (select count(*) from sluice.connection) + (select count(*) from "
                 "sluice.sync_run)"),
            "0");
}

TEST_F(ConnectorWork, a_new_relationship_of_a_table_with_rows_gets_its_index_beside_its_writers) {
  sql("drop index vendor.acme_invoice_at_customer");
  const auto again = [](pg::Pool& pool, WorkspaceId workspace) -> Task<model::Installed> {
    auto connection = co_await pool.acquire();
    const auto manifest = sluice::testing::acme_manifest();
    co_return co_await model::install_types(*connection, workspace, manifest);
  };
  const model::Installed news = run(again(pool(), workspace_));
  ASSERT_EQ(news.indexes.size(), 1U) << "the install leaves it to durable work";
  EXPECT_EQ(news.indexes[0].table, "acme_invoice");
  EXPECT_EQ(news.indexes[0].attribute, "customer");
  const std::string task = R"({"table": "acme_invoice", "attribute": "customer"})";
  const std::string valid =
      "select i.indisvalid from pg_index i where i.indexrelid = "
      "to_regclass('vendor.acme_invoice_at_customer')";
  // As older versions called theirs.
  for (const char* former : {"by", "of"})
    sql(fmt::format("create index acme_invoice_{}_customer on vendor.acme_invoice (customer)",
                    former));
  // A page that is under way holds the table as writers do; building waits for it, and it alone.
  work("index.make", "acme_invoice.customer", task);
  EXPECT_EQ(text(valid), "t");
  EXPECT_EQ(text("select count(*) from pg_indexes where indexname in ('acme_invoice_by_customer', "
                 "'acme_invoice_of_customer')"),
            "0");
  sql("update pg_index set indisvalid = false where indexrelid = "
      "'vendor.acme_invoice_at_customer'::regclass");
  work("index.make", "acme_invoice.customer", task);
  EXPECT_EQ(text(valid), "t") << "what a killed host left half built is built anew";
  EXPECT_TRUE(run(again(pool(), workspace_)).indexes.empty());
}

TEST_F(ConnectorWork,
       an_install_that_needs_a_column_of_a_held_table_says_so_and_lets_writers_pass) {
  sql("alter table vendor.acme_invoice drop column paid cascade");
  auto reader = connect();
  run(reader->query("begin"));
  run(reader->query("select count(*) from vendor.acme_invoice"));
  const auto again = [](pg::Pool& pool, WorkspaceId workspace) -> Task<void> {
    auto connection = co_await pool.acquire();
    const auto manifest = sluice::testing::acme_manifest();
    co_await model::install_types(*connection, workspace, manifest);
  };
  try {
    run(again(pool(), workspace_));
    FAIL() << "it waited for the reader";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "type.table_busy") << failure.what();
    EXPECT_EQ(failure.error().kind, ErrorKind::retry_later);
  }
  run(reader->query("rollback"));
  run(again(pool(), workspace_));
  EXPECT_EQ(text("select count(paid) from vendor.acme_invoice"), "0");
}

/// Due again and again.
class Recurring final : public work::Kind {
 public:
  Task<work::Batch> batch(pg::Connection& connection, pg::Fenced& fenced,
                          const work::Item& item) override {
    (void)connection;
    (void)fenced;
    (void)item;
    work::Batch batch;
    batch.done = true;
    batch.again_in = std::chrono::hours(1);
    co_return batch;
  }
};

/// One host after the other is stopped at a statement that none before it was stopped at; the next
/// one goes on.
class StoppedWork : public ConnectorWork {
 protected:
  static constexpr const char* kEverything =
      "select md5(concat_ws('|', (select string_agg(x::text, ',' order by x::text) from "
      "sluice.work x), (select string_agg(x::text, ',' order by x::text) from sluice.connection "
      "x), (select string_agg(x::text, ',' order by x::text) from sluice.stream x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.sync_run x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.quarantine x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.secret x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.refetch x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.change x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_key x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_queue x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.own_unique x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.own_shared x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.link_rule x), (select "
      "string_agg(x::text, ',' order by x::text) from vendor.acme_customer x)))";

  void put(const char* kind, const char* subject, const std::string& task = "{}") {
    sql(
        fmt::format("insert into sluice.work (workspace_id, kind, subject, task) values "
                    "({{w}}, '{}', '{}', '{}')",
                    kind, subject, task));
  }

  void work_off(Stop& stop) {
    bool stopped = true;
    while (stopped || text("select count(*) from sluice.work where state = 'waiting' and kind <> "
                           "'test.recurs'") != "0") {
      run(script(
          "delete from sluice.lease_hold; update sluice.work set not_before = now() where state = "
          "'waiting'"));
      std::map<std::string, std::unique_ptr<work::Kind>> kinds = work_kinds();
      kinds["test.stumbles"] = std::make_unique<Stumbling>(1);
      kinds["test.recurs"] = std::make_unique<Recurring>();
      work::Runner runner(pool(), std::move(kinds));
      pg::LeaseProof proof = work_lease(workspace_);
      proof.epoch = Epoch(std::stoll(text("select epoch from sluice.lease_epoch")));
      stopped = is_stopped(stop, [&] { run(runner.run_once(proof, [] { return true; })); });
      if (!stopped) run(script("delete from sluice.work where kind = 'test.stumbles'"));
    }
  }
};

TEST_F(StoppedWork, at_any_statement_of_durable_work_a_former_holder_writes_nothing_more) {
  for (int n = 0; n < 3; ++n) customer(fmt::format("cus_{}", n), fmt::format("{}@x.example", n));
  const EntityId target = own("0@x.example");
  link("cus_0", target);
  sql("insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
      "reason) "
      "values ({w}, {c}, 'acme.customer', 'q', 'c', 'r');"
      "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values "
      "({w}, {c}, 's', 'full');"
      "update sluice.connection set state = 'DISCONNECTED'");
  const std::string rule = text("select name from sluice.link_rule");
  put("keys.make", "acme.customer.email", R"({"type": "acme.customer", "attribute": "email"})");
  put("keys.make", "customer.email", R"({"type": "customer", "attribute": "email"})");
  put("rule.apply", rule.c_str());
  sql("insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, "
      "target_type, target_attribute, key_kind, enabled, going, origin, connector, declared_name) "
      "select {w}, 'dropped', source_type, source_attribute, target_type, target_attribute, "
      "key_kind, false, true, 'connector', 'acme', 'dropped' from sluice.link_rule;"
      "insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, state, kind) "
      "select {w}, r.rule_id, l.source_id, l.source_type_id, 'pending', 1 from sluice.link l, "
      "sluice.link_rule r where r.going");
  put("rule.apply", "dropped");
  put("test.stumbles", "");
  put("test.recurs", "");
  Stop stop;
  stop.conninfo = app_conninfo();
  stop.workspace = workspace_;
  stop.lease = "work";
  stop.everything = kEverything;
  work_off(stop);
  const std::string connection = text("select connection_id from sluice.connection");
  put("connection.delete", "main", R"({"connector": "acme", "connection": )" + connection + "}");
  work_off(stop);
  EXPECT_EQ(text("select (select count(*) from sluice.connection) + (select count(*) from "
                 "sluice.quarantine) + (select count(*) from sluice.sync_run) + (select count(*) "
                 "from vendor.acme_customer)"),
            "0")
      << "and nothing is left undone";
  for (const char* name : {"work_later",
                           "work_go_on",
                           "work_done",
                           "work_again",
                           "work_failed",
                           "link_enqueue_part",
                           "link_enqueue_decided",
                           "link_of_rule",
                           "link_deactivate",
                           "link_rekey_remove",
                           "link_rekey_add",
                           "link_forget_links",
                           "link_forget_rule",
                           "link_forget_decisions",
                           "deletion_decisions",
                           "own_values_of",
                           "own_unformed",
                           "own_forget_shared",
                           "own_put_forms",
                           "own_put_shared",
                           "deletion_next_type",
                           "deletion_keys",
                           "deletion_links",
                           "deletion_erase_changes",
                           "deletion_refetch",
                           "deletion_seen",
                           "deletion_quarantine",
                           "deletion_runs",
                           "deletion_secrets",
                           "deletion_streams",
                           "deletion_deaths",
                           "deletion_connection"}) {
    EXPECT_TRUE(stop.at.contains(std::string("fenced.before.") + name)) << name;
    EXPECT_TRUE(stop.at.contains(std::string("fenced.after.") + name)) << name;
  }
}

}  // namespace
}  // namespace sluice::sync
