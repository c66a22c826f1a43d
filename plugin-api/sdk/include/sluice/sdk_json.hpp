// sluice/sdk_json.hpp - reads JSON pages fast and without further libraries.
//
// Why not simdjson: distributions ship it as a shared library only, and a connector must need
// nothing but libc (a second libstdc++ in one process is how exceptions become aborts). This reader
// is one pass over a private copy of the text into a flat array of 16-byte nodes; it decodes only
// the strings that are asked for and keeps numbers as the text they were, so a decimal never passes
// through a double.
//
// Bad bytes do not lose a page: invalid UTF-8 and lone surrogates become U+FFFD in the one string
// that has them.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <sluice/sdk_text.hpp>

namespace sluice::sdk::json {

/// The text is no JSON, and what() says why and at which byte; or it is not of the shape that was
/// asked for, and what() says what was expected and what was found. Ends an operation in BAD_DATA.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what) : std::runtime_error(what) {}
  Error(const std::string& what, std::size_t at)
      : std::runtime_error(what + " at byte " + std::to_string(at)) {}
};

enum class Kind : std::uint8_t { missing, null, boolean, number, string, array, object };

[[nodiscard]] constexpr std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::missing:
      return "nothing";
    case Kind::null:
      return "null";
    case Kind::boolean:
      return "a boolean";
    case Kind::number:
      return "a number";
    case Kind::string:
      return "a string";
    case Kind::array:
      return "an array";
    case Kind::object:
      return "an object";
  }
  return "nothing";
}

class Document;

namespace detail {
/// One value or key. Children follow their container; `next` is the index behind the last of them.
struct Node {
  std::uint32_t begin = 0;  ///< strings: behind the opening quote
  std::uint32_t size = 0;   ///< of the raw text; strings: without quotes
  std::uint32_t next = 0;
  Kind kind = Kind::null;
  std::uint8_t flags = 0;
};
static_assert(sizeof(Node) == 16);
inline constexpr std::uint8_t kEscaped = 1;  ///< string: has escapes or bad bytes, must be decoded
inline constexpr std::uint8_t kWhole = 2;    ///< number: neither fraction nor exponent
inline constexpr std::uint8_t kTrue = 4;
inline constexpr std::uint8_t kCompact =
    8;  ///< container: neither white space nor bad bytes inside
inline constexpr std::uint32_t kDepthMax = 1024;
}  // namespace detail

/// One value of a document; two words, cheap to copy, valid while the document holds the text. A
/// value that is not there answers as missing to everything, so paths need no checks:
/// reply["error"]["code"].text().
class Value {
 public:
  Value() = default;
  Value(const Document* document, std::uint32_t index) : document_(document), index_(index) {}

  [[nodiscard]] Kind kind() const;
  [[nodiscard]] bool exists() const { return document_ != nullptr; }
  [[nodiscard]] bool is_null() const { return kind() == Kind::null; }
  /// Neither missing nor null.
  [[nodiscard]] bool has_value() const { return exists() && !is_null(); }
  [[nodiscard]] bool is_object() const { return kind() == Kind::object; }
  [[nodiscard]] bool is_array() const { return kind() == Kind::array; }
  [[nodiscard]] bool is_string() const { return kind() == Kind::string; }
  [[nodiscard]] bool is_number() const { return kind() == Kind::number; }
  /// A number without fraction and exponent; it may still be too large for integer().
  [[nodiscard]] bool is_whole() const;

  /// The first member of that name; missing when there is none or this is no object.
  [[nodiscard]] Value operator[](std::string_view name) const;

  /// A string's characters, decoded; empty for anything else.
  [[nodiscard]] std::string_view text() const;
  /// A whole number that fits; nullopt for anything else.
  [[nodiscard]] std::optional<std::int64_t> integer() const;
  [[nodiscard]] std::int64_t integer_or(std::int64_t otherwise) const {
    return integer().value_or(otherwise);
  }
  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<double> real() const;
  /// The text as it stood in the document, with the vendor's white space; strings with their
  /// quotes.
  [[nodiscard]] std::string_view raw() const;
  /// raw() without white space between tokens and without bad bytes; in the arena, unless raw() is
  /// so already. Numbers stay as they were written.
  [[nodiscard]] std::string_view compact(Arena& arena) const;

