// How much memory the pages between vendor and store may take, all sessions of this host together.
#pragma once

#include <cstdint>
#include <memory>

#include "base/async.hpp"

namespace sluice::sync {

/// What /metrics shows.
struct PageBudgetStats {
  std::size_t bytes_max = 0;   ///< sync.page_bytes_in_flight_max
  std::size_t bytes = 0;       ///< of pages in flight, and of answers until a step has seen them
  std::size_t bytes_peak = 0;  ///< since the start
  std::size_t pages = 0;       ///< in flight: being stepped, stepped, or being written
  std::size_t waiting = 0;     ///< sessions whose next step waits for room
  std::int64_t waits = 0;      ///< steps that had to wait, since the start
};

/// A bound on the bytes of answers and pages in flight: what a vendor has answered is counted at
/// once, and a session takes a grant before it steps and gives it back when the page is stored.
/// First come first served over all sessions, so that one with large pages waits its turn like
/// everybody, and is not passed for ever by those with small ones. One page always goes, however
/// large.
///
/// How large a page is, is known after its step: a grant is taken for what is expected and then
/// resized without waiting, so the sum may pass the bound by what the steps under way put out
/// (SessionArgs::bytes_per_step_max each), and by the answer that each session waits for: nobody
/// asks for more than that one ahead while there is no room(). What the writer makes of a page,
/// checked values and parameters in wire form, is about twice its size; the bound does not count
/// that.
///
/// One loop; owned by main. May be destroyed while grants are out: they keep what they need.
class PageBudget {
 private:
  struct State;

 public:
  static constexpr std::size_t kBytesMaxDefault = 64u << 20;

  explicit PageBudget(std::size_t bytes_max = kBytesMaxDefault);

  /// Room for one page. Given back when destroyed.
  class Grant {
   public:
    Grant() = default;
    Grant(Grant&& other) noexcept;
    Grant& operator=(Grant&& other) noexcept;
    ~Grant();
    /// What the page really takes. Never waits; less lets others go.
    void resize(std::size_t bytes);

   private:
    friend class PageBudget;
    friend struct State;
    std::shared_ptr<State> state_;
    std::size_t bytes_ = 0;
    bool page_ = false;  ///< or an answer that is kept
  };

  /// Waits in order of arrival until there is room. Cancelled: throws
  /// boost::system::system_error(operation_aborted) and holds nothing.
  Task<Grant> acquire(std::size_t bytes);
  /// Counts what is there already; never waits.
  [[nodiscard]] Grant keep(std::size_t bytes);
  /// Waits, in order of arrival, while as much is in flight as may be. Cancelled: as acquire.
  Task<void> room();

  [[nodiscard]] PageBudgetStats stats() const;

 private:
  static Task<Grant> acquire_from(std::shared_ptr<State> state, std::size_t bytes);
  static Task<void> room_in(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::sync
