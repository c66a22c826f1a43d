// Decimal numbers as text: their one form, and whether two are equal. Nothing here goes through a
// double.
#pragma once

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

}  // namespace sluice