  class Iterator;
  struct Member;
  class Members;
  class Items;
  [[nodiscard]] Members members() const;  ///< of an object; of anything else: none
  [[nodiscard]] Items items() const;      ///< of an array; of anything else: none

  /// The items of the array under `name`. Throws Error where something else stands, or nothing: an
  /// answer without its list is no empty list.
  [[nodiscard]] Items list(std::string_view name) const;
  /// The text under `name` that leads to the page behind this one; nullopt where null stands, which
  /// is the end. `after` is what this page was asked for by, empty for the first. Throws Error for
  /// whatever leads to no other page: no text or an empty one, nothing at all, `after` again.
  [[nodiscard]] std::optional<std::string_view> cursor(std::string_view name,
                                                       std::string_view after) const;

 private:
  /// The member, for whoever cannot do without.
  [[nodiscard]] Value member(std::string_view name) const;
  friend class Document;
  [[nodiscard]] const detail::Node& node() const;
  const Document* document_ = nullptr;
  std::uint32_t index_ = 0;
};

/// Owns the text and its nodes. Parsing again reuses the memory and ends the life of all earlier
/// values.
class Document {
 public:
  Document() = default;
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  /// Copies `text` and parses it; throws Error.
  Value parse(std::string_view text) {
    load(text);
    return parse_loaded();
  }

  /// Only takes the copy; text() shows it. For bodies that may not be JSON at all.
  void load(std::string_view text) {
    if (text.size() > std::numeric_limits<std::uint32_t>::max() - kPadding) {
      throw Error("a document of " + std::to_string(text.size()) + " bytes is too large", 0);
    }
    parsed_ = false;
    size_ = text.size();
    if (buffer_.size() < size_ + kPadding) buffer_.resize(size_ + size_ / 4 + kPadding);
    if (size_ != 0) std::memcpy(buffer_.data(), text.data(), size_);
    std::memset(buffer_.data() + size_, 0, kPadding);
  }

  [[nodiscard]] std::string_view text() const { return {buffer_.data(), size_}; }

  /// The root of what was loaded, parsed at the first call; throws Error.
  Value parse_loaded() {
    if (!parsed_) {
      nodes_.clear();
      decoded_.clear();
      Parser(*this).run();
      parsed_ = true;
    }
    return Value(this, 0);
  }

 private:
  friend class Value;
  static constexpr std::size_t kPadding = 64;

  class Parser {
   public:
    explicit Parser(Document& document)
        : document_(document),
          nodes_(document.nodes_),
          base_(document.buffer_.data()),
          at_(base_) {}

    void run() {
      if (document_.size_ >= 3 && std::memcmp(base_, "\xEF\xBB\xBF", 3) == 0) at_ += 3;
      const char* const end = base_ + document_.size_;
      value();
      while (depth_ != 0) step();
      skip_space();
      if (at_ != end) fail("text behind the value");
    }

   private:
    [[noreturn]] void fail(const char* why) const {
      const auto at = static_cast<std::size_t>(at_ - base_);
      if (at >= document_.size_) throw Error("the text ends inside a value", document_.size_);
      throw Error(why, at);
    }

    void skip_space() {
      if (static_cast<unsigned char>(*at_) > ' ') return;
      ++loose_;
#if defined(__SSE2__)
      // Mostly a single space behind a colon, or the end of a line and its indentation.
      if (*at_ == '\n') ++at_;
      const __m128i space = _mm_set1_epi8(' ');
      for (;;) {  // the padding is zero, hence no space: this ends
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at_));
        const auto spaces = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, space)));
        if (spaces != 0xFFFFu) {
          at_ += __builtin_ctz(~spaces);
          break;
        }
        at_ += 16;
      }
