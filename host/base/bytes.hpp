// Bytes as text and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

[[nodiscard]] inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] std::string to_hex(ByteView bytes);
/// nullopt for an odd length or a character that is no hex digit.
[[nodiscard]] std::optional<Bytes> from_hex(std::string_view text);
/// URL-safe alphabet, no padding.
[[nodiscard]] std::string to_base64url(ByteView bytes);
[[nodiscard]] std::optional<Bytes> from_base64url(std::string_view text);
/// True for well-formed UTF-8 (no surrogates, no overlong forms). NUL is well-formed.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace sluice
