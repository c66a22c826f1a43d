// A connection's life, in sluice.connection: the one owner of what work under a lease says of it.
#pragma once

#include <optional>
#include <string_view>

#include "base/ids.hpp"
#include "pg/fenced.hpp"

namespace sluice::sync {

// clang-format off
/// connection.state. The four in the middle are what its enabled streams add up to (refresh).
///
///   connected ──the first CHECK answers──> syncing <──refresh──> healthy, degraded, failed (stale)
///   connected, half made ──an admin deletes it: nothing reads it yet──> disconnected
///   any of those ──an admin turns it off──> disconnecting ──everything buried: disconnected──> disconnected
///   disconnected ──disconnected (a holder that died may have left its streams on)──> disconnected
///   disconnected ──an admin turns it on: its streams begin again──> connected
///
/// While it is disconnecting, sessions end at their next step, nothing begins, and an admin cannot
/// turn it on.
enum class ConnectionState {
  connected, syncing, healthy, degraded, stale, disconnecting, disconnected, failed
};
// clang-format on

/// As the tables and the API spell them, in capitals.
[[nodiscard]] std::string_view to_string(ConnectionState state);
[[nodiscard]] std::optional<ConnectionState> connection_state_of(std::string_view text);
/// Turned off, or on the way there.
[[nodiscard]] bool is_off(ConnectionState state);

/// The transitions that work makes, each one statement for a pg::Fenced; what an admin does stands
/// with its operation.
namespace connection_state {

/// From its streams, of which those count that no admin has paused, unless it is off.
[[nodiscard]] pg::Call refresh(WorkspaceId workspace, ConnectionId connection);
/// Returns nothing when it was turned on meanwhile.
[[nodiscard]] pg::Call disconnected(WorkspaceId workspace, ConnectionId connection);

}  // namespace connection_state
}  // namespace sluice::sync