#endif
      while (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t') ++at_;
    }

    /// After a value inside a container: what may follow it.
    void step() {
      skip_space();
      detail::Node& container = nodes_[stack_[depth_ - 1]];
      const bool object = container.kind == Kind::object;
      if (*at_ == (object ? '}' : ']')) {
        ++at_;
        close(container);
        return;
      }
      if (*at_ != ',') fail(object ? "expected , or }" : "expected , or ]");
      ++at_;
      if (object) key();
      value();
    }

    void close(detail::Node& container) {
      container.size = static_cast<std::uint32_t>(at_ - base_) - container.begin;
      container.next = static_cast<std::uint32_t>(nodes_.size());
      --depth_;
      if (loose_at_open_[depth_] == loose_) container.flags = detail::kCompact;
    }

    void key() {
      skip_space();
      if (*at_ != '"') fail("expected a member's name");
      string();
      skip_space();
      if (*at_ != ':') fail("expected :");
      ++at_;
    }

    /// Reads one scalar, or opens a container up to its first value.
    void value() {
      for (;;) {
        skip_space();
        switch (*at_) {
          case '"':
            return string();
          case '{':
            open(Kind::object);
            skip_space();
            if (*at_ == '}') return ++at_, close(nodes_[stack_[depth_ - 1]]);
            key();
            continue;
          case '[':
            open(Kind::array);
            skip_space();
            if (*at_ == ']') return ++at_, close(nodes_[stack_[depth_ - 1]]);
            continue;
          case 't':
            return word("true", Kind::boolean, detail::kTrue);
          case 'f':
            return word("false", Kind::boolean, 0);
          case 'n':
            return word("null", Kind::null, 0);
          default:
            return number();
        }
      }
    }

    void open(Kind kind) {
      if (depth_ == detail::kDepthMax) fail("nested deeper than 1024");
      loose_at_open_[depth_] = loose_;
      stack_[depth_++] = static_cast<std::uint32_t>(nodes_.size());
      add(kind, at_, 0, 0);
      ++at_;
    }

    void add(Kind kind, const char* begin, std::size_t size, unsigned flags) {
      detail::Node node;
      node.begin = static_cast<std::uint32_t>(begin - base_);
      node.size = static_cast<std::uint32_t>(size);
      node.next = static_cast<std::uint32_t>(nodes_.size() + 1);
      node.kind = kind;
      node.flags = static_cast<std::uint8_t>(flags);
      nodes_.push_back(node);
    }

    void word(std::string_view text, Kind kind, unsigned flags) {
      if (std::memcmp(at_, text.data(), text.size()) != 0) fail("expected a value");
      add(kind, at_, text.size(), flags);
      at_ += text.size();
    }

    void number() {
      const char* const begin = at_;
      unsigned flags = detail::kWhole;
      if (*at_ == '-') ++at_;
      if (*at_ == '0') {
        ++at_;
      } else if (digits() == 0) {
        at_ = begin;
        fail("expected a value");
      }
      if (*at_ == '.') {
        flags = 0;
        ++at_;
        if (digits() == 0) fail("expected digits");
      }
      if (*at_ == 'e' || *at_ == 'E') {
        flags = 0;
        ++at_;
        if (*at_ == '+' || *at_ == '-') ++at_;
        if (digits() == 0) fail("expected digits");
      }
      add(Kind::number, begin, static_cast<std::size_t>(at_ - begin), flags);
    }

    std::size_t digits() {
      const char* const begin = at_;
      while (*at_ >= '0' && *at_ <= '9') ++at_;
      return static_cast<std::size_t>(at_ - begin);
    }

    void string() {
      const char* const begin = ++at_;
      bool foreign = false;  // any byte above ASCII
      unsigned flags = 0;
      for (;;) {
        foreign |= skip_plain();
        if (*at_ == '"') break;
        if (*at_ != '\\') fail("a control character inside a string");
        flags = detail::kEscaped;
        escape();
      }
      const auto size = static_cast<std::size_t>(at_ - begin);
      if (foreign && !valid_utf8({begin, size})) {
        flags = detail::kEscaped;
        ++loose_;
      }
      add(Kind::string, begin, size, flags);
      ++at_;
    }

    void escape() {
      ++at_;
      switch (*at_) {
        case '"':
        case '\\':
        case '/':
        case 'b':
        case 'f':
        case 'n':
        case 'r':
        case 't':
          ++at_;
          return;
        case 'u':
          for (int i = 1; i <= 4; ++i) {
            const char c = at_[i];
            const bool hex =
                (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
            if (!hex) fail("expected four hexadecimal digits behind \\u");
          }
          at_ += 5;
          return;
        default:
          fail("an escape that JSON does not have");
      }
    }

    /// Moves to the next quote, backslash or control character; was there anything above ASCII on
    /// the way?
    bool skip_plain() {
#if defined(__SSE2__)
      const __m128i quote = _mm_set1_epi8('"');
      const __m128i backslash = _mm_set1_epi8('\\');
      const __m128i control = _mm_set1_epi8(0x1F);
      bool foreign = false;
      for (;;) {  // the padding is zero, hence a control character: this ends
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at_));
        const __m128i special = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
            _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
        const auto stops = static_cast<unsigned>(_mm_movemask_epi8(special));
        const auto high = static_cast<unsigned>(_mm_movemask_epi8(bytes));
        if (stops != 0) {
          const auto count = static_cast<unsigned>(__builtin_ctz(stops));
          foreign |= (high & ((1u << count) - 1u)) != 0;
          at_ += count;
          return foreign;
        }
        foreign |= high != 0;
        at_ += 16;
      }
