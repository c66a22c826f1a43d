#include "base/printable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "base/bytes.hpp"

namespace sluice {
namespace {

struct Range {
  std::uint32_t first, last;
};

/// Without the joiners: U+200C, U+200D.
constexpr std::array<Range, 14> kUnseen = {{
    {0x0000, 0x001F},    // control characters
    {0x007F, 0x009F},    // …
    {0x00AD, 0x00AD},    // soft hyphen
    {0x061C, 0x061C},    // Arabic letter mark
    {0x115F, 0x1160},    // Hangul fillers
    {0x180E, 0x180E},    // Mongolian vowel separator
    {0x200B, 0x200B},    // zero width space
    {0x200E, 0x200F},    // left to right, right to left
    {0x2028, 0x202E},    // ends of line and paragraph; order of what follows
    {0x2060, 0x206F},    // word joiner, invisible operators, isolates
    {0x3164, 0x3164},    // Hangul filler
    {0xFEFF, 0xFEFF},    // byte order mark
    {0xFFF9, 0xFFFB},    // interlinear annotation
    {0xE0000, 0xE007F},  // tags
}};

/// The first character; nothing when the bytes are none.
struct First {
  std::size_t size = 0;
  std::uint32_t code = 0;
};
First first_of(std::string_view text) {
  First one;
  if (text.empty()) return one;
  const auto lead = static_cast<std::uint8_t>(text.front());
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0x80 ? 2 : 1;
  if (size > text.size() || !is_utf8(text.substr(0, size))) return one;
  one.size = size;
  one.code = size == 1 ? lead : lead & (0x7FU >> size);
  for (std::size_t i = 1; i < size; ++i)
    one.code = one.code << 6 | (static_cast<std::uint8_t>(text[i]) & 0x3FU);
  return one;
}

}  // namespace

std::size_t unseen(std::string_view text) {
  const First one = first_of(text);
  const bool is = std::any_of(kUnseen.begin(), kUnseen.end(), [&](const Range& range) {
    return one.code >= range.first && one.code <= range.last;
  });
  return is ? one.size : 0;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t hidden = unseen(text);
    const std::size_t size = std::max<std::size_t>(first_of(text).size, 1);
    if (hidden == 0 && first_of(text).size > 0) {
      out += text.substr(0, size);
    } else {
      for (const char byte : text.substr(0, size))
        fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<std::uint8_t>(byte));
    }
    text.remove_prefix(size);
  }
  return out;
}

}  // namespace sluice
