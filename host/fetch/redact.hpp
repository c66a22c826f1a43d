// Takes out of a response what a connector must not see.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "contract/exchange.hpp"

namespace sluice::fetch {

/// Shorter texts are not searched for: they would hit by chance.
inline constexpr std::size_t kMaskBytesMin = 8;

/// Overwrites each occurrence of each text (of at least kMaskBytesMin bytes) with as many '*';
/// sizes stay. True when something was found.
bool mask(std::string& text, std::span<const std::string> secrets);

/// Removes Set-Cookie and masks the secrets in header values and body. Answers how many places had
/// one.
int redact(contract::Headers& headers, std::string& body, std::span<const std::string> secrets);

/// `text` as a JSON string writes it, with '/' escaped too (as some vendors do).
[[nodiscard]] std::string json_escaped(std::string_view text);

}  // namespace sluice::fetch