#else
      bool foreign = false;
      for (;; ++at_) {
        const auto byte = static_cast<unsigned char>(*at_);
        if (byte == '"' || byte == '\\' || byte < 0x20) return foreign;
        foreign |= byte >= 0x80;
      }
#endif
    }

    static bool valid_utf8(std::string_view text) {
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_length(text, at);
        if (length == 0) return false;
        at += length;
      }
      return true;
    }

    Document& document_;
    std::vector<detail::Node>& nodes_;
    const char* base_;
    const char* at_;
    std::uint32_t depth_ = 0;
    std::uint32_t stack_[detail::kDepthMax];
    std::uint32_t loose_at_open_[detail::kDepthMax];
    std::uint32_t loose_ = 0;  ///< how much was met that compact() would have to change
  };

  /// Bytes of the character at `at`; 0 when it is not valid UTF-8.
  static std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) -> unsigned {
      return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return follows(at + 1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
      if (!follows(at + 1) || !follows(at + 2)) return 0;
      if (first == 0xE0 && byte(at + 1) < 0xA0) return 0;
      if (first == 0xED && byte(at + 1) > 0x9F) return 0;
      return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
      if (!follows(at + 1) || !follows(at + 2) || !follows(at + 3)) return 0;
      if (first == 0xF0 && byte(at + 1) < 0x90) return 0;
      if (first == 0xF4 && byte(at + 1) > 0x8F) return 0;
      return 4;
    }
    return 0;
  }

  static char* put_utf8(char* to, std::uint32_t code) {
    if (code < 0x80) {
      *to++ = static_cast<char>(code);
    } else if (code < 0x800) {
      *to++ = static_cast<char>(0xC0 | (code >> 6));
      *to++ = static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      *to++ = static_cast<char>(0xE0 | (code >> 12));
      *to++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      *to++ = static_cast<char>(0x80 | (code & 0x3F));
    } else {
      *to++ = static_cast<char>(0xF0 | (code >> 18));
      *to++ = static_cast<char>(0x80 | ((code >> 12) & 0x3F));
      *to++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      *to++ = static_cast<char>(0x80 | (code & 0x3F));
    }
    return to;
  }

  static std::uint32_t hex4(std::string_view text, std::size_t at) {
    std::uint32_t code = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
      const char c = text[i];
      const int digit = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
      code = code * 16 + static_cast<std::uint32_t>(digit);
    }
    return code;
  }

  /// The characters of a string whose raw text has escapes or bad bytes.
  std::string_view decode(std::string_view raw) const {
    constexpr std::uint32_t kReplacement = 0xFFFD;
    const std::size_t room = raw.size() * 3;  // a bad byte grows to three
    char* const begin = decoded_.take(room);
    char* to = begin;
    for (std::size_t at = 0; at < raw.size();) {
      if (raw[at] != '\\') {
        const std::size_t length = utf8_length(raw, at);
        if (length == 0) {
          to = put_utf8(to, kReplacement);
          ++at;
          continue;
        }
        std::memcpy(to, raw.data() + at, length);
        to += length;
        at += length;
        continue;
      }
      const char kind = raw[at + 1];
      at += 2;
      switch (kind) {
        case 'b':
          *to++ = '\b';
          break;
        case 'f':
          *to++ = '\f';
          break;
        case 'n':
          *to++ = '\n';
          break;
        case 'r':
          *to++ = '\r';
          break;
        case 't':
          *to++ = '\t';
          break;
        case 'u': {
          std::uint32_t code = hex4(raw, at);
          at += 4;
          if (code >= 0xD800 && code <= 0xDBFF) {
            const bool pair = at + 6 <= raw.size() && raw[at] == '\\' && raw[at + 1] == 'u';
            const std::uint32_t low = pair ? hex4(raw, at + 2) : 0;
            if (low >= 0xDC00 && low <= 0xDFFF) {
              code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
              at += 6;
            } else {
              code = kReplacement;
            }
          } else if (code >= 0xDC00 && code <= 0xDFFF) {
            code = kReplacement;
          }
          to = put_utf8(to, code);
          break;
        }
        default:
          *to++ = kind;
          break;  // quote, backslash, slash
      }
    }
    const auto size = static_cast<std::size_t>(to - begin);
    decoded_.shrink_last(room - size);
    return {begin, size};
  }

  std::vector<char> buffer_;
  std::size_t size_ = 0;
  std::vector<detail::Node> nodes_;
  mutable Arena decoded_;
  bool parsed_ = false;
};

