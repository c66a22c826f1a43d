// Threads for what connectors compute, so that a busy one holds up neither the loop nor the others.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"

namespace sluice::sync {

/// A step only computes; one that takes longer than this is logged ("connector.step_slow") and
/// counted while it goes on. Nothing ends it: code in this process cannot be stopped from outside.
/// So it keeps its thread, and the others get another one for it. What a connector does not come
/// back from for long is given up: who waits for it goes on.
inline constexpr std::chrono::seconds kStepSecondsWarn{5};
inline constexpr std::chrono::seconds kStepSecondsMax{60};
inline constexpr std::size_t kStepThreadsMin = 4;  ///< of fewer, one workspace would have all
inline constexpr std::size_t kStepThreadsMax = 16;
/// Threads in the place of those that slow steps keep. Beyond it such a step keeps one of the
/// others' threads, and who has lost any gets no more.
inline constexpr std::size_t kStepThreadsMoreMax = 64;
/// Of them, for one connector in one workspace: what has lost so many gets none until one comes
/// back, and the workspace's other connectors go on.
inline constexpr std::size_t kStepsLostOfConnectorMax = 4;
/// … and for a workspace, with all its connectors, each of which counts with as many as above at
/// most: so that none of them takes the others' places.
inline constexpr std::size_t kStepsLostOfWorkspaceMax = 12;

/// A connector in a workspace: what has a line of its own, and loses threads.
struct ConnectorOf {
  WorkspaceId workspace;
  std::string connector;
  friend auto operator<=>(const ConnectorOf&, const ConnectorOf&) = default;
};

/// Whose step it is, for those who look and for the log.
struct StepOwner {
  StepOwner() = default;  // no aggregate: handed to coroutines
  WorkspaceId workspace;
  ConnectionId connection;
  std::string what;  ///< in words: "stream customers"
  std::string connector, connection_name;
  std::string stream;  ///< of a READ
  RunId run;
  [[nodiscard]] ConnectorOf whose() const { return {workspace, connector}; }
};

/// One that takes longer than the warning time, while it goes on.
struct SlowStep {
  StepOwner owner;
  std::chrono::steady_clock::time_point begun;
  bool given_up = false;  ///< nobody waits for it any more; its thread still has it
  bool replaced = false;  ///< there is another thread for it: its place is free again
};

/// What a caller hears whose step was given up: Failure(internal). Its connector is not to be run
/// again by itself.
inline constexpr std::string_view kStepGivenUp = "connector.step_given_up";
/// What a connector, or a workspace, hears that has lost as many threads as it may:
/// Failure(retry_later), which names the connectors that keep them. The step was not begun.
inline constexpr std::string_view kStepsLost = "connector.threads_lost";
/// … and who stood in the line while no step of it was begun for twice as long as a step may take:
/// Failure(retry_later).
inline constexpr std::string_view kStepNotBegun = "connector.no_thread";

/// What is said of a step that is given up or not begun: kStepGivenUp, kStepNotBegun.
[[nodiscard]] Error step_given_up(const StepOwner& owner, std::chrono::milliseconds after);
[[nodiscard]] Error step_not_begun(const StepOwner& owner, std::chrono::milliseconds after);

/// What /metrics shows. Counters only grow.
struct StepPoolStats {
  std::size_t threads = 0;
  std::size_t under_way = 0;          ///< begun or in the line, and waited for
  std::int64_t steps = 0;             ///< ended
  std::int64_t slow = 0;              ///< took longer than the warning time
  std::int64_t given_up = 0;          ///< took longer than anybody waits
  std::chrono::microseconds busy{0};  ///< spent in steps, all threads together
};

/// How it stands now, of the whole host.
struct StepPoolNow {
  std::size_t waiting = 0;                    ///< in the line
  std::chrono::milliseconds longest_wait{0};  ///< of those who may still have a turn
  std::size_t lost = 0;                       ///< threads that steps keep which were given up
  std::vector<ConnectorOf> at_bound;          ///< have lost some, and get no more
  bool full = false;                          ///< no thread is replaced any more
  bool none_left = false;                     ///< every thread is lost: nothing can run
  [[nodiscard]] std::size_t workspaces_at_bound() const;
};

/// Runs the steps of sessions on a few threads. Each connector of a workspace has a line; the
/// workspaces are served in turn, and of each its connectors. Of the threads a workspace has its
/// share (FairShare), so that however much one computes, another's step begins at once:
///
///   line ──a thread is free and its connector may have it─► thread ──► ended
///     │                                                        │ kStepSecondsWarn
///     │ cancelled; its line stands still; too many lost        ▼
///     └──────────► left, not begun                           slow: another thread in its place
///                                                              │ give_up_after; or cancelled
///                                                              ▼
///                                                            lost: nobody waits for it
///
/// What is lost counts against its connector in the workspace (kStepsLostOfConnectorMax), the
/// workspace (kStepsLostOfWorkspaceMax) and the host (kStepThreadsMoreMax) until it comes back
/// after all.
///
/// One per host, owned by main; destroyed before the loops whose coroutines wait here, which it
/// does after the steps under way: an owner that cannot wait for them ends the process.
class StepPool {
 public:
  /// As many threads as cores, within kStepThreadsMin and kStepThreadsMax.
  [[nodiscard]] static std::size_t default_threads();
  explicit StepPool(std::size_t threads = default_threads(),
                    std::chrono::milliseconds warn_after = kStepSecondsWarn,
                    std::chrono::milliseconds give_up_after = kStepSecondsMax);
  /// Waits for the steps under way, also those that were given up; those in the queue never begin.
  ~StepPool();
  StepPool(const StepPool&) = delete;
  StepPool& operator=(const StepPool&) = delete;

