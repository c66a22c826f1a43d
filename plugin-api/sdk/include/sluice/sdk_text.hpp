// sluice/sdk_text.hpp - the small text tools that every connector needs: scratch memory, queries,
// dates, numbers.
//
// No state, no clock, no locale. C++20, standard library only.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::sdk {

/// Memory for composed texts that live as long as one record or one document. clear() forgets the
/// texts and keeps the memory, so a page of records allocates nothing once it has warmed up. Not
/// shared.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&&) noexcept = default;
  Arena& operator=(Arena&&) noexcept = default;

  /// `size` bytes, to be filled by the caller; valid until clear().
  char* take(std::size_t size) {
    while (current_ < chunks_.size() && chunks_[current_].size - used_ < size) {
      ++current_;
      used_ = 0;
    }
    if (current_ == chunks_.size()) {
      const std::size_t bytes = size > kChunkBytes ? size : kChunkBytes;
      chunks_.push_back(Chunk{std::make_unique<char[]>(bytes), bytes});
      used_ = 0;
    }
    char* begin = chunks_[current_].memory.get() + used_;
    used_ += size;
    return begin;
  }

  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    char* to = take(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

  /// The parts one after the other.
  template <class... Parts>
  std::string_view join(const Parts&... parts) {
    const std::size_t size = (std::string_view(parts).size() + ... + 0);
    char* const to = take(size);
    char* at = to;
    ((at = append(at, std::string_view(parts))), ...);
    return {to, size};
  }

  /// Gives back the end of the last take(), when less was needed.
  void shrink_last(std::size_t unused) { used_ -= unused; }

  void clear() {
    current_ = 0;
    used_ = 0;
  }

 private:
  static constexpr std::size_t kChunkBytes = 16 * 1024;
  struct Chunk {
    std::unique_ptr<char[]> memory;
    std::size_t size;
  };

  static char* append(char* at, std::string_view text) {
    if (!text.empty()) std::memcpy(at, text.data(), text.size());
    return at + text.size();
  }

  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;
  std::size_t used_ = 0;
};

/// Percent-encodes all but the unreserved characters of RFC 3986.
inline void append_percent_encoded(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' ||
                       byte == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

[[nodiscard]] inline std::string percent_encoded(std::string_view text) {
  std::string out;
  append_percent_encoded(out, text);
  return out;
}

/// A request's target, put together: Target("/v1/customers").add("limit", 100).text()
/// Names and values are encoded ("created[lt]" goes out as created%5Blt%5D).
class Target {
 public:
  explicit Target(std::string path) : text_(std::move(path)) {}

  /// One more path segment, encoded: Target("/v1/customers").segment("a/b") is /v1/customers/a%2Fb
  Target& segment(std::string_view value) {
    text_ += '/';
    append_percent_encoded(text_, value);
    return *this;
  }
  Target& add(std::string_view name, std::string_view value) {
    text_ += text_.find('?') == std::string::npos ? '?' : '&';
    append_percent_encoded(text_, name);
    text_ += '=';
    append_percent_encoded(text_, value);
    return *this;
  }
  Target& add(std::string_view name, std::int64_t value) {
    return add(name, std::string_view(std::to_string(value)));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

[[nodiscard]] inline bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char x = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] + 32) : a[i];
    const char y = b[i] >= 'A' && b[i] <= 'Z' ? static_cast<char>(b[i] + 32) : b[i];
    if (x != y) return false;
  }
  return true;
}

