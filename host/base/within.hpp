// A task with a deadline.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <utility>

#include "base/async.hpp"
#include "base/task_group.hpp"

namespace sluice {

/// Runs `task` and asks it to end when `limit` has passed or the caller is cancelled; comes back
/// when it has ended. False: the limit ended it. Throws what it threw.
inline Task<bool> within(std::chrono::milliseconds limit, Task<void> task) {
  struct State {
    explicit State(const Executor& executor) : group(executor) {}
    TaskGroup group;
    bool late = false;
  };
  const Executor executor = co_await asio::this_coro::executor;
  const auto state = std::make_shared<State>(executor);
  asio::steady_timer bell(executor, limit);
  const std::weak_ptr<State> watched = state;
  bell.async_wait([watched](boost::system::error_code stopped) {
    const auto running = stopped ? nullptr : watched.lock();
    if (!running) return;
    running->late = true;
    running->group.cancel();
  });
  state->group.spawn(std::move(task));
  std::exception_ptr surprise;
  try {
    co_await state->group.wait();
  } catch (...) {
    surprise = std::current_exception();
  }
  const auto asked = co_await asio::this_coro::cancellation_state;
  if (asked.cancelled() != asio::cancellation_type::none) {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    state->group.cancel();
    try {
      co_await state->group.wait();
    } catch (...) {
      surprise = std::current_exception();
    }
  }
  if (!surprise) co_return true;
  try {
    std::rethrow_exception(surprise);
  } catch (const boost::system::system_error& error) {
    if (!state->late || error.code() != asio::error::operation_aborted) throw;
  }
  co_return false;
}

}  // namespace sluice
