// The refetch lane against a real server, and a vendor that the test plays.
#include "sync/refetch_work.hpp"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/failpoint.hpp"
#include "pg/fenced.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::sync {
namespace {

using contract::FailureClass;

class RefetchTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    sql("insert into sluice.workspace (name) values ('w');"
        "insert into sluice.connector_version (connector, version, sha256, manifest) "
        "values ('acme', '1.0.0', decode(repeat('00', 32), 'hex'), '{}');"
        "insert into sluice.installation (workspace_id, connector, sha256) "
        "values (1, 'acme', decode(repeat('00', 32), 'hex'));"
        "insert into sluice.connection (workspace_id, connector, name) values (1, 'acme', 'a');"
        "insert into sluice.lease_epoch values (1, 'connection/1', 1)");
    make_lane();
  }

  void make_lane() {
    lane_ = std::make_unique<RefetchLane>(
        pool(), entropy_, WorkspaceId(1), ConnectionId(1),
        [this](RefetchBatch batch) { return fetch(std::move(batch)); },
        [this](const pg::Statement& statement, pg::Params params) {
          return write(statement, std::move(params));
        },
        [this] { return static_cast<int>(sessions_.size()) < sessions_max_; });
  }

  Task<pg::QueryResult> write(const pg::Statement& statement, pg::Params params) {
    pg::LeaseProof proof;
    proof.workspace = WorkspaceId(1);
    proof.name = "connection/1";
    proof.epoch = Epoch(1);
    pg::Call made;
    made.statement = &statement;
    made.params = std::move(params);
    return pg::write_fenced(pool(), std::move(proof), std::move(made));
  }

  /// As a connector: the first bad id ends the session.
  Task<SessionEnd> fetch(RefetchBatch batch) {
    sessions_.push_back(fmt::format("{} {}", batch.type, batch.ids.size()));
    if (during) during(batch);
    SessionEnd end;
    for (const RefetchId& id : batch.ids) {
      const bool bad =
          down_.contains(batch.type) || down_.contains("*") || bad_.contains(id.external_id);
      if (!bad) continue;
      end.failure.emplace();
      end.failure->failure_class = failure_;
      end.failure->message = "the vendor broke at " + id.external_id;
      end.failure->retry_after_ms = retry_after_ms_;
      co_return end;
    }
    for (const RefetchId& id : batch.ids) {
      end.left_some_out |= silent_.contains(id.external_id);
      if (silent_.contains(id.external_id)) continue;
      pg::Params params(batch.type, id.external_id, id.generation);
      co_await pool().query(
          "delete from sluice.refetch where workspace_id = 1 and connection_id = 1 and type = $1 "
          "and external_id = $2 and generation = $3",
          std::move(params));
    }
    co_return end;
  }

  void sql(std::string text) { run(script(std::move(text))); }
  Task<void> script(std::string text) {
    auto connection = co_await pool().acquire();
    co_await connection->script(text);
  }
  std::string ask(const std::string& text) {
    const auto rows = run(pool().query(text));
    return rows.empty() || rows.is_null(0, 0) ? "" : rows.get<std::string>(0, 0);
  }

  void note(const std::string& type, int count, const std::string& prefix = "") {
    sql(
        fmt::format("insert into sluice.refetch (workspace_id, connection_id, type, external_id, "
                    "not_before) select 1, 1, '{0}', '{1}{0}' || n, now() - interval '1 s' + n * "
                    "interval '1 us' from generate_series(1, {2}) n",
                    type, prefix, count));
  }
  std::string left() { return ask("select count(*)::text from sluice.refetch"); }
  std::string failed() {
    return ask(
        "select coalesce(string_agg(external_id, ' ' order by external_id), '') from "
        "sluice.refetch where attempts > 0");
  }
  std::string paused() {
    return ask(
        "select coalesce(string_agg(type || ':' || failures, ' ' order by type), 'none') "
        "from sluice.refetch_pause where until > now()");
  }
  void pauses_are_over() { sql("update sluice.refetch_pause set until = now()"); }
  void work() {
    sessions_.clear();
    run(lane_->run());
  }

  SystemEntropy entropy_;
  std::unique_ptr<RefetchLane> lane_;
  std::vector<std::string> sessions_;
  int sessions_max_ = 200;
  std::set<std::string> bad_;
  std::set<std::string> silent_;  ///< of which a session that goes well says nothing
  std::set<std::string> down_;    ///< types; "*": all
  FailureClass failure_ = FailureClass::upstream_transient;
  std::int64_t retry_after_ms_ = 0;
  std::function<void(const RefetchBatch&)> during;
};