  /// What runs on one of the threads. It ends there, too, with what it owns.
  using Step = std::function<void()>;
  /// Runs it on one of the threads; the caller, on its loop, goes on afterwards, also when it is
  /// cancelled meanwhile: it hears of that at its next wait. While it stands in the line, a
  /// cancelled caller leaves: system_error(operation_aborted). What the step throws is thrown here.
  /// What it refers to stays its own until run() returns. Throws kStepsLost and kStepNotBegun, too.
  Task<void> run(Step step, StepOwner owner) {
    return run(state_, std::move(step), std::move(owner), Patience::endless);
  }
  Task<void> run(Step step) { return run(std::move(step), StepOwner()); }
  /// The same for a connector's code, which may never come back: then the caller goes on with
  /// kStepGivenUp, and a cancelled one as soon as the step is slow. So the step owns all that it
  /// refers to. The time is that in which this process ran: one that was stopped for an hour gives
  /// up nothing for it.
  Task<void> run_code(Step step, StepOwner owner) {
    return run(state_, std::move(step), std::move(owner), Patience::limited);
  }
  /// The same for what nobody waits for and what must not end on a loop, such as a session that is
  /// to be closed: it is never refused, and stays in its line until it may begin.
  void run_behind(const Executor& executor, Step step, StepOwner owner);
  /// Whether a step of it would begin at once.
  [[nodiscard]] bool has_place(const ConnectorOf& whose) const;

  // Of the loop that calls run().

  [[nodiscard]] const StepPoolStats& stats() const;
  [[nodiscard]] StepPoolNow now() const;
  [[nodiscard]] std::vector<SlowStep> slow_now() const;
  /// Given up and not back yet, of one connection.
  [[nodiscard]] std::size_t lost_of(ConnectionId connection) const;
  /// step_given_up() of the newest of them, with how long it has gone on; there is one.
  [[nodiscard]] Error newest_lost_of(ConnectionId connection) const;
  /// What a connector hears that gets no more threads there; nothing when it does.
  [[nodiscard]] std::optional<Error> refusal_of(const ConnectorOf& whose) const;

 private:
  enum class Patience { endless, limited, behind };
  struct Threads;
  struct State;
  struct Job;
  static Task<void> run(std::shared_ptr<State> state, Step step, StepOwner owner,
                        Patience patience);
  static Task<void> wait_for_turn(std::shared_ptr<State> state, std::shared_ptr<Job> job);
  static Task<void> wait_for_end(std::shared_ptr<State> state, std::shared_ptr<Job> job);

  std::shared_ptr<State> state_;  ///< of those who wait, too
  std::unique_ptr<Threads> threads_;
};

}  // namespace sluice::sync
