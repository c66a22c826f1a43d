#include "base/moment.hpp"

#include <array>
#include <cstdint>
#include <string>

#include "base/numbers.hpp"

namespace sluice {

using std::chrono::days;
using std::chrono::seconds;

std::optional<seconds> span_of(std::string_view text) {
  constexpr std::string_view kUnits = "smhdw";
  constexpr std::array<std::int64_t, 5> kSeconds = {1, 60, 3'600, 86'400, 7 * 86'400};
  constexpr std::int64_t kMost = std::int64_t{365'000} * 86'400;
  if (text.empty()) return std::nullopt;
  const std::size_t unit = kUnits.find(text.back());
  const auto count = whole_number(text.substr(0, text.size() - 1));
  if (unit == std::string_view::npos || !count || *count < 0) return std::nullopt;
  if (*count > kMost / kSeconds[unit]) return std::nullopt;
  return seconds(*count * kSeconds[unit]);
}

std::optional<Micros> day_of(std::string_view text) {
  if (text.size() != 10) return std::nullopt;
  return from_rfc3339(std::string(text) + "T00:00:00Z");
}

std::optional<Micros> moment_of(std::string_view text, Micros now) {
  const auto midnight = std::chrono::floor<days>(now);
  if (text == "today") return midnight;
  if (text == "yesterday") return midnight - days(1);
  if (const auto day = day_of(text)) return day;
  if (const auto span = span_of(text); span && span->count() > 0) return now - *span;
  return from_rfc3339(text);
}

}  // namespace sluice
