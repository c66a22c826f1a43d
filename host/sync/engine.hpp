// Decides what runs when, and runs it: the only place that knows the whole way of a record.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <set>
#include <string>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "sync/connections.hpp"
#include "sync/lease.hpp"
#include "sync/run.hpp"
#include "sync/services.hpp"

namespace sluice::sync {

struct EngineOptions {
  std::size_t runs_max = 8;                ///< connections worked on at once by this host
  std::chrono::milliseconds poll = 500ms;  ///< how often to look for due work
  LeaseOptions lease;
};

/// What /metrics shows.
struct EngineStats {
  std::int64_t runs_done = 0, runs_failed = 0, pages = 0, records = 0, requests = 0,
               links_resolved = 0;
  std::size_t working = 0;
};

/// One per host loop.
///
///   due streams ─┐
///   due refetch ─┴─► work(connection), under the lease "connection/<id>":
///        change streams that have no checkpoint yet; then, side by side,
///        snapshots and polls  |  change streams and refetch
///   link queue ────► link(workspace), under the lease "link"
///
/// Due work is what the tables say; the engine keeps nothing that a restart would miss. A stream
/// that fails is tried again with growing, jittered pauses and says why in its row; the others go
/// on.
class Engine {
 public:
  Engine(Services services, Connections& connections, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs until stop(); the owner spawns it once.
  Task<void> run();
  /// Ends run() after the pages under way; leases are given back.
  void stop();
  /// Look for work now instead of at the next poll.
  void kick();
  [[nodiscard]] const EngineStats& stats() const { return stats_; }

 private:
  struct StreamRow;
  class StreamSink;
  class RefetchSink;

  Task<void> look_for_work();
  Task<void> work(WorkspaceId workspace, ConnectionId connection);
  Task<void> work_under(LeaseGrant lease, ConnectionId connection);
  /// Establishes first checkpoints of change streams; false when one is still without.
  Task<bool> run_unmarked_changes(const LoadedConnection& connection, const LeaseGrant& lease);
  /// What the two lanes of a connection's work share.
  struct Lanes {
    bool reading = true;
    asio::steady_timer* wake = nullptr;
  };
  /// Snapshots and polls, several at once, each to its end.
  Task<void> read_lane(const LoadedConnection& connection, const LeaseGrant& lease, Lanes& lanes);
  /// Change streams and refetch, beside the reading, until that is done and nothing is due.
  Task<void> change_lane(const LoadedConnection& connection, const LeaseGrant& lease, Lanes& lanes);
  [[nodiscard]] bool may_go_on(const LeaseGrant& lease) const;
  Task<std::vector<StreamRow>> due_streams(WorkspaceId workspace, ConnectionId connection);
  Task<RunId> begin_run(const LoadedConnection& connection, const LeaseGrant& lease,
                        std::string stream, std::string kind);
  Task<void> end_run(const LoadedConnection& connection, RunId run, const SessionEnd& end);
  /// Opens a session and runs it to its end; what is thrown on the way is its failure.
  Task<SessionEnd> drive(const LoadedConnection& connection, const LeaseGrant& lease,
                         const contract::SessionArgs& args, PageSink& sink);
  static ingest::PageContext page_context(const LoadedConnection& connection,
                                          const LeaseGrant& lease, RunId run, std::string stream);
  Task<void> run_stream(const LoadedConnection& connection, const LeaseGrant& lease,
                        StreamRow stream);
  Task<bool> refetch(const LoadedConnection& connection, const LeaseGrant& lease);
  Task<void> finish_stream(const LoadedConnection& connection, const StreamRow& stream, RunId run,
                           const SessionEnd& end);
  Task<void> link(WorkspaceId workspace);
  Task<void> update_connection_state(WorkspaceId workspace, ConnectionId connection);
  void spawn(std::string key, Task<void> task);

  Services services_;
  Connections& connections_;
  EngineOptions options_;
  std::unique_ptr<Leases> leases_;
  std::set<std::string> active_;  ///< keys of spawned work; bounded by runs_max and workspaces
  std::size_t connections_active_ = 0;
  bool stopping_ = false;
  asio::steady_timer wake_;
  EngineStats stats_;
};

}  // namespace sluice::sync
