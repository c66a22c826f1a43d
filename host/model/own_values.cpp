#include "model/own_values.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "link/normalise.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;
using nlohmann::json;

constexpr std::array<std::string_view, 8> kFaults = {
    "bad_value",         "too_long",      "bad_utf8",    "missing_value",
    "unknown_attribute", "duplicate_key", "missing_key", "ambiguous_key"};

constexpr std::array<std::string_view, 9> kExpected = {
    "text",
    "a whole number from -9223372036854775808 to 9223372036854775807",
    "a decimal number such as 12.50",
    "a finite number",
    "true or false",
    "a time such as 2026-11-23T05:16:54Z",
    "a date such as 2026-11-23",
    "JSON",
    "bytes as hex digits"};

constexpr std::size_t kDecimalDigitsMax = 1000;

std::unexpected<FieldError> fault(const StoredAttribute& attribute, FieldFault kind,
                                  std::string reason) {
  FieldError error;
  error.fault = kind;
  error.attribute = attribute.name;
  error.reason = std::move(reason);
  return std::unexpected(std::move(error));
}

/// The value as a message shows it: short, one line, nothing of personal data.
std::string shown(const StoredAttribute& attribute, std::string_view text) {
  if (attribute.personal) return "a value (not shown: personal data)";
  constexpr std::size_t kShownMax = 40;
  std::string out = "'";
  for (const char c : text.substr(0, kShownMax)) {
    out += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '?' : c;
  }
  return out + (text.size() > kShownMax ? "…'" : "'");
}

std::unexpected<FieldError> not_expected(const StoredAttribute& attribute, std::string_view text) {
  return fault(attribute, FieldFault::bad_value,
               fmt::format("{} is not {}", shown(attribute, text),
                           kExpected[static_cast<std::size_t>(attribute.type)]));
}

/// PostgreSQL stores no NUL in text or jsonb.
bool has_nul(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().find('\0') != std::string::npos;
  if (value.is_array()) {
    for (const json& item : value) {
      if (has_nul(item)) return true;
    }
  }
  if (value.is_object()) {
    for (const auto& [name, item] : value.items()) {
      if (name.find('\0') != std::string::npos || has_nul(item)) return true;
    }
  }
  return false;
}

FieldResult<json> checked_text(const StoredAttribute& attribute, std::string_view text) {
  if (text.size() > kOwnTextBytesMax) {
    return fault(attribute, FieldFault::too_long,
                 fmt::format("{} bytes; the limit is {}", text.size(), kOwnTextBytesMax));
  }
  if (!is_utf8(text)) return fault(attribute, FieldFault::bad_utf8, "the text is not UTF-8");
  if (text.find('\0') != std::string_view::npos) {
    return fault(attribute, FieldFault::bad_value, "the text contains a NUL character");
  }
  if (attribute.unique && text.size() > kUniqueBytesMax) {
    return fault(
        attribute, FieldFault::too_long,
        fmt::format("{} bytes; a unique value has at most {}", text.size(), kUniqueBytesMax));
  }
  return json(std::string(text));
}

FieldResult<json> checked_json(const StoredAttribute& attribute, json value) {
  if (has_nul(value)) {
    return fault(attribute, FieldFault::bad_value, "the JSON contains a NUL character");
  }
  std::size_t size = 0;
  try {
    size = value.dump().size();
  } catch (const json::exception&) {
    return fault(attribute, FieldFault::bad_utf8, "the JSON is not UTF-8");
  }
  if (size > kOwnTextBytesMax) {
    return fault(attribute, FieldFault::too_long,
                 fmt::format("{} bytes of JSON; the limit is {}", size, kOwnTextBytesMax));
  }
  return value;
}

FieldResult<json> time_of_text(const StoredAttribute& attribute, std::string_view text) {
  const auto time = from_rfc3339(text);
  if (!time) return not_expected(attribute, text);
  return json(to_rfc3339(*time));
}

FieldResult<json> bytes_of_text(const StoredAttribute& attribute, std::string_view text) {
  if (text.size() > kOwnTextBytesMax) {
    return fault(attribute, FieldFault::too_long,
                 fmt::format("{} hex digits; the limit is {}", text.size(), kOwnTextBytesMax));
  }
  const auto bytes = from_hex(text);
  if (!bytes) return not_expected(attribute, text);
  return json(to_hex(*bytes));
}

FieldResult<json> decimal_of_text(const StoredAttribute& attribute, std::string_view text) {
  if (!is_decimal(text)) return not_expected(attribute, text);
  return json(std::string(text));
}

