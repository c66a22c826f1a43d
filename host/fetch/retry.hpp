// Whether an attempt is repeated, and when. Pure, apart from the dice.
#pragma once

#include <chrono>
#include <optional>

#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "contract/exchange.hpp"

namespace sluice::fetch {

struct RetryOptions {
  int tries_max = 5;
  std::chrono::milliseconds backoff_first{500};
  std::chrono::milliseconds backoff_max{32'000};
  /// A vendor that asks for more patience than this gets its answer passed on to the connector,
  /// whose failure says when to come back; the run must not sit in memory meanwhile.
  std::chrono::milliseconds retry_after_max{60'000};
};

/// How one attempt ended.
struct Attempt {
  int number = 1;  ///< 1 is the first
  bool idempotent = false;
  int status = 0;                              ///< 0: no answer
  const contract::Headers* headers = nullptr;  ///< null: no answer
  bool sent = true;                            ///< false: it failed before anything left
  bool repeatable = true;                      ///< false: the same attempt would fail the same way
};

/// Retry-After as a span from `now` (seconds or an HTTP date); nullopt when absent or malformed.
[[nodiscard]] std::optional<std::chrono::milliseconds> retry_after(const contract::Headers& headers,
                                                                   Micros now);

/// The wait before the next attempt; nullopt: no more. Repeated are connection errors, 408, 409,
/// 429 and from 500 up, when the request is idempotent; one that is not, only when the vendor
/// cannot have acted on it (nothing was sent, or 429). "Stripe-Should-Retry: false" ends it, "true"
/// adds other statuses. The wait is uniform in [0, backoff_first·2^n], capped, and never shorter
/// than Retry-After.
[[nodiscard]] std::optional<std::chrono::milliseconds> next_wait(const RetryOptions& options,
                                                                 const Attempt& attempt, Micros now,
                                                                 Entropy& entropy);

}  // namespace sluice::fetch
