#include "fetch/redact.hpp"

#include <sodium.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/ascii.hpp"
#include "base/characters.hpp"

namespace sluice::fetch {
namespace {

using Byte = unsigned char;
using Fold = std::array<Byte, 256>;

bool is_base64(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/' || c == '-' || c == '_';
}

constexpr char base64_standard(char c) {
  if (c == '-') return '+';
  return c == '_' ? '/' : c;
}

template <class Of>
constexpr Fold fold_by(Of of) {
  Fold fold{};
  for (std::size_t i = 0; i < fold.size(); ++i)
    fold[i] = static_cast<Byte>(of(static_cast<char>(i)));
  return fold;
}

/// What is compared of a character, by Masks::Kind.
constexpr std::array<Fold, 3> kFolds = {fold_by([](char c) { return c; }), fold_by(base64_standard),
                                        fold_by([](char c) { return in_lower_case(c); })};
/// The same for all kinds, for a first look.
constexpr Fold kAnyFold = fold_by([](char c) { return in_lower_case(base64_standard(c)); });

const Fold& fold_of(Masks::Kind kind) { return kFolds[static_cast<std::size_t>(kind)]; }

Byte byte_at(std::string_view text, std::size_t at) { return static_cast<Byte>(text[at]); }

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

/// Four characters, whichever case letters have.
std::uint32_t gram_at(const Byte* chars) {
  std::uint32_t gram = 0;
  std::memcpy(&gram, chars, sizeof gram);
  return gram | 0x20202020u;
}

/// Which four characters stand within the first eight of a needle. Of any five places where those
/// eight may end, one gram is in all five: a look at every fifth place says that there is nothing.
class Grams {
 public:
  void add(const Masks::Needle& needle) {
    for (std::size_t from = 0; from + 4 <= kMaskBytesMin; ++from) {
      std::array<Byte, 4> gram{};
      std::memcpy(gram.data(), needle.text.view().data() + from, gram.size());
      add(gram, 0, needle.kind == Masks::Kind::base64);
    }
  }
  [[nodiscard]] bool may_have(std::uint32_t gram) const {
    const std::uint32_t hash = hash_of(gram);
    return (bits_[hash / 64] >> hash % 64 & 1) != 0;
  }

 private:
  static std::uint32_t hash_of(std::uint32_t gram) { return gram * 0x9E3779B1u >> 16; }

  /// As it is, and in the other alphabet of base64.
  void add(std::array<Byte, 4> gram, std::size_t at, bool is_base64) {
    if (at == gram.size()) {
      const std::uint32_t hash = hash_of(gram_at(gram.data()));
      bits_[hash / 64] |= std::uint64_t{1} << hash % 64;
      return;
    }
    add(gram, at + 1, is_base64);
    if (!is_base64 || (gram[at] != '+' && gram[at] != '/')) return;
    gram[at] = gram[at] == '+' ? '-' : '_';
    add(gram, at + 1, is_base64);
  }

  std::array<std::uint64_t, 65536 / 64> bits_{};
};

/// Finds needles in characters that are handed in block by block. A look at the last eight
/// characters says where a needle may begin; from there on it is followed as Knuth, Morris and
/// Pratt do, which looks at no character twice for one needle but where it falls back over what it
/// had matched. So what a vendor makes up costs no more than twice what any text does.
class Finder {
 public:
  enum class Of { text_as_it_is, decoded };

  /// `size`: of the text; a short one is not worth the preparation.
  Finder(const std::vector<Masks::Needle>& needles, Of of, std::size_t size) {
    if (size >= kWorthGrams) grams_.emplace();
    for (const Masks::Needle& needle : needles) {
      if (of == Of::decoded ? !needle.decoded : !needle.as_it_is) continue;
      const std::string_view text = needle.text.view();
      Followed followed;
      followed.needle = &needle;
      for (std::size_t i = 0; i < kMaskBytesMin; ++i)
        followed.anchor = followed.anchor << 8 | kAnyFold[byte_at(text, i)];
      if (grams_) grams_->add(needle);
      const std::size_t hash = hash_of(followed.anchor);
      maybe_[hash / 64] |= std::uint64_t{1} << hash % 64;
      std::uint16_t& bucket = buckets_[hash % kBuckets];
      followed.next_in_bucket = bucket;
      size_max_ = std::max(size_max_, text.size());
      followed_.push_back(followed);
      bucket = static_cast<std::uint16_t>(followed_.size());
    }
  }

  [[nodiscard]] std::size_t size_max() const { return size_max_; }  ///< of the longest needle
  [[nodiscard]] std::uint64_t looked() const { return looked_; }

