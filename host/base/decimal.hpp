// Decimal numbers as text: their one form, and whether two are equal. Nothing here goes through a
// double.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// The one form of a decimal: no sign but '-', no needless zeros, no exponent, and zero has no
/// sign: "012.50" is "12.5", "1e3" is "1000", "-0.0" is "0". What is no finite decimal ("NaN")
/// stays as it is.
[[nodiscard]] std::string plain_decimal(std::string_view text);

/// Equal as PostgreSQL's numeric compares them: 1, 1.0 and 10e-1 are one number. Both are decimals,
/// with or without an exponent.
[[nodiscard]] bool same_number(std::string_view a, std::string_view b);

/// The number that a JSON number or a decimal is, where it is a whole one of 64 bits, however it is
/// written: 1999.0, 1e3 and 12.50e1 are. Nothing for 0.5, for 9223372036854775808, and for what is
/// no number as JSON writes them ("+5", "1.", " 1").
[[nodiscard]] std::optional<std::int64_t> exact_integer(std::string_view text);

}  // namespace sluice
