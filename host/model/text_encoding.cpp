#include "model/text_encoding.hpp"

#include <array>
#include <utility>

#include "base/ascii.hpp"

namespace sluice::model {
namespace {

constexpr char kNoText = '\xFF';  // a byte that UTF-8 does not have

// The 32 characters in which windows-1252 is not Latin-1; 0: none.
constexpr std::array<std::uint16_t, 32> kWindows1252 = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

constexpr std::array<std::pair<std::string_view, Encoding>, 12> kNames = {{
    {"utf-8", Encoding::utf8},
    {"utf-16le", Encoding::utf16le},
    {"utf-16be", Encoding::utf16be},
    {"windows-1252", Encoding::windows1252},
    {"utf8", Encoding::utf8},
    {"us-ascii", Encoding::utf8},
    {"ascii", Encoding::utf8},
    {"utf-16", Encoding::utf16le},
    {"cp1252", Encoding::windows1252},
    {"iso-8859-1", Encoding::windows1252},
    {"latin1", Encoding::windows1252},
    {"latin-1", Encoding::windows1252},
}};

void put(std::uint32_t code, std::string& out) {
  const auto tail = [&](unsigned shift) {
    out.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3F)));
  };
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code >> 12)));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | (code >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::uint32_t of_windows1252(unsigned char byte) {
  return byte >= 0x80 && byte < 0xA0 ? kWindows1252[byte - 0x80U] : byte;
}

/// What the bytes with the high bit are, as UTF-8.
struct HighBytes {
  std::size_t characters = 0;  ///< of several bytes, well-formed
  std::size_t faults = 0;
  bool in_windows1252 = true;
};

std::size_t tail_bytes(unsigned char lead) {
  if (lead >= 0xC2 && lead < 0xE0) return 1;
  if (lead >= 0xE0 && lead < 0xF0) return 2;
  return lead >= 0xF0 && lead < 0xF5 ? 3 : 0;
}

HighBytes look_at(std::string_view text) {
  HighBytes seen;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) continue;
    if (of_windows1252(byte) == 0) seen.in_windows1252 = false;
    const std::size_t tail = tail_bytes(byte);
    std::size_t good = 0;
    while (good < tail && at + 1 + good < text.size() &&
           (static_cast<unsigned char>(text[at + 1 + good]) & 0xC0) == 0x80)
      ++good;
    if (tail > 0 && good == tail) {
      ++seen.characters;
      at += tail;
    } else if (tail == 0 || at + 1 + good < text.size()) {
      ++seen.faults;  // and not just where the beginning ends
    }
  }
  return seen;
}

}  // namespace

std::string_view to_string(Encoding encoding) {
  return kNames[static_cast<std::size_t>(encoding)].first;
}

std::optional<Encoding> encoding_named(std::string_view name) {
  for (const auto& [known, encoding] : kNames)
    if (equal_without_case(known, name)) return encoding;
  return std::nullopt;
}

Encoding guess_encoding(std::string_view beginning) {
  if (beginning.starts_with("\xEF\xBB\xBF")) return Encoding::utf8;
  if (beginning.starts_with("\xFF\xFE")) return Encoding::utf16le;
  if (beginning.starts_with("\xFE\xFF")) return Encoding::utf16be;
  constexpr std::size_t kLookedAt = 1024;
  std::size_t even = 0, odd = 0;
  const std::string_view first = beginning.substr(0, kLookedAt);
  for (std::size_t at = 0; at < first.size(); ++at)
    if (first[at] == '\0') ++(at % 2 == 0 ? even : odd);
  if (odd * 4 > first.size() && even == 0) return Encoding::utf16le;
  if (even * 4 > first.size() && odd == 0) return Encoding::utf16be;
  const HighBytes high = look_at(beginning);
  const bool is_utf8 = high.faults == 0 || high.characters > high.faults;
  return is_utf8 || !high.in_windows1252 ? Encoding::utf8 : Encoding::windows1252;
}

void TextDecoder::unit(std::uint32_t unit, std::string& out) {
  const bool high = unit >= 0xD800 && unit < 0xDC00;
  const bool low = unit >= 0xDC00 && unit < 0xE000;
  if (high_ != 0 && low) {
    put(0x10000 + ((high_ - 0xD800) << 10) + (unit - 0xDC00), out);
    high_ = 0;
    return;
  }
  if (high_ != 0 || low) out.push_back(kNoText);
  high_ = high ? unit : 0;
  if (!high && !low) put(unit, out);
}

void TextDecoder::decode(std::string_view bytes, std::string& out) {
  if (encoding_ == Encoding::utf8) {
    out += bytes;
    return;
  }
  if (encoding_ == Encoding::windows1252) {
    for (const char c : bytes) {
      const std::uint32_t code = of_windows1252(static_cast<unsigned char>(c));
      if (code == 0 && c != '\0') {
        out.push_back(kNoText);
      } else {
        put(code, out);
      }
    }
    return;
  }
  const bool little = encoding_ == Encoding::utf16le;
  for (const char c : bytes) {
    held_.push_back(c);
    if (held_.size() < 2) continue;
    const auto low = static_cast<unsigned char>(held_[little ? 0 : 1]);
    const auto high = static_cast<unsigned char>(held_[little ? 1 : 0]);
    held_.clear();
    unit(static_cast<std::uint32_t>(high) << 8 | low, out);
  }
}

void TextDecoder::finish(std::string& out) {
  if (!held_.empty() || high_ != 0) out.push_back(kNoText);
  held_.clear();
  high_ = 0;
}

}  // namespace sluice::model
