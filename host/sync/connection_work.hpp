// The work of one connection under one lease: its streams, what is to be fetched again, what a
// complete enumeration missed, and the way out when an admin turns it off.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "base/task_group.hpp"
#include "sync/connections.hpp"
#include "sync/lease.hpp"
#include "sync/reconcile.hpp"
#include "sync/refetch_work.hpp"
#include "sync/run.hpp"
#include "sync/services.hpp"
#include "sync/slots.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {

/// What /metrics shows of the engine and its work; counters since the start of the host.
struct EngineStats {
  std::int64_t runs_done = 0, runs_failed = 0, pages = 0, records = 0, requests = 0,
               links_resolved = 0;
  std::map<std::string, std::int64_t> failures;  ///< by class
  ingest::PageCounts stored;                     ///< what became of the records
  std::int64_t leases_lost = 0;
  std::size_t working = 0;  ///< connections
};

struct WorkOptions {
  std::chrono::milliseconds poll = std::chrono::milliseconds(500);  ///< looks for newly due streams
  std::size_t streams_at_once = 4;  ///< snapshots and polls of one connection
  /// Told to end, what still waits for a vendor after so long is given up; its page comes again.
  std::chrono::milliseconds end_grace = std::chrono::seconds(4);
  ReconcileLimits reconcile;
};

/// Made by the engine for as long as it holds the connection's lease; one loop.
///
///   streams due ──┬─ changes ──────────► run, one at a time each
///                 └─ snapshots, polls ─► run, several at once, once every change stream of the
///                                        connection has its first checkpoint
///   refetch list ─► RefetchLane ─► FETCH ─► the same writer
///   enumeration complete ─► reconcile
///   DISCONNECTING ─► sessions end at a step's boundary ─► everything buried ─► DISCONNECTED
///
/// Ends when nothing that is due may begin and nothing runs, when the lease is lost, or when the
/// engine stops. What is due begins while its lane has a slot (ConnectionSlots); a stream that an
/// admin pauses ends at its next step. A lease that a write or a renewal finds lost ends it at
/// once: what is under way is cancelled, nothing is begun, and nothing that it still says is
/// written (pg/fenced.hpp). What is wrong with this host (host_trouble.hpp) ends it, too, and is
/// said of no stream: another host may take the connection. A stream that fails is tried again with
/// growing, jittered pauses and says why in its row; the others go on.
class ConnectionWork {
 public:
  ConnectionWork(const Services& services, Connections& connections, Leases& leases,
                 EngineStats& stats, WorkOptions options, LeaseGrant lease, ConnectionId id,
                 ConnectionSlots& slots, std::function<bool()> stopping,
                 std::function<void()> stored);
  ConnectionWork(const ConnectionWork&) = delete;
  ConnectionWork& operator=(const ConnectionWork&) = delete;

  /// Throws what ended it before its time (the database is away, this host's own trouble), after
  /// what it started has ended; not for a lost lease.
  Task<void> run();
  /// Looks again now: something became due.
  void wake();
  [[nodiscard]] bool started_anything() const { return started_anything_; }

 private:
  struct StreamRow;
  class RunSink;

  [[nodiscard]] bool may_go_on() const;
  Task<void> schedule();
  void start(std::string key, Lane lane, Task<void> task);
  /// Until everything that was started has ended.
  Task<void> wait_for_all();
  Task<void> guarded(std::string key, Lane lane, Task<void> task);
  Task<std::vector<StreamRow>> read_streams();
  /// The sha256 of each, to be asked after; what is said of them.
  [[nodiscard]] pg::Array codes_at_work() const;
  void heed_held(std::string_view held);
  /// True when snapshots may be read: every change stream has a checkpoint, or may not be read.
  Task<bool> changes_are_marked(const std::vector<StreamRow>& streams);
  /// Starts what is due and may run now.
  Task<void> start_due(const std::vector<StreamRow>& streams, bool refetch_due);
  /// Its key was refused: nothing is read before somebody has asked the vendor again.
  [[nodiscard]] static bool key_was_refused(const std::vector<StreamRow>& streams,
                                            bool refetch_due);
  [[nodiscard]] bool account_in_doubt(const std::vector<StreamRow>& streams,
                                      bool refetch_due) const;
  Task<void> confirm_account();

  /// Marks it as running and reads it as it is now; false when it is not due any more.
  Task<bool> take(StreamRow& stream);
  Task<void> run_stream(StreamRow stream);
  Task<void> finish_stream(const LoadedConnection& connection, const StreamRow& stream, RunId run,
                           const SessionEnd& end);
  Task<void> step_back(const StreamRow& stream, RunId run, SessionEnd end);
  /// The stream was reset while it was read: what is stored stays, and it is due again.
  Task<void> leave_superseded(const LoadedConnection& connection, const StreamRow& stream,
                              RunId run, SessionEnd end);
  Task<void> reconcile_stream(StreamRow stream);
  /// One session of the refetch lane.
  Task<SessionEnd> read_again(RefetchBatch batch);
  Task<void> disconnect();
  Task<void> turn_off();

  /// Opens a session and runs it to its end; what is thrown on the way is its failure.
  Task<SessionEnd> drive(const LoadedConnection& connection, const contract::SessionArgs& args,
                         RunSink& sink, Lane lane);
  Task<RunId> begin_run(std::string stream, std::string kind);
  Task<void> end_run(RunId run, const SessionEnd& end);
  [[nodiscard]] Store store() const;
  [[nodiscard]] ingest::PageContext page_context(const LoadedConnection& connection, RunId run,
                                                 std::string stream) const;
  [[nodiscard]] ingest::PageContext page_context(const contract::Manifest& manifest, RunId run,
                                                 std::string stream) const;
  Task<void> update_connection_state();

  /// Every statement of the work that changes something, as a transaction under its lease.
  Task<pg::QueryResult> write(pg::Call made);
  Task<pg::QueryResult> write(const pg::Statement& statement, pg::Params params);
  [[nodiscard]] StreamKey key_of(const std::string& stream) const;
  void surprised(std::exception_ptr surprise);

  Services services_;
  Connections& connections_;
  Leases& leases_;
  EngineStats& stats_;
  WorkOptions options_;
  LeaseGrant lease_;
  ConnectionId id_;
  ConnectionSlots& slots_;
  std::function<bool()> stopping_;
  std::function<void()> stored_;

  RefetchLane refetch_lane_;

  TaskGroup group_;
  std::set<std::string> running_;  ///< keys of started tasks: a stream's name, "refetch", …
  std::set<std::string> reading_;  ///< those of them that are snapshots or polls
  struct CodeAtWork {
    std::size_t sessions = 0;
    bool held = false;  ///< is to run no more, when last read
  };
  std::map<std::string, CodeAtWork> codes_;  ///< by sha256, of the sessions under way
  std::set<std::string> enabled_;            ///< streams that no admin has paused, when last read
  std::exception_ptr surprise_;              ///< the first; ends the work
  bool started_anything_ = false;
  bool account_confirmed_ = false;  ///< asked since we have the lease, and not denied
  bool draining_ = false;           ///< an admin turned the connection off
  asio::steady_timer wake_;
};

}  // namespace sluice::sync