FieldResult<json> date_of_text(const StoredAttribute& attribute, std::string_view text) {
  if (!is_date(text)) return not_expected(attribute, text);
  return json(std::string(text));
}

template <class Number>
FieldResult<json> number_of_text(const StoredAttribute& attribute, std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size())
    return not_expected(attribute, text);
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(number)) return not_expected(attribute, text);
  }
  return json(number);
}

bool equal_without_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

FieldResult<json> integer_of_json(const StoredAttribute& attribute, const json& given) {
  if (!given.is_number_integer()) return not_expected(attribute, given.dump());
  if (given.is_number_unsigned() &&
      given.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return not_expected(attribute, given.dump());
  }
  return json(given.get<std::int64_t>());
}

}  // namespace

std::string_view to_string(FieldFault fault) { return kFaults[static_cast<std::size_t>(fault)]; }

bool is_decimal(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.empty() || text.size() > kDecimalDigitsMax) return false;
  std::size_t digits_before = 0;
  std::size_t digits_behind = 0;
  bool point = false;
  for (const char c : text) {
    if (c == '.' && !point) {
      point = true;
    } else if (c >= '0' && c <= '9') {
      ++(point ? digits_behind : digits_before);
    } else {
      return false;
    }
  }
  return digits_before > 0 && (!point || digits_behind > 0);
}

bool is_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto number = [&](std::size_t from, std::size_t length) -> int {
    int value = 0;
    for (std::size_t i = from; i < from + length; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  if (year < 1 || month < 1 || day < 1) return false;
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  return date.ok();
}

FieldResult<json> stored_value(const StoredAttribute& attribute, const json& given) {
  if (given.is_null()) return json(nullptr);
  switch (attribute.type) {
    case AttributeType::integer:
      return integer_of_json(attribute, given);
    case AttributeType::number:
      if (!given.is_number() || !std::isfinite(given.get<double>())) {
        return not_expected(attribute,
                            given.is_string() ? given.get<std::string>() : given.type_name());
      }
      return json(given.get<double>());
    case AttributeType::boolean:
      if (!given.is_boolean()) return not_expected(attribute, given.type_name());
      return given;
    case AttributeType::json:
      return checked_json(attribute, given);
    case AttributeType::decimal:
      if (given.is_number_integer()) return json(given.dump());
      if (given.is_number_float()) {
        return fault(
            attribute, FieldFault::bad_value,
            "a decimal with a fraction must be a string (\"12.50\"), so that no digit is lost");
      }
      break;
    default:
      break;
  }
  if (!given.is_string()) return not_expected(attribute, given.type_name());
  const auto& text = given.get_ref<const std::string&>();
  switch (attribute.type) {
    case AttributeType::decimal:
      return decimal_of_text(attribute, text);
    case AttributeType::timestamp:
      return time_of_text(attribute, text);
    case AttributeType::date:
      return date_of_text(attribute, text);
    case AttributeType::bytes:
      return bytes_of_text(attribute, text);
    default:
      return checked_text(attribute, text);
  }
}

FieldResult<json> stored_value_of_text(const StoredAttribute& attribute, std::string_view text) {
  switch (attribute.type) {
    case AttributeType::text:
      return checked_text(attribute, text);
    case AttributeType::integer:
      return number_of_text<std::int64_t>(attribute, text);
    case AttributeType::number:
      return number_of_text<double>(attribute, text);
    case AttributeType::decimal:
      return decimal_of_text(attribute, text);
    case AttributeType::timestamp:
      return time_of_text(attribute, text);
    case AttributeType::date:
      return date_of_text(attribute, text);
    case AttributeType::bytes:
      return bytes_of_text(attribute, text);
    case AttributeType::boolean:
      if (text == "1" || equal_without_case(text, "true")) return json(true);
      if (text == "0" || equal_without_case(text, "false")) return json(false);
      return not_expected(attribute, text);
    case AttributeType::json: {
      auto value = parse_json(text);
      if (!value) return not_expected(attribute, text);
      return checked_json(attribute, std::move(*value));
    }
  }
  return not_expected(attribute, text);
}

std::optional<json> parse_json(std::string_view text) {
  // Brackets outside strings, so that no deep document reaches code that recurses.
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kJsonDepthMax) return std::nullopt;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

std::string raw_text(const json& stored) {
  return stored.is_string() ? stored.get<std::string>() : stored.dump();
}

std::string unique_form(const StoredAttribute& attribute, const json& stored) {
  std::string raw = raw_text(stored);
  if (!attribute.key_kind) return raw;
  return link::normalise(*attribute.key_kind, raw).value_or(std::move(raw));
}

}  // namespace sluice::model
