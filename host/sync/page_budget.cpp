#include "sync/page_budget.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <list>
#include <utility>

#include "base/bell.hpp"

namespace sluice::sync {

struct PageBudget::State : std::enable_shared_from_this<State> {
  /// In the frame of the coroutine that waits.
  struct Waiter {
    Waiter(const Executor& executor, std::size_t wanted)
        : bytes(wanted), timer(executor, asio::steady_timer::time_point::max()) {}
    std::size_t bytes;
    asio::steady_timer timer;  ///< cancelled when granted
    bool waits = true;
    Grant grant;
  };

  [[nodiscard]] bool fits(std::size_t bytes) const {
    return stats.pages == 0 || stats.bytes + bytes <= stats.bytes_max;
  }

  void take(Grant& grant, std::size_t bytes) {
    grant.page_ = true;
    ++stats.pages;
    keep(grant, bytes);
  }

  void keep(Grant& grant, std::size_t bytes) {
    grant.state_ = shared_from_this();
    grant.bytes_ = bytes;
    add(bytes);
  }

  void add(std::size_t bytes) {
    stats.bytes += bytes;
    stats.bytes_peak = std::max(stats.bytes_peak, stats.bytes);
  }

  void serve() {
    while (!queue.empty() && fits(queue.front()->bytes)) {
      Waiter& next = *queue.front();
      queue.pop_front();
      next.waits = false;
      take(next.grant, next.bytes);
      next.timer.cancel();
    }
    while (!for_room.empty() && has_room()) {
      Waiter& next = *for_room.front();
      for_room.pop_front();
      next.waits = false;
      next.timer.cancel();
    }
  }

  [[nodiscard]] bool has_room() const { return stats.bytes < stats.bytes_max; }

  PageBudgetStats stats;  ///< except `waiting`, which is the queue's length
  std::list<Waiter*> queue;
  std::list<Waiter*> for_room;
};

PageBudget::Grant::Grant(Grant&& other) noexcept
    : state_(std::move(other.state_)),
      bytes_(std::exchange(other.bytes_, 0)),
      page_(std::exchange(other.page_, false)) {}

PageBudget::Grant& PageBudget::Grant::operator=(Grant&& other) noexcept {
  Grant gone(std::move(*this));
  state_ = std::move(other.state_);
  bytes_ = std::exchange(other.bytes_, 0);
  page_ = std::exchange(other.page_, false);
  return *this;
}

PageBudget::Grant::~Grant() {
  if (!state_) return;
  state_->stats.bytes -= bytes_;
  if (page_) --state_->stats.pages;
  state_->serve();
}

void PageBudget::Grant::resize(std::size_t bytes) {
  if (!state_) return;
  state_->stats.bytes -= bytes_;
  bytes_ = bytes;
  state_->add(bytes);
  state_->serve();
}

PageBudget::PageBudget(std::size_t bytes_max) : state_(std::make_shared<State>()) {
  state_->stats.bytes_max = bytes_max;
}

Task<PageBudget::Grant> PageBudget::acquire(std::size_t bytes) {
  return acquire_from(state_, bytes);
}

PageBudget::Grant PageBudget::keep(std::size_t bytes) {
  Grant grant;
  state_->keep(grant, bytes);
  return grant;
}

Task<void> PageBudget::room() { return room_in(state_); }

namespace {

/// In the frame of who waits: out of the queue, however that ends.
template <class State, class Waiter>
struct Leaves {
  State& state;
  std::list<Waiter*>& queue;
  Waiter& waiter;
  ~Leaves() {
    if (!waiter.waits) return;
    queue.remove(&waiter);
    state.serve();  // who comes behind may fit
  }
};

/// Until it was served; throws when cancelled.
template <class Waiter>
Task<void> served(Waiter& waiter) {
  while (waiter.waits) co_await rung(waiter.timer);
}

}  // namespace

Task<void> PageBudget::room_in(std::shared_ptr<State> state) {
  if (state->for_room.empty() && state->has_room()) co_return;
  State::Waiter waiter(co_await asio::this_coro::executor, 0);
  state->for_room.push_back(&waiter);
  const Leaves<State, State::Waiter> leaves{*state, state->for_room, waiter};
  co_await served(waiter);
}

Task<PageBudget::Grant> PageBudget::acquire_from(std::shared_ptr<State> state, std::size_t bytes) {
  Grant grant;
  if (state->queue.empty() && state->fits(bytes)) {
    state->take(grant, bytes);
    co_return grant;
  }
  State::Waiter waiter(co_await asio::this_coro::executor, bytes);
  state->queue.push_back(&waiter);
  ++state->stats.waits;
  const Leaves<State, State::Waiter> leaves{*state, state->queue, waiter};
  co_await served(waiter);
  grant = std::move(waiter.grant);
  co_return grant;
}

PageBudgetStats PageBudget::stats() const {
  PageBudgetStats stats = state_->stats;
  stats.waiting = state_->queue.size();
  return stats;
}

}  // namespace sluice::sync
