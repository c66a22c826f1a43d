// Times as people say them.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "base/clock.hpp"

namespace sluice {

/// "45s", "90m", "2h", "1d", "1w", of at most a thousand years.
[[nodiscard]] std::optional<std::chrono::seconds> span_of(std::string_view text);

/// "2026-11-20": when that day begins in UTC.
[[nodiscard]] std::optional<Micros> day_of(std::string_view text);

/// A span before now (not 0), a day's beginning in UTC ("today", "yesterday", "2026-11-20"), or a
/// time of RFC 3339.
[[nodiscard]] std::optional<Micros> moment_of(std::string_view text, Micros now);

}  // namespace sluice
