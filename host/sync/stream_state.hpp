// A stream's life, in sluice.stream: the one owner of what work under a lease says of it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"
#include "pg/fenced.hpp"

namespace sluice::sync {

// clang-format off
/// stream.state. Whether it is due is told by `enabled` and next_run_at, not by its state.
///
///   any, due ──take──> running ──last page (ingest/tail.cpp)────────────────> idle
///                      │  │  └──supersede (somebody restarted it meanwhile)─> waiting, due
///                      │  ├─────let_go (its holder is gone)─────────────────> waiting, due
///                      │  ├─────restart, restart_all (checkpoint refused)───> waiting, due
///                      │  └─────fail (we ended it)──────────────────────────> waiting, due
///                      └────────fail (the vendor, the connector)────────────> failed, due after a pause
///   any but running, due ──hold_back (a change stream must begin first)─────> waiting
///   any, to run ──park (the key is another account's)───────────────────────> failed, error_class AUTH
///   any, enabled, no later run ──died (its connector ended the host)────────> failed, as due as it was
///   any, enabled ──hold, hold_all (its connector may not be run)────────────> failed, error_class HELD, not enabled
///   held ──release (an admin: once more)────────────────────────────────────> waiting, enabled, due
///   any ──switch_off (its connection was turned off)────────────────────────> waiting, not due
///   any, of a connection that is off ──an admin turns it on─────────────────> created
///
/// A transition that is not drawn changes nothing and returns no row: what a run says of a stream
/// that was parked meanwhile is not heard. Also from running is taken what was left so: by a holder
/// that died, or paused in the moment in which it was taken.
///
/// What has another stream read again (restart_all, an enumeration's begin, an admin's --full)
/// leaves its state. Each restart raises `reading`: pages of a run that began under another number
/// still store records, and say nothing of the stream.
// clang-format on
enum class StreamState { created, running, idle, waiting, failed };

/// stream.reconcile, of a snapshot that `enumerates`:
///
///   none ──begin_enumeration, where rows could be missed──> recording ──last page──> due
///   due ──compared──> none        due ──the limits stop it──> blocked ──a person: yes──> confirmed
///   confirmed ──compared──> none                              blocked ──a person: no──> none
///   any ──begin_enumeration──> none or recording              any ──switch_off──> none
///
/// A page, block, compared and forget_seen speak of one enumeration, and of no other. The ids of
/// one that is still to be compared are not forgotten: without them everything would be missing.
enum class ReconcileState { none, recording, due, blocked, confirmed };

/// As the tables and the API spell them.
[[nodiscard]] std::string_view to_string(StreamState state);
[[nodiscard]] std::string_view to_string(ReconcileState state);
[[nodiscard]] std::optional<ReconcileState> reconcile_state_of(std::string_view text);

struct StreamKey {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string stream;
};

/// The transitions that work makes. Each is one statement for a pg::Fenced; what an admin does
/// stands with its operation (connections.cpp, connection_changes.cpp, installation.cpp), and what
/// a page says with the page (ingest/tail.cpp). How many rows it changed says whether it was made.
namespace stream_state {

/// running, while it is due still.
[[nodiscard]] pg::Call take(const StreamKey& key);
/// Of a connection: what a former holder had running.
[[nodiscard]] pg::Call let_go(WorkspaceId workspace, ConnectionId connection);
/// Who restarted it said when it is due, and why.
[[nodiscard]] pg::Call supersede(const StreamKey& key, RunId run);

struct Failing {
  RunId run;
  bool ours = false;  ///< we ended it: no failure of the stream
  std::string reason;
  std::string_view error_class;
  std::int64_t pause_ms = 0;  ///< unless somebody asked for it since the run began
};
/// Of a stream that an admin has paused meanwhile, who paused it stays said, and it is not due.
[[nodiscard]] pg::Call fail(const StreamKey& key, const Failing& failing);

/// From its start, because its checkpoint was refused; counts how often in a row.
[[nodiscard]] pg::Call restart(const StreamKey& key, std::string_view reason);
/// The same of a change stream: what it missed cannot be read, so that every snapshot is read
/// again.
[[nodiscard]] pg::Call restart_all(const StreamKey& key, std::string_view reason);
/// Snapshots and polls that are due and do not run.
[[nodiscard]] pg::Call hold_back(WorkspaceId workspace, ConnectionId connection,
                                 std::int64_t pause_ms, std::string_view reason);
/// Every stream that was to run, and what was to be fetched again: not before a person gave a key
/// that fits, or a later try. A stream that was not to run stays as it is.
[[nodiscard]] pg::Call park(WorkspaceId workspace, ConnectionId connection,
                            std::string_view reason);

/// The stream goes on when it is due; it says what happened to its run.
[[nodiscard]] pg::Call died(const StreamKey& key, RunId run, std::string_view reason);
/// Not run any more, by nobody, until an admin says so: its connector ended hosts, or does not come
/// back. The same of what is to be fetched again of a type, and of all of a connection.
[[nodiscard]] pg::Call hold(const StreamKey& key, RunId run, std::string_view reason);
[[nodiscard]] pg::Call hold_refetch(WorkspaceId workspace, ConnectionId connection,
                                    std::string_view type, std::string_view reason);
[[nodiscard]] pg::Call hold_all(WorkspaceId workspace, ConnectionId connection,
                                std::string_view reason);
/// Everything that is held of these connections.
[[nodiscard]] pg::Call release(WorkspaceId workspace, pg::Array connections);
[[nodiscard]] pg::Call switch_off(WorkspaceId workspace, ConnectionId connection);

/// A new number, no checkpoint, `reading` + 1; returns (enumeration, reading).
[[nodiscard]] pg::Call begin_enumeration(const StreamKey& key, bool recording);
/// The ids of earlier enumerations.
[[nodiscard]] pg::Call forget_seen_before(const StreamKey& key);
[[nodiscard]] pg::Call block(const StreamKey& key, std::int64_t enumeration,
                             const nlohmann::json& detail, std::string_view reason);
/// `missing`: of what was stored, so much was not in the list.
[[nodiscard]] pg::Call compared(const StreamKey& key, std::int64_t enumeration,
                                std::int64_t missing);
[[nodiscard]] pg::Call forget_seen(const StreamKey& key, std::int64_t enumeration);

}  // namespace stream_state
}  // namespace sluice::sync
