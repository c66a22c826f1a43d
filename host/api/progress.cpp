#include "api/progress.hpp"

#include <algorithm>

namespace sluice::api {
namespace {

double per_second(std::int64_t records, std::chrono::steady_clock::duration span) {
  return static_cast<double>(records) / std::chrono::duration<double>(span).count();
}

}  // namespace

void ProgressMeter::forget_old(TimePoint now) {
  std::erase_if(runs_,
                [now](const auto& run) { return now - run.second.back().at > 6 * kRateWindow; });
  while (runs_.size() >= kProgressRunsMax) runs_.erase(runs_.begin());  // the oldest run
}

std::optional<double> ProgressMeter::note(std::int64_t run, std::int64_t records,
                                          std::chrono::milliseconds since) {
  const TimePoint now = clock_.steady();
  if (!runs_.contains(run)) forget_old(now);
  std::deque<Sample>& samples = runs_[run];
  if (!samples.empty() && now - samples.back().at > 2 * kRateWindow) samples.clear();
  // Many readers ask at once: two samples a second are plenty.
  if (samples.empty() || now - samples.back().at >= std::chrono::milliseconds(500))
    samples.push_back({now, records});
  // The first one that is old enough for a whole window stays, all before it go.
  while (samples.size() > 1 && now - samples[1].at >= kRateWindow) samples.pop_front();
  const auto span = now - samples.front().at;
  if (span >= kRateLeast) return per_second(records - samples.front().records, span);
  if (since >= kRateLeast) return per_second(records, since);
  return std::nullopt;
}

}  // namespace sluice::api
