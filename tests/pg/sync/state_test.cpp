// Every state with every event: what the drawings allow (sync/stream_state.hpp,
// sync/connection_state.hpp) does what they say, and everything else changes nothing and says so.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "ingest/tail.hpp"
#include "support/pg_fixture.hpp"
#include "sync/connection_state.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {
namespace {

constexpr StreamState kStreamStates[] = {StreamState::created, StreamState::running,
                                         StreamState::idle, StreamState::waiting,
                                         StreamState::failed};
constexpr ReconcileState kReconcileStates[] = {ReconcileState::none, ReconcileState::recording,
                                               ReconcileState::due, ReconcileState::blocked,
                                               ReconcileState::confirmed};
constexpr ConnectionState kConnectionStates[] = {
    ConnectionState::connected,    ConnectionState::syncing, ConnectionState::healthy,
    ConnectionState::degraded,     ConnectionState::stale,   ConnectionState::disconnecting,
    ConnectionState::disconnected, ConnectionState::failed};

/// One connection with the stream "people", and who holds its lease.
class StatesTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    auto connection = connect();
    run(connection->script(std::string(sluice::testing::kOneStream) +
                           "insert into sluice.lease_epoch values (1, 'connection/1', 1);"));
    key_.workspace = WorkspaceId(1);
    key_.connection = ConnectionId(1);
    key_.stream = "people";
  }

  std::string ask(const std::string& text) {
    return run(pool().query(text)).get<std::string>(0, 0);
  }
  void set(const std::string& assignments) {
    run(pool().query("update sluice.stream set " + assignments));
  }
  /// How many rows it says that it changed.
  std::int64_t send(pg::Call call) {
    pg::LeaseProof proof;
    proof.workspace = WorkspaceId(1);
    proof.name = "connection/1";
    proof.epoch = Epoch(1);
    return run(pg::write_fenced(pool(), std::move(proof), std::move(call))).affected();
  }
  std::string streams() { return ask("select string_agg(s::text, ';') from sluice.stream s"); }

  StreamKey key_;
};

using Made = std::function<pg::Call(const StreamKey&)>;

struct StreamEvent {
  const char* name;
  Made call;
  std::function<bool(StreamState)> is_drawn;
  StreamState to;
  const char* due;  ///< afterwards: now, later, never
};

pg::Call last_page(const StreamKey& key) {
  pg::Call page;
  page.statement = &ingest::kStream;
  page.params = pg::Params(key.workspace, key.connection, key.stream, nullptr, std::int32_t{0},
                           true, std::int64_t{0}, std::int64_t{0});
  page.params.add(true).add(false).add(RunId(1)).add(std::optional<std::int64_t>()).add(false);
  page.params.add(std::int64_t{0}).add(std::optional<std::string>());
  return page;
}

pg::Call fail(const StreamKey& key, bool ours) {
  stream_state::Failing how;
  how.run = RunId(1);
  how.ours = ours;
  how.reason = ours ? "" : "no";
  how.error_class = ours ? "CANCELLED" : "BAD_DATA";
  how.pause_ms = ours ? 0 : 60'000;
  return stream_state::fail(key, how);
}

