// Several coroutines with one owner, who waits for them all.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>

#include <exception>
#include <list>
#include <memory>

#include "base/async.hpp"
#include "base/bell.hpp"

namespace sluice {

/// The one way to spawn what may be cancelled (a manners test keeps it so): Asio touches the
/// cancellation slot of a coroutine until its completion handler runs, also when the coroutine has
/// ended and nobody remembers it, so the signal must live that long. Here the handler itself keeps
/// and removes it.
///
/// Lives on one loop, usually in the frame of a coroutine. Call wait() before it goes: what still
/// runs when it is destroyed is cancelled and may outlive it only up to its next suspension.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { cancel(); }

  void spawn(Task<void> task) {
    auto place = state_->signals.emplace(state_->signals.end());
    asio::co_spawn(state_->executor, std::move(task),
                   asio::bind_cancellation_slot(
                       place->slot(), [state = state_, place](std::exception_ptr surprise) {
                         if (surprise && !state->first) state->first = surprise;
                         state->signals.erase(place);
                         state->changed.cancel();
                       }));
  }

  [[nodiscard]] std::size_t running() const { return state_->signals.size(); }

  /// Asks every task to end at its next suspension.
  void cancel() {
    for (auto at = state_->signals.begin(); at != state_->signals.end();) {
      auto& signal = *at++;  // a task that ends at once erases its own place
      signal.emit(asio::cancellation_type::terminal);
    }
  }

  /// Until at most `left` run, or, when one has failed, none: throws what the first of them threw.
  Task<void> wait(std::size_t left = 0) {
    const std::shared_ptr<State> state = state_;
    while (state->signals.size() > (state->first ? 0 : left)) {
      state->changed.expires_at(asio::steady_timer::time_point::max());
      co_await rung(state->changed);
    }
    if (state->first) std::rethrow_exception(std::exchange(state->first, nullptr));
  }

 private:
  struct State {
    explicit State(Executor e) : executor(std::move(e)), changed(executor) {}
    Executor executor;
    asio::steady_timer changed;
    std::list<asio::cancellation_signal> signals;  ///< one a running task
    std::exception_ptr first;
  };
  std::shared_ptr<State> state_;
};

}  // namespace sluice
