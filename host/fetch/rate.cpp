#include "fetch/rate.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace sluice::fetch {
namespace {

using std::chrono::milliseconds;

/// Beyond it no wait is meant; keeps the arithmetic far from overflowing.
constexpr double kSpanMsMax = 366.0 * 86'400'000;

/// A plain decimal number, not negative: "12", "0.5". Nothing else, not even "+1" or "1e3".
std::optional<double> number(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  double value = 0, unit = 1;
  bool fraction = false, digits = false;
  for (const char c : text) {
    if (c == '.' && !fraction) {
      fraction = true;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    digits = true;
    if (fraction) unit /= 10;
    value = fraction ? value + unit * (c - '0') : value * 10 + (c - '0');
  }
  if (!digits) return std::nullopt;
  return value;
}

milliseconds span_of(double ms) {
  return milliseconds(static_cast<std::int64_t>(std::ceil(std::clamp(ms, 0.0, kSpanMsMax))));
}

/// "1h2m3.5s", "250ms", in any order, each unit at most as often as somebody wrote it.
std::optional<milliseconds> span_with_units(std::string_view text) {
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const auto value = number(text.substr(0, digits));
    if (!value) return std::nullopt;
    text.remove_prefix(digits);
    const std::size_t letters = std::min(text.find_first_of("0123456789."), text.size());
    const std::string_view unit = text.substr(0, letters);
    text.remove_prefix(letters);
    const double ms = unit == "ms"  ? 1
                      : unit == "s" ? 1'000
                      : unit == "m" ? 60'000
                      : unit == "h" ? 3'600'000
                      : unit == "d" ? 86'400'000
                                    : 0;
    if (ms == 0) return std::nullopt;
    total += *value * ms;
  }
  return span_of(total);
}

/// When the answer was made, by the vendor's clock where it says so.
Micros made_at(const contract::Headers& headers, Micros now) {
  const auto date = contract::find_header(headers, "Date");
  if (!date) return now;
  return from_http_date(*date, now).value_or(now);
}

std::optional<milliseconds> reset_span(contract::ResetUnit unit, std::string_view text,
                                       const contract::Headers& headers, Micros now) {
  if (const auto at = from_rfc3339(text)) {  // whatever was declared, it is no number
    return span_of(static_cast<double>((*at - made_at(headers, now)).count()) / 1000);
  }
  if (unit == contract::ResetUnit::delta) return span_with_units(text);
  const auto value = number(text);
  if (!value) return std::nullopt;
  const double made_ms = static_cast<double>(made_at(headers, now).count()) / 1000;
  switch (unit) {
    case contract::ResetUnit::seconds:
      return span_of(*value * 1000);
    case contract::ResetUnit::ms:
      return span_of(*value);
    case contract::ResetUnit::epoch_s:
      return span_of(*value * 1000 - made_ms);
    case contract::ResetUnit::epoch_ms:
      return span_of(*value - made_ms);
    case contract::ResetUnit::delta:
      break;
  }
  return std::nullopt;
}

bool ends_in_should_retry(std::string_view name) {
  constexpr std::string_view kEnd = "should-retry";
  if (name.size() < kEnd.size()) return false;
  const std::string_view tail = name.substr(name.size() - kEnd.size());
  return std::equal(tail.begin(), tail.end(), kEnd.begin(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
  });
}

}  // namespace

std::optional<milliseconds> retry_after(const contract::Headers& headers, Micros now) {
  const auto value = contract::find_header(headers, "Retry-After");
  if (!value) return std::nullopt;
  if (const auto seconds = number(*value)) return span_of(*seconds * 1000);
  const auto date = from_http_date(*value, now);
  if (!date) return std::nullopt;
  return span_of(static_cast<double>((*date - made_at(headers, now)).count()) / 1000);
}

bool says_too_fast(int status, const contract::Headers& headers, Micros now) {
  return status == 429 || (status == 403 && retry_after(headers, now));
}

std::optional<RateWindow> rate_window(const contract::RateHeaders& names,
                                      const contract::Headers& headers, Micros now) {
  if (names.remaining.empty()) return std::nullopt;
  const auto remaining_text = contract::find_header(headers, names.remaining);
  const auto reset_text = contract::find_header(headers, names.reset);
  if (!remaining_text || !reset_text) return std::nullopt;
  // Some vendors count what was too much below zero.
  const bool overdrawn = remaining_text->starts_with('-') && number(remaining_text->substr(1));
  const auto remaining = overdrawn ? std::optional(0.0) : number(*remaining_text);
  const auto resets_in = reset_span(names.unit, *reset_text, headers, now);
  if (!remaining || !resets_in) return std::nullopt;
  constexpr double kCountMax = 1e12;
  RateWindow window;
  window.remaining = static_cast<std::int64_t>(std::min(*remaining, kCountMax));
  window.resets_in = *resets_in;
  if (const auto limit_text = contract::find_header(headers, names.limit)) {
    const auto limit = number(*limit_text);
    if (limit) window.limit = static_cast<std::int64_t>(std::min(*limit, kCountMax));
  }
  return window;
}

std::optional<bool> should_retry(const contract::Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (!ends_in_should_retry(name)) continue;
    if (value == "true") return true;
    if (value == "false") return false;
  }
  return std::nullopt;
}

}  // namespace sluice::fetch
