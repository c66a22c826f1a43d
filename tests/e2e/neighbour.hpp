// Somebody who asks all the time while others are in trouble.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "e2e/rest.hpp"

namespace sluice::e2e {

/// One answer, and how long it took.
struct Timed {
  Reply reply;
  double seconds = 0;
};

inline Timed perform_timed(const std::string& url, const Ask& what) {
  const auto begun = std::chrono::steady_clock::now();
  Timed timed;
  timed.reply = perform(url, what);
  timed.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  return timed;
}

/// Asks again and again until it is told to stop.
class Neighbour {
 public:
  explicit Neighbour(std::function<Timed()> ask)
      : thread_([this, ask = std::move(ask)] {
          while (!stop_) {
            const Timed timed = ask();
            if (timed.reply.status != 200) ++refused_;
            seconds_.push_back(timed.seconds);
          }
        }) {}
  ~Neighbour() { stop(); }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;
  /// The longest it waited; call once.
  double stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    std::sort(seconds_.begin(), seconds_.end());
    return seconds_.empty() ? 0 : seconds_.back();
  }
  /// After stop().
  [[nodiscard]] double p99() const {
    return seconds_.empty() ? 0 : seconds_[(seconds_.size() - 1) * 99 / 100];
  }
  [[nodiscard]] int refused() const { return refused_; }

 private:
  std::atomic<bool> stop_ = false;
  int refused_ = 0;
  std::vector<double> seconds_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace sluice::e2e
