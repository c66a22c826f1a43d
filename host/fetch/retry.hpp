// Whether an attempt is repeated, and when. Pure, apart from the dice.
#pragma once

#include <chrono>
#include <optional>

#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "contract/exchange.hpp"
#include "fetch/rate.hpp"

namespace sluice::fetch {

struct RetryOptions {
  int tries_max = 5;
  /// No attempt begins later than this after the first: what fails for longer is a failed run's
  /// business, which is tried again by the schedule.
  std::chrono::milliseconds total_max{180'000};
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
  std::chrono::milliseconds since_first{0};    ///< from the first attempt's begin to this one's end
};

/// The wait before the next attempt; nullopt: no more. By error class:
///   nothing was sent (name, connect, TLS timeout)      repeated with any method
///   sent, and the answer lost (cut, damaged, timeout)  repeated when the request is idempotent
///   beyond a limit, a certificate that does not        not repeated: it would fail the same way
///     verify, an encoding that nobody offered
///   429; 403 with Retry-After                          repeated with any method: it was refused
///   408, 409, 425, 5xx but 501 and 505                 repeated when the request is idempotent
///   every other status                                 is an answer, not an error
/// The vendor's "…-Should-Retry: false" ends it, "true" adds other statuses (should_retry()). The
/// wait is uniform in [0, backoff_first·2^n] (full jitter), capped, and never shorter than
/// Retry-After. tries_max and total_max bound it.
[[nodiscard]] std::optional<std::chrono::milliseconds> next_wait(const RetryOptions& options,
                                                                 const Attempt& attempt, Micros now,
                                                                 Entropy& entropy);

}  // namespace sluice::fetch
