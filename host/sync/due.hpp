// Which connections have work that nobody does yet, and whose turn it is.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"

namespace sluice::sync {

/// A connection whose lease nobody holds, and what of it is due (Lane).
struct DueConnection {
  WorkspaceId workspace;
  ConnectionId connection;
  bool changes = false;  ///< a change stream, ids to refetch, or it is being turned off
  bool loads = false;    ///< a snapshot, a poll, a comparison
};

/// Looks for due work of all workspaces. What somebody works on, this host or another, is left out
/// in the database, so that it hides nothing behind it. So are those in `skip`, which the caller
/// would not start in any case, and what a paused refetch lane waits for.
///
/// Two looks. The first walks indexes that hold only what is due, oldest first, up to a limit. Only
/// when it comes to that limit, which is when one workspace could hide another, a second one probes
/// workspace by workspace (and the refetch list connection by connection), at most once in
/// `again_after`. One loop; owned by the engine.
class DueWork {
 public:
  static constexpr std::int64_t kStreamsMax = 1000;     ///< due streams that the first look reads
  static constexpr std::int64_t kRefetchMax = 500;      ///< … and due ids
  static constexpr std::int64_t kOfWorkspaceMax = 100;  ///< due streams of one workspace

  DueWork(pg::Pool& pool, const Clock& clock, std::chrono::milliseconds again_after)
      : pool_(pool), clock_(clock), again_after_(again_after) {}

  /// Each connection once; those whose work has been due longest first.
  Task<std::vector<DueConnection>> look(std::vector<ConnectionId> skip);

 private:
  pg::Pool& pool_;
  const Clock& clock_;
  std::chrono::milliseconds again_after_;
  std::chrono::steady_clock::time_point probed_at_ = std::chrono::steady_clock::time_point::min();
};

/// Round robin: the first of each workspace, then the second of each … Within a round those first
/// that `precedes`, such as the workspace with less work under way; of one workspace in the order
/// in which they stand.
[[nodiscard]] std::vector<DueConnection> in_turn(
    std::vector<DueConnection> due, const std::function<bool(WorkspaceId, WorkspaceId)>& precedes);

}  // namespace sluice::sync
