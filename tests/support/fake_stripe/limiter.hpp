#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace fake_stripe {

/// Counts requests per second of real time and, when told to, refuses what is above a rate. One
/// token bucket for each account, and one for each of its endpoints. Safe from any thread.
class Limiter {
 public:
  struct Refusal {
    std::string reason;  ///< Stripe-Rate-Limited-Reason; empty: no such header
    std::string retry_after;
  };

  /// {"per_second","burst","endpoint_per_second","concurrency","reason":bool,"retry_after":s}.
  /// Throws std::invalid_argument for unknown fields.
  void configure(const nlohmann::json& description);
  void clear();
  [[nodiscard]] nlohmann::json describe() const;

  /// A request came in; leave() must follow. What is refused was counted as exceeding.
  std::optional<Refusal> enter(const std::string& account, const std::string& endpoint);
  void leave();

 private:
  using Clock = std::chrono::steady_clock;
  struct Bucket {
    double tokens = 0;
    Clock::time_point filled;
    bool used = false;
  };

  bool take(Bucket& bucket, double rate, double burst, Clock::time_point now) const;
  void count(Clock::time_point now);

  mutable std::mutex mutex_;
  double per_second_ = 0;  ///< 0: no limit
  double burst_ = 0;
  double endpoint_per_second_ = 0;
  std::int64_t concurrency_ = 0;
  bool with_reason_ = true;
  std::string retry_after_;
  std::map<std::string, Bucket> buckets_;
  std::int64_t in_flight_ = 0;
  std::int64_t in_flight_peak_ = 0;
  std::int64_t second_ = 0;
  std::int64_t in_second_ = 0;
  std::int64_t second_peak_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t exceeded_ = 0;
};

}  // namespace fake_stripe
