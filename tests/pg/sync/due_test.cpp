// What the engine looks for: nothing that somebody works on, and nobody hidden behind others.
#include "sync/due.hpp"

#include <fmt/format.h>

#include <set>

#include "support/pg_fixture.hpp"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;

class DueTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(
        script("set session_replication_role = replica;"
               "insert into sluice.workspace (name) values ('evil'), ('victim');"
               "reset session_replication_role"));
  }

  Task<void> script(std::string sql) {
    auto connection = co_await superuser_pool().acquire();
    co_await connection->script(sql);
  }

  /// `count` connections from `first` on, each with `streams` streams that are due.
  void due_streams(int workspace, int first, int count, int streams,
                   const std::string& mode = "changes") {
    run(script(fmt::format(
        "set session_replication_role = replica;"
        "insert into sluice.connection (workspace_id, connection_id, connector, name) overriding "
        "system value select {0}, n, 'acme', 'c' || n from generate_series({1}, {1} + {2} - 1) n "
        "on conflict do nothing;"
        "insert into sluice.stream (workspace_id, connection_id, stream, mode, next_run_at) select "
        "{0}, n, '{4}' || s, '{4}', now() - interval '1 hour' + n * interval '1 ms' from "
        "generate_series({1}, {1} + {2} - 1) n, generate_series(1, {3}) s;"
        "reset session_replication_role",
        workspace, first, count, streams, mode)));
  }

  void ids(int workspace, int connection, int count, const std::string& type = "thing",
           const std::string& at = "now()") {
    run(script(fmt::format(
        "insert into sluice.refetch (workspace_id, connection_id, type, external_id, not_before) "
        "select {}, {}, '{}', 'x' || n, {} from generate_series(1, {}) n",
        workspace, connection, type, at, count)));
  }

  void lease(int workspace, int connection, const std::string& expires = "now() + interval '1 h'") {
    run(
        script(fmt::format("insert into sluice.lease_hold values ({}, 'connection/{}', "
                           "'00000000-0000-4000-8000-000000000001', {})",
                           workspace, connection, expires)));
  }

  std::set<std::int64_t> look(std::vector<ConnectionId> skip = {}) {
    DueWork work(pool(), clock_, 500ms);
    std::set<std::int64_t> found;
    last_ = run(work.look(std::move(skip)));
    for (const DueConnection& one : last_) found.insert(one.connection.value);
    return found;
  }

  SystemClock clock_;
  std::vector<DueConnection> last_;
};

using Ids = std::set<std::int64_t>;

TEST_F(DueTest, what_somebody_holds_is_left_out_until_its_lease_expires) {
  due_streams(1, 1, 3, 2);
  lease(1, 1);
  lease(1, 2, "now() - interval '1 ms'");
  EXPECT_EQ(look(), (Ids{2, 3}));
}

TEST_F(DueTest, changes_and_loads_are_told_apart) {
  due_streams(1, 1, 1, 1, "changes");
  due_streams(1, 2, 1, 1, "snapshot");
  ids(1, 3, 1);
  look();
  ASSERT_EQ(last_.size(), 3U);
  for (const DueConnection& one : last_) {
    EXPECT_EQ(one.changes, one.connection != ConnectionId(2));
    EXPECT_EQ(one.loads, one.connection == ConnectionId(2));
  }
}

TEST_F(DueTest, thousands_of_due_streams_of_one_workspace_do_not_hide_another) {
  due_streams(1, 1, 200, 24);
  due_streams(2, 1001, 1, 1);  // the youngest of all
  EXPECT_TRUE(look().contains(1001));
}

TEST_F(DueTest, thousands_that_are_worked_on_do_not_hide_another) {
  due_streams(1, 1, 100, 24);
  for (int n = 1; n <= 100; ++n) lease(1, n);
  due_streams(2, 1001, 1, 1);
  EXPECT_EQ(look(), (Ids{1001}));
}

TEST_F(DueTest, loads_do_not_hide_changes) {
  due_streams(1, 1, 100, 24, "snapshot");
  due_streams(1, 500, 1, 1, "changes");
  EXPECT_TRUE(look().contains(500));
}

TEST_F(DueTest, thousands_of_ids_of_one_connection_do_not_hide_another) {
  ids(1, 1, 5000, "thing", "now() - interval '1 hour'");
  lease(1, 1);
  ids(2, 2, 1);
  EXPECT_EQ(look(), (Ids{2}));
}

TEST_F(DueTest, ids_that_wait_cost_nothing_and_a_paused_lane_is_not_due) {
  ids(1, 1, 10, "later", "now() + interval '1 hour'");
  due_streams(1, 2, 1, 1);
  run(script("update sluice.stream set next_run_at = null"));
  ids(1, 2, 1, "thing");
  EXPECT_EQ(look(), (Ids{2}));
  run(
      script("insert into sluice.refetch_pause (workspace_id, connection_id, type, until, "
             "error_class, reason) values (1, 2, 'thing', now() + interval '1 hour', 'x', 'x')"));
  EXPECT_EQ(look(), Ids{});
  ids(1, 2, 1, "other");
  EXPECT_EQ(look(), (Ids{2})) << "another type goes on";
  run(
      script("insert into sluice.refetch_pause (workspace_id, connection_id, type, until, "
             "error_class, reason) values (1, 2, '', now() + interval '1 hour', 'x', 'x')"));
  EXPECT_EQ(look(), Ids{});
}

TEST_F(DueTest, those_that_would_not_be_started_are_left_out) {
  due_streams(1, 1, 2, 1);
  ids(1, 1, 1);
  EXPECT_EQ(look({ConnectionId(1)}), (Ids{2}));
}

}  // namespace
}  // namespace sluice::sync
