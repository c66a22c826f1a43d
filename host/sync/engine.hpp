// Decides what runs when, on which connection: the only place that looks for work.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "base/outage.hpp"
#include "base/task_group.hpp"
#include "sync/connection_work.hpp"
#include "sync/connections.hpp"
#include "sync/due.hpp"
#include "sync/lease.hpp"
#include "sync/retention.hpp"
#include "sync/services.hpp"
#include "sync/slots.hpp"
#include "work/runner.hpp"

namespace sluice::sync {

struct EngineOptions {
  std::size_t connections_max = 64;        ///< slots of each Lane
  std::chrono::milliseconds poll = 500ms;  ///< how often to look for due work, while there is some
  std::chrono::milliseconds idle_poll_max = 5s;  ///< … and while there is none
  LeaseOptions lease;
  WorkOptions work;
  Retention retention;
};

/// Work that failed for a reason that is not the vendor's: the database is away, its disk is full,
/// a connector file is missing. Its row may be out of reach, so it is kept here, too.
struct Trouble {
  WorkspaceId workspace;
  std::string work;         ///< "connection/7", "connector/stripe", "link", "work", "threads"
  std::string code;         ///< when it has one of its own
  ConnectionId connection;  ///< of the first kind, always; else 0
  std::string message;
  std::string action;         ///< when there is something to do besides waiting for the next try
  std::int64_t failures = 0;  ///< in a row; 0: it goes on, and does not come to an end
  std::chrono::steady_clock::time_point next_try;
  std::chrono::milliseconds pause{0};  ///< before the next try
};

/// One per host loop.
///
///   a connection has due streams, ids to refetch, an  ─► ConnectionWork, under "connection/<id>"
///   enumeration to compare, or is being turned off
///   link queue                                        ─► link(workspace), under "link"
///   durable work                                      ─► work(workspace), under "work", or "build"
///
/// Due work is what the tables say, less what somebody holds the lease of (DueWork); connections
/// begin in turns of their workspaces, as far as Slots go. The engine keeps nothing that a restart
/// would miss. Work that throws is tried again after a growing pause.
class Engine {
 public:
  Engine(Services services, Connections& connections, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs until stop(); the owner spawns it once.
  Task<void> run();
  /// Ends run() after the pages under way; leases are given back. A batch of links that lasts for
  /// longer than a moment is given up, and nothing of it is stored.
  void stop();
  /// Look for work now instead of at the next poll.
  void kick();
  [[nodiscard]] const EngineStats& stats() const { return stats_; }
  /// What fails at the moment, or hangs in a connector's code or at a vendor, of all workspaces.
  [[nodiscard]] std::vector<Trouble> troubles() const;

 private:
  Task<void> look_for_work();
  Task<std::chrono::milliseconds> pause_until_next_look();
  void looked();
  /// Says so now and then; how long to wait for the next look.
  std::chrono::milliseconds look_failed(const char* why);
  void look_soon();
  Task<void> wait(std::chrono::milliseconds pause);
  /// Notes it as active, until ended(); returns its key.
  std::string begin(WorkspaceId workspace, std::string name,
                    ConnectionId connection = ConnectionId());
  void spawn(WorkspaceId workspace, std::string name, Task<void> task,
             ConnectionId connection = ConnectionId());
  [[nodiscard]] Leases::Waits held() const;
  void add_hung(std::vector<Trouble>& all) const;
  [[nodiscard]] bool may_start(const std::string& key) const;
  void ended(const std::string& key, std::exception_ptr surprise);

  /// Connections whose work failed a moment ago.
  [[nodiscard]] std::vector<ConnectionId> not_to_start() const;
  Task<void> start_due();
  Task<void> work(WorkspaceId workspace, ConnectionId connection,
                  std::unique_ptr<ConnectionSlots> slots);
  Task<void> link(WorkspaceId workspace);
  Task<void> link_all(WorkspaceId workspace);
  Task<void> work(WorkspaceId workspace, std::string name, work::Runner& runner);
  Task<void> build(WorkspaceId workspace);

  Services services_;
  Connections& connections_;
  EngineOptions options_;
  std::unique_ptr<Leases> leases_;
  work::Runner runner_, builder_;
  TaskGroup links_;   ///< a batch each; given up when one lasts too long for a host that stops
  TaskGroup builds_;  ///< one index at a time; ended in the middle when the host is to stop
  struct Active {
    WorkspaceId workspace;
    std::string name;
    ConnectionId connection;         ///< of a connection's work
    ConnectionWork* work = nullptr;  ///< of a connection, while it has its lease
    bool did_something = false;
    std::chrono::steady_clock::time_point began;
  };
  Slots slots_;  ///< outlives what is active
  DueWork due_;
  std::map<std::string, Active> active_;  ///< bounded by the slots and workspaces
  std::map<std::string, Trouble> troubles_;
  bool stopping_ = false;
  bool kicked_ = false;
  Outage away_;  ///< looks that fail: the database is away
  asio::steady_timer wake_;
  EngineStats stats_;
};

}  // namespace sluice::sync
