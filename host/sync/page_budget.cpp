#include "sync/page_budget.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <list>
#include <utility>

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
    grant.state_ = shared_from_this();
    grant.bytes_ = bytes;
    ++stats.pages;
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
  }

  PageBudgetStats stats;  ///< except `waiting`, which is the queue's length
  std::list<Waiter*> queue;
};

PageBudget::Grant::Grant(Grant&& other) noexcept
    : state_(std::move(other.state_)), bytes_(std::exchange(other.bytes_, 0)) {}

PageBudget::Grant& PageBudget::Grant::operator=(Grant&& other) noexcept {
  Grant gone(std::move(*this));
  state_ = std::move(other.state_);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

PageBudget::Grant::~Grant() {
  if (!state_) return;
  state_->stats.bytes -= bytes_;
  --state_->stats.pages;
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

Task<PageBudget::Grant> PageBudget::acquire_from(std::shared_ptr<State> state, std::size_t bytes) {
  Grant grant;
  if (state->queue.empty() && state->fits(bytes)) {
    state->take(grant, bytes);
    co_return grant;
  }
  State::Waiter waiter(co_await asio::this_coro::executor, bytes);
  state->queue.push_back(&waiter);
  ++state->stats.waits;
  struct Leaves {
    State& state;
    State::Waiter& waiter;
    ~Leaves() {
      if (!waiter.waits) return;
      state.queue.remove(&waiter);
      state.serve();  // who comes behind may fit
    }
  } leaves{*state, waiter};
  while (waiter.waits) {
    boost::system::error_code ignored;
    co_await waiter.timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const auto cancelled = co_await asio::this_coro::cancellation_state;
    if (cancelled.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
  }
  grant = std::move(waiter.grant);
  co_return grant;
}

PageBudgetStats PageBudget::stats() const {
  PageBudgetStats stats = state_->stats;
  stats.waiting = state_->queue.size();
  return stats;
}

}  // namespace sluice::sync
