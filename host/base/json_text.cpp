#include "base/json_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/characters.hpp"
#include "base/decimal.hpp"

namespace sluice {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The four hex digits at `at`, or -1.
int hex4(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return -1;
  const auto value = hex_number(text.substr(at, 4));
  return value ? static_cast<int>(*value) : -1;
}

bool is_high(int unit) { return unit >= 0 && is_high_half(static_cast<std::uint32_t>(unit)); }
bool is_low(int unit) { return unit >= 0 && is_low_half(static_cast<std::uint32_t>(unit)); }

/// The escaped low half that must follow a high one at `at` ("\uDC00"), or -1.
int low_half(std::string_view text, std::size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return -1;
  const int unit = hex4(text, at + 2);
  return is_low(unit) ? unit : -1;
}

class Scanner {
 public:
  Scanner(std::string_view text, std::size_t depth_max) : text_(text), depth_max_(depth_max) {}

  JsonCheck run() {
    if (value_or_open()) {
      while (!open_.empty() && step()) {
      }
    }
    skip_space();
    if (found_.ok() && at_ != text_.size()) return problem("text after the end of the value");
    found_.printed_bytes = text_.size() + more_printed_;
    return found_;
  }

 private:
  JsonCheck problem(std::string_view what) {
    if (found_.ok()) {
      found_.problem = what;
      found_.at = at_;
    }
    return found_;
  }
  bool refuse(std::string_view what) {
    problem(what);
    return false;
  }

  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
      ++at_;
    }
  }

  /// One member or element of the innermost open container, or its end.
  bool step() {
    const bool object = open_.back() == '{';
    skip_space();
    if (peek() == (object ? '}' : ']')) {
      if (after_comma_) return refuse("a comma before the end");
      ++at_;
      open_.pop_back();
      first_ = false;
      return true;
    }
    if (!first_ && !after_comma_) {
      if (peek() != ',') return refuse("a comma or the end is missing");
      ++at_;
      ++more_printed_;  // jsonb puts a blank behind it, and behind a colon
      after_comma_ = true;
      return true;
    }
    first_ = after_comma_ = false;
    if (object && !key()) return false;
    return value_or_open();
  }

  bool key() {
    if (peek() != '"') return refuse("a key must be a string");
    if (!string()) return false;
    skip_space();
    if (peek() != ':') return refuse("a colon is missing");
    ++at_;
    ++more_printed_;
    return true;
  }

  bool value_or_open() {
    skip_space();
    switch (peek()) {
      case '{':
      case '[':
        if (open_.size() >= depth_max_) {
          return refuse(depth_max_ == kJsonTextDepthMax ? "nested deeper than 512 levels"
                                                        : "nested too deep");
        }
        open_.push_back(peek());
        ++at_;
        first_ = true;
        return true;
      case '"':
        return string();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

  bool word(std::string_view wanted) {
    if (!text_.substr(at_).starts_with(wanted)) return refuse("no JSON value");
    at_ += wanted.size();
    return true;
  }

  bool digits() {
    const std::size_t begin = at_;
    while (is_digit(peek())) ++at_;
    return at_ > begin;
  }

  bool number() {
    const std::size_t begin = at_;
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const std::size_t whole = at_;
    if (!digits()) return refuse("no JSON value");
    if (zero && at_ - whole > 1) return refuse("a number with a leading zero");
    if (peek() == '.') {
      ++at_;
      if (!digits()) return refuse("digits are missing after the point");
    }
    std::size_t printed = at_ - begin;
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      int exponent = 0;  // without its sign: either way so many zeros may be printed
      if (!is_digit(peek())) return refuse("digits are missing in the exponent");
      for (; is_digit(peek()); ++at_) {
        exponent = std::min(exponent * 10 + (peek() - '0'), kJsonExponentMax + 1);
      }
      if (exponent > kJsonExponentMax) return refuse("an exponent beyond 10000");
      more_printed_ += static_cast<std::size_t>(exponent) + 2;
      printed += static_cast<std::size_t>(exponent) + 2;
    }
    if (printed > kJsonNumberPrintedMax)
      return refuse("a number of more than 12000 digits when it is written out");
    return true;
  }

  bool string() {
    ++at_;
    while (true) {
      if (at_ >= text_.size()) return refuse("a string without its end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') break;
      if (c < 0x20) return refuse("a control character in a string");
      if (c != '\\') {
        ++at_;
      } else if (!escape()) {
        return false;
      }
    }
    ++at_;
    return true;
  }

  bool escape() {
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c != 'u') {
      if (c == '\0' || std::string_view("\"\\/bfnrt").find(c) == std::string_view::npos) {
        return refuse("an unknown escape");
      }
      at_ += 2;
      return true;
    }
    const int unit = hex4(text_, at_ + 2);
    if (unit < 0) return refuse("four hex digits must follow \\u");
    at_ += 6;
    if (unit == 0) found_.has_nul = true;
    if (is_high(unit) && low_half(text_, at_) >= 0) {
      at_ += 6;
    } else if (is_high(unit) || is_low(unit)) {
      found_.has_lone_surrogate = true;
    }
    return true;
  }

  std::string_view text_;
  std::size_t depth_max_;
  std::size_t at_ = 0;
  std::size_t more_printed_ = 0;
  std::string open_;    ///< '{' and '[' from the outside in
  bool first_ = false;  ///< nothing yet in the innermost container
  bool after_comma_ = false;
  JsonCheck found_;
};

}  // namespace