[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

/// The whole text as a decimal int64; nullopt when it is anything else.
[[nodiscard]] inline std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// Names of headers are the same whatever the case of their letters.
[[nodiscard]] inline bool same_header_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

/// Is it [-]digits[.digits], as a decimal value must be?
[[nodiscard]] inline bool is_decimal(std::string_view text) {
  const auto digits = [&text] {
    std::size_t n = 0;
    while (n < text.size() && text[n] >= '0' && text[n] <= '9') ++n;
    text.remove_prefix(n);
    return n;
  };
  if (!text.empty() && text.front() == '-') text.remove_prefix(1);
  const std::size_t before = digits();
  if (before == 0 || before > 131072) return false;
  if (text.empty()) return true;
  if (text.front() != '.') return false;
  text.remove_prefix(1);
  const std::size_t after = digits();
  return after > 0 && after <= 16383 && text.empty();
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; the date must exist.
[[nodiscard]] constexpr std::int64_t days_from_civil(std::int64_t year, unsigned month,
                                                     unsigned day) {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<std::uint64_t>(year - era * 400);
  const std::uint64_t day_of_year = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
  const std::uint64_t day_of_era =
      year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<std::int64_t>(day_of_era) - 719468;
}

namespace detail {
inline std::optional<unsigned> digits_at(std::string_view text, std::size_t at, std::size_t count) {
  if (at + count > text.size()) return std::nullopt;
  unsigned value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(text[i] - '0');
  }
  return value;
}

inline bool real_date(std::int64_t year, unsigned month, unsigned day) {
  constexpr std::array<unsigned, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (month < 1 || month > 12 || day < 1) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day <= kDays[month - 1] + (month == 2 && leap ? 1u : 0u);
}
}  // namespace detail

/// "2026-11-23" as days since 1970-01-01.
[[nodiscard]] inline std::optional<std::int64_t> parse_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto year = detail::digits_at(text, 0, 4);
  const auto month = detail::digits_at(text, 5, 2);
  const auto day = detail::digits_at(text, 8, 2);
  if (!year || !month || !day || !detail::real_date(*year, *month, *day)) return std::nullopt;
  return days_from_civil(*year, *month, *day);
}

/// RFC 3339 ("2026-11-23T05:16:00.123Z", "+02:00" too) as microseconds since the epoch. Digits
/// beyond the sixth of a fraction are cut off.
[[nodiscard]] inline std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
  if (text.size() < 20 || (text[10] != 'T' && text[10] != 't' && text[10] != ' '))
    return std::nullopt;
  const auto days = parse_date(text.substr(0, 10));
  const auto hour = detail::digits_at(text, 11, 2);
  const auto minute = detail::digits_at(text, 14, 2);
  const auto second = detail::digits_at(text, 17, 2);
  if (!days || !hour || !minute || !second || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  if (*hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  std::size_t at = 19;
  std::int64_t fraction = 0;
  if (text[at] == '.' || text[at] == ',') {
    std::int64_t scale = 100'000;
    const std::size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
      fraction += scale * (text[at] - '0');
    }
    if (at == first) return std::nullopt;
  }
  if (at >= text.size()) return std::nullopt;
  std::int64_t offset_minutes = 0;
  if (text[at] == 'Z' || text[at] == 'z') {
    if (at + 1 != text.size()) return std::nullopt;
  } else {
    if (text[at] != '+' && text[at] != '-') return std::nullopt;
    const bool colon = text.size() == at + 6 && text[at + 3] == ':';
    if (!colon && text.size() != at + 5) return std::nullopt;
    const auto hours = detail::digits_at(text, at + 1, 2);
    const auto minutes = detail::digits_at(text, at + (colon ? 4 : 3), 2);
    if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
    offset_minutes = static_cast<std::int64_t>(*hours * 60 + *minutes);
    if (text[at] == '-') offset_minutes = -offset_minutes;
  }
  const std::int64_t seconds =
      *days * 86400 + *hour * 3600 + *minute * 60 + *second - offset_minutes * 60;
  return seconds * 1'000'000 + fraction;
}

namespace detail {

/// 1 to 12; 0 when it is no month.
[[nodiscard]] inline unsigned month_of(std::string_view name) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const std::size_t at = kMonths.find(name);
  if (name.size() != 3 || at == std::string_view::npos || at % 3 != 0) return 0;
  return static_cast<unsigned>(at / 3 + 1);
}

