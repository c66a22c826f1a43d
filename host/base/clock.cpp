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
  if (at + 1 == text.size() && (text[at] == 'Z' || text[at] == 'z')) return time;
  if (at + 6 != text.size() || text[at + 3] != ':') return std::nullopt;
  const int offset_hours = digits(text, at + 1, 2), offset_minutes = digits(text, at + 4, 2);
  if (offset_hours < 0 || offset_minutes < 0 || offset_hours > 23 || offset_minutes > 59)
    return std::nullopt;
  const Micros offset = std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes);
  if (text[at] == '+') return *time - offset;
  if (text[at] == '-') return *time + offset;
  return std::nullopt;
}

std::optional<Micros> from_http_date(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  // "Mon, 23 Nov 2026 05:16:54 GMT"
  if (text.size() != 29 || !text.ends_with(" GMT")) return std::nullopt;
  int month = 0;
  for (std::size_t i = 0; i < kMonths.size(); ++i) {
    if (text.substr(8, 3) == kMonths[i]) month = static_cast<int>(i) + 1;
  }
  const int day = digits(text, 5, 2), year = digits(text, 12, 4);
  const int hour = digits(text, 17, 2), minute = digits(text, 20, 2), second = digits(text, 23, 2);
  if (month == 0 || day < 0 || year < 0 || hour < 0 || minute < 0 || second < 0)
    return std::nullopt;
  return from_civil(year, month, day, hour, minute, second);
}

}  // namespace sluice