std::vector<StreamEvent> stream_events() {
  using enum StreamState;
  const auto any = [](StreamState) { return true; };
  const auto from_running = [](StreamState from) { return from == running; };
  const auto but_running = [](StreamState from) { return from != running; };
  const Made let_go = [](const StreamKey& key) {
    return stream_state::let_go(key.workspace, key.connection);
  };
  const Made hold_back = [](const StreamKey& key) {
    return stream_state::hold_back(key.workspace, key.connection, 60'000, "waits");
  };
  const Made park = [](const StreamKey& key) {
    return stream_state::park(key.workspace, key.connection, "another account");
  };
  const Made hold_all = [](const StreamKey& key) {
    return stream_state::hold_all(key.workspace, key.connection, "twice");
  };
  const Made switch_off = [](const StreamKey& key) {
    return stream_state::switch_off(key.workspace, key.connection);
  };
  return {
      {"take", stream_state::take, any, running, "now"},
      {"last page", last_page, from_running, idle, "never"},
      {"let_go", let_go, from_running, waiting, "now"},
      {"supersede", [](const StreamKey& key) { return stream_state::supersede(key, RunId(1)); },
       from_running, waiting, "now"},
      {"fail, ours", [](const StreamKey& key) { return fail(key, true); }, from_running, waiting,
       "now"},
      {"fail", [](const StreamKey& key) { return fail(key, false); }, from_running, failed,
       "later"},
      {"restart", [](const StreamKey& key) { return stream_state::restart(key, "refused"); },
       from_running, waiting, "now"},
      {"restart_all",
       [](const StreamKey& key) { return stream_state::restart_all(key, "refused"); }, from_running,
       waiting, "now"},
      {"hold_back", hold_back, but_running, waiting, "later"},
      {"park", park, any, failed, "later"},
      {"died", [](const StreamKey& key) { return stream_state::died(key, RunId(1), "once"); }, any,
       failed, "now"},
      {"hold", [](const StreamKey& key) { return stream_state::hold(key, RunId(1), "twice"); }, any,
       failed, "never"},
      {"hold_all", hold_all, any, failed, "never"},
      {"switch_off", switch_off, any, waiting, "never"},
  };
}

constexpr const char* kDue =
    "select case when next_run_at is null then 'never' when next_run_at <= now() then 'now' else "
    "'later' end from sluice.stream where stream = 'people'";

TEST_F(StatesTest, a_stream_goes_where_its_drawing_says_and_nowhere_else) {
  for (const StreamEvent& event : stream_events()) {
    for (const StreamState from : kStreamStates) {
      SCOPED_TRACE(fmt::format("{} from {}", event.name, to_string(from)));
      set(
          fmt::format("state = '{}', enabled = true, next_run_at = now() - interval '1 second', "
                      "reason = '', error_class = null, consecutive_failures = 0, reading = 0, "
                      "last_run_id = null, snapshot_done = false, last_success_at = null",
                      to_string(from)));
      const std::string before = streams();
      const std::int64_t says = send(event.call(key_));
      if (event.is_drawn(from)) {
        EXPECT_EQ(ask("select state from sluice.stream"), to_string(event.to));
        EXPECT_EQ(ask(kDue), event.due);
        EXPECT_EQ(says, 1);
      } else if (event.name == std::string_view("last page")) {
        // A page stores what it read, whatever became of its stream.
        EXPECT_EQ(ask("select state || coalesce(last_success_at::text, '') from sluice.stream"),
                  to_string(from));
        EXPECT_EQ(ask(kDue), "now");
      } else {
        EXPECT_EQ(streams(), before) << "it changed something";
        EXPECT_EQ(says, 0);
      }
    }
  }
}

// The host that died starts after another took its stream over: that one's run goes on as it is.
TEST_F(StatesTest, a_death_that_is_counted_later_leaves_the_run_alone_that_another_host_began) {
  run(pool().query(
      "insert into sluice.sync_run (workspace_id, run_id, connection_id, stream, kind) "
      "overriding system value values (1, 5, 1, 'people', 'full'), (1, 8, 1, 'people', 'full')"));
  set("state = 'running', enabled = true, next_run_at = now()");
  const std::string before = streams();
  EXPECT_EQ(send(stream_state::died(key_, RunId(5), "its connector ended the host once")), 0);
  EXPECT_EQ(streams(), before);
  EXPECT_EQ(send(stream_state::died(key_, RunId(8), "its connector ended the host once")), 1);
  EXPECT_EQ(ask("select state from sluice.stream"), "failed");
}

TEST_F(StatesTest, what_is_held_waits_for_a_person_and_what_an_admin_paused_is_not_let_go_with_it) {
  const auto release = [] {
    pg::Array connections(pg::Oid::int8);
    connections.add(std::int64_t{1});
    return stream_state::release(WorkspaceId(1), std::move(connections));
  };
  set("state = 'idle', enabled = true, next_run_at = now(), reason = '', error_class = null");
  EXPECT_EQ(send(stream_state::hold(key_, RunId(1), "twice")), 1);
  EXPECT_EQ(send(stream_state::take(key_)), 0);
  EXPECT_EQ(send(stream_state::park(WorkspaceId(1), ConnectionId(1), "another account")), 0);
  EXPECT_EQ(send(stream_state::hold(key_, RunId(2), "three times")), 0);
  EXPECT_EQ(ask("select reason from sluice.stream"), "twice");
  EXPECT_EQ(send(release()), 1);
  EXPECT_EQ(ask(kDue), "now");
  EXPECT_EQ(ask("select concat_ws('|', enabled, state, error_class, reason) from sluice.stream"),
            "t|waiting|");
  set("enabled = false, next_run_at = null, reason = 'paused by an admin'");
  EXPECT_EQ(send(stream_state::hold(key_, RunId(1), "twice")), 0);
  EXPECT_EQ(send(release()), 0);
}

TEST_F(StatesTest, a_refetch_that_is_held_is_held_whatever_the_account_says_and_is_let_go_by_word) {
  send(stream_state::hold_refetch(WorkspaceId(1), ConnectionId(1), "person", "twice"));
  send(stream_state::hold_all(WorkspaceId(1), ConnectionId(1), "twice"));
  send(stream_state::park(WorkspaceId(1), ConnectionId(1), "another account"));
  const std::string held =
      "select count(*) from sluice.refetch_pause where error_class = 'HELD' and until > now() + "
      "interval '100 years'";
  EXPECT_EQ(ask(held + " and reason = 'twice'"), "2");
  pg::Array connections(pg::Oid::int8);
  connections.add(std::int64_t{1});
  send(stream_state::release(WorkspaceId(1), std::move(connections)));
  EXPECT_EQ(ask("select count(*) from sluice.refetch_pause"), "0");
}

TEST_F(StatesTest, what_is_not_due_or_paused_is_not_taken_held_back_or_parked) {
  for (const char* how :
       {"enabled = false, next_run_at = null", "enabled = true, next_run_at = null",
        "enabled = true, next_run_at = now() + interval '1 hour'"}) {
    for (const StreamState from : kStreamStates) {
      SCOPED_TRACE(fmt::format("{}, {}", to_string(from), how));
      set(fmt::format("state = '{}', {}", to_string(from), how));
      const std::string before = streams();
      EXPECT_EQ(send(stream_state::take(key_)), 0);
      EXPECT_EQ(send(stream_state::hold_back(key_.workspace, key_.connection, 0, "waits")), 0);
      if (ask(kDue) == "never") {
        EXPECT_EQ(send(stream_state::park(key_.workspace, key_.connection, "another")), 0);
      }
      EXPECT_EQ(streams(), before) << "it changed something";
    }
  }
}

TEST_F(StatesTest, what_a_run_says_of_a_stream_that_was_paused_meanwhile_leaves_it_paused) {
  for (const StreamEvent& event : stream_events()) {
    if (!event.is_drawn(StreamState::running) || event.to == StreamState::running) continue;
    const std::string_view name = event.name;
    if (name == "park") continue;
    if (name == "died" || name == "hold" || name == "hold_all") continue;  // only of what is on
    SCOPED_TRACE(event.name);
    set("state = 'running', enabled = false, next_run_at = null, reason = 'paused by an admin'");
    EXPECT_EQ(send(event.call(key_)), 1);
    EXPECT_EQ(ask("select state from sluice.stream"), to_string(event.to));
    EXPECT_EQ(ask(kDue), "never");
    if (event.name != std::string_view("switch_off")) {
      EXPECT_EQ(ask("select reason from sluice.stream"), "paused by an admin");
    }
  }
}

TEST_F(StatesTest, changes_that_are_refused_have_every_snapshot_read_again_and_leave_its_state) {
  run(pool().query(
      "insert into sluice.stream (workspace_id, connection_id, stream, mode, state, enabled) "
      "values (1, 1, 'feed', 'changes', 'running', true), (1, 1, 'off', 'snapshot', 'idle', "
      "false), (1, 1, 'polled', 'poll', 'idle', true)"));
  set("state = 'running' where stream = 'people'");
  key_.stream = "feed";
  EXPECT_EQ(send(stream_state::restart_all(key_, "gone")), 2);
  EXPECT_EQ(ask("select string_agg(concat_ws(' ', stream, state, reading), ', ' order by stream) "
                "from sluice.stream"),
            "feed waiting 1, off idle 0, people running 1, polled idle 0");
}

struct ReconcileEvent {
  const char* name;
  Made call;
  std::function<std::optional<ReconcileState>(ReconcileState)> leads_to;
};

std::vector<ReconcileEvent> reconcile_events() {
  using enum ReconcileState;
  const auto nowhere = [](ReconcileState) { return std::optional<ReconcileState>(); };
  const auto block = [](std::int64_t enumeration) {
    return [enumeration](const StreamKey& key) {
      return stream_state::block(key, enumeration, nlohmann::json::array(), "too many");
    };
  };
  const auto compared = [](std::int64_t enumeration) {
    return
        [enumeration](const StreamKey& key) { return stream_state::compared(key, enumeration, 0); };
  };
  return {
      {"begin, recording",
       [](const StreamKey& key) { return stream_state::begin_enumeration(key, true); },
       [](ReconcileState) { return std::optional(recording); }},
      {"begin", [](const StreamKey& key) { return stream_state::begin_enumeration(key, false); },
       [](ReconcileState) { return std::optional(none); }},
      {"last page", last_page,
       [](ReconcileState from) { return std::optional(from == recording ? due : from); }},
      {"block", block(7),
       [](ReconcileState from) { return from == due ? std::optional(blocked) : std::nullopt; }},
      {"compared", compared(7),
       [](ReconcileState from) {
         return from == due || from == confirmed ? std::optional(none) : std::nullopt;
       }},
      {"block, of the one before", block(6), nowhere},
      {"compared, of the one before", compared(6), nowhere},
      {"switch_off",
       [](const StreamKey& key) { return stream_state::switch_off(key.workspace, key.connection); },
       [](ReconcileState) { return std::optional(none); }},
  };
}

TEST_F(StatesTest, a_comparison_goes_where_its_drawing_says_and_nowhere_else) {
  for (const ReconcileEvent& event : reconcile_events()) {
    for (const ReconcileState from : kReconcileStates) {
      SCOPED_TRACE(fmt::format("{} from {}", event.name, to_string(from)));
      set(fmt::format(
          "reconcile = '{}', enumeration = 7, state = 'running', reason = '', enabled = true, "
          "next_run_at = now(), reconcile_detail = null",
          to_string(from)));
      const std::string before = streams();
      const std::int64_t says = send(event.call(key_));
      const auto to = event.leads_to(from);
      EXPECT_EQ(ask("select reconcile from sluice.stream"), to_string(to.value_or(from)));
      EXPECT_EQ(says, to ? 1 : 0);
      if (!to) {
        EXPECT_EQ(streams(), before) << "it changed something";
      }
    }
  }
}

TEST_F(StatesTest, ids_of_what_is_still_to_be_compared_are_not_forgotten) {
  for (const ReconcileState from : kReconcileStates) {
    for (const int enumeration : {7, 8}) {
      SCOPED_TRACE(fmt::format("{} of {}", to_string(from), enumeration));
      set(fmt::format("reconcile = '{}', enumeration = {}", to_string(from), enumeration));
      run(superuser_pool().query("truncate sluice.seen"));
      run(pool().query(
          "insert into sluice.seen (workspace_id, connection_id, stream, enumeration, type, "
          "hashes) values (1, 1, 'people', 7, 'person', '{1}')"));
      const bool over = from == ReconcileState::none || enumeration == 8;
      EXPECT_EQ(send(stream_state::forget_seen(key_, 7)), over ? 1 : 0);
    }
  }
}

TEST_F(StatesTest, a_connection_is_what_its_streams_add_up_to_unless_it_is_off) {
  const std::pair<const char*, const char*> sums[] = {
      {"error_class = 'AUTH', state = 'failed'", "FAILED"},
      {"state = 'failed'", "DEGRADED"},
      {"consecutive_failures = 1", "DEGRADED"},
      {"reconcile = 'blocked'", "DEGRADED"},
      {"snapshot_done = false", "SYNCING"},
      {"snapshot_done = true", "HEALTHY"},
  };
  const auto put = [this](ConnectionState state) {
    run(pool().query(fmt::format("update sluice.connection set state = '{}'", to_string(state))));
  };
  const auto now = [this] { return ask("select state from sluice.connection"); };
  for (const ConnectionState from : kConnectionStates) {
    for (const auto& [stream, sum] : sums) {
      SCOPED_TRACE(fmt::format("refresh from {}, {}", to_string(from), stream));
      set("error_class = null, state = 'idle', consecutive_failures = 0, reconcile = 'none', "
          "snapshot_done = true, reason = ''");
      set(stream);
      put(from);
      const std::int64_t says = send(connection_state::refresh(key_.workspace, key_.connection));
      EXPECT_EQ(now(), is_off(from) ? to_string(from) : sum);
      EXPECT_EQ(says, is_off(from) || to_string(from) == sum ? 0 : 1);
    }
    SCOPED_TRACE(fmt::format("disconnected from {}", to_string(from)));
    put(from);
    const std::int64_t says = send(connection_state::disconnected(key_.workspace, key_.connection));
    EXPECT_EQ(now(), is_off(from) ? "DISCONNECTED" : to_string(from));
    EXPECT_EQ(says, is_off(from) ? 1 : 0);
  }
}

}  // namespace
}  // namespace sluice::sync
