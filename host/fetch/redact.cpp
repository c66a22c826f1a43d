#include "fetch/redact.hpp"

#include <sodium.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/characters.hpp"

namespace sluice::fetch {
namespace {

bool is_base64(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/' || c == '-' || c == '_';
}

/// One character of a text, as somebody wrote it.
struct Written {
  Utf8 character;
  std::size_t length = 0;  ///< of how it is written; 0: it is not written so
};

Written one_character(char c, std::size_t length) {
  Written out;
  out.character.bytes[0] = c;
  out.character.size = 1;
  out.length = length;
  return out;
}

constexpr std::size_t kBackslashesMax = 16;  ///< JSON within JSON within JSON within JSON

/// \uXXXX or a pair of them, \/, \\, \" and the like; behind further backslashes.
Written json_escape(std::string_view text) {
  Written out;
  text = text.substr(0, 2 * kBackslashesMax + 10);
  std::size_t at = text.find_first_not_of('\\');
  if (at != std::string_view::npos && at > kBackslashesMax) return out;
  if (at == 0 || text.empty() || text.front() != '\\') return out;
  if (at == std::string_view::npos || text[at] == '"' || text[at] == '/') {
    // A run of backslashes that ends here stands for one.
    const bool is_backslash = at == std::string_view::npos;
    return is_backslash ? one_character('\\', text.size()) : one_character(text[at], at + 1);
  }
  if (text[at] != 'u' || text.size() < at + 5) return one_character('\\', at);
  auto code = hex_number(text.substr(at + 1, 4));
  if (!code) return out;
  std::size_t end = at + 5;
  if (is_high_half(*code)) {
    const std::string_view rest = text.substr(end);
    const std::size_t next = rest.find_first_not_of('\\');
    if (next == 0 || next == std::string_view::npos || rest.size() < next + 5 || rest[next] != 'u')
      return out;
    const auto low = hex_number(rest.substr(next + 1, 4));
    if (!low || !is_low_half(*low)) return out;
    code = of_halves(*code, *low);
    end += next + 5;
  }
  out.character = utf8_of(*code);
  out.length = end;
  return out;
}

constexpr int kPercentsMax = 3;

/// %XX, or %25XX, where a '%' was encoded again, so many times.
Written percent_escape(std::string_view text, int again) {
  Written out;
  if (text.empty() || text.front() != '%') return out;
  std::size_t at = 1;
  for (int time = 0; time < again; ++time, at += 2)
    if (text.substr(at, 2) != "25") return out;
  if (text.size() < at + 2) return out;
  const auto byte = hex_number(text.substr(at, 2));
  if (!byte) return out;
  return one_character(static_cast<char>(static_cast<unsigned char>(*byte)), at + 2);
}

char base64_standard(char c) {
  if (c == '-') return '+';
  return c == '_' ? '/' : c;
}

char lower_hex(char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; }

/// How much of `text` is the needle, its characters written in any way; 0: it does not begin with
/// it. `same`
/// makes of a character what is compared; `work` counts the looks.
template <class Same>
std::size_t length_of(std::string_view text, std::string_view needle, Same same,
                      std::size_t& work) {
  std::size_t at = 0, matched = 0;
  while (matched < needle.size()) {
    ++work;
    if (at >= text.size()) return 0;
    const std::string_view rest = text.substr(at);
    const auto take = [&](const Written& written) {
      const Utf8& character = written.character;
      if (written.length == 0 || character.size > needle.size() - matched) return false;
      for (std::size_t i = 0; i < character.size; ++i) {
        if (same(character.bytes[i]) != same(needle[matched + i])) return false;
      }
      matched += character.size;
      at += written.length;
      return true;
    };
    if (rest.front() == '\\' && take(json_escape(rest))) continue;
    bool is_percent = false;  // "%2561" may be "%61" or "a"
    for (int again = kPercentsMax; again >= 0 && !is_percent && rest.front() == '%'; --again)
      is_percent = take(percent_escape(rest, again));
    if (is_percent) continue;
    if (rest.front() == '\0' && matched > 0) {  // UTF-16
      ++at;
      continue;
    }
    if (same(rest.front()) != same(needle[matched])) return 0;
    ++at;
    ++matched;
  }
  return at;
}

/// The characters at the ends of an encoded text hold bits of it, too. One that is the end of an
/// escape stays, so that JSON stays JSON.
void cover(std::string& text, std::size_t from, std::size_t to, bool with_ends) {
  const auto is_escape = [&](std::size_t length, char begins) {
    return from >= length && text[from - length] == begins;
  };
  if (with_ends && from > 0 && is_base64(text[from - 1]) && !is_escape(2, '\\') &&
      !is_escape(6, '\\') && !is_escape(3, '%'))
    --from;
  if (with_ends && to < text.size() && is_base64(text[to])) ++to;
  std::memset(text.data() + from, '*', to - from);
}

/// Of a text of n bytes n times this, and a million: a vendor's answer that takes more was made to.
constexpr std::size_t kLooksOfAByte = 8;
constexpr std::size_t kLooksFree = 1'000'000;

}  // namespace

void Masks::add(Kind kind, std::string_view text) {
  if (text.size() < kMaskBytesMin) return;
  Needle needle;
  needle.kind = kind;
  needle.text = WipedText(text);
  needles_.push_back(std::move(needle));
}

void Masks::add(std::string_view secret) {
  if (secret.size() < kMaskBytesMin) return;
  add(Kind::text, secret);
  // What stands before it in the encoded text moves it by 0, 1 or 2 bytes. The characters at its
  // ends hold bits of its neighbours, too, and are not searched for.
  for (std::size_t before = 0; before < 3; ++before) {
    WipedText shifted(std::string_view("\0\0", before));
    shifted += secret;
    WipedText coded;
    coded.resize(sodium_base64_encoded_len(shifted.size(), sodium_base64_VARIANT_ORIGINAL));
    sodium_bin2base64(coded.data(), coded.size(),
                      reinterpret_cast<const unsigned char*>(shifted.data()), shifted.size(),
                      sodium_base64_VARIANT_ORIGINAL);
    const std::size_t first = (before * 8 + 5) / 6;
    const std::size_t end = shifted.size() * 8 / 6;
    add(Kind::base64, coded.view().substr(first, end - first));
  }
  WipedText hex;
  hex.resize(secret.size() * 2 + 1);
  sodium_bin2hex(hex.data(), hex.size(), reinterpret_cast<const unsigned char*>(secret.data()),
                 secret.size());
  add(Kind::hex, hex.view().substr(0, secret.size() * 2));
}

/// Without a character that something could be escaped with.
bool Masks::mask_plain(std::string& text) const {
  bool found = false;
  const auto search = [&](std::string_view wanted, bool with_ends) {
    for (std::size_t at = 0; at < text.size();) {
      const void* const hit =
          ::memmem(text.data() + at, text.size() - at, wanted.data(), wanted.size());
      if (hit == nullptr) break;
      at = static_cast<std::size_t>(static_cast<const char*>(hit) - text.data());
      cover(text, at, at + wanted.size(), with_ends);
      at += wanted.size();
      found = true;
    }
  };
  for (const Needle& needle : needles_) {
    search(needle.text.view(), needle.kind == Kind::base64);
    if (needle.kind == Kind::text) continue;
    WipedText other(needle.text.view());  // in the other alphabet
    for (std::size_t i = 0; i < other.size(); ++i) {
      char& c = other.data()[i];
      if (needle.kind == Kind::hex && c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
      if (needle.kind == Kind::base64 && c == '+') c = '-';
      if (needle.kind == Kind::base64 && c == '/') c = '_';
    }
    if (other.view() != needle.text.view()) search(other.view(), needle.kind == Kind::base64);
  }
  return found;
}

bool Masks::mask_escaped(std::string& text) const {
  std::array<bool, 256> begins{};
  for (const char c : std::string_view("\\%")) begins[static_cast<unsigned char>(c)] = true;
  const auto begin_with = [&begins](char c) { begins[static_cast<unsigned char>(c)] = true; };
  for (const Needle& needle : needles_) {
    const char first = needle.text.view().front();
    begin_with(first);
    if (needle.kind == Kind::base64 && first == '+') begin_with('-');
    if (needle.kind == Kind::base64 && first == '/') begin_with('_');
    if (needle.kind == Kind::hex && first >= 'a' && first <= 'f')
      begin_with(static_cast<char>(first - 'a' + 'A'));
  }
  bool found = false;
  std::size_t work = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (work > kLooksFree && work / kLooksOfAByte > text.size()) {
      std::memset(text.data(), '*', text.size());
      return true;
    }
    if (!begins[static_cast<unsigned char>(text[at])]) continue;
    const std::string_view rest = std::string_view(text).substr(at);
    for (const Needle& needle : needles_) {
      const std::string_view wanted = needle.text.view();
      const std::size_t length =
          needle.kind == Kind::text ? length_of(
                                          rest, wanted, [](char c) { return c; }, work)
          : needle.kind == Kind::base64 ? length_of(rest, wanted, base64_standard, work)
                                        : length_of(rest, wanted, lower_hex, work);
      if (length == 0) continue;
      cover(text, at, at + length, needle.kind == Kind::base64);
      found = true;
      at += length - 1;
      break;
    }
  }
  return found;
}

bool Masks::mask(std::string& text) const {
  if (needles_.empty() || text.empty()) return false;
  const auto has = [&text](char c) { return std::memchr(text.data(), c, text.size()) != nullptr; };
  return has('\\') || has('%') || has('\0') ? mask_escaped(text) : mask_plain(text);
}

int redact(contract::Headers& headers, std::string& body, const Masks& masks) {
  std::erase_if(headers, [](const auto& header) {
    return ::strcasecmp(header.first.c_str(), "set-cookie") == 0 ||
           ::strcasecmp(header.first.c_str(), "set-cookie2") == 0;
  });
  int places = 0;
  for (auto& [name, value] : headers) places += masks.mask(value) ? 1 : 0;
  places += masks.mask(body) ? 1 : 0;
  return places;
}

}  // namespace sluice::fetch
