// Threads for what connectors compute, so that a busy one holds up neither the loop nor the others.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"

namespace sluice::sync {

/// A step only computes; one that takes longer than this is logged ("connector.step_slow") and
/// counted while it goes on. Nothing ends it: code in this process cannot be stopped from outside.
/// So it keeps its thread, and the others get another one for it.
inline constexpr std::chrono::seconds kStepSecondsWarn{5};
inline constexpr std::size_t kStepThreadsMin = 2;
inline constexpr std::size_t kStepThreadsMax = 16;
inline constexpr std::size_t kStepThreadsMoreMax = 64;  ///< for slow steps; beyond it others wait

/// Whose step it is, for those who look and for the log.
struct StepOwner {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string what;  ///< in words: "stream customers"
  std::string connector, connection_name;
  std::string stream;  ///< of a READ
  RunId run;
};

/// One that takes longer than the warning time, while it goes on.
struct SlowStep {
  StepOwner owner;
  std::chrono::steady_clock::time_point begun;
};

/// What /metrics shows. Counters only grow.
struct StepPoolStats {
  std::size_t threads = 0;
  std::size_t under_way = 0;          ///< begun or queued; beyond `threads` they wait
  std::int64_t steps = 0;             ///< ended
  std::int64_t slow = 0;              ///< took longer than the warning time
  std::chrono::microseconds busy{0};  ///< spent in steps, all threads together
};

/// Runs the steps of sessions on a few threads, first come first served. One per host, owned by
/// main; destroyed before the loops whose coroutines wait here, which it does after the steps under
/// way: an owner that cannot wait for them ends the process.
class StepPool {
 public:
  /// As many threads as cores, within kStepThreadsMin and kStepThreadsMax.
  [[nodiscard]] static std::size_t default_threads();
  explicit StepPool(std::size_t threads = default_threads(),
                    std::chrono::milliseconds warn_after = kStepSecondsWarn);
  /// Waits for the steps under way; those in the queue never begin.
  ~StepPool();
  StepPool(const StepPool&) = delete;
  StepPool& operator=(const StepPool&) = delete;

  /// What runs on one of the threads: a session's step, and what belongs to it. What it refers to
  /// stays its own until run() returns.
  using Step = std::function<void()>;
  /// Runs it on one of the threads; the caller, on its loop, goes on afterwards, also when it is
  /// cancelled meanwhile: it hears of that at its next wait. What the step throws is thrown here.
  Task<void> run(Step step, StepOwner owner);
  Task<void> run(Step step) { return run(std::move(step), StepOwner()); }

  /// Of the loop that calls run().
  [[nodiscard]] const StepPoolStats& stats() const { return stats_; }
  [[nodiscard]] std::vector<SlowStep> slow_now() const { return {slow_.begin(), slow_.end()}; }

 private:
  void replace_thread();

  struct Threads;
  std::chrono::milliseconds warn_after_;
  std::unique_ptr<Threads> threads_;
  StepPoolStats stats_;
  std::list<SlowStep> slow_;  ///< under way
};

}  // namespace sluice::sync
