// How fast, and how much at once, one vendor account is asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "fetch/delay.hpp"

namespace sluice::fetch {

struct BudgetOptions {
  double requests_per_second = 10;  ///< 0: not paced
  int concurrency = 4;              ///< at least 1
  int burst = 1;                    ///< requests that may go at once after a pause; at least 1
};

/// A token bucket and a semaphore, first come first served. One per vendor account (all connections
/// of the account share it), owned by whoever holds the account's lease; one loop; clock and delay
/// outlive it. May be destroyed while permits are out and callers wait: they keep what they need
/// and finish.
class Budget {
 private:
  struct State;

 public:
  /// The right to have one request under way. Give it back (destroy it) before waiting for a retry.
  class Permit {
   public:
    Permit() = default;
    ~Permit();
    Permit(Permit&& other) noexcept = default;
    Permit& operator=(Permit&& other) noexcept;
    [[nodiscard]] bool waited() const { return waited_; }

   private:
    friend class Budget;
    friend struct State;
    std::shared_ptr<State> state_;
    bool waited_ = false;
  };

  Budget(BudgetOptions options, const Clock& clock, Delay& delay);

  /// Waits for a place and for the pace. Cancelled: throws
  /// boost::system::system_error(operation_aborted) and holds nothing.
  Task<Permit> acquire();
  /// No request starts before `until`: the vendor said so. An earlier time than a hold in force is
  /// ignored.
  void hold_until(std::chrono::steady_clock::time_point until);
  /// For requests that start from now on (CHECK said it is a test account).
  void set_requests_per_second(double requests_per_second);

  [[nodiscard]] int in_use() const;
  [[nodiscard]] std::size_t waiting() const;  ///< for a place; not those who only wait for the pace

 private:
  static Task<Permit> acquire_from(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::fetch
