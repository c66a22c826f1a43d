#include "link/inside.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "base/decimal.hpp"
#include "base/json_text.hpp"

namespace sluice::link {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

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

bool is_called(std::string_view quoted, const std::string& name) {
  if (quoted.find('\\') == std::string_view::npos)
    return quoted.substr(1, quoted.size() - 2) == name;
  return text_of_json_string(quoted) == name;
}

/// The last member of that name; empty: there is none.
std::string_view member_of(std::string_view object, const std::string& name) {
  std::string_view found;
  std::size_t at = behind_blanks(object, 1);
  while (at < object.size() && object[at] == '"') {
    const std::size_t key_end = behind_string(object, at);
    const bool wanted = is_called(object.substr(at, key_end - at), name);
    const std::size_t value = behind_blanks(object, behind_blanks(object, key_end) + 1);
    const std::size_t value_end = behind_value(object, value);
    if (wanted) found = object.substr(value, value_end - value);
    at = behind_blanks(object, behind_blanks(object, value_end) + 1);
  }
  return found;
}

/// Calls `each` with every element, until it says that it has seen enough.
template <class Each>
void walk_list(std::string_view list, Each each) {
  std::size_t at = behind_blanks(list, 1);
  while (at < list.size() && list[at] != ']') {
    const std::size_t end = behind_value(list, at);
    if (!each(list.substr(at, end - at))) return;
    at = behind_blanks(list, end);
    if (at < list.size() && list[at] == ',') at = behind_blanks(list, at + 1);
  }
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

std::string_view element_of(std::string_view list, const std::string& part) {
  auto place = place_of(part);
  if (!place) return {};
  if (*place < 0) {
    std::int64_t count = 0;
    walk_list(list, [&](std::string_view) { return ++count > 0; });
    *place += count;
  }
  std::string_view found;
  std::int64_t at = 0;
  walk_list(list, [&](std::string_view element) {
    if (at++ == *place) found = element;
    return at <= *place;
  });
  return found;
}

}  // namespace

std::optional<std::string> text_inside(std::string_view json, std::span<const std::string> path) {
  const auto value_in = [](std::string_view text) {
    const std::size_t at = behind_blanks(text, 0);
    return text.substr(at, behind_value(text, at) - at);
  };
  json = value_in(json);
  for (const std::string& part : path) {
    if (json.starts_with('{')) {
      json = member_of(json, part);
    } else if (json.starts_with('[')) {
      json = element_of(json, part);
    } else {
      return std::nullopt;
    }
  }
  if (json.empty() || json == "null" || json.front() == '{' || json.front() == '[')
    return std::nullopt;
  if (json.front() == '"') return text_of_json_string(json);
  return plain_decimal(json);  // also "true", as it is
}

}  // namespace sluice::link