  /// Goes on with chars[from] to chars[end - 1]; those before are the last that it had.
  /// `found(needle, i)`: one ends with chars[i].
  template <class Found>
  void scan(const Byte* chars, std::size_t from, std::size_t end, Found found) {
    looked_ += end - from;
    std::uint64_t window = window_;
    for (std::size_t i = from; i < end; ++i) {
      if (active_.empty()) i = likely(chars, i, end, window);
      if (active_.size() == 1) i = along(chars, i, end, window);
      if (i == end) break;
      const Byte c = chars[i];
      window = window << 8 | kAnyFold[c];
      if (!active_.empty()) follow(c, i, found);
      const std::size_t hash = hash_of(window);
      if (is_likely(hash)) begin(window, hash, chars, i, found);
    }
    window_ = window;
  }

 private:
  static constexpr std::size_t kBuckets = 256;
  static constexpr std::size_t kStep = kMaskBytesMin - 3;  ///< places with one gram in common
  static constexpr std::size_t kWorthGrams = 2048;
  struct Followed {
    const Masks::Needle* needle = nullptr;
    std::uint64_t anchor = 0;  ///< its first eight characters, folded for all kinds
    std::uint16_t next_in_bucket = 0;
    std::size_t matched = 0;  ///< 0: not followed
  };

  /// So many bits that nobody makes up a text of which every place looks like a beginning.
  static std::size_t hash_of(std::uint64_t window) { return window * 0x9E3779B97F4A7C15u >> 48; }

  [[nodiscard]] bool is_likely(std::size_t hash) const {
    return (maybe_[hash / 64] >> hash % 64 & 1) != 0;
  }

  /// The next with which eight characters end that a needle may begin with, or `end`; `window`: the
  /// eight before it.
  std::size_t likely(const Byte* chars, std::size_t i, std::size_t end,
                     std::uint64_t& window) const {
    while (i < end) {
      if (grams_ && i >= kMaskBytesMin) {
        const std::size_t began = i;
        while (i < end && !grams_->may_have(gram_at(chars + i - 3))) i += kStep;
        i = std::min(i, end);
        if (i != began) window = window_before(chars + i);
      }
      const std::size_t until = grams_ ? std::min(i + kStep, end) : end;
      for (; i < until; ++i) {
        const std::uint64_t next = window << 8 | kAnyFold[chars[i]];
        if (is_likely(hash_of(next))) return i;
        window = next;
      }
    }
    return end;
  }

  static std::uint64_t window_before(const Byte* chars) {
    std::uint64_t window = 0;
    for (std::size_t i = 0; i < kMaskBytesMin; ++i)
      window = window << 8 | kAnyFold[*(chars - kMaskBytesMin + i)];
    return window;
  }

  /// Goes on with the one needle that is followed while nothing else happens.
  std::size_t along(const Byte* chars, std::size_t i, std::size_t end, std::uint64_t& window) {
    Followed& followed = followed_[active_.front()];
    const std::string_view text = followed.needle->text.view();
    const Fold& fold = fold_of(followed.needle->kind);
    std::size_t matched = followed.matched;
    std::uint64_t before = window;
    for (; i < end && matched + 1 < text.size(); ++i, ++matched) {
      const Byte c = chars[i];
      const std::uint64_t next = before << 8 | kAnyFold[c];
      if (fold[c] != byte_at(text, matched) || is_likely(hash_of(next))) break;
      before = next;
    }
    looked_ += matched - followed.matched;
    followed.matched = matched;
    window = before;
    return i;
  }

  template <class Found>
  void follow(Byte c, std::size_t i, Found& found) {
    std::size_t kept = 0;
    for (const std::uint16_t at : active_) {
      Followed& followed = followed_[at];
      const Masks::Needle& needle = *followed.needle;
      const std::string_view text = needle.text.view();
      const Byte wanted = fold_of(needle.kind)[c];
      std::size_t matched = followed.matched;
      ++looked_;
      while (matched >= kMaskBytesMin && byte_at(text, matched) != wanted) {
        matched = needle.borders[matched];
        ++looked_;
      }
      if (matched >= kMaskBytesMin) ++matched;
      if (matched == text.size()) {
        found(needle, i);
        matched = needle.borders[matched];
      }
      // With less than that it is begin() that sees when it goes on.
      followed.matched = matched >= kMaskBytesMin ? matched : 0;
      if (followed.matched != 0) active_[kept++] = at;
    }
    active_.resize(kept);
  }