/// "05:16:00" at `at`, on that day.
[[nodiscard]] inline std::optional<std::int64_t> seconds_at(std::optional<unsigned> year,
                                                            unsigned month,
                                                            std::optional<unsigned> day,
                                                            std::string_view text, std::size_t at) {
  if (text.size() < at + 8 || text[at + 2] != ':' || text[at + 5] != ':') return std::nullopt;
  const auto hour = digits_at(text, at, 2);
  const auto minute = digits_at(text, at + 3, 2);
  const auto second = digits_at(text, at + 6, 2);
  if (!day || !year || !hour || !minute || !second || month == 0) return std::nullopt;
  if (*hour > 23 || *minute > 59 || *second > 60 || !real_date(*year, month, *day))
    return std::nullopt;
  return days_from_civil(*year, month, *day) * 86400 + static_cast<std::int64_t>(*hour) * 3600 +
         static_cast<std::int64_t>(*minute) * 60 + static_cast<std::int64_t>(*second);
}

}  // namespace detail

/// The date of an HTTP header as seconds since the epoch, in each of its three forms:
/// "Mon, 23 Nov 2026 05:16:00 GMT", "Monday, 23-Nov-26 05:16:00 GMT" (years from 70 on are of the
/// last century) and "Mon Nov 23 05:16:00 2026".
[[nodiscard]] inline std::optional<std::int64_t> parse_http_date(std::string_view text) {
  text = trimmed(text);
  if (text.size() == 29 && text.substr(25) == " GMT" && text.substr(3, 2) == ", ") {
    return detail::seconds_at(detail::digits_at(text, 12, 4), detail::month_of(text.substr(8, 3)),
                              detail::digits_at(text, 5, 2), text, 17);
  }
  if (text.size() == 24 && text[3] == ' ' && text[7] == ' ' && text[19] == ' ') {
    const auto day = text[8] == ' ' ? detail::digits_at(text, 9, 1) : detail::digits_at(text, 8, 2);
    return detail::seconds_at(detail::digits_at(text, 20, 4), detail::month_of(text.substr(4, 3)),
                              day, text, 11);
  }
  const std::size_t comma = text.find(", ");
  if (comma == std::string_view::npos || text.size() != comma + 24 ||
      text.substr(comma + 20) != " GMT" || text[comma + 4] != '-' || text[comma + 8] != '-')
    return std::nullopt;
  auto year = detail::digits_at(text, comma + 9, 2);
  if (year) *year += *year < 70 ? 2000 : 1900;
  return detail::seconds_at(year, detail::month_of(text.substr(comma + 5, 3)),
                            detail::digits_at(text, comma + 2, 2), text, comma + 12);
}

/// A Retry-After header, seconds or a date, as milliseconds from `now_ms`; 0 when it says nothing
/// usable.
[[nodiscard]] inline std::int64_t parse_retry_after_ms(std::string_view text, std::int64_t now_ms) {
  text = trimmed(text);
  if (const auto seconds = parse_integer(text)) {
    return *seconds > 0 && *seconds < 1'000'000'000 ? *seconds * 1000 : 0;
  }
  const auto date = parse_http_date(text);
  return date && *date * 1000 > now_ms ? *date * 1000 - now_ms : 0;
}

/// Cuts a UTF-8 text to at most `size` bytes without splitting a character.
[[nodiscard]] inline std::string_view cut_utf8(std::string_view text, std::size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0u) == 0x80u) --size;
  return text.substr(0, size);
}

/// A 64-bit digest for sets and checkpoints: stable over versions and machines, no protection
/// against malice.
[[nodiscard]] constexpr std::uint64_t stable_hash(std::string_view text,
                                                  std::uint64_t seed = 0xCBF29CE484222325ull) {
  std::uint64_t hash = seed;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001B3ull;
  }
  hash ^= hash >> 32;  // FNV alone mixes its last bytes too little
  hash *= 0x9E3779B97F4A7C15ull;
  return hash ^ (hash >> 29);
}

}  // namespace sluice::sdk
