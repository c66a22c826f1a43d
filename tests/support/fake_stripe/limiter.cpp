#include "limiter.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace fake_stripe {

void Limiter::configure(const nlohmann::json& description) {
  constexpr std::array<std::string_view, 6> kKnown = {
      "per_second", "burst", "endpoint_per_second", "concurrency", "reason", "retry_after"};
  for (const auto& [name, value] : description.items()) {
    if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
      throw std::invalid_argument("rate_limit: unknown field '" + name + "'");
    }
  }
  const std::lock_guard lock(mutex_);
  per_second_ = description.value("per_second", 0.0);
  burst_ = description.value("burst", std::max(1.0, per_second_));
  endpoint_per_second_ = description.value("endpoint_per_second", 0.0);
  concurrency_ = description.value("concurrency", std::int64_t{0});
  with_reason_ = description.value("reason", true);
  const auto wait = description.find("retry_after");
  retry_after_ = wait == description.end() || wait->is_null() ? "" : wait->dump();
  buckets_.clear();
}

void Limiter::clear() {
  const std::lock_guard lock(mutex_);
  per_second_ = endpoint_per_second_ = 0;
  concurrency_ = 0;
  retry_after_.clear();
  buckets_.clear();
  requests_ = exceeded_ = 0;
  second_peak_ = in_second_ = 0;
  in_flight_peak_ = in_flight_;
}

nlohmann::json Limiter::describe() const {
  const std::lock_guard lock(mutex_);
  return {{"per_second", per_second_},
          {"burst", burst_},
          {"endpoint_per_second", endpoint_per_second_},
          {"concurrency", concurrency_},
          {"requests", requests_},
          {"exceeded", exceeded_},
          {"peak_per_second", std::max(second_peak_, in_second_)},
          {"in_flight", in_flight_},
          {"peak_in_flight", in_flight_peak_}};
}

bool Limiter::take(Bucket& bucket, double rate, double burst, Clock::time_point now) const {
  if (!bucket.used) {
    bucket = {.tokens = burst, .filled = now, .used = true};
  }
  const double seconds = std::chrono::duration<double>(now - bucket.filled).count();
  bucket.tokens = std::min(burst, bucket.tokens + seconds * rate);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void Limiter::count(Clock::time_point now) {
  ++requests_;
  in_flight_peak_ = std::max(in_flight_peak_, ++in_flight_);
  const auto second =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (second != second_) {
    second_peak_ = std::max(second_peak_, in_second_);
    second_ = second;
    in_second_ = 0;
  }
  ++in_second_;
}

std::optional<Limiter::Refusal> Limiter::enter(const std::string& account,
                                               const std::string& endpoint) {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  count(now);
  const char* reason = nullptr;
  if (concurrency_ > 0 && in_flight_ > concurrency_) {
    reason = "global-concurrency";
  } else if (per_second_ > 0 && !take(buckets_[account], per_second_, burst_, now)) {
    reason = "global-rate";
  } else if (endpoint_per_second_ > 0 && !take(buckets_[account + endpoint], endpoint_per_second_,
                                               std::max(1.0, endpoint_per_second_), now)) {
    reason = "endpoint-rate";
  }
  if (reason == nullptr) return std::nullopt;
  ++exceeded_;
  return Refusal{.reason = with_reason_ ? reason : "", .retry_after = retry_after_};
}

void Limiter::leave() {
  const std::lock_guard lock(mutex_);
  --in_flight_;
}

}  // namespace fake_stripe
