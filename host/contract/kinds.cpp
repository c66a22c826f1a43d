#include "contract/kinds.hpp"

#include <fmt/format.h>

#include "base/decimal.hpp"
#include "base/printable.hpp"

namespace sluice::contract {
namespace {

constexpr std::size_t kShownBytesMax = 40;

std::string_view what_to_send(AttributeType type) {
  switch (type) {
    case AttributeType::text:
      return "string";
    case AttributeType::integer:
      return "int64, or a decimal that is a whole number of 64 bits";
    case AttributeType::decimal:
      return "decimal or int64";
    case AttributeType::number:
      return "double or int64";
    case AttributeType::boolean:
      return "boolean";
    case AttributeType::timestamp:
      return "timestamp";
    case AttributeType::date:
      return "date";
    case AttributeType::json:
      return "json";
    case AttributeType::bytes:
      return "bytes";
  }
  return {};
}

std::string shown_text(const Value& value) {
  switch (value.kind) {
    case Kind::null:
    case Kind::raw:
      return {};
    case Kind::boolean:
      return value.number != 0 ? "true" : "false";
    case Kind::int64:
    case Kind::timestamp:
    case Kind::date:
      return std::to_string(value.number);
    case Kind::real:
      return fmt::format("{}", value.real);
    case Kind::decimal:
    case Kind::string:
    case Kind::json:
      break;
  }
  std::size_t size = std::min(value.text.size(), kShownBytesMax);
  const bool is_cut = size < value.text.size();
  while (is_cut && size > 0 && (static_cast<unsigned char>(value.text[size]) & 0xC0U) == 0x80)
    --size;
  return printable(value.text.substr(0, size)) + (is_cut ? "…" : "");
}

}  // namespace

bool holds_exactly(AttributeType type, Kind kind, std::string_view text) {
  if (type == AttributeType::integer && (kind == Kind::decimal || kind == Kind::json))
    return exact_integer(text).has_value();
  const bool begins = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  return type == AttributeType::decimal && kind == Kind::json && begins;
}

std::string wrong_kind(std::string_view attribute, AttributeType type, Shown shown,
                       const Value& value) {
  const std::string text = shown_text(value);
  std::string what;
  if (shown == Shown::no)
    what = " (its value is not shown: personal or protected)";
  else if (!text.empty())
    what = fmt::format(" '{}'", text);
  return fmt::format("attribute '{}' is {}, but the record has {}{}; send {}", attribute,
                     to_string(type), to_string(value.kind), what, what_to_send(type));
}

}  // namespace sluice::contract
