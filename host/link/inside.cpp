#include "link/inside.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <map>

#include "base/decimal.hpp"
#include "base/json_text.hpp"
#include "link/normalise.hpp"

namespace sluice::link {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
/// A text is longer than a key may be when it takes more than this, with all of it escaped.
constexpr std::size_t kKeyJsonBytesMax = 6 * kKeyBytesMax + 2;

std::size_t behind_blanks(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of(kBlanks, at), text.size());
}

std::size_t behind_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

/// Behind the value that begins at `at`.
std::size_t behind_value(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = behind_string(text, at);
      if (depth == 0) return at;
      continue;
    }
    const bool closes = c == '}' || c == ']';
    if (depth == 0 && (closes || c == ',' || kBlanks.find(c) != std::string_view::npos)) return at;
    if (closes && --depth == 0) return at + 1;
    if (c == '{' || c == '[') ++depth;
    ++at;
  }
  return at;
}

/// As PostgreSQL reads a place in a list.
std::optional<std::int64_t> place_of(const std::string& part) {
  char* end = nullptr;
  errno = 0;
  const long place = std::strtol(part.c_str(), &end, 10);
  if (end == part.c_str() || *end != '\0' || errno != 0) return std::nullopt;
  if (place < std::numeric_limits<int>::min() || place > std::numeric_limits<int>::max())
    return std::nullopt;
  return place;
}

/// A scalar as the text of a key; `json` is neither an object nor a list.
std::optional<std::string> key_text(std::string_view json) {
  if (json.empty() || json == "null" || json.size() > kKeyJsonBytesMax) return std::nullopt;
  if (json.front() == '"') return text_of_json_string(json);
  return plain_decimal(json);  // also "true", as it is
}

/// What is still to be gone of a path, and where to put what stands at its end.
struct Wanted {
  std::span<const std::string> way;
  std::optional<std::string>* found = nullptr;
};
using AllWanted = std::vector<Wanted>;

using ByName = std::map<std::string, AllWanted, std::less<>>;
/// What is wanted of the member that is called so; null: nothing.
const AllWanted* wanted_of(const ByName& inside, std::string_view quoted) {
  const bool has_escapes = quoted.find('\\') != std::string_view::npos;
  const auto found = has_escapes ? inside.find(text_of_json_string(quoted))
                                 : inside.find(quoted.substr(1, quoted.size() - 2));
  return found == inside.end() ? nullptr : &found->second;
}

/// Goes over a document once, and down only where a path leads.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {}

  /// Behind the value that begins at `at`; what is wanted of it is found on the way.
  std::size_t value(std::size_t at, const AllWanted& wanted) const {
    const char first = at < text_.size() ? text_[at] : '\0';
    if (first == '{') return object(at, wanted);
    if (first == '[') return list(at, wanted);
    const std::size_t end = behind_value(text_, at);
    const std::optional<std::string> text = key_text(text_.substr(at, end - at));
    for (const Wanted& one : wanted)
      if (one.way.empty()) *one.found = text;
    return end;
  }

 private:
  std::size_t object(std::size_t at, const AllWanted& wanted) const {
    ByName inside;
    for (const Wanted& one : wanted)
      if (!one.way.empty()) inside[one.way.front()].push_back({one.way.subspan(1), one.found});
    if (inside.empty()) return behind_value(text_, at);
    at = behind_blanks(text_, at + 1);
    while (at < text_.size() && text_[at] == '"') {
      const std::size_t name_end = behind_string(text_, at);
      const AllWanted* const member = wanted_of(inside, text_.substr(at, name_end - at));
      at = behind_blanks(text_, behind_blanks(text_, name_end) + 1);
      if (member == nullptr) {
        at = behind_value(text_, at);
      } else {
        // Of a name that comes twice the last member counts, also where it holds nothing.
        for (const Wanted& one : *member) one.found->reset();
        at = value(at, *member);
      }
      at = behind_blanks(text_, at);
      if (at < text_.size() && text_[at] == ',') at = behind_blanks(text_, at + 1);
    }
    return std::min(at + 1, text_.size());
  }

  std::size_t list(std::size_t at, const AllWanted& wanted) const {
    std::map<std::int64_t, AllWanted> inside;
    for (const Wanted& one : wanted) {
      const auto place = one.way.empty() ? std::nullopt : place_of(one.way.front());
      if (place) inside[*place].push_back({one.way.subspan(1), one.found});
    }
    if (inside.empty()) return behind_value(text_, at);
    if (inside.begin()->first < 0) count_from_the_end(inside, at);
    std::int64_t place = 0;
    return each_element(at, [&](std::size_t element) {
      const auto here = inside.find(place++);
      return here == inside.end() ? behind_value(text_, element) : value(element, here->second);
    });
  }

  /// Calls `step` with where each element begins, which says where it ends. Behind the list.
  template <class Step>
  std::size_t each_element(std::size_t at, Step step) const {
    at = behind_blanks(text_, at + 1);
    while (at < text_.size() && text_[at] != ']') {
      at = behind_blanks(text_, step(at));
      if (at < text_.size() && text_[at] == ',') at = behind_blanks(text_, at + 1);
    }
    return std::min(at + 1, text_.size());
  }

  /// -1 becomes the place of the last element, and so on.
  void count_from_the_end(std::map<std::int64_t, AllWanted>& inside, std::size_t at) const {
    std::int64_t count = 0;
    each_element(at, [&](std::size_t element) {
      ++count;
      return behind_value(text_, element);
    });
    while (!inside.empty() && inside.begin()->first < 0) {
      const auto node = inside.extract(inside.begin());
      if (node.key() + count < 0) continue;
      AllWanted& there = inside[node.key() + count];
      there.insert(there.end(), node.mapped().begin(), node.mapped().end());
    }
  }

  std::string_view text_;
};

}  // namespace

std::vector<std::optional<std::string>> texts_inside(std::string_view json,
                                                     std::span<const Path> paths) {
  std::vector<std::optional<std::string>> found(paths.size());
  AllWanted wanted;
  for (std::size_t i = 0; i < paths.size(); ++i) wanted.push_back({paths[i], &found[i]});
  Walk(json).value(behind_blanks(json, 0), wanted);
  return found;
}

std::optional<std::string> text_inside(std::string_view json, Path path) {
  return std::move(texts_inside(json, std::span(&path, 1)).front());
}

}  // namespace sluice::link
