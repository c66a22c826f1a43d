// Something that is away for a while, and how often to speak of it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace sluice {

/// Says when to write a line about what fails again and again: as it begins, then after pauses that
/// double up to a limit, and once when it is over. Owned by who tries; one thread.
///
///   try fails     ─► failed():    true when it is time for a line
///   try succeeds  ─► succeeded(): how long it was away, once
class Outage {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Span = std::chrono::milliseconds;
  static constexpr Span kFirstPause = std::chrono::seconds(1);
  static constexpr Span kPauseMax = std::chrono::minutes(1);

  struct Over {
    std::int64_t failures = 0;
    Span lasted{0};
  };

  bool failed(Time now) {
    if (failures_++ == 0) {
      began_ = now;
      pause_ = kFirstPause;
    } else if (now < next_line_) {
      return false;
    } else {
      pause_ = std::min(kPauseMax, pause_ * 2);
    }
    next_line_ = now + pause_;
    return true;
  }

  std::optional<Over> succeeded(Time now) {
    if (failures_ == 0) return std::nullopt;
    Over over;
    over.failures = failures_;
    over.lasted = lasted(now);
    failures_ = 0;
    return over;
  }

  /// In a row; 0: it is not away.
  [[nodiscard]] std::int64_t failures() const { return failures_; }
  [[nodiscard]] Span lasted(Time now) const {
    return failures_ == 0 ? Span(0) : std::chrono::duration_cast<Span>(now - began_);
  }

 private:
  std::int64_t failures_ = 0;
  Time began_{}, next_line_{};
  Span pause_{0};
};

}  // namespace sluice
