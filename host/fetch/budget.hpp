// How fast, and how much at once, one vendor account is asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "fetch/delay.hpp"

namespace sluice::fetch {

/// Who goes first where several wait for the same account.
enum class Priority {
  change,    ///< change streams, refetch, checks: what keeps data fresh
  snapshot,  ///< reading everything: has time
};

/// Whose request it is: what one endpoint that hangs is told apart by.
struct Asker {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string what;  ///< "stream invoices"; empty: bound by nothing of its own

  Asker() = default;  // no aggregate: handed to coroutines
  Asker(WorkspaceId w, ConnectionId c, std::string name)
      : workspace(w), connection(c), what(std::move(name)) {}
  friend auto operator<=>(const Asker&, const Asker&) = default;
};

struct BudgetOptions {
  double requests_per_second = 10;  ///< 0: not paced
  int concurrency = 4;              ///< at least 1
  int kept_for_changes = 0;         ///< places that snapshots never take, of more than so many
  int of_one_max = 0;  ///< places that one asker has at once, of changes all but one; 0: any number
  /// A request that is not answered for so long gives its place to others and stands beside them;
  /// its asker gets no further one until it has ended. At most as many as there are places. 0:
  /// never.
  std::chrono::milliseconds hung_after{0};
  int burst = 1;                  ///< requests that may go at once after a pause; at least 1
  contract::RateHeaders headers;  ///< by which the vendor says what is left
  /// budget.hold_max: no vendor's word keeps an account waiting longer; then one request asks
  /// again.
  std::chrono::milliseconds hold_max{3'600'000};
  /// After a 429 without a time the rate is halved, down to this share of the declared one …
  double rate_share_min = 1.0 / 64;
  /// … and comes back by this share of the declared one per span without another.
  double recover_share = 0.125;
  std::chrono::milliseconds recover_every{10'000};
};

/// A request that has not been answered for BudgetOptions::hung_after.
struct HungRequest {
  Asker asker;
  std::chrono::milliseconds since{0};
};

/// A request that waits because of what the vendor said of its rate.
struct HeldRequest {
  Asker asker;
  std::chrono::milliseconds left{0};  ///< at least
};

/// For metrics: what one account's budget did (growing) and where it stands.
struct BudgetStats {
  std::uint64_t granted = 0;    ///< requests that were let go
  std::uint64_t waited = 0;     ///< of them, those that had to wait
  std::uint64_t wait_us = 0;    ///< how long, all together
  std::uint64_t held_back = 0;  ///< requests not sent, because the vendor's hold was too far away
  std::uint64_t rate_limited = 0;    ///< 429 answers
  std::uint64_t slowdowns = 0;       ///< times that the rate was halved
  double rate = 0;                   ///< requests per second in force now; 0: not paced
  std::optional<std::int64_t> left;  ///< of the vendor's window, as it said
  std::chrono::milliseconds held_for{0};
  int in_use = 0;  ///< places; not what hangs beside them
  std::size_t waiting = 0;
};

/// One per vendor account: every connection of the account, in every workspace of this host, shares
/// it. Owned by sync/; one loop; clock and delay outlive it. May be destroyed while permits are out
/// and callers wait: they keep what they need and finish.
///
/// A request goes when a place is free (concurrency), its turn has come (changes before snapshots,
/// of each kind who waits longest; after kChangesInARow changes one snapshot goes, so that none
/// starves), and the pace allows it. Nobody occupies a place while he waits for the pace. Some
/// places are kept for changes, one asker gets a few only, and what hangs holds up nobody but its
/// asker: the next request of an asker whose last one ended without an answer, after it hung,
/// stands beside the places from the start. The pace is the lowest of
///   the declared rate;
///   the rate after a 429 that gave no time: halved, then back step by step. Answers to requests
///   that were sent before the last halving do not halve again;
///   what the vendor's window has left: nothing goes after its last request until it begins anew,
///   and its last fifth (when the vendor tells the limit) is spread over the time that is left. It
///   holds nobody up beyond the window's end.
/// A vendor's time (Retry-After, the window's end) holds the whole account.
class Budget {
 private:
  struct State;

 public:
  static constexpr int kChangesInARow = 8;
  /// Waits out any hold.
  static constexpr std::chrono::milliseconds kPatient = std::chrono::hours(366 * 24);

  /// The right to have one request under way. Give it back (destroy it) before waiting for a retry.
  class Permit {
   public:
    Permit() = default;
    ~Permit();
    Permit(Permit&& other) noexcept = default;
    Permit& operator=(Permit&& other) noexcept;
    [[nodiscard]] bool granted() const { return state_ != nullptr; }
    [[nodiscard]] bool waited() const { return waited_; }
    [[nodiscard]] std::chrono::nanoseconds waited_for() const { return waited_for_; }
    /// Not granted: how long the vendor wants to be left alone.
    [[nodiscard]] std::chrono::milliseconds held_for() const { return held_for_; }
    /// Granted, but the request waits for something of this host before it goes: until goes() that
    /// time is nobody's hanging.
    void waits_here();
    void goes();

   private:
    friend class Budget;
    friend struct State;
    struct Place {
      Asker asker;
      std::chrono::steady_clock::time_point started{};
      bool waits_here = false;
      bool hung = false;
      bool answered = false;
    };
    std::shared_ptr<State> state_;
    std::list<Place>::iterator place_{};
    bool waited_ = false;
    std::chrono::nanoseconds waited_for_{0};
    std::chrono::milliseconds held_for_{0};
  };

  Budget(BudgetOptions options, const Clock& clock, Delay& delay);

  /// Waits for its turn, a place and the pace. Where what the vendor said (a hold, its window) lets
  /// the request go later than `patience` from now only, it answers at once with a permit that is
  /// not granted. Cancelled: throws
  /// boost::system::system_error(operation_aborted) and holds nothing.
  Task<Permit> acquire(Priority priority = Priority::snapshot,
                       std::chrono::milliseconds patience = kPatient);
  Task<Permit> acquire(Priority priority, std::chrono::milliseconds patience, Asker asker);
  /// What the answer to the permit's request says about the rate; call it for each answer, before
  /// the permit is given back. `now` is wall time.
  void heed(const Permit& permit, int status, const contract::Headers& headers, Micros now);
  /// No request starts before `until`, at most hold_max away: the vendor said so, in words that
  /// only the connector understands. An earlier time than a hold in force is ignored.
  void hold_until(std::chrono::steady_clock::time_point until);
  void hold_for(std::chrono::milliseconds span);
  /// For requests that start from now on (CHECK said it is a test account).
  void set_requests_per_second(double requests_per_second);

  [[nodiscard]] int in_use() const;
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] BudgetStats stats() const;
  [[nodiscard]] std::vector<HungRequest> hung() const;
  /// Those that wait for the vendor's rate for another second or more.
  [[nodiscard]] std::vector<HeldRequest> held() const;

 private:
  static Task<Permit> acquire_from(std::shared_ptr<State> state, Priority priority,
                                   std::chrono::milliseconds patience, Asker asker);
  /// While somebody waits for a place: looks when the next request has hung for too long.
  static Task<void> watch(std::shared_ptr<State> state);
  static void begin_to_watch(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::fetch