  template <class Found>
  void begin(std::uint64_t window, std::size_t hash, const Byte* chars, std::size_t i,
             Found& found) {
    for (std::size_t at = buckets_[hash % kBuckets]; at != 0;
         at = followed_[at - 1].next_in_bucket) {
      Followed& followed = followed_[at - 1];
      if (followed.matched != 0 || followed.anchor != window || i + 1 < kMaskBytesMin) continue;
      const Masks::Needle& needle = *followed.needle;
      const std::string_view text = needle.text.view();
      const Fold& fold = fold_of(needle.kind);
      bool same = true;
      for (std::size_t k = 0; k < kMaskBytesMin && same; ++k)
        same = fold[chars[i + 1 - kMaskBytesMin + k]] == byte_at(text, k);
      looked_ += kMaskBytesMin;
      if (!same) continue;
      followed.matched = kMaskBytesMin;
      if (text.size() == kMaskBytesMin) {
        found(needle, i);
        followed.matched = 0;
        continue;
      }
      active_.push_back(static_cast<std::uint16_t>(at - 1));
    }
  }

  std::vector<Followed> followed_;
  std::vector<std::uint16_t> active_;  ///< of followed_
  std::array<std::uint64_t, 65536 / 64> maybe_{};
  std::optional<Grams> grams_;
  std::array<std::uint16_t, kBuckets> buckets_{};  ///< 0: none; otherwise the one behind it
  std::uint64_t window_ = 0;
  std::size_t size_max_ = 0;
  std::uint64_t looked_ = 0;
};

struct Entity {
  std::string_view name;
  char c;
};
constexpr std::array kEntities = {
    Entity{"amp", '&'},    Entity{"lt", '<'},     Entity{"gt", '>'},     Entity{"quot", '"'},
    Entity{"apos", '\''},  Entity{"sol", '/'},    Entity{"bsol", '\\'},  Entity{"plus", '+'},
    Entity{"equals", '='}, Entity{"percnt", '%'}, Entity{"num", '#'},    Entity{"lowbar", '_'},
    Entity{"hyphen", '-'}, Entity{"period", '.'}, Entity{"comma", ','},  Entity{"colon", ':'},
    Entity{"semi", ';'},   Entity{"excl", '!'},   Entity{"quest", '?'},  Entity{"commat", '@'},
    Entity{"dollar", '$'}, Entity{"ast", '*'},    Entity{"verbar", '|'}, Entity{"vert", '|'},
    Entity{"Hat", '^'},    Entity{"grave", '`'},  Entity{"lpar", '('},   Entity{"rpar", ')'},
    Entity{"lsqb", '['},   Entity{"rsqb", ']'},   Entity{"lcub", '{'},   Entity{"rcub", '}'},
    Entity{"lbrack", '['}, Entity{"rbrack", ']'}, Entity{"lbrace", '{'}, Entity{"rbrace", '}'}};
constexpr std::size_t kEntityNameMax = 6;
constexpr std::size_t kEntityBytesMax = 10;  ///< "#x0010FFFF"

/// What "&…;" stands for.
std::optional<std::uint32_t> code_of_entity(std::string_view within) {
  if (within.size() < 2) return std::nullopt;
  if (within.front() != '#') {
    if (within.size() > kEntityNameMax) return std::nullopt;
    for (const Entity& entity : kEntities)
      if (entity.name == within) return static_cast<Byte>(entity.c);
    return std::nullopt;
  }
  within.remove_prefix(1);
  std::uint32_t code = 0;
  if (within.front() == 'x' || within.front() == 'X') {
    within.remove_prefix(1);
    const auto number = hex_number(within.substr(0, 8));
    if (!number || within.empty()) return std::nullopt;
    code = *number;
  } else {
    for (const char c : within) {
      if (c < '0' || c > '9') return std::nullopt;
      code = code * 10 + static_cast<std::uint32_t>(c - '0');
      if (code > 0x10FFFF) return std::nullopt;
    }
  }
  return code <= 0x10FFFF ? std::optional(code) : std::nullopt;
}

enum class Class : Byte { plain, nul, backslash, opens, quote, hex, closes };

constexpr std::array<Class, 256> kClasses = [] {
  std::array<Class, 256> classes{};
  const auto are = [&classes](std::string_view chars, Class is) {
    for (const char c : chars) classes[static_cast<Byte>(c)] = is;
  };
  are("0123456789abcdefABCDEF", Class::hex);
  are("%&", Class::opens);
  are("\"'/", Class::quote);
  are(";", Class::closes);
  are("\\", Class::backslash);
  are(std::string_view("\0", 1), Class::nul);
  return classes;
}();

/// A text without its escapes: whenever a character completes one, that character stands in its
/// place, and may complete another. A run of backslashes is one while it may begin an escape;
/// settle() drops it. Each character knows from where to where in the text it is written. What
/// stands farther than `near` characters from any escape is left out: a NUL is there instead, which
/// nothing else becomes.
class Decoded {
 public:
  Decoded(std::size_t room, std::size_t near)
      : room_(room + kAtOnce), near_(std::max(near, kReach)), chars_(room_), places_(room_) {}

