#include "fetch/retry.hpp"

#include <algorithm>
#include <charconv>

namespace sluice::fetch {
namespace {

using std::chrono::milliseconds;

bool asks_for_repeat(const Attempt& attempt) {
  if (attempt.status == 0) return attempt.repeatable && (attempt.idempotent || !attempt.sent);
  const int status = attempt.status;
  bool wanted = status == 408 || status == 409 || status == 429 || status >= 500;
  if (const auto vendor = contract::find_header(*attempt.headers, "Stripe-Should-Retry")) {
    if (*vendor == "false") return false;
    if (*vendor == "true") wanted = true;
  }
  return wanted && (attempt.idempotent || status == 429);
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

std::optional<milliseconds> retry_after(const contract::Headers& headers, Micros now) {
  const auto value = contract::find_header(headers, "Retry-After");
  if (!value) return std::nullopt;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), seconds);
  if (error == std::errc() && end == value->data() + value->size()) {
    constexpr std::int64_t kSecondsMax = 366 * 86'400;
    return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, kSecondsMax));
  }
  const auto date = from_http_date(*value);
  if (!date) return std::nullopt;
  return std::max(milliseconds::zero(), std::chrono::ceil<milliseconds>(*date - now));
}

std::optional<milliseconds> next_wait(const RetryOptions& options, const Attempt& attempt,
                                      Micros now, Entropy& entropy) {
  if (attempt.number >= options.tries_max || !asks_for_repeat(attempt)) return std::nullopt;
  const milliseconds own = backoff(options, attempt.number, entropy);
  if (attempt.headers == nullptr) return own;
  const auto asked = retry_after(*attempt.headers, now);
  if (!asked) return own;
  if (*asked > options.retry_after_max) return std::nullopt;
  return std::max(own, *asked);
}

}  // namespace sluice::fetch
