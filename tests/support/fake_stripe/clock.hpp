#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace fake_stripe {

/// The fake's own time. It starts at a given second (or at the real time), runs on with the real
/// clock unless frozen, and is moved forward by advance(). Safe from any thread.
class Clock {
 public:
  /// `start_s` 0: the real time.
  Clock(std::int64_t start_s, bool frozen) : frozen_(frozen), base_ms_(real_ms()) {
    if (start_s != 0) offset_ms_ = start_s * 1000 - base_ms_;
  }

  [[nodiscard]] std::int64_t now_ms() const {
    return (frozen_ ? base_ms_ : real_ms()) + offset_ms_.load();
  }
  [[nodiscard]] std::int64_t now_s() const { return now_ms() / 1000; }
  void advance(std::int64_t seconds) { offset_ms_ += seconds * 1000; }

 private:
  static std::int64_t real_ms() {
    using std::chrono::duration_cast;
    using std::chrono::milliseconds;
    const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
    return duration_cast<milliseconds>(since_epoch).count();
  }

  bool frozen_;
  std::int64_t base_ms_;
  std::atomic<std::int64_t> offset_ms_{0};
};

}  // namespace fake_stripe