  /// Takes of the text from `at` on what there is room for; answers where it goes on.
  std::size_t take(std::string_view text, std::size_t at) {
    const std::size_t begin = at;
    while (at < text.size() && size_ + kAtOnce <= room_) {
      const Byte c = byte_at(text, at);
      std::size_t end = at + 1;
      const Class is = kClasses[c];
      if (is == Class::plain || (is > Class::opens && size_ >= watched_)) {
        const std::size_t far = at + near_;
        at = take_plain(text.substr(0, far), at);
        if (at == far && size_ >= watched_) at = leave_out(text, at);
        continue;
      }
      if (is == Class::nul || is == Class::backslash)
        while (end < text.size() && byte_at(text, end) == c) ++end;
      if (may_be_escape(text, c, end)) {
        if (const std::size_t whole = take_escape(text, at, end); whole != 0) {
          at = whole;
          continue;
        }
      }
      if (is == Class::opens) {
        open(c, at, end);
      } else if (is == Class::hex ? !may_complete()
                                  : is == Class::closes && ampersand_ == kNowhere) {
        put(c, at, end);
      } else {
        push(c, at, end);
      }
      at = end;
    }
    looked_ += at - begin;
    return at;
  }

  /// Drops the backslashes from all but the last few, which may still be within an escape.
  void settle(bool all) {
    const std::size_t until =
        all || size_ < settled_ + kUnsettled ? (all ? size_ : settled_) : size_ - kUnsettled;
    if (!has_backslashes_) {
      settled_ = until;
      return;
    }
    std::size_t kept = settled_;
    Stored* const chars = chars_.data();
    Place* const places = places_.data();
    for (std::size_t i = settled_; i < until; ++i) {
      const Byte c = chars[i];
      chars[kept] = c;
      places[kept] = places[i];
      kept += c != '\\' ? 1 : 0;
    }
    const std::size_t dropped = until - kept;
    settled_ = kept;
    for (std::size_t i = until; i < size_; ++i) move(i, kept++);
    leave(dropped);
    has_backslashes_ = std::memchr(chars_.data() + settled_, '\\', size_ - settled_) != nullptr;
  }

  /// Forgets all that is settled but the last so many.
  void forget(std::size_t keep) {
    if (settled_ <= keep) return;
    const std::size_t gone = settled_ - keep;
    std::memmove(chars_.data(), chars_.data() + gone, size_ - gone);
    std::memmove(places_.data(), places_.data() + gone, (size_ - gone) * sizeof(Place));
    settled_ -= gone;
    leave(gone);
  }

  [[nodiscard]] const Byte* chars() const { return reinterpret_cast<const Byte*>(chars_.data()); }
  [[nodiscard]] std::string_view view() const {
    return {reinterpret_cast<const char*>(chars_.data()), size_};
  }
  [[nodiscard]] std::size_t from(std::size_t i) const { return places_[i].from; }
  [[nodiscard]] std::size_t to(std::size_t i) const { return places_[i].to; }
  [[nodiscard]] std::size_t settled() const { return settled_; }
  [[nodiscard]] std::uint64_t looked() const { return looked_; }

  static constexpr std::size_t kUnsettled = 48;  ///< escapes within escapes, five deep and more

 private:
  static constexpr std::size_t kReach = kEntityBytesMax + 2;  ///< from its first character on

  static constexpr std::size_t kAtOnce = 4;  ///< of one escape
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

  /// Aliases nothing else, as Byte would.
  using Stored = char8_t;
  struct Place {
    std::uint32_t from, to;
  };

  void move(std::size_t from, std::size_t to) {
    chars_[to] = chars_[from];
    places_[to] = places_[from];
  }
  void leave(std::size_t gone) {
    size_ -= gone;
    watched_ = watched_ > gone ? watched_ - gone : 0;
    ampersand_ = ampersand_ != kNowhere && ampersand_ >= gone ? ampersand_ - gone : kNowhere;
  }
  void put(Byte c, std::size_t from, std::size_t to) {
    chars_[size_] = c;
    places_[size_].from = static_cast<std::uint32_t>(from);
    places_[size_++].to = static_cast<std::uint32_t>(to);
  }

