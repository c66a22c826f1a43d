// How fast runs go: counts of the same run, seen at several times.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "base/clock.hpp"

namespace sluice::api {

inline constexpr std::chrono::seconds kRateWindow{10};
inline constexpr std::chrono::seconds kRateLeast{2};  ///< over less a rate says nothing
inline constexpr std::size_t kProgressRunsMax = 1000;

/// Keeps a few samples of each run that somebody looks at; what nobody asks for is forgotten. Runs
/// of other hosts are as good as ours: the counts come from the database. One loop; owned by the
/// API.
class ProgressMeter {
 public:
  explicit ProgressMeter(const Clock& clock) : clock_(clock) {}

  /// The run has that many records by now, and began so long ago. Records per second over the last
  /// kRateWindow; the run's average when nobody looked before; nothing when it is too young.
  std::optional<double> note(std::int64_t run, std::int64_t records,
                             std::chrono::milliseconds since);
  [[nodiscard]] std::size_t size() const { return runs_.size(); }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Sample {
    TimePoint at;
    std::int64_t records;
  };
  void forget_old(TimePoint now);

  const Clock& clock_;
  std::map<std::int64_t, std::deque<Sample>> runs_;
};

}  // namespace sluice::api
