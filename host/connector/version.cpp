#include "connector/version.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

namespace sluice::connector {
namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view take_part(std::string_view& rest) {
  const std::size_t dot = std::min(rest.find('.'), rest.size());
  const std::string_view part = rest.substr(0, dot);
  rest.remove_prefix(std::min(dot + 1, rest.size()));
  return part;
}

struct Parsed {
  std::array<std::uint64_t, 3> core{};
  std::string_view pre_release;
};

std::optional<Parsed> parse(std::string_view text) {
  text = text.substr(0, text.find('+'));
  const std::size_t dash = std::min(text.find('-'), text.size());
  std::string_view core = text.substr(0, dash);
  Parsed parsed;
  for (std::uint64_t& part : parsed.core) {
    const auto value = number(take_part(core));
    if (!value) return std::nullopt;
    part = *value;
  }
  if (!core.empty()) return std::nullopt;
  parsed.pre_release = text.substr(std::min(dash + 1, text.size()));
  return parsed;
}

/// Numbers below words, fewer parts below more.
std::strong_ordering compare_pre_release(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.empty() <=> b.empty();  // a release is above
  while (!a.empty() && !b.empty()) {
    const std::string_view left = take_part(a), right = take_part(b);
    const auto left_number = number(left), right_number = number(right);
    std::strong_ordering order = std::strong_ordering::equal;
    if (left_number && right_number) {
      order = *left_number <=> *right_number;
    } else if (left_number.has_value() != right_number.has_value()) {
      order = right_number.has_value() <=> left_number.has_value();
    } else {
      order = left.compare(right) <=> 0;
    }
    if (order != 0) return order;
  }
  return !a.empty() <=> !b.empty();
}

}  // namespace

std::strong_ordering compare_versions(std::string_view a, std::string_view b) {
  const auto left = parse(a), right = parse(b);
  if (!left || !right) {
    if (left.has_value() != right.has_value()) return left.has_value() <=> right.has_value();
    return a.compare(b) <=> 0;
  }
  if (const auto order = left->core <=> right->core; order != 0) return order;
  return compare_pre_release(left->pre_release, right->pre_release);
}

}  // namespace sluice::connector