  void open(Byte c, std::size_t from, std::size_t to) {
    if (c == '&') ampersand_ = size_;
    put(c, from, to);
    watched_ = std::max(watched_, size_ + kReach);
  }

  /// Up to the next that begins an escape, or may complete one.
  std::size_t take_plain(std::string_view text, std::size_t at) {
    std::size_t size = size_;
    const std::size_t watched = watched_, room = room_ - kAtOnce;
    Stored* const chars = chars_.data();
    Place* const places = places_.data();
    for (; at < text.size() && size <= room; ++at, ++size) {
      const Byte c = byte_at(text, at);
      const Class is = kClasses[c];
      if (is != Class::plain && (is <= Class::opens || size < watched)) break;
      chars[size] = c;
      places[size].from = static_cast<std::uint32_t>(at);
      places[size].to = static_cast<std::uint32_t>(at + 1);
    }
    size_ = size;
    return at;
  }

  /// Of plain characters, after near_ of them: all that have as many behind them.
  std::size_t leave_out(std::string_view text, std::size_t at) {
    std::size_t end = text.size();
    for (Next& next : next_) {
      if (next.at < at || next.at == kNowhere)
        next.at = std::min(text.find(next.c, at), text.size());
      end = std::min(end, next.at);
    }
    if (end - at <= near_ + 1) return at;
    put(0, at, at);
    return end - near_;
  }

  static bool may_be_escape(std::string_view text, Byte c, std::size_t end) {
    if (end >= text.size()) return false;
    const Byte next = byte_at(text, end);
    if (c == '%') return kClasses[next] == Class::hex;
    if (c == '&') return next == '#' || is_base64(static_cast<char>(next));
    return c == '\\' && (next == 'x' || next == 'u');
  }

  /// An escape that stands there whole, without the way over its characters; answers its end, or 0.
  /// `end`: of the '%', the '&', or the run of backslashes.
  std::size_t take_escape(std::string_view text, std::size_t at, std::size_t end) {
    const Byte c = byte_at(text, at);
    std::optional<std::uint32_t> code;
    bool is_byte = true;
    std::size_t whole = end + 2;
    if (c == '%') {
      if (whole <= text.size()) code = hex_number(text.substr(end, 2));
    } else if (c == '&') {
      const std::string_view within = text.substr(end, kEntityBytesMax + 1);
      const std::size_t size = within.find(';');
      if (size == std::string_view::npos) return 0;
      code = code_of_entity(within.substr(0, size));
      whole = end + size + 1;
      is_byte = false;
    } else {
      is_byte = text[end] == 'x';
      whole = end + (is_byte ? 3 : 5);
      if (whole <= text.size()) code = hex_number(text.substr(end + 1, is_byte ? 2 : 4));
      if (code && is_back(1, '\\')) at = places_[--size_].from;  // of the same run
    }
    if (!code) return 0;
    if (!is_byte && *code >= 0x80) {
      put_code(*code, at, whole);
    } else {
      push(static_cast<Byte>(*code), at, whole);
    }
    return whole;
  }
  [[nodiscard]] Byte back(std::size_t by) const { return chars_[size_ - by]; }
  [[nodiscard]] bool is_back(std::size_t by, Byte c) const {
    return size_ - settled_ >= by && back(by) == c;
  }
  /// The number of the last `digits` - 1 characters and of `c`; nullopt: some are no digits.
  [[nodiscard]] std::optional<std::uint32_t> number(std::size_t digits, Byte c) const {
    std::uint32_t value = 0;
    for (std::size_t by = digits - 1; by > 0; --by) {
      const int digit = hex_digit(static_cast<char>(back(by)));
      if (digit < 0) return std::nullopt;
      value = value << 4 | static_cast<std::uint32_t>(digit);
    }
    return value << 4 | static_cast<std::uint32_t>(hex_digit(static_cast<char>(c)));
  }
  /// Whether a digit that comes now may be the last of an escape.
  [[nodiscard]] bool may_complete() const {
    return (is_back(2, '%') && kClasses[back(1)] == Class::hex) || is_back(3, '\\') ||
           is_back(5, '\\');
  }
  static bool is_octal(Byte c, Byte last) { return c >= '0' && c <= last; }

