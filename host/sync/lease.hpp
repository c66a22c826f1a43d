// Who works on what, among all hosts on one database, and the proof of it that each write carries.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"

namespace sluice::sync {

using namespace std::chrono_literals;

struct LeaseOptions {
  std::chrono::milliseconds ttl = 12s;  ///< a dead host's work is free after so long
  std::chrono::milliseconds renew_every = 3s;
};

/// A held lease. `epoch` goes into every write under it; another holder has a higher one.
struct LeaseGrant {
  WorkspaceId workspace;
  std::string name;
  Epoch epoch;
};

/// The leases of one process, with a holder id that is new at every start. Expiry is by the
/// database's clock; this side stops trusting a lease by its own monotonic clock at half the time
/// to live after the last renewal that succeeded. One loop; owned by the engine.
///
///   free --acquire--> held --renew--> held --release--> free
///                       \--not renewed in time: held() is false here, free for others after ttl
class Leases {
 public:
  Leases(pg::Pool& pool, const Clock& clock, LeaseOptions options, pg::Uuid holder);

  /// Takes it when it is free or expired; nothing when somebody has it, this process included.
  Task<std::optional<LeaseGrant>> acquire(WorkspaceId workspace, std::string name);
  /// Gives it back at once, so that another host need not wait for the expiry. Harmless when it was
  /// lost.
  Task<void> release(LeaseGrant grant);
  /// Renews everything that is held, for ever; run once by the owner, ends by cancellation.
  Task<void> keep_renewing();
  /// Still safely ours by our own clock?
  [[nodiscard]] bool held(const LeaseGrant& grant) const;

 private:
  struct Hold {
    Epoch epoch;
    std::chrono::steady_clock::time_point renewed_at;
  };
  using Key = std::pair<WorkspaceId, std::string>;
  Task<void> renew_all();

  pg::Pool& pool_;
  const Clock& clock_;
  LeaseOptions options_;
  pg::Uuid holder_;
  std::map<Key, Hold> holds_;
};

}  // namespace sluice::sync
