// Threads for what connectors compute, so that a busy one holds up neither the loop nor the others.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"

namespace sluice::sync {

/// A step only computes; one that takes longer than this is logged ("connector.step_slow") and
/// counted while it goes on. Nothing ends it: code in this process cannot be stopped from outside.
/// So it keeps its thread, and the others get another one for it. What a connector does not come
/// back from for long is given up: who waits for it goes on.
inline constexpr std::chrono::seconds kStepSecondsWarn{5};
inline constexpr std::chrono::seconds kStepSecondsMax{60};
inline constexpr std::size_t kStepThreadsMin = 2;
inline constexpr std::size_t kStepThreadsMax = 16;
inline constexpr std::size_t kStepThreadsMoreMax = 64;  ///< for slow steps; beyond it others wait

/// Whose step it is, for those who look and for the log.
struct StepOwner {
  StepOwner() = default;  // no aggregate: handed to coroutines
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
  bool given_up = false;  ///< nobody waits for it any more; its thread still has it
};

/// What a caller hears whose step was given up: Failure(internal). Its connector is not to be run
/// again by itself.
inline constexpr std::string_view kStepGivenUp = "connector.step_given_up";

/// What /metrics shows. Counters only grow.
struct StepPoolStats {
  std::size_t threads = 0;
  std::size_t under_way = 0;          ///< begun or queued; beyond `threads` they wait
  std::int64_t steps = 0;             ///< ended
  std::int64_t slow = 0;              ///< took longer than the warning time
  std::int64_t given_up = 0;          ///< took longer than anybody waits
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
                    std::chrono::milliseconds warn_after = kStepSecondsWarn,
                    std::chrono::milliseconds give_up_after = kStepSecondsMax);
  /// Waits for the steps under way, also those that were given up; those in the queue never begin.
  ~StepPool();
  StepPool(const StepPool&) = delete;
  StepPool& operator=(const StepPool&) = delete;

  /// What runs on one of the threads. It ends there, too, with what it owns.
  using Step = std::function<void()>;
  /// Runs it on one of the threads; the caller, on its loop, goes on afterwards, also when it is
  /// cancelled meanwhile: it hears of that at its next wait. What the step throws is thrown here.
  /// What it refers to stays its own until run() returns.
  Task<void> run(Step step, StepOwner owner) {
    return run(std::move(step), std::move(owner), Patience::endless);
  }
  Task<void> run(Step step) { return run(std::move(step), StepOwner()); }
  /// The same for a connector's code, which may never come back: then the caller goes on with
  /// kStepGivenUp. So the step owns all that it refers to. The time is that in which this process
  /// ran: one that was stopped for an hour gives up nothing for it.
  Task<void> run_code(Step step, StepOwner owner) {
    return run(std::move(step), std::move(owner), Patience::limited);
  }

  /// Of the loop that calls run().
  [[nodiscard]] const StepPoolStats& stats() const { return stats_; }
  [[nodiscard]] std::vector<SlowStep> slow_now() const { return {slow_->begin(), slow_->end()}; }

 private:
  enum class Patience { endless, limited };
  Task<void> run(Step step, StepOwner owner, Patience patience);
  void replace_thread();

  struct Threads;
  std::chrono::milliseconds warn_after_;
  std::chrono::milliseconds give_up_after_;
  std::unique_ptr<Threads> threads_;
  StepPoolStats stats_;
  std::shared_ptr<std::list<SlowStep>> slow_;  ///< under way
};

}  // namespace sluice::sync