  struct Escape {
    std::size_t length = 0;  ///< of what stands before the last character; 0: none
    std::uint32_t code = 0;
    bool is_byte = false;
  };
  [[nodiscard]] Escape completed_by_digit(Byte c) const {
    Escape out;
    const auto is = [&out](std::size_t length, std::optional<std::uint32_t> code, bool is_byte) {
      if (!code) return false;
      out.length = length;
      out.code = *code;
      out.is_byte = is_byte;
      return true;
    };
    if (is_back(2, '%') && is(2, number(2, c), true)) return out;
    if (is_back(3, '\\')) {
      if (back(2) == 'x' && is(3, number(2, c), true)) return out;
      if (is_octal(back(2), '3') && is_octal(back(1), '7') && is_octal(c, '7')) {
        is(3, static_cast<std::uint32_t>((back(2) - '0') << 6 | (back(1) - '0') << 3 | (c - '0')),
           true);
        return out;
      }
    }
    if (is_back(5, '\\') && back(4) == 'u') is(5, number(4, c), false);
    return out;
  }
  [[nodiscard]] Escape completed_by_semicolon() {
    Escape out;
    const std::size_t ampersand = ampersand_;
    ampersand_ = kNowhere;  // nothing else could begin what ends here
    if (ampersand < settled_ || ampersand >= size_ || chars_[ampersand] != '&') return out;
    const std::size_t length = size_ - ampersand;
    if (length > kEntityBytesMax + 1) return out;
    looked_ += length;
    const auto code = code_of_entity(view().substr(ampersand + 1));
    if (!code) return out;
    out.length = length;
    out.code = *code;
    for (std::size_t at = ampersand; at > settled_ && ampersand - at < kEntityBytesMax; --at) {
      ++looked_;  // what it stands for may be within another
      if (chars_[at - 1] == ';') break;
      if (chars_[at - 1] != '&') continue;
      ampersand_ = at - 1;
      break;
    }
    return out;
  }

  void push(Byte c, std::size_t from, std::size_t to) {
    for (;;) {
      Escape escape;
      switch (kClasses[c]) {
        case Class::nul:
          return;
        case Class::backslash:
          has_backslashes_ = true;
          if (is_back(1, '\\')) {
            places_[size_ - 1].to = static_cast<std::uint32_t>(to);
            return;
          }
          [[fallthrough]];
        case Class::opens:
          open(c, from, to);
          return;
        case Class::quote:
          if (is_back(1, '\\')) from = places_[--size_].from;
          break;
        case Class::hex:
          escape = completed_by_digit(c);
          break;
        case Class::closes:
          escape = completed_by_semicolon();
          break;
        case Class::plain:
          break;
      }
      if (escape.length == 0) {
        put(c, from, to);
        return;
      }
      size_ -= escape.length;
      from = places_[size_].from;
      ++looked_;
      if (!escape.is_byte && escape.code >= 0x80) {
        put_code(escape.code, from, to);
        return;
      }
      c = static_cast<Byte>(escape.code);
    }
  }

  /// The halves of a pair stand one behind the other, each as if it were a character.
  void put_code(std::uint32_t code, std::size_t from, std::size_t to) {
    if (is_low_half(code) && size_ - settled_ >= 3 && back(3) == 0xED && back(2) >= 0xA0 &&
        back(2) <= 0xAF) {
      const std::uint32_t high = 0xD000u | (back(2) & 0x3Fu) << 6 | (back(1) & 0x3Fu);
      size_ -= 3;
      from = places_[size_].from;
      code = of_halves(high, code);
    }
    const Utf8 character = utf8_of(code);
    for (const char byte : character.view()) put(static_cast<Byte>(byte), from, to);
  }

