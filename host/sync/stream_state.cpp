#include "sync/stream_state.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace sluice::sync {
namespace {

using namespace std::string_view_literals;

constexpr std::array<std::string_view, 5> kStates = {"new"sv, "running"sv, "idle"sv, "waiting"sv,
                                                     "failed"sv};
constexpr std::array<std::string_view, 5> kReconcileStates = {"none"sv, "recording"sv, "due"sv,
                                                              "blocked"sv, "confirmed"sv};

/// What "from its start" means, in every statement that says so.
constexpr std::string_view kFromStart =
    "update sluice.stream set reading = reading + 1, checkpoint = null, checkpoint_format = 0, "
    "snapshot_done = false, ";

// The list of streams may be older than the end of a run that it shows as due: a stream is taken
// only while it is due still.
const pg::Statement kTake{"stream_take", R"(
  update sluice.stream set state = 'running'
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enabled and next_run_at <= now()
  returning stream)"};

const pg::Statement kLetGo{"stream_let_go", R"(
  update sluice.stream set state = 'waiting'
  where workspace_id = $1 and connection_id = $2 and state = 'running')"};

const pg::Statement kSupersede{"stream_supersede", R"(
  update sluice.stream set state = 'waiting', last_run_id = $4
  where workspace_id = $1 and connection_id = $2 and stream = $3 and state = 'running')"};

const pg::Statement kFail{"stream_fail", R"(
  update sluice.stream set state = $5, error_class = $7, last_run_id = $4,
         reason = case when enabled then $6 else reason end,  -- who paused it said so
         consecutive_failures = consecutive_failures + $9,
         next_run_at = case when not enabled then null
                            when next_run_at > (
                              select r.started_at from sluice.sync_run r
                              where r.workspace_id = $1 and r.connection_id = $2 and r.stream = $3 and r.run_id = $4)
                            then next_run_at else now() + $8 * interval '1 millisecond' end
  where workspace_id = $1 and connection_id = $2 and stream = $3 and state = 'running')"};

const pg::Statement kRestart{"stream_restart", std::string(kFromStart) + R"(
         state = 'waiting', next_run_at = case when enabled then now() end,
         reason = case when enabled then $4 else reason end,
         consecutive_failures = case when error_class = 'CHECKPOINT_REJECTED' then consecutive_failures + 1
                                     else 1 end,
         error_class = 'CHECKPOINT_REJECTED'
  where workspace_id = $1 and connection_id = $2 and stream = $3 and state = 'running')"};

// The stream itself counts how often in a row, until it has read changes again.
const pg::Statement kRestartAll{"stream_restart_all", std::string(kFromStart) + R"(
         state = case when stream = $3 then 'waiting' else state end,
         next_run_at = case when enabled then now() end,
         reason = case when not enabled then reason when stream = $3 then $4
                       else 'reads everything again: ' || $4 end,
         consecutive_failures = case when stream <> $3 then consecutive_failures
                                     when error_class = 'CHECKPOINT_REJECTED' then consecutive_failures + 1
                                     else 1 end,
         error_class = case when stream = $3 then 'CHECKPOINT_REJECTED' else error_class end
  where workspace_id = $1 and connection_id = $2 and (stream = $3 or enabled and mode = 'snapshot')
    and exists (select from sluice.stream o where o.workspace_id = $1 and o.connection_id = $2 and o.stream = $3
                and o.state = 'running'))"};

const pg::Statement kHoldBack{"stream_hold_back", R"(
  update sluice.stream set state = 'waiting', reason = $4, next_run_at = now() + $3 * interval '1 millisecond'
  where workspace_id = $1 and connection_id = $2 and enabled and mode <> 'changes' and state <> 'running'
    and next_run_at <= now())"};

const pg::Statement kPark{"stream_park", R"(
  with later as (
    insert into sluice.refetch_pause as p (workspace_id, connection_id, type, until, error_class, reason)
    values ($1, $2, '', now() + interval '5 minutes', 'AUTH', $3)
    on conflict (workspace_id, connection_id, type) do update set failures = p.failures + 1,
      until = excluded.until, error_class = excluded.error_class, reason = excluded.reason
    where p.error_class <> 'HELD')
  update sluice.stream s set state = 'failed', error_class = 'AUTH', reason = $3,
         consecutive_failures = consecutive_failures + 1,
         next_run_at = now() + least(3600, 300 * power(2, least(consecutive_failures, 4))) * interval '1 second'
  from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = $2 and s.enabled and s.next_run_at is not null
    and c.workspace_id = $1 and c.connection_id = $2 and c.state not in ('DISCONNECTING','DISCONNECTED'))"};

// Whoever paused it, or holds it, said why. And who took the stream over has begun a later run:
// what becomes of the stream is that run's to say.
const pg::Statement kDied{"stream_died", R"(
  update sluice.stream set state = 'failed', error_class = 'INTERNAL', reason = $5, last_run_id = $4,
         consecutive_failures = consecutive_failures + 1
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enabled
    and not exists (select 1 from sluice.sync_run r where r.workspace_id = $1 and r.connection_id = $2
                    and r.stream = $3 and r.run_id > $4))"};

const pg::Statement kHold{"stream_hold", R"(
  update sluice.stream set enabled = false, next_run_at = null, state = 'failed', error_class = 'HELD',
         reason = $5, last_run_id = $4, consecutive_failures = consecutive_failures + 1
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enabled)"};

const pg::Statement kHoldRefetch{"stream_hold_refetch", R"(
  insert into sluice.refetch_pause as p (workspace_id, connection_id, type, until, error_class, reason)
  values ($1, $2, $3, '9999-12-31', 'HELD', $4)
  on conflict (workspace_id, connection_id, type) do update set failures = p.failures + 1,
    until = excluded.until, error_class = excluded.error_class, reason = excluded.reason)"};

const pg::Statement kHoldAll{"stream_hold_all", R"(
  with refetch as (
    insert into sluice.refetch_pause as p (workspace_id, connection_id, type, until, error_class, reason)
    values ($1, $2, '', '9999-12-31', 'HELD', $3)
    on conflict (workspace_id, connection_id, type) do update set failures = p.failures + 1,
      until = excluded.until, error_class = excluded.error_class, reason = excluded.reason)
  update sluice.stream set enabled = false, next_run_at = null, state = 'failed', error_class = 'HELD',
         reason = $3, consecutive_failures = consecutive_failures + 1
  where workspace_id = $1 and connection_id = $2 and enabled)"};

const pg::Statement kRelease{"stream_release", R"(
  with refetch as (
    delete from sluice.refetch_pause
    where workspace_id = $1 and connection_id = any ($2) and error_class = 'HELD')
  update sluice.stream s set enabled = true, error_class = null, reason = '', state = 'waiting', consecutive_failures = 0,
         next_run_at = case when c.state not in ('DISCONNECTING','DISCONNECTED') then now() end
  from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = any ($2) and s.error_class = 'HELD' and not s.enabled
    and c.workspace_id = $1 and c.connection_id = s.connection_id)"};

const pg::Statement kSwitchOff{"stream_switch_off", R"(
  update sluice.stream set next_run_at = null, state = 'waiting', reason = '', reconcile = 'none',
         reconcile_detail = null
  where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kBeginEnumeration{"stream_begin_enumeration", std::string(kFromStart) + R"(
         enumeration = enumeration + 1, enumeration_from = now(), enumerated_records = 0,
         enumerated_types = '{}', reconcile_detail = null, reconcile = case when $4 then 'recording' else 'none' end,
         reread_found = case when last_full_records > 0 then 0 end, reread_missing = null
  where workspace_id = $1 and connection_id = $2 and stream = $3 returning enumeration, reading, trust_vendor)"};

// Those of the one that begins do not exist yet.
const pg::Statement kForgetSeenBefore{"stream_forget_seen_before", R"(
  delete from sluice.seen where workspace_id = $1 and connection_id = $2 and stream = $3)"};

const pg::Statement kBlock{"stream_block", R"(
  update sluice.stream set reconcile = 'blocked', reconcile_detail = $5, reason = $6
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enumeration = $4
    and reconcile = 'due' returning stream)"};

const pg::Statement kCompared{"stream_compared", R"(
  update sluice.stream set reconcile = 'none', reconcile_detail = null,
         reread_missing = case when reread_found is not null then $5::bigint end
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enumeration = $4
    and reconcile in ('due', 'confirmed') returning stream)"};

const pg::Statement kForgetSeen{"stream_forget_seen", R"(
  delete from sluice.seen
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enumeration <= $4
    and not exists (select from sluice.stream o where o.workspace_id = $1 and o.connection_id = $2
                    and o.stream = $3 and o.enumeration <= $4 and o.reconcile <> 'none'))"};

pg::Params params_of(const StreamKey& key) {
  return pg::Params(key.workspace, key.connection, key.stream);
}

pg::Call call(const pg::Statement& statement, pg::Params params) {
  pg::Call made;
  made.statement = &statement;
  made.params = std::move(params);
  return made;
}

}  // namespace

std::string_view to_string(StreamState state) {
  return kStates.at(static_cast<std::size_t>(state));
}
std::string_view to_string(ReconcileState state) {
  return kReconcileStates.at(static_cast<std::size_t>(state));
}
std::optional<ReconcileState> reconcile_state_of(std::string_view text) {
  const auto found = std::ranges::find(kReconcileStates, text);
  if (found == kReconcileStates.end()) return std::nullopt;
  return static_cast<ReconcileState>(found - kReconcileStates.begin());
}

namespace stream_state {

pg::Call take(const StreamKey& key) { return call(kTake, params_of(key)); }

pg::Call let_go(WorkspaceId workspace, ConnectionId connection) {
  return call(kLetGo, pg::Params(workspace, connection));
}

pg::Call supersede(const StreamKey& key, RunId run) {
  pg::Params params = params_of(key);
  params.add(run);
  return call(kSupersede, std::move(params));
}

pg::Call fail(const StreamKey& key, const Failing& failing) {
  pg::Params params = params_of(key);
  params.add(failing.run)
      .add(to_string(failing.ours ? StreamState::waiting : StreamState::failed))
      .add(std::string_view(failing.reason))
      .add(failing.error_class)
      .add(failing.pause_ms)
      .add(std::int64_t{failing.ours ? 0 : 1});
  return call(kFail, std::move(params));
}

pg::Call restart(const StreamKey& key, std::string_view reason) {
  pg::Params params = params_of(key);
  params.add(reason);
  return call(kRestart, std::move(params));
}

pg::Call restart_all(const StreamKey& key, std::string_view reason) {
  pg::Params params = params_of(key);
  params.add(reason);
  return call(kRestartAll, std::move(params));
}

pg::Call hold_back(WorkspaceId workspace, ConnectionId connection, std::int64_t pause_ms,
                   std::string_view reason) {
  return call(kHoldBack, pg::Params(workspace, connection, pause_ms, reason));
}

pg::Call park(WorkspaceId workspace, ConnectionId connection, std::string_view reason) {
  return call(kPark, pg::Params(workspace, connection, reason));
}

pg::Call died(const StreamKey& key, RunId run, std::string_view reason) {
  pg::Params params = params_of(key);
  params.add(run).add(reason);
  return call(kDied, std::move(params));
}

pg::Call hold(const StreamKey& key, RunId run, std::string_view reason) {
  pg::Params params = params_of(key);
  params.add(run).add(reason);
  return call(kHold, std::move(params));
}

pg::Call hold_refetch(WorkspaceId workspace, ConnectionId connection, std::string_view type,
                      std::string_view reason) {
  return call(kHoldRefetch, pg::Params(workspace, connection, type, reason));
}

pg::Call hold_all(WorkspaceId workspace, ConnectionId connection, std::string_view reason) {
  return call(kHoldAll, pg::Params(workspace, connection, reason));
}

pg::Call release(WorkspaceId workspace, pg::Array connections) {
  return call(kRelease, pg::Params(workspace, std::move(connections)));
}

pg::Call switch_off(WorkspaceId workspace, ConnectionId connection) {
  return call(kSwitchOff, pg::Params(workspace, connection));
}

pg::Call begin_enumeration(const StreamKey& key, bool recording) {
  pg::Params params = params_of(key);
  params.add(recording);
  return call(kBeginEnumeration, std::move(params));
}

pg::Call forget_seen_before(const StreamKey& key) {
  return call(kForgetSeenBefore, params_of(key));
}

pg::Call block(const StreamKey& key, std::int64_t enumeration, const nlohmann::json& detail,
               std::string_view reason) {
  pg::Params params = params_of(key);
  params.add(enumeration).add(detail).add(reason);
  return call(kBlock, std::move(params));
}

pg::Call compared(const StreamKey& key, std::int64_t enumeration, std::int64_t missing) {
  pg::Params params = params_of(key);
  params.add(enumeration).add(missing);
  return call(kCompared, std::move(params));
}

pg::Call forget_seen(const StreamKey& key, std::int64_t enumeration) {
  pg::Params params = params_of(key);
  params.add(enumeration);
  return call(kForgetSeen, std::move(params));
}

}  // namespace stream_state
}  // namespace sluice::sync