struct Value::Member {
  std::string_view name;
  Value value;
};

class Value::Members {
 public:
  class Iterator {
   public:
    Iterator(const Document* document, std::uint32_t index) : document_(document), index_(index) {}
    Member operator*() const {
      Member member;
      member.name = Value(document_, index_).text();
      member.value = Value(document_, index_ + 1);
      return member;
    }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const Document* document_;
    std::uint32_t index_;
  };
  Members(const Document* document, std::uint32_t begin, std::uint32_t end)
      : document_(document), begin_(begin), end_(end) {}
  [[nodiscard]] Iterator begin() const { return {document_, begin_}; }
  [[nodiscard]] Iterator end() const { return {document_, end_}; }

 private:
  const Document* document_;
  std::uint32_t begin_;
  std::uint32_t end_;
};

class Value::Items {
 public:
  class Iterator {
   public:
    Iterator(const Document* document, std::uint32_t index) : document_(document), index_(index) {}
    Value operator*() const { return Value(document_, index_); }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const Document* document_;
    std::uint32_t index_;
  };
  Items(const Document* document, std::uint32_t begin, std::uint32_t end)
      : document_(document), begin_(begin), end_(end) {}
  [[nodiscard]] Iterator begin() const { return {document_, begin_}; }
  [[nodiscard]] Iterator end() const { return {document_, end_}; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] std::size_t size() const {
    std::size_t count = 0;
    for (Iterator at = begin(); at != end(); ++at) ++count;
    return count;
  }

 private:
  const Document* document_;
  std::uint32_t begin_;
  std::uint32_t end_;
};

inline const detail::Node& Value::node() const { return document_->nodes_[index_]; }

inline Value::Members::Iterator& Value::Members::Iterator::operator++() {
  index_ = Value(document_, index_ + 1).node().next;
  return *this;
}
inline Value::Items::Iterator& Value::Items::Iterator::operator++() {
  index_ = Value(document_, index_).node().next;
  return *this;
}

inline Kind Value::kind() const { return document_ == nullptr ? Kind::missing : node().kind; }

inline bool Value::is_whole() const { return is_number() && (node().flags & detail::kWhole) != 0; }

inline Value::Members Value::members() const {
  if (!is_object()) return {nullptr, 0, 0};
  return {document_, index_ + 1, node().next};
}

inline Value::Items Value::items() const {
  if (!is_array()) return {nullptr, 0, 0};
  return {document_, index_ + 1, node().next};
}

inline Value Value::operator[](std::string_view name) const {
  for (const Member member : members()) {
    if (member.name == name) return member.value;
  }
  return {};
}

inline Value Value::member(std::string_view name) const {
  if (is_object()) return (*this)[name];
  throw Error("expected an object with \"" + std::string(name) + "\" in it, found " +
              std::string(to_string(kind())));
}

inline Value::Items Value::list(std::string_view name) const {
  const Value list = member(name);
  if (list.is_array()) return list.items();
  throw Error("expected an array under \"" + std::string(name) + "\", found " +
              std::string(to_string(list.kind())));
}