TEST_F(RefetchTest, types_take_turns_however_often_one_of_them_is_noticed) {
  note("charge", 300);
  note("subscription", 1);
  // 300 more of the first type each time that it is read.
  during = [this](const RefetchBatch& batch) {
    if (batch.type == "charge" && sessions_.size() < 20)
      sql("insert into sluice.refetch (workspace_id, connection_id, type, external_id) select 1, "
          "1, 'charge', 'more' || n from generate_series(1, 300) n on conflict do nothing");
  };
  sessions_max_ = 6;
  work();
  ASSERT_GE(sessions_.size(), 2U);
  EXPECT_EQ(sessions_[0], "charge 50");
  EXPECT_EQ(sessions_[1], "subscription 1");
}

TEST_F(RefetchTest, one_bad_id_fails_alone_and_its_neighbours_are_read) {
  note("thing", 50);
  bad_ = {"thing31"};
  work();
  EXPECT_EQ(failed(), "thing31");
  EXPECT_EQ(left(), "1");
  EXPECT_EQ(paused(), "none");
  EXPECT_LE(sessions_.size(), 16U) << "50 before";
  // Fresh ones are not dragged down by it, also when it is due again.
  sql("update sluice.refetch set not_before = now()");
  note("thing", 60, "next_");
  work();
  EXPECT_EQ(failed(), "thing31");
  EXPECT_EQ(left(), "1");
  EXPECT_EQ(std::count(sessions_.begin(), sessions_.end(), "thing 50"), 1);
}

TEST_F(RefetchTest, an_id_of_which_nothing_is_said_stays_and_is_told) {
  note("customer", 10);
  silent_ = {"customer3", "customer7"};
  work();
  EXPECT_EQ(left(), "2");
  EXPECT_EQ(failed(), "customer3 customer7");
  EXPECT_EQ(ask("select count(*)::text from sluice.refetch where reason like '%said nothing%' and "
                "not_before > now()"),
            "2");
  EXPECT_EQ(paused(), "none");
}

/// A project that the key may not read: its ids lie together, as they were noticed.
TEST_F(RefetchTest, many_bad_ids_that_lie_together_keep_nobody_behind_them_for_long) {
  note("customer", 300);
  for (int n = 60; n < 160; ++n) bad_.insert("customer" + std::to_string(n));
  const std::string healthy =
      "select count(*)::text from sluice.refetch where substr(external_id, 9)::int not between 60 "
      "and 159";
  int pauses = 0;
  for (; ask(healthy) != "0" && pauses < 20; ++pauses) {
    work();
    pauses_are_over();
  }
  EXPECT_EQ(ask(healthy), "0") << left();
  EXPECT_LE(pauses, 4) << "each longer than the one before while nothing is read";
  EXPECT_EQ(left(), "100");
}

/// What a trial from the younger end begins there must come to what waits longest, too.
TEST_F(RefetchTest, a_stream_of_new_ids_starves_none_of_the_old_ones_behind_a_trial) {
  note("customer", 10, "old_");
  sql("insert into sluice.refetch_pause (workspace_id, connection_id, type, until, error_class, "
      "reason) values (1, 1, 'customer', now(), 'UPSTREAM_TRANSIENT', 'was down')");
  int rounds = 0;
  during = [&](const RefetchBatch&) { note("customer", 60, fmt::format("new_{}_", ++rounds)); };
  sessions_max_ = 30;
  note("customer", 60, "new_0_");
  sql("update sluice.refetch set not_before = now() - interval '1 hour' where external_id like "
      "'old%'");
  work();
  EXPECT_EQ(ask("select count(*)::text from sluice.refetch where external_id like 'old%'"), "0");
}

TEST_F(RefetchTest, several_bad_ids_in_a_batch_fail_alone) {
  note("thing", 50);
  bad_ = {"thing7", "thing8", "thing40"};
  failure_ = FailureClass::bad_data;
  work();
  EXPECT_EQ(failed(), "thing40 thing7 thing8");
  EXPECT_EQ(left(), "3");
  EXPECT_EQ(paused(), "none");
}

TEST_F(RefetchTest, bad_ids_at_both_ends_cost_one_pause_and_then_only_themselves) {
  note("thing", 50);
  bad_ = {"thing1", "thing50"};
  work();
  EXPECT_EQ(paused(), "thing:1");
  EXPECT_EQ(failed(), "thing1 thing50");
  pauses_are_over();
  make_lane();
  work();
  EXPECT_EQ(left(), "2");
  EXPECT_EQ(ask("select count(*)::text from sluice.refetch_pause"), "0");
}

TEST_F(RefetchTest, a_vendor_that_is_down_pauses_the_lane_and_is_tried_with_one_id) {
  note("charge", 300);
  note("customer", 300);
  note("refund", 300);
  down_ = {"*"};
  work();
  EXPECT_EQ(paused(), ":1 charge:1");
  EXPECT_LE(sessions_.size(), 4U);
  EXPECT_EQ(failed().size(), std::string("charge1 charge50 customer1").size());
  work();
  EXPECT_TRUE(sessions_.empty()) << "a pause is a pause";
  EXPECT_FALSE(run(lane_->is_due()));
  for (int round = 2; round <= 4; ++round) {
    pauses_are_over();
    make_lane();  // another host, which knows nothing of it but the table
    work();
    EXPECT_LE(sessions_.size(), 2U) << "one id of a type, and one of another";
    EXPECT_NE(paused().find(fmt::format(":{} ", round)), std::string::npos) << paused();
  }
  down_.clear();
  pauses_are_over();
  sql("update sluice.refetch set not_before = now()");
  make_lane();
  work();
  EXPECT_EQ(left(), "0");
  EXPECT_EQ(ask("select count(*)::text from sluice.refetch_pause"), "0");
}

