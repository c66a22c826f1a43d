// Time as an input. Wall time is microseconds since 1970-01-01T00:00:00Z in UTC; durations are
// steady.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

using Micros = std::chrono::microseconds;

/// Where the host reads the time. One per process, owned by main, outlives every user.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Wall time, µs since the epoch. May jump.
  [[nodiscard]] virtual Micros now() const = 0;
  /// Never goes back; for deadlines and measuring.
  [[nodiscard]] virtual std::chrono::steady_clock::time_point steady() const = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Micros now() const override;
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override;
};

/// "2026-11-23T05:16:54.123456Z" (fraction left out when zero).
[[nodiscard]] std::string to_rfc3339(Micros time);
/// Accepts any offset and 0 to 9 fraction digits; nullopt when it is not RFC 3339.
[[nodiscard]] std::optional<Micros> from_rfc3339(std::string_view text);
/// The date of an HTTP header in each of the forms that must be read (RFC 9110, 5.6.7):
/// IMF-fixdate ("Mon, 23 Nov 2026 05:16:54 GMT"), RFC 850 ("Monday, 23-Nov-26 05:16:54 GMT", whose
/// year is told by `now`) and asctime ("Mon Nov 23 05:16:54 2026"). Names of weekdays do not count.
[[nodiscard]] std::optional<Micros> from_http_date(std::string_view text, Micros now);

}  // namespace sluice