inline std::optional<std::string_view> Value::cursor(std::string_view name,
                                                     std::string_view after) const {
  const Value next = member(name);
  if (next.is_null()) return std::nullopt;
  const std::string_view text = next.text();
  if (!text.empty() && text != after) return text;
  std::string found(to_string(next.kind()));
  if (next.is_string()) found = text.empty() ? "an empty text" : "the cursor of this page again";
  throw Error("expected the cursor of another page, or null behind the last one, under \"" +
              std::string(name) + "\", found " + found);
}

inline std::string_view Value::text() const {
  if (!is_string()) return {};
  const detail::Node& self = node();
  const std::string_view raw(document_->buffer_.data() + self.begin, self.size);
  return (self.flags & detail::kEscaped) != 0 ? document_->decode(raw) : raw;
}

inline std::string_view Value::raw() const {
  if (!exists()) return {};
  const detail::Node& self = node();
  const char* const begin = document_->buffer_.data() + self.begin;
  return self.kind == Kind::string ? std::string_view(begin - 1, self.size + 2)
                                   : std::string_view(begin, self.size);
}

inline std::optional<std::int64_t> Value::integer() const {
  return is_whole() ? parse_integer(raw()) : std::nullopt;
}

inline std::optional<bool> Value::boolean() const {
  if (kind() != Kind::boolean) return std::nullopt;
  return (node().flags & detail::kTrue) != 0;
}

inline std::optional<double> Value::real() const {
  if (!is_number()) return std::nullopt;
  double value = 0;
  const std::string_view text = raw();
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc{}) return std::nullopt;
  return value;
}

inline std::string_view Value::compact(Arena& arena) const {
  const std::string_view from = raw();
  const bool same = is_string() ? (node().flags & detail::kEscaped) == 0
                                : kind() < Kind::string || (node().flags & detail::kCompact) != 0;
  if (same) return from;
  const std::size_t room = from.size() * 3;
  char* const begin = arena.take(room);
  char* to = begin;
  bool inside = false;
  for (std::size_t at = 0; at < from.size();) {
    const char c = from[at];
    if (!inside && (c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
      ++at;
    } else if (static_cast<unsigned char>(c) < 0x80) {
      if (c == '"') inside = !inside;
      *to++ = c;
      ++at;
      if (inside && c == '\\') *to++ = from[at++];
    } else if (const std::size_t length = Document::utf8_length(from, at); length != 0) {
      std::memcpy(to, from.data() + at, length);
      to += length;
      at += length;
    } else {
      to = Document::put_utf8(to, 0xFFFD);
      ++at;
    }
  }
  const auto size = static_cast<std::size_t>(to - begin);
  arena.shrink_last(room - size);
  return {begin, size};
}

/// Appends `text` as a JSON string, with its quotes.
inline void append_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

/// Writes small JSON documents (checkpoints, results) in the order of the calls:
///   Writer w; w.begin_object().member("t0", 17).member("after", "cus_1").end_object(); w.text()
class Writer {
 public:
  Writer& begin_object() { return open('{'); }
  Writer& end_object() { return close('}'); }
  Writer& begin_array() { return open('['); }
  Writer& end_array() { return close(']'); }
  Writer& name(std::string_view text) {
    comma();
    append_string(out_, text);
    out_ += ':';
    fresh_ = true;
    return *this;
  }
  Writer& value(std::string_view text) {
    comma();
    append_string(out_, text);
    return *this;
  }
  Writer& value(const char* text) { return value(std::string_view(text)); }
  Writer& value(std::int64_t number) { return literal(std::to_string(number)); }
  Writer& value(int number) { return literal(std::to_string(number)); }
  Writer& value(bool flag) { return literal(flag ? "true" : "false"); }
  Writer& null() { return literal("null"); }
  /// Text that is JSON already.
  Writer& literal(std::string_view json) {
    comma();
    out_ += json;
    return *this;
  }
  template <class T>
  Writer& member(std::string_view member_name, const T& member_value) {
    name(member_name);
    return value(member_value);
  }
  [[nodiscard]] const std::string& text() const { return out_; }

 private:
  void comma() {
    if (!fresh_) out_ += ',';
    fresh_ = false;
  }
  Writer& open(char bracket) {
    comma();
    out_ += bracket;
    fresh_ = true;
    return *this;
  }
  Writer& close(char bracket) {
    out_ += bracket;
    fresh_ = false;
    return *this;
  }

  std::string out_;
  bool fresh_ = true;
};

}  // namespace sluice::sdk::json