  struct Next {
    char c;
    std::size_t at = kNowhere;
  };
  std::size_t room_, near_;
  std::array<Next, 4> next_ = {Next{'\\'}, Next{'%'}, Next{'&'}, Next{'\0'}};
  std::vector<Stored, WipingAllocator<Stored>> chars_;
  std::vector<Place> places_;
  std::size_t size_ = 0;
  std::size_t settled_ = 0;           ///< those before stay as they are
  std::size_t ampersand_ = kNowhere;  ///< the last one
  std::size_t watched_ = 0;  ///< with fewer characters than that the next may complete an escape
  bool has_backslashes_ = false;
  std::uint64_t looked_ = 0;
};

/// Whether what follows could make one escape of it all.
bool is_half_escape(std::string_view text) {
  const auto all_of = [](std::string_view part, auto is) { return std::ranges::all_of(part, is); };
  const auto is_hex = [](char c) { return hex_digit(c) >= 0; };
  const std::string_view rest = text.substr(1);
  if (text.front() == '%') return rest.size() < 2 && all_of(rest, is_hex);
  if (text.front() == '&') {
    if (rest.starts_with('#'))
      return all_of(rest.substr(1), [&](char c) { return is_hex(c) || c == 'x' || c == 'X'; });
    return std::ranges::any_of(kEntities,
                               [&](const Entity& e) { return e.name.starts_with(rest); });
  }
  if (text.front() != '\\') return false;
  if (rest.empty()) return true;
  if (rest.front() == 'u') return rest.size() < 5 && all_of(rest.substr(1), is_hex);
  if (rest.front() == 'x') return rest.size() < 3 && all_of(rest.substr(1), is_hex);
  return rest.size() < 3 && all_of(rest, [](char c) { return c >= '0' && c <= '7'; });
}

/// The secret as it stands in a decoded text. Of a half escape at its end nobody knows what becomes
/// of it there; it is left out where enough remains.
Masks::Needle decoded_of(std::string_view secret) {
  Decoded decoded(secret.size(), secret.size());
  decoded.take(secret, 0);
  std::string_view text = decoded.view();
  for (std::size_t by = std::min(kEntityBytesMax + 1, text.size()); by > 0; --by) {
    if (!is_half_escape(text.substr(text.size() - by))) continue;
    if (text.size() - by >= kMaskBytesMin) text.remove_suffix(by);
    break;
  }
  Masks::Needle needle;
  needle.as_it_is = false;
  for (const char c : text) {
    if (c == '\\') {
      needle.shortened = true;
    } else {
      needle.text += c;
    }
  }
  return needle;
}

std::vector<std::uint32_t> borders_of(std::string_view text) {
  std::vector<std::uint32_t> borders(text.size() + 1);
  std::uint32_t border = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (border > 0 && text[border] != text[i]) border = borders[border];
    if (text[border] == text[i]) ++border;
    borders[i + 1] = border;
  }
  return borders;
}

/// Covers what was found, behind whoever reads the text from its beginning to its end.
class Covers {
 public:
  explicit Covers(std::string& text) : text_(text) {}
  ~Covers() { cover_end(); }
  Covers(const Covers&) = delete;
  Covers& operator=(const Covers&) = delete;

  void add(const Masks::Needle& needle, std::size_t from, std::size_t to) {
    if (needle.shortened && to - from <= needle.text.size()) return;
    if (end_ < to) cover_end();
    found_ = true;
    const bool with_ends = needle.kind == Masks::Kind::base64;
    cover(text_, from, to, with_ends);
    if (with_ends) end_ = to;
  }
  [[nodiscard]] bool found() const { return found_; }

 private:
  /// The character behind is not read yet where the needle is found.
  void cover_end() {
    if (end_ != 0 && end_ < text_.size() && is_base64(text_[end_])) text_[end_] = '*';
    end_ = 0;
  }

  std::string& text_;
  std::size_t end_ = 0;
  bool found_ = false;
};

bool mask_as_it_is(const std::vector<Masks::Needle>& needles, std::string& text,
                   std::uint64_t& looked) {
  Finder finder(needles, Finder::Of::text_as_it_is, text.size());
  Covers covers(text);
  finder.scan(reinterpret_cast<const Byte*>(text.data()), 0, text.size(),
              [&covers](const Masks::Needle& needle, std::size_t i) {
                covers.add(needle, i + 1 - needle.text.size(), i + 1);
              });
  looked += finder.looked();
  return covers.found();
}

constexpr std::size_t kBlock = 8 << 10;  ///< characters that fit into a cache

bool mask_decoded(const std::vector<Masks::Needle>& needles, std::string& text,
                  std::uint64_t& looked) {
  Finder finder(needles, Finder::Of::decoded, text.size());
  Covers covers(text);
  const std::size_t room = 2 * finder.size_max() + kBlock;
  Decoded decoded(std::min(room, text.size()), finder.size_max());
  for (std::size_t at = 0; at < text.size();) {
    at = decoded.take(text, at);
    const std::size_t before = decoded.settled();
    decoded.settle(at == text.size());
    finder.scan(decoded.chars(), before, decoded.settled(),
                [&](const Masks::Needle& needle, std::size_t i) {
                  covers.add(needle, decoded.from(i + 1 - needle.text.size()), decoded.to(i));
                });
    decoded.forget(finder.size_max());
  }
  looked += finder.looked() + decoded.looked();
  return covers.found();
}

enum class Alphabet { standard, url };

/// What stands before it in the encoded text moves it by 0, 1 or 2 bytes. The characters at its
/// ends hold bits of its neighbours, too, and are left out.
std::array<WipedText, 3> in_base64(std::string_view bytes, Alphabet alphabet) {
  const int variant =
      alphabet == Alphabet::url ? sodium_base64_VARIANT_URLSAFE : sodium_base64_VARIANT_ORIGINAL;
  std::array<WipedText, 3> all;
  for (std::size_t before = 0; before < all.size(); ++before) {
    WipedText shifted;
    shifted.resize(before);
    shifted += bytes;
    WipedText coded;
    coded.resize(sodium_base64_encoded_len(shifted.size(), variant));
    sodium_bin2base64(coded.data(), coded.size(),
                      reinterpret_cast<const unsigned char*>(shifted.data()), shifted.size(),
                      variant);
    const std::size_t first = (before * 8 + 5) / 6;
    const std::size_t end = shifted.size() * 8 / 6;
    all[before] = WipedText(coded.view().substr(first, end - first));
  }
  return all;
}

/// A NUL at this place of each pair: enough for keys, which are ASCII.
WipedText in_utf16(std::string_view text, int nul_at) {
  WipedText wide;
  for (const char c : text) {
    if (nul_at == 0) wide += '\0';
    wide += c;
    if (nul_at == 1) wide += '\0';
  }
  return wide;
}

}  // namespace

