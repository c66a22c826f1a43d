// How many connections a host works on at once, and whose.
#pragma once

#include <array>
#include <cstddef>

#include "base/at_work.hpp"
#include "base/fair_share.hpp"
#include "base/ids.hpp"

namespace sluice::sync {

/// What keeps data fresh, and what has time: each has slots of its own, so that first loads, which
/// take hours, keep nobody's changes waiting.
enum class Lane {
  changes,  ///< change streams, the refetch list, turning a connection off
  loads,    ///< snapshots, polls, comparisons
};

/// The slots of one host. A connection occupies one of a lane while something of that lane is at
/// work: it computes, a page is being stored, or a request is at the vendor. Not while all of it
/// waits for the vendor's rate, a retry or a connector's SLEEP; who then goes on does so at once,
/// also when the slots are full by now, and nobody new begins until they are not.
///
/// In each lane, and of the leases that a host holds at once (four for each slot, most of them
/// pausing), a workspace has its share (FairShare). One loop; owned by the engine, outlives
/// ConnectionSlots.
class Slots {
 public:
  static constexpr std::size_t kLeasesPerSlot = 4;

  explicit Slots(std::size_t connections_max)
      : leases_(connections_max * kLeasesPerSlot),
        lanes_{FairShare(connections_max), FairShare(connections_max)} {}

  /// One more connection, of which something can begin at once.
  [[nodiscard]] bool may_begin(WorkspaceId workspace, Lane lane) const {
    return leases_.may_take(workspace) && of(lane).may_take(workspace);
  }
  [[nodiscard]] FairShare& of(Lane lane) { return lanes_[static_cast<std::size_t>(lane)]; }
  [[nodiscard]] const FairShare& of(Lane lane) const {
    return lanes_[static_cast<std::size_t>(lane)];
  }
  [[nodiscard]] FairShare& leases() { return leases_; }
  [[nodiscard]] const FairShare& leases() const { return leases_; }

 private:
  FairShare leases_;
  std::array<FairShare, 2> lanes_;
};

/// What one connection occupies of them, for as long as its lease is worked under. Whatever runs
/// under it ends before it.
class ConnectionSlots {
 public:
  ConnectionSlots(Slots& slots, WorkspaceId workspace);
  ~ConnectionSlots();
  ConnectionSlots(const ConnectionSlots&) = delete;
  ConnectionSlots& operator=(const ConnectionSlots&) = delete;

  /// Keeps a slot for what is about to begin, until looked().
  void keep(Lane lane);
  /// What is due has begun, or is not due any more.
  void looked();
  /// Whether one more piece of work may begin: something of the lane is at work already, or there
  /// is a slot.
  [[nodiscard]] bool may_begin(Lane lane) const;
  /// The lane's counter: begin() and end() around each piece of work.
  [[nodiscard]] AtWork& at_work(Lane lane) { return lanes_[static_cast<std::size_t>(lane)]; }

 private:
  class Held final : public AtWork {
   public:
    Held(FairShare& share, WorkspaceId workspace) : share_(share), workspace_(workspace) {}
    ~Held() override;
    void begin() override;
    void end() override;
    [[nodiscard]] bool busy() const { return busy_ > 0; }
    [[nodiscard]] bool may_begin() const { return busy() || share_.may_take(workspace_); }

    bool kept = false;

   private:
    FairShare& share_;
    WorkspaceId workspace_;
    int busy_ = 0;
  };

  Slots& slots_;
  WorkspaceId workspace_;
  std::array<Held, 2> lanes_;
};

}  // namespace sluice::sync
