#include "fetch/retry.hpp"

#include <algorithm>

namespace sluice::fetch {
namespace {

using std::chrono::milliseconds;

bool may_pass(int status) {
  if (status == 408 || status == 409 || status == 425 || status == 429) return true;
  return status >= 500 && status < 600 && status != 501 && status != 505;
}

bool asks_for_repeat(const Attempt& attempt, Micros now) {
  if (attempt.status == 0) return attempt.repeatable && (attempt.idempotent || !attempt.sent);
  const bool too_fast = says_too_fast(attempt.status, *attempt.headers, now);
  if (!should_retry(*attempt.headers).value_or(too_fast || may_pass(attempt.status))) return false;
  return attempt.idempotent || too_fast;
}

milliseconds backoff(const RetryOptions& options, int number, Entropy& entropy) {
  const int doublings = std::min(number - 1, 20);
  const std::int64_t ceiling = std::min<std::int64_t>(options.backoff_max.count(),
                                                      options.backoff_first.count() << doublings);
  if (ceiling <= 0) return milliseconds::zero();
  const std::int64_t bound = std::min<std::int64_t>(ceiling + 1, UINT32_MAX);
  return milliseconds(entropy.below(static_cast<std::uint32_t>(bound)));
}

}  // namespace

std::optional<milliseconds> next_wait(const RetryOptions& options, const Attempt& attempt,
                                      Micros now, Entropy& entropy) {
  if (attempt.number >= options.tries_max || !asks_for_repeat(attempt, now)) return std::nullopt;
  milliseconds wait = backoff(options, attempt.number, entropy);
  if (attempt.headers != nullptr) {
    const auto asked = retry_after(*attempt.headers, now).value_or(milliseconds::zero());
    if (asked > options.retry_after_max) return std::nullopt;
    wait = std::max(wait, asked);
  }
  if (attempt.since_first + wait > options.total_max) return std::nullopt;
  return wait;
}

}  // namespace sluice::fetch