void Masks::add(Needle needle) {
  if (needle.text.size() < kMaskBytesMin) return;
  needle.borders = borders_of(needle.text.view());
  needles_.push_back(std::move(needle));
}

void Masks::add_text(std::string_view secret) {
  Needle decoded = decoded_of(secret);
  Needle needle;
  needle.text = WipedText(secret);
  needle.decoded = decoded.text.view() == secret;
  const bool is_other = !needle.decoded;
  add(std::move(needle));
  if (!is_other) return;
  if (decoded.text.size() < kMaskBytesMin) {  // at least as JSON has it
    decoded = Needle();
    decoded.decoded = false;
    for (const char c : secret)
      decoded.text += c == '\\' ? std::string_view("\\\\") : std::string_view(&c, 1);
  }
  add(std::move(decoded));
}

void Masks::add_coded(Kind kind, std::string_view text) {
  Needle needle;
  needle.kind = kind;
  needle.text = WipedText(text);
  add(std::move(needle));
}

void Masks::add(std::string_view secret) {
  if (secret.size() < kMaskBytesMin) return;
  add_text(secret);
  if (secret.find(' ') != std::string_view::npos) {  // as a form writes it
    WipedText form(secret);
    std::replace(form.data(), form.data() + form.size(), ' ', '+');
    add_text(form.view());
  }
  for (const Alphabet alphabet : {Alphabet::standard, Alphabet::url}) {
    for (const WipedText& coded : in_base64(secret, alphabet)) {
      if (alphabet == Alphabet::standard) add_coded(Kind::base64, coded.view());
      add_base64(coded.view());
    }
  }
  add_base64(in_utf16(secret, 0).view());
  add_base64(in_utf16(secret, 1).view());
  WipedText hex;
  hex.resize(secret.size() * 2 + 1);
  sodium_bin2hex(hex.data(), hex.size(), reinterpret_cast<const unsigned char*>(secret.data()),
                 secret.size());
  const std::string_view digits = hex.view().substr(0, secret.size() * 2);
  add_coded(Kind::hex, digits);
  WipedText by_colons;
  for (std::size_t at = 0; at < digits.size(); at += 2) {
    if (at > 0) by_colons += ':';
    by_colons += digits.substr(at, 2);
  }
  add_coded(Kind::hex, by_colons.view());
}

void Masks::add_base64(std::string_view bytes) {
  for (const WipedText& coded : in_base64(bytes, Alphabet::standard))
    add_coded(Kind::base64, coded.view());
}

bool Masks::mask(std::string& text, std::uint64_t* looked) const {
  if (needles_.empty() || text.size() < kMaskBytesMin) return false;
  std::uint64_t bytes = 0;
  bool found = mask_as_it_is(needles_, text, bytes);
  const auto has = [&text](char c) { return std::memchr(text.data(), c, text.size()) != nullptr; };
  if (has('\\') || has('%') || has('&') || has('\0')) found |= mask_decoded(needles_, text, bytes);
  if (looked != nullptr) *looked += bytes;
  return found;
}

int redact(contract::Headers& headers, std::string& body, const Masks& masks) {
  std::erase_if(headers, [](const auto& header) {
    return ::strcasecmp(header.first.c_str(), "set-cookie") == 0 ||
           ::strcasecmp(header.first.c_str(), "set-cookie2") == 0;
  });
  // Mostly there is nothing in any of them, which one look says.
  std::string all;
  for (const auto& [name, value] : headers) all.append(value).push_back('\n');
  int places = 0;
  if (masks.mask(all))
    for (auto& [name, value] : headers) places += masks.mask(value) ? 1 : 0;
  places += masks.mask(body) ? 1 : 0;
  return places;
}

}  // namespace sluice::fetch