JsonCheck check_json(std::string_view text, std::size_t depth_max) {
  return Scanner(text, depth_max).run();
}

std::string replace_unstorable(std::string_view text) {
  static constexpr std::string_view kReplacement = "\\ufffd";
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '\\' || at + 1 >= text.size()) {
      out.push_back(text[at++]);
      continue;
    }
    if (text[at + 1] != 'u') {
      out.append(text.substr(at, 2));
      at += 2;
      continue;
    }
    const int unit = hex4(text, at + 2);
    if (is_high(unit) && low_half(text, at + 6) >= 0) {
      out.append(text.substr(at, 12));
      at += 12;
      continue;
    }
    const bool unstorable = unit == 0 || is_high(unit) || is_low(unit);
    out.append(unstorable ? kReplacement : text.substr(at, 6));
    at += 6;
  }
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

namespace {

std::size_t end_of_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

std::size_t end_of_value(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = end_of_string(text, at);
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (depth == 0 && (c == ',' || c == '}')) return at;
    if (c == '}' || c == ']') --depth;
    ++at;
  }
  return at;
}

}  // namespace

std::string text_of_json_string(std::string_view quoted) {
  const std::string_view text = quoted.substr(1, quoted.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      const std::size_t end = std::min(text.find('\\', at), text.size());
      out.append(text, at, end - at);
      at = end;
      continue;
    }
    const char c = text[at + 1];
    if (c != 'u') {
      constexpr std::string_view kEscapes = "bfnrt";
      constexpr std::string_view kMeant = "\b\f\n\r\t";
      const std::size_t known = kEscapes.find(c);
      out.push_back(known == std::string_view::npos ? c : kMeant[known]);
      at += 2;
      continue;
    }
    const int unit = hex4(text, at + 2);
    at += 6;
    const int low = is_high(unit) ? low_half(text, at) : -1;
    auto code = static_cast<std::uint32_t>(unit);
    if (low >= 0) {
      at += 6;
      code = of_halves(code, static_cast<std::uint32_t>(low));
    }
    out += utf8_of(code).view();
  }
  return out;
}

std::vector<std::pair<std::string_view, std::string_view>> members(std::string_view object) {
  std::vector<std::pair<std::string_view, std::string_view>> found;
  if (!object.starts_with('{')) return found;
  std::size_t at = 1;
  while (at < object.size() && object[at] == '"') {
    const std::size_t key_end = end_of_string(object, at);
    const std::size_t value = key_end + 2;  // ": "
    const std::size_t value_end = end_of_value(object, value);
    found.emplace_back(object.substr(at + 1, key_end - at - 2),
                       object.substr(value, value_end - value));
    at = value_end + 2;  // ", "
  }
  return found;
}

namespace {

std::size_t end_of_number(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of("0123456789+-.eE", at), text.size());
}

}  // namespace

bool same_jsonb(std::string_view a, std::string_view b) {
  if (a == b) return true;
  std::size_t at = 0;
  std::size_t other = 0;
  while (at < a.size() && other < b.size()) {
    const bool number = is_digit(a[at]) || a[at] == '-';
    if (number && (is_digit(b[other]) || b[other] == '-')) {
      const std::size_t end = end_of_number(a, at);
      const std::size_t other_end = end_of_number(b, other);
      if (!same_number(a.substr(at, end - at), b.substr(other, other_end - other))) return false;
      at = end;
      other = other_end;
    } else if (a[at] == '"') {
      const std::size_t size = end_of_string(a, at) - at;
      if (a.substr(at, size) != b.substr(other, size)) return false;
      at += size;
      other += size;
    } else if (a[at++] != b[other++]) {
      return false;
    }
  }
  return at == a.size() && other == b.size();
}

}  // namespace sluice
