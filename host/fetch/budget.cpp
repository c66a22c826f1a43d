#include "fetch/budget.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>

#include "base/check.hpp"

namespace sluice::fetch {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;
using std::chrono::nanoseconds;

struct Waiter {
  explicit Waiter(const Executor& executor) : bell(executor, TimePoint::max()) {}
  asio::steady_timer bell;
  bool granted = false;
};

}  // namespace

struct Budget::State {
  State(BudgetOptions o, const Clock& c, Delay& d) : options(o), clock(c), delay(d) {}

  void release() {
    SLUICE_INVARIANT(in_use > 0);
    if (queue.empty()) {
      --in_use;
      return;
    }
    const std::shared_ptr<Waiter> next = queue.front();  // the place passes on; in_use stays
    queue.pop_front();
    next->granted = true;
    next->bell.cancel();
  }

  /// When the next request may start, and takes that moment.
  TimePoint reserve() {
    const TimePoint now = std::max(clock.steady(), held_until);
    if (options.requests_per_second <= 0) return now;
    const nanoseconds interval(static_cast<std::int64_t>(1e9 / options.requests_per_second));
    const TimePoint start = std::max(now, next_even - interval * (options.burst - 1));
    next_even = std::max(now, next_even) + interval;
    return start;
  }

  BudgetOptions options;
  const Clock& clock;
  Delay& delay;
  int in_use = 0;
  std::deque<std::shared_ptr<Waiter>> queue;
  TimePoint next_even{};  ///< when the bucket would be full again, less its burst
  TimePoint held_until{};
};

Budget::Permit::~Permit() {
  if (state_) state_->release();
}

Budget::Permit& Budget::Permit::operator=(Permit&& other) noexcept {
  if (this != &other) {
    if (state_) state_->release();
    state_ = std::move(other.state_);
    waited_ = other.waited_;
  }
  return *this;
}

Budget::Budget(BudgetOptions options, const Clock& clock, Delay& delay) {
  options.concurrency = std::max(1, options.concurrency);
  options.burst = std::max(1, options.burst);
  state_ = std::make_shared<State>(options, clock, delay);
}

Task<Budget::Permit> Budget::acquire() { return acquire_from(state_); }

Task<Budget::Permit> Budget::acquire_from(std::shared_ptr<State> state) {
  Permit permit;
  if (state->in_use < state->options.concurrency && state->queue.empty()) {
    ++state->in_use;
    permit.state_ = state;
  } else {
    const Executor executor = co_await asio::this_coro::executor;
    auto waiter = std::make_shared<Waiter>(executor);
    state->queue.push_back(waiter);
    // Leaves the queue, or keeps what was granted, also when this frame is destroyed while it
    // waits.
    struct Place {
      State& state;
      std::shared_ptr<Waiter> waiter;
      bool taken = false;
      ~Place() {
        if (taken) return;
        if (waiter->granted) {
          state.release();
        } else {
          std::erase(state.queue, waiter);
        }
      }
    } place{*state, waiter};
    boost::system::error_code rung;
    co_await waiter->bell.async_wait(asio::redirect_error(asio::use_awaitable, rung));
    if (!waiter->granted) throw boost::system::system_error(asio::error::operation_aborted);
    place.taken = true;
    permit.state_ = state;
    permit.waited_ = true;
  }
  const TimePoint start = state->reserve();
  for (;;) {
    const TimePoint until = std::max(start, state->held_until);
    const nanoseconds span = until - state->clock.steady();
    if (span <= nanoseconds::zero()) break;
    permit.waited_ = true;
    co_await state->delay.wait(span);
  }
  co_return std::move(permit);
}

void Budget::hold_until(TimePoint until) {
  state_->held_until = std::max(state_->held_until, until);
}

void Budget::set_requests_per_second(double requests_per_second) {
  state_->options.requests_per_second = requests_per_second;
}

int Budget::in_use() const { return state_->in_use; }
std::size_t Budget::waiting() const { return state_->queue.size(); }

}  // namespace sluice::fetch
