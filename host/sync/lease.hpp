// Who works on what, among all hosts on one database, and the proof of it that each write carries.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "base/outage.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"
#include "sync/turns.hpp"

namespace sluice::sync {

using namespace std::chrono_literals;

struct LeaseOptions {
  std::chrono::milliseconds ttl = 12s;  ///< a dead host's work is free after so long
  std::chrono::milliseconds renew_every = 3s;
};

/// A held lease, and what opens a pg::Fenced: `epoch` goes into every write under it; another
/// holder has a higher one.
using LeaseGrant = pg::LeaseProof;

/// The leases of one process, with a holder id that is new at every start. Expiry is by the
/// database's clock; this side stops trusting a lease by its own monotonic clock, which goes on
/// while the machine is suspended, at half the time to live after the last renewal that succeeded.
/// One loop; owned by the engine.
///
///   free --acquire--> held --renew-----------> held --release--> free
///                      |\--not brought back--> lost    by a renewal, or a write said so (lost())
///                       \--not renewed in time: held() is false here, free for others after ttl
///
/// Whoever takes an expired lease raises its epoch, and waits there for what the former holder left
/// open: each pg::Fenced keeps that one row locked. Such a transaction, if it is ours and began
/// before, belongs to a host that froze, or that lost the database: it is ended. Whoever waits for
/// a relation instead (an install) is left alone.
///
/// The pool is for leases only, so that no reader and no page can keep a renewal waiting: two
/// acquires at a time, the renewal and a release are all that use it.
class Leases {
 public:
  Leases(pg::Pool& pool, const Clock& clock, LeaseOptions options, pg::Uuid holder);

  /// Takes it when it is free or expired; nothing when somebody has it, this process included, or
  /// when a former holder's transaction still stands in the way after a while (it is looked after
  /// meanwhile).
  Task<std::optional<LeaseGrant>> acquire(WorkspaceId workspace, std::string name);
  /// Gives it back at once, so that another host need not wait for the expiry. Harmless when it was
  /// lost.
  Task<void> release(LeaseGrant grant);
  /// Renews everything that is held, and ends what former holders left in the way of an acquire,
  /// for ever; run once by the owner, ends by cancellation.
  Task<void> keep_renewing();
  /// Still safely ours by our own clock?
  [[nodiscard]] bool held(const LeaseGrant& grant) const;
  /// A write under it was refused ("lease.lost"): it is somebody else's.
  void lost(const LeaseGrant& grant);
  /// Somebody else's by now, as far as we know; not only unsafe because it was not renewed in time.
  [[nodiscard]] bool is_lost(const LeaseGrant& grant) const;
  /// Asked at each renewal what is done under the leases and waits for its vendor's rate: it stands
  /// in sluice.lease_hold then, for whichever host is asked.
  using Waits = std::map<std::pair<WorkspaceId, std::string>,
                         std::map<std::string, std::chrono::milliseconds>>;
  void on_renewal(std::function<Waits()> waits);
  /// Called when a lease turns out to be somebody else's.
  void on_lost(std::function<void(WorkspaceId, const std::string&)> told);

 private:
  struct Hold {
    Epoch epoch;
    std::chrono::steady_clock::time_point renewed_at;
  };
  using Key = std::pair<WorkspaceId, std::string>;
  Task<bool> ensure_row(pg::Transaction& transaction, const Key& key);
  Task<std::optional<Epoch>> raise_epoch(pg::Transaction& transaction, const Key& key, int backend);
  Task<void> renew_all();
  void forget_expired();
  Task<void> end_former_holders();
  void lose(const Key& key, std::string_view how);
  /// False: something changed; wait again.
  Task<bool> wait_for_tick(std::chrono::steady_clock::time_point next_renewal);

  pg::Pool& pool_;
  const Clock& clock_;
  LeaseOptions options_;
  pg::Uuid holder_;
  std::map<Key, Hold> holds_;
  std::function<void(WorkspaceId, const std::string&)> told_;
  std::function<Waits()> waits_;
  asio::steady_timer tick_;
  std::multiset<int> blocked_;                     ///< backends of ours that wait to raise an epoch
  std::chrono::steady_clock::time_point look_at_;  ///< … what for
  Turns turns_;                                    ///< to acquire
};

}  // namespace sluice::sync
