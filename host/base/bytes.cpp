#include "base/bytes.hpp"

#include <sodium.h>

#include <cstring>

namespace sluice {

std::string to_hex(ByteView bytes) {
  std::string text(bytes.size() * 2 + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
  text.pop_back();
  return text;
}

std::optional<Bytes> from_hex(std::string_view text) {
  if (text.empty()) return Bytes();  // libsodium takes no null pointer
  Bytes bytes(text.size() / 2);
  std::size_t length = 0;
  const char* end = nullptr;
  if (text.size() % 2 != 0 ||
      sodium_hex2bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &length,
                     &end) != 0 ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  return bytes;
}

std::string to_base64url(ByteView bytes) {
  constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), kVariant);
  text.pop_back();
  return text;
}

std::optional<Bytes> from_base64url(std::string_view text) {
  Bytes bytes(text.size() * 3 / 4 + 3);
  std::size_t length = 0;
  const char* end = nullptr;
  if (sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &length,
                        &end, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  bytes.resize(length);
  return bytes;
}

bool is_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    for (std::uint64_t eight = 0; end - p >= 8; p += 8) {  // mostly it is ASCII
      std::memcpy(&eight, p, sizeof(eight));
      if ((eight & 0x8080'8080'8080'8080) != 0) break;
    }
    while (p < end && *p < 0x80) ++p;
    if (p == end) break;
    const int length = *p >= 0xC2 && *p <= 0xDF   ? 2
                       : (*p & 0xF0) == 0xE0      ? 3
                       : *p >= 0xF0 && *p <= 0xF4 ? 4
                                                  : 0;
    if (length == 0 || end - p < length) return false;
    for (int i = 1; i < length; ++i) {
      if ((p[i] & 0xC0) != 0x80) return false;
    }
    if (*p == 0xE0 && p[1] < 0xA0) return false;  // overlong
    if (*p == 0xED && p[1] > 0x9F) return false;  // surrogate
    if (*p == 0xF0 && p[1] < 0x90) return false;  // overlong
    if (*p == 0xF4 && p[1] > 0x8F) return false;  // above U+10FFFF
    p += length;
  }
  return true;
}

}  // namespace sluice
