// A few at a time, the others in order.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <memory>

#include "base/async.hpp"
#include "base/bell.hpp"

namespace sluice::sync {

/// How many go at once, and who waits. One loop; outlives its turns.
class Turns {
 public:
  Turns(Executor executor, std::size_t at_once) : executor_(executor), at_once_(at_once) {}
  [[nodiscard]] std::size_t waiting() const { return queue_.size(); }

 private:
  friend class Turn;
  /// Whoever is first in line looks whether it is his turn.
  void ring_first() {
    if (going_ < at_once_ && !queue_.empty()) queue_.front()->cancel();
  }
  Executor executor_;
  std::size_t at_once_;
  std::size_t going_ = 0;
  std::deque<std::shared_ptr<asio::steady_timer>> queue_;
};

/// One who waits, then goes, until he is destroyed; cancelled while he waits he leaves the line,
/// and passes on the bell that may have been rung for him.
class Turn {
 public:
  explicit Turn(Turns& turns) : turns_(turns) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (waiting_) std::erase(turns_.queue_, waiting_);
    if (has_it_) --turns_.going_;
    turns_.ring_first();
  }

  Task<void> come() {
    if (turns_.going_ >= turns_.at_once_ || !turns_.queue_.empty()) {
      waiting_ = std::make_shared<asio::steady_timer>(turns_.executor_);
      turns_.queue_.push_back(waiting_);
      while (turns_.going_ >= turns_.at_once_ || turns_.queue_.front() != waiting_) {
        waiting_->expires_at(std::chrono::steady_clock::time_point::max());
        co_await rung(*waiting_);
      }
      turns_.queue_.pop_front();
      waiting_.reset();
    }
    has_it_ = true;
    ++turns_.going_;
    turns_.ring_first();
  }

 private:
  Turns& turns_;
  std::shared_ptr<asio::steady_timer> waiting_;
  bool has_it_ = false;
};

}  // namespace sluice::sync
