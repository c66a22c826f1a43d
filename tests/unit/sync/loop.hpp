// A loop for tests of coroutines, with a deadline instead of patience.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <utility>

#include "base/async.hpp"

namespace sluice::testing {

class Loop {
 public:
  Executor executor() { return io_.get_executor(); }

  /// Starts a task whose end sets `ended` and, when it threw, `error`.
  struct Outcome {
    bool ended = false;
    std::exception_ptr error;
  };
  template <class... Token>
  void spawn(Task<void> task, Outcome& outcome) {
    asio::co_spawn(io_, std::move(task), [&outcome](std::exception_ptr error) {
      outcome.ended = true;
      outcome.error = error;
    });
  }

  /// Runs until `condition()`; fails the test when it takes too long.
  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "a condition did not become true in time";
        return false;
      }
      if (io_.stopped()) io_.restart();
      io_.run_one_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  /// Runs what can run without waiting.
  void settle() {
    if (io_.stopped()) io_.restart();
    while (io_.poll() > 0) {
    }
  }

 private:
  asio::io_context io_;
};

}  // namespace sluice::testing