TEST_F(RefetchTest, one_type_that_the_vendor_refuses_does_not_stop_the_others) {
  note("charge", 120);
  note("customer", 120);
  down_ = {"charge"};
  failure_ = FailureClass::permission;
  work();
  EXPECT_EQ(paused(), "charge:1");
  EXPECT_EQ(ask("select count(*)::text from sluice.refetch where type = 'customer'"), "0");
}

TEST_F(RefetchTest, the_rate_pauses_the_lane_at_once_for_as_long_as_the_vendor_says) {
  note("charge", 120);
  note("customer", 120);
  down_ = {"*"};
  failure_ = FailureClass::rate_limited;
  retry_after_ms_ = 120'000;
  work();
  EXPECT_EQ(sessions_.size(), 1U);
  EXPECT_EQ(paused(), ":1");
  EXPECT_EQ(failed(), "") << "no id is to blame";
  EXPECT_EQ(ask("select (until > now() + interval '115 s')::text from sluice.refetch_pause"),
            "true");
}

TEST_F(RefetchTest, many_that_failed_before_go_in_growing_batches_once_they_go_well) {
  note("thing", 200);
  sql("update sluice.refetch set attempts = 1");
  work();
  EXPECT_EQ(left(), "0");
  EXPECT_LE(sessions_.size(), 10U);
}

TEST_F(RefetchTest, nothing_that_the_lane_says_is_written_once_somebody_else_has_the_lease) {
  const auto prepare = [this](std::string_view statement) {
    const bool goes_well = statement == "refetch_go_on";
    sql("delete from sluice.refetch; delete from sluice.refetch_pause;"
        "update sluice.lease_epoch set epoch = 1");
    note("charge", 1);
    if (goes_well) {
      sql("insert into sluice.refetch_pause (workspace_id, connection_id, type, until, "
          "error_class, reason) values (1, 1, 'charge', now() - interval '1 s', 'X', 'was down')");
    }
    down_.clear();
    if (!goes_well) down_ = {"charge"};
    failure_ = statement == "refetch_pause" ? FailureClass::rate_limited : FailureClass::bad_data;
    make_lane();
  };
  const std::string said =
      "select concat((select sum(attempts) from sluice.refetch where attempts > 0), '/', "
      "(select count(*) from sluice.refetch_pause))";
  for (const char* statement : {"refetch_failed", "refetch_pause", "refetch_go_on"}) {
    SCOPED_TRACE(statement);
    prepare(statement);
    const std::string before = ask(said);
    during = [this](const RefetchBatch&) { sql("update sluice.lease_epoch set epoch = 2"); };
    std::string ended_with;
    try {
      work();
    } catch (const Failure& failure) {
      ended_with = failure.error().code;
    }
    EXPECT_EQ(ended_with, pg::kLeaseLost);
    EXPECT_EQ(ask(said), before);
    during = nullptr;
    prepare(statement);  // the same work, while it is the holder's
    std::set<std::string, std::less<>> passed;
    {
      const failpoint::Observer listing([&](std::string_view name) { passed.emplace(name); });
      work();
    }
    EXPECT_TRUE(passed.contains(std::string("fenced.before.") + statement));
    EXPECT_NE(ask(said), before);
  }
}

TEST_F(RefetchTest, a_batch_costs_as_much_with_a_hundred_thousand_ids_in_front) {
  note("aaa", 100'000);
  sql("update sluice.refetch set not_before = now() + interval '1 hour' where external_id < "
      "'aaa5'");
  note("thing", 100);
  const auto buffers = [this](const std::string& text) {
    const auto rows = run(pool().query("explain (analyze, buffers, format json) " + text));
    const auto plan = nlohmann::json::parse(rows.text(0, 0)).at(0).at("Plan");
    return plan["Shared Hit Blocks"].get<int>() + plan["Shared Read Blocks"].get<int>();
  };
  const std::string of = "from sluice.refetch where workspace_id = 1 and connection_id = 1 ";
  const int batch = buffers("select external_id, generation " + of +
                            "and type = 'thing' and attempts = 0 and not_before <= now() order by "
                            "not_before limit 50");
  std::printf("a batch behind 100,000 ids: %d buffers\n", batch);
  EXPECT_LT(batch, 120);
  sessions_max_ = 2;
  work();
  EXPECT_EQ(sessions_[1], "thing 50");
}

}  // namespace
}  // namespace sluice::sync
