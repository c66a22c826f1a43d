// What a vendor's answer says about its rate limit. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"

namespace sluice::fetch {

/// Retry-After as a span from `now` (seconds or an HTTP date in any of its forms; a date is taken
/// relative to the answer's own Date where it has one, so that our clock does not matter); nullopt
/// when absent or malformed. Never negative.
[[nodiscard]] std::optional<std::chrono::milliseconds> retry_after(const contract::Headers& headers,
                                                                   Micros now);

/// That the account asks too fast: 429, or 403 with a usable Retry-After, as GitHub and others say
/// it. The request was refused, whatever its method.
[[nodiscard]] bool says_too_fast(int status, const contract::Headers& headers, Micros now);

/// A vendor's rate window as one answer described it.
struct RateWindow {
  std::int64_t remaining = 0;  ///< requests that may still be made in it; never negative
  std::optional<std::int64_t> limit;
  std::chrono::milliseconds resets_in{0};  ///< from the answer on; never negative
};

/// nullopt when `names` declares nothing, or the answer lacks one of the two that are needed, or
/// they hold no numbers. A reset may also be an RFC 3339 time; below zero nothing is left.
[[nodiscard]] std::optional<RateWindow> rate_window(const contract::RateHeaders& names,
                                                    const contract::Headers& headers, Micros now);

/// The vendor's own word on whether to repeat: the first header whose name ends in "Should-Retry"
/// with the value true or false; nullopt when there is none.
[[nodiscard]] std::optional<bool> should_retry(const contract::Headers& headers);

}  // namespace sluice::fetch
