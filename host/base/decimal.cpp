#include "base/decimal.hpp"

#include <charconv>
#include <cstdint>
#include <optional>

namespace sluice {
namespace {

/// 0.DIGITS times ten to the power of `point`; no digits for zero. Digits neither begin nor end
/// with a zero.
struct Parts {
  bool negative = false;
  std::string digits;
  std::int64_t point = 0;
  friend bool operator==(const Parts&, const Parts&) = default;
};

std::optional<std::int64_t> exponent_of(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (value > kFar || value < -kFar) return std::nullopt;
  return value;
}

std::optional<Parts> parts_of(std::string_view text) {
  Parts parts;
  if (text.starts_with('-') || text.starts_with('+')) {
    parts.negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const std::size_t end = std::min(text.find_first_of("eE"), text.size());
  if (end < text.size()) {
    const auto exponent = exponent_of(text.substr(end + 1));
    if (!exponent) return std::nullopt;
    parts.point = *exponent;
    text = text.substr(0, end);
  }
  const std::size_t point = std::min(text.find('.'), text.size());
  parts.point += static_cast<std::int64_t>(point);
  parts.digits = text.substr(0, point);
  if (point < text.size()) parts.digits += text.substr(point + 1);
  if (parts.digits.empty() || parts.digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  const std::size_t zeros = std::min(parts.digits.find_first_not_of('0'), parts.digits.size());
  parts.digits.erase(0, zeros);
  parts.point -= static_cast<std::int64_t>(zeros);
  while (parts.digits.ends_with('0')) parts.digits.pop_back();
  if (parts.digits.empty()) return Parts();
  return parts;
}

}  // namespace

std::string plain_decimal(std::string_view text) {
  constexpr std::int64_t kWrittenOutMax = 1'000'000;  // digits; numeric ends long before
  const auto parts = parts_of(text);
  if (!parts || parts->point > kWrittenOutMax || parts->point < -kWrittenOutMax)
    return std::string(text);
  if (parts->digits.empty()) return "0";
  std::string out = parts->negative ? "-" : "";
  const auto count = static_cast<std::int64_t>(parts->digits.size());
  if (parts->point <= 0) {
    out += "0.";
    out.append(static_cast<std::size_t>(-parts->point), '0');
    return out + parts->digits;
  }
  if (parts->point >= count) {
    out += parts->digits;
    out.append(static_cast<std::size_t>(parts->point - count), '0');
    return out;
  }
  const auto whole = static_cast<std::size_t>(parts->point);
  return out + parts->digits.substr(0, whole) + "." + parts->digits.substr(whole);
}

std::optional<std::int64_t> exact_integer(std::string_view text) {
  constexpr std::int64_t kDigitsMax = 19;
  const auto is_digit = [&](std::size_t at) {
    return at < text.size() && text[at] >= '0' && text[at] <= '9';
  };
  if (!is_digit(text.starts_with('-') ? 1 : 0)) return std::nullopt;
  if (const std::size_t point = text.find('.'); point < text.size() && !is_digit(point + 1))
    return std::nullopt;
  const auto parts = parts_of(text);
  if (!parts) return std::nullopt;
  const auto count = static_cast<std::int64_t>(parts->digits.size());
  if (parts->digits.empty()) return 0;
  if (parts->point < count || parts->point > kDigitsMax) return std::nullopt;
  std::string whole = parts->negative ? "-" : "";
  whole += parts->digits;
  whole.append(static_cast<std::size_t>(parts->point - count), '0');
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), number);
  return error == std::errc{} ? std::optional(number) : std::nullopt;
}

bool same_number(std::string_view a, std::string_view b) {
  if (a == b) return true;
  const auto left = parts_of(a);
  const auto right = parts_of(b);
  return left && right && *left == *right;
}

}  // namespace sluice
