#include "sync/connection_state.hpp"

#include <array>

namespace sluice::sync {
namespace {

constexpr std::array<std::string_view, 8> kStates = {"CONNECTED",    "SYNCING", "HEALTHY",
                                                     "DEGRADED",     "STALE",   "DISCONNECTING",
                                                     "DISCONNECTED", "FAILED"};

const pg::Statement kRefresh{"connection_refresh", R"(
  update sluice.connection c set state = s.state, state_reason = s.reason
  from (select case when bool_or(error_class = 'AUTH') then 'FAILED'
                    when bool_or(state = 'failed' or consecutive_failures > 0 or reconcile = 'blocked')
                      then 'DEGRADED'
                    when bool_or(mode = 'snapshot' and not snapshot_done) then 'SYNCING'
                    else 'HEALTHY' end as state,
               coalesce((array_agg(stream || ': ' || reason order by stream)
                         filter (where reason <> ''))[1], '') as reason
        from sluice.stream where workspace_id = $1 and connection_id = $2 and (enabled or error_class = 'HELD')) s
  where c.workspace_id = $1 and c.connection_id = $2 and c.state not in ('DISCONNECTING','DISCONNECTED')
    and (c.state, c.state_reason) is distinct from (s.state, s.reason))"};

const pg::Statement kDisconnected{"connection_disconnected", R"(
  update sluice.connection set state = 'DISCONNECTED'
  where workspace_id = $1 and connection_id = $2 and state in ('DISCONNECTING', 'DISCONNECTED')
  returning connection_id)"};

pg::Call call(const pg::Statement& statement, WorkspaceId workspace, ConnectionId connection) {
  pg::Call made;
  made.statement = &statement;
  made.params.add(workspace).add(connection);
  return made;
}

}  // namespace

std::string_view to_string(ConnectionState state) {
  return kStates.at(static_cast<std::size_t>(state));
}

std::optional<ConnectionState> connection_state_of(std::string_view text) {
  for (std::size_t i = 0; i < kStates.size(); ++i) {
    if (kStates[i] == text) return static_cast<ConnectionState>(i);
  }
  return std::nullopt;
}

bool is_off(ConnectionState state) {
  return state == ConnectionState::disconnecting || state == ConnectionState::disconnected;
}

namespace connection_state {

pg::Call refresh(WorkspaceId workspace, ConnectionId connection) {
  return call(kRefresh, workspace, connection);
}

pg::Call disconnected(WorkspaceId workspace, ConnectionId connection) {
  return call(kDisconnected, workspace, connection);
}

}  // namespace connection_state
}  // namespace sluice::sync
