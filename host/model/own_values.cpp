#include "model/own_values.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "base/ascii.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/decimal.hpp"
#include "base/exact_json.hpp"
#include "base/printable.hpp"
#include "link/normalise.hpp"
#include "model/indexed_text.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;
using nlohmann::json;

constexpr std::array<std::string_view, 9> kFaults = {
    "bad_value",     "too_long",    "bad_utf8",      "missing_value", "unknown_attribute",
    "duplicate_key", "missing_key", "ambiguous_key", "repeated_key"};

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

std::unexpected<FieldError> not_expected(const StoredAttribute& attribute, std::string_view text) {
  return fault(attribute, FieldFault::bad_value,
               fmt::format("{} is not {}", shown_value(attribute, text),
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
  if (attribute.format == "email" && text.size() > kEmailBytesMax) {
    return fault(
        attribute, FieldFault::too_long,
        fmt::format("{} bytes; an e-mail address has at most {}", text.size(), kEmailBytesMax));
  }
  return json(std::string(text));
}

FieldResult<json> checked_json(const StoredAttribute& attribute, json value) {
  if (has_nul(value)) {
    return fault(attribute, FieldFault::bad_value, "the JSON contains a NUL character");
  }
  const std::optional<std::string> text = write_utf8_json(value);
  if (!text) return fault(attribute, FieldFault::bad_utf8, "the JSON is not UTF-8");
  const JsonCheck check = check_json(*text);
  if (!check.ok()) {
    return fault(attribute, FieldFault::bad_value,
                 fmt::format("the JSON cannot be stored: {}", check.problem));
  }
  // As it is printed: what cannot be read again, for its size, is not taken.
  if (check.printed_bytes > kOwnTextBytesMax) {
    return fault(attribute, FieldFault::too_long,
                 fmt::format("{} bytes of JSON with its numbers written out; the limit is {}",
                             check.printed_bytes, kOwnTextBytesMax));
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
  return json(plain_decimal(text));
}

/// Of a JSON number, which may have an exponent.
FieldResult<json> decimal_of_digits(const StoredAttribute& attribute, const std::string& digits) {
  const std::string plain = plain_decimal(digits);
  if (!is_decimal(plain)) return not_expected(attribute, digits);
  return json(plain);
}

/// A number attribute is a double, by its type: the nearest one.
FieldResult<json> double_of_digits(const StoredAttribute& attribute, const std::string& digits) {
  const double nearest = std::strtod(digits.c_str(), nullptr);
  if (!std::isfinite(nearest)) return not_expected(attribute, digits);
  return json(nearest);
}

/// What a value of another kind is called.
std::string kind_of(const json& given) { return digits_of(given) ? "number" : given.type_name(); }

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

FieldResult<json> integer_of_json(const StoredAttribute& attribute, const json& given) {
  const auto digits = digits_of(given);
  const auto whole = digits ? exact_integer(*digits) : std::nullopt;
  if (!whole) return not_expected(attribute, digits.value_or(kind_of(given)));
  return json(*whole);
}

}  // namespace

std::string shown_value(const StoredAttribute& attribute, std::string_view text) {
  if (attribute.personal) return "a value (not shown: personal data)";
  constexpr std::size_t kShownMax = 40;
  const bool is_cut = text.size() > kShownMax;
  std::size_t size = is_cut ? kShownMax : text.size();
  while (is_cut && size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80) --size;
  return fmt::format("'{}{}'", printable(text.substr(0, size)), is_cut ? "…" : "");
}

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
      if (const auto digits = digits_of(given)) return double_of_digits(attribute, *digits);
      return not_expected(attribute, given.is_string() ? given.get<std::string>() : kind_of(given));
    case AttributeType::boolean:
      if (!given.is_boolean()) return not_expected(attribute, kind_of(given));
      return given;
    case AttributeType::json:
      return checked_json(attribute, given);
    case AttributeType::decimal:
      if (const auto digits = digits_of(given)) return decimal_of_digits(attribute, *digits);
      break;
    default:
      break;
  }
  if (!given.is_string()) return not_expected(attribute, kind_of(given));
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
      auto value = read_json(text, kJsonDepthMax);
      if (value) return checked_json(attribute, std::move(*value));
      return fault(attribute, FieldFault::bad_value,
                   fmt::format("{} is not JSON that can be stored: {}",
                               shown_value(attribute, text), value.error().describe()));
    }
  }
  return not_expected(attribute, text);
}

std::optional<json> stored_values(const StoredType& type, std::string_view data) {
  auto values = read_json(data);
  if (!values || !values->is_object()) return std::nullopt;
  for (const StoredAttribute& attribute : type.attributes) {
    const auto value = values->find(attribute.name);
    if (value == values->end()) continue;
    if (attribute.type == AttributeType::decimal && value->is_string())
      *value = plain_decimal(value->get_ref<const std::string&>());
    if (attribute.type != AttributeType::number) continue;
    if (const auto digits = digits_of(*value)) *value = std::strtod(digits->c_str(), nullptr);
  }
  return std::move(*values);
}

std::string raw_text(const json& stored) {
  return stored.is_string() ? stored.get<std::string>() : write_json(stored);
}

std::string unique_form(const StoredAttribute& attribute, const json& stored) {
  std::string raw = raw_text(stored);
  if (!attribute.key_kind) return raw;
  return link::normalise(*attribute.key_kind, raw).value_or(std::move(raw));
}

}  // namespace sluice::model
