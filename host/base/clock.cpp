#include "base/clock.hpp"

#include <fmt/format.h>
#include <time.h>

#include <array>
#include <charconv>

namespace sluice {
namespace {

using std::chrono::days;
using std::chrono::sys_days;

/// Reads exactly `width` digits at `at`; -1 when they are not there.
int digits(std::string_view text, std::size_t at, std::size_t width) {
  if (at + width > text.size()) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + width; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

std::optional<Micros> from_civil(int year, int month, int day, int hour, int minute, int second) {
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return Micros(sys_days(date).time_since_epoch()) + std::chrono::hours(hour) +
         std::chrono::minutes(minute) + std::chrono::seconds(second);
}

/// 1 to 12; 0 when it is no month.
int month_of(std::string_view name) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (std::size_t i = 0; i < kMonths.size(); ++i) {
    if (name == kMonths[i]) return static_cast<int>(i) + 1;
  }
  return 0;
}

/// "05:16:54" at `at`, of a day that is known.
std::optional<Micros> with_time(int year, int month, int day, std::string_view text,
                                std::size_t at) {
  if (at + 8 > text.size() || text[at + 2] != ':' || text[at + 5] != ':') return std::nullopt;
  const int hour = digits(text, at, 2), minute = digits(text, at + 3, 2),
            second = digits(text, at + 6, 2);
  if (month == 0 || day < 0 || year < 0 || hour < 0 || minute < 0 || second < 0)
    return std::nullopt;
  return from_civil(year, month, day, hour, minute, second);
}

/// "Mon, 23 Nov 2026 05:16:54 GMT"
std::optional<Micros> from_imf_fixdate(std::string_view text) {
  if (text.size() != 29 || !text.ends_with(" GMT") || text.substr(3, 2) != ", ")
    return std::nullopt;
  return with_time(digits(text, 12, 4), month_of(text.substr(8, 3)), digits(text, 5, 2), text, 17);
}

/// "Mon Nov 23 05:16:54 2026"; a day below ten is written " 6"
std::optional<Micros> from_asctime(std::string_view text) {
  if (text.size() != 24 || text[3] != ' ' || text[7] != ' ' || text[19] != ' ') return std::nullopt;
  const int day = text[8] == ' ' ? digits(text, 9, 1) : digits(text, 8, 2);
  return with_time(digits(text, 20, 4), month_of(text.substr(4, 3)), day, text, 11);
}

/// "Monday, 23-Nov-26 05:16:54 GMT": of the years that end so, the last one that is not more than
/// 50 years away in the future.
std::optional<Micros> from_rfc850(std::string_view text, Micros now) {
  const std::size_t comma = text.find(", ");
  if (comma == std::string_view::npos || !text.ends_with(" GMT")) return std::nullopt;
  const std::string_view rest = text.substr(comma + 2);
  if (rest.size() != 22 || rest[2] != '-' || rest[6] != '-' || rest[9] != ' ') return std::nullopt;
  const int of_century = digits(rest, 7, 2);
  if (of_century < 0) return std::nullopt;
  const std::chrono::year_month_day today{std::chrono::floor<days>(sys_days{} + now)};
  const int last = static_cast<int>(today.year()) + 50;
  const int year = last - (((last - of_century) % 100) + 100) % 100;
  return with_time(year, month_of(rest.substr(3, 3)), digits(rest, 0, 2), rest, 10);
}

}  // namespace

Micros SystemClock::now() const {
  return std::chrono::duration_cast<Micros>(std::chrono::system_clock::now().time_since_epoch());
}

std::chrono::steady_clock::time_point SystemClock::steady() const {
  // steady_clock stands still while the machine is suspended, and a lease does not.
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::steady_clock::time_point(std::chrono::seconds(now.tv_sec) +
                                               std::chrono::nanoseconds(now.tv_nsec));
}

std::string to_rfc3339(Micros time) {
  const auto day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date{sys_days(day)};
  const std::int64_t micros = (time - day).count();
  const std::int64_t seconds = micros / 1'000'000;
  std::string text =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (micros % 1'000'000 != 0) text += fmt::format(".{:06}", micros % 1'000'000);
  return text + 'Z';
}

namespace {

/// RFC 3339 writes the years 1 to 9999, and so does what reads it: PostgreSQL has no year 0. An
/// offset may lead out of them.
std::optional<Micros> in_four_digits(Micros time) {
  const std::chrono::year_month_day date{sys_days(std::chrono::floor<days>(time))};
  const int year = static_cast<int>(date.year());
  return year >= 1 && year <= 9999 ? std::optional(time) : std::nullopt;
}

}  // namespace

std::optional<Micros> from_rfc3339(std::string_view text) {
  const int year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const int hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0) return std::nullopt;
  if (text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':') return std::nullopt;
  if (text[10] != 'T' && text[10] != 't' && text[10] != ' ') return std::nullopt;
  auto time = from_civil(year, month, day, hour, minute, second);
  if (!time) return std::nullopt;
  std::size_t at = 19;
  if (at < text.size() && text[at] == '.') {
    std::int64_t scale = 100'000;
    const std::size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
      *time += Micros((text[at] - '0') * scale);
    }
    if (at == first || at - first > 9) return std::nullopt;
  }
  if (at + 1 == text.size() && (text[at] == 'Z' || text[at] == 'z')) return in_four_digits(*time);
  if (at + 6 != text.size() || text[at + 3] != ':') return std::nullopt;
  const int offset_hours = digits(text, at + 1, 2), offset_minutes = digits(text, at + 4, 2);
  if (offset_hours < 0 || offset_minutes < 0 || offset_hours > 23 || offset_minutes > 59)
    return std::nullopt;
  const Micros offset = std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes);
  if (text[at] == '+') return in_four_digits(*time - offset);
  if (text[at] == '-') return in_four_digits(*time + offset);
  return std::nullopt;
}

std::optional<Micros> from_http_date(std::string_view text, Micros now) {
  if (const auto time = from_imf_fixdate(text)) return time;
  if (const auto time = from_asctime(text)) return time;
  return from_rfc850(text, now);
}

}  // namespace sluice
