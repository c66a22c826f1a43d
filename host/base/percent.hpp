// Text in a URL.
#pragma once

#include <string_view>

namespace sluice {

/// For a part of a path or a query: all but letters, digits and "-._~" is escaped. `Text` is
/// std::string, or WipedText for a secret.
template <class Text>
[[nodiscard]] Text percent_encoded(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  Text out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

}  // namespace sluice
