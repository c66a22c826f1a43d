// The refetch list of one connection: what was noticed is read again, a few dozen ids in a session.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"
#include "sync/run.hpp"

namespace sluice::sync {

/// An id on the list. A notice that comes meanwhile raises its generation: then it stays.
struct RefetchId {
  RefetchId() = default;
  std::string external_id;
  std::int64_t generation = 0;
  std::optional<Micros> observed_at;  ///< when the vendor said that it changed; none: it did not
  RunId for_run;                      ///< the reconcile that asks; 0: none
};

/// Ids of one type, for one FETCH session.
struct RefetchBatch {
  RefetchBatch() = default;  // no aggregate: handed to coroutines
  std::string type;
  std::vector<RefetchId> ids;
};

/// Works off the list (sluice.refetch), until nothing of it is due. Owned by the connection's work,
/// under its lease; one run() at a time; one loop.
///
///   types that have due ids, in rotation ─┬─ the 50 due longest, never tried before ─────┬─► FETCH
///                                         └─ in turns with them, one that failed before ─┘
///                                            (more of those while they go well)
///   it fails ─► one id, and another one, alone ─┬─ one goes well ─► halves, until the bad ids are
///                                               │                  alone; they pay, nobody else
///                                               └─ none does ─► the type pauses
///   another type fails right after that, too, ─► the connection's whole lane pauses
///   the vendor's rate, its key, its configuration: the lane pauses at once
///
/// A pause (sluice.refetch_pause) grows while it does not help, and ends with one id as a trial,
/// from the one end of the list and the other in turns. An id of which a session said nothing has
/// failed. So a vendor that is down is asked for two ids or three between pauses, and an id that
/// can never be read is asked for alone, after pauses of its own of up to an hour.
class RefetchLane {
 public:
  static constexpr std::size_t kBatch = 50;
  static constexpr int kFailuresInARow = 3;  ///< of ids alone, without a success: the type pauses
  static constexpr int kBatchesFromTheEnd = 20;  ///< behind a trial there that went well
  static constexpr int kPartsInARow = 8;         ///< the same of parts of a batch

  /// Reads a batch again in one session, whose last page takes the answered ids off the list.
  using Fetch = std::function<Task<SessionEnd>(RefetchBatch)>;
  /// Writes under the lease (pg/fenced.hpp); throws lease.lost.
  using Write = std::function<Task<pg::QueryResult>(const pg::Statement&, pg::Params)>;

  RefetchLane(pg::Pool& pool, Entropy& entropy, WorkspaceId workspace, ConnectionId connection,
              Fetch fetch, Write write, std::function<bool()> go_on);
  RefetchLane(const RefetchLane&) = delete;
  RefetchLane& operator=(const RefetchLane&) = delete;

  /// Something is due, and not paused.
  Task<bool> is_due();
  /// Ends when nothing is due any more, or as soon as go_on() is false or a session was cancelled.
  Task<void> run();

 private:
  enum class Went { well, badly, lane_wide, cancelled };
  struct DueType {
    DueType() = default;
    std::string name;
    bool fresh = false;         ///< has due ids that were never tried
    bool again = false;         ///< … that failed before
    std::int64_t failures = 0;  ///< of the type's pauses, or of the lane's; then one id is a trial
    std::int64_t lane_failures = 0;
  };

  Task<std::vector<DueType>> read_due();
  Task<void> serve(DueType type);
  Task<RefetchBatch> read_batch(const DueType& type, bool again, std::int64_t limit);
  /// Fresh ids; `trial` of one.
  Task<void> serve_fresh(DueType type, RefetchBatch batch, bool trial);
  Task<void> serve_again(DueType type, RefetchBatch batch);
  /// The batch failed: who is to blame?
  Task<void> find_bad_ids(DueType type, RefetchBatch batch);
  Task<void> halve(DueType type, std::deque<RefetchBatch> parts);
  /// One session, and what follows from how it went for the lane as a whole.
  Task<Went> attempt(const DueType& type, RefetchBatch batch);
  Task<void> blame(const RefetchBatch& batch);
  /// After the ids failed: the type, or, when another one did right before, the lane.
  Task<void> pause(const DueType& type);
  Task<void> write_pause(std::string type, std::int64_t failures, std::int64_t least_ms);

  pg::Pool& pool_;
  Entropy& entropy_;
  WorkspaceId workspace_;
  ConnectionId connection_;
  Fetch fetch_;
  Write write_;
  std::function<bool()> go_on_;
  std::string last_type_;
  bool last_was_fresh_ = false;
  int from_the_end_ = 0;        ///< so many batches of fresh ids are taken from the younger end
  std::size_t again_size_ = 1;  ///< doubles while ids that failed before are read well
  int in_a_row_ = 0;            ///< failures of single ids
  bool suspect_ = false;        ///< a type paused a moment ago, and nothing was read since
  bool stopped_ = false;
  contract::ConnectorFailure failure_;  ///< the last one
};

}  // namespace sluice::sync
