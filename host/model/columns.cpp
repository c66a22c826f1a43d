#include "model/columns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sluice::model {
namespace {

constexpr std::array<std::string_view, 9> kColumnTypes = {
    "text", "bigint", "numeric", "double precision", "boolean", "timestamp with time zone",
    "date", "jsonb",  "bytea"};

std::string doubled(std::string_view text, char mark) {
  std::string out(1, mark);
  for (const char c : text) {
    if (c == mark) out += mark;
    out += c;
  }
  out += mark;
  return out;
}

/// `object->'name'` or `object->>'name'` as a value of the attribute's column type.
std::string from_json(std::string_view object, const StoredAttribute& attribute) {
  const std::string key = quote_text(attribute.name);
  switch (attribute.type) {
    case contract::AttributeType::text:
      return fmt::format("{}->>{}", object, key);
    case contract::AttributeType::json:
      return fmt::format("{}->{}", object, key);
    case contract::AttributeType::bytes:
      return fmt::format("decode({}->>{}, 'hex')", object, key);
    default:
      return fmt::format("({}->>{})::{}", object, key, column_type(attribute.type));
  }
}

/// `array['customer_number']`: the way inside of the document that a path begins with.
std::string way_inside(const StoredAttribute& attribute) {
  std::string way = "array[";
  for (std::size_t n = 1; n < attribute.path.size(); ++n)
    way += (n == 1 ? "" : ", ") + quote_text(attribute.path[n]);
  return way + "]";
}

/// `value` of where the path leads to in the document, unless that is an object or a list.
std::string scalar_inside(std::string_view document, std::string_view way, std::string_view value) {
  return fmt::format(
      "case when jsonb_typeof({0} #> {1}) in ('object', 'array') then null else {0} {2} {1} end",
      document, way, value);
}

}  // namespace

std::string quote_name(std::string_view name) { return doubled(name, '"'); }

std::string quote_text(std::string_view text) {
  // With a backslash inside, only the E form means the same under every setting.
  std::string out = doubled(text, '\'');
  if (text.find('\\') == std::string_view::npos) return out;
  std::string escaped = "E";
  for (const char c : out) {
    if (c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string text_hash(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : text) {
    hash ^= static_cast<std::uint8_t>(c);
    hash *= 1099511628211ull;
  }
  return fmt::format("{:016x}", hash);
}

std::string fitted_name(std::string_view name) {
  if (name.size() <= kIdentifierBytesMax) return std::string(name);
  return fmt::format("{}_{}", name.substr(0, kIdentifierBytesMax - 17), text_hash(name));
}

std::string table_name(std::string_view connector, std::string_view type) {
  return fitted_name(fmt::format("{}_{}", connector, type));
}

std::string_view column_type(contract::AttributeType type) {
  return kColumnTypes[static_cast<std::size_t>(type)];
}

std::optional<contract::AttributeType> attribute_type_of_column(std::string_view type) {
  const auto* found = std::find(kColumnTypes.begin(), kColumnTypes.end(), type);
  if (found == kColumnTypes.end()) return std::nullopt;
  return static_cast<contract::AttributeType>(found - kColumnTypes.begin());
}

std::string value_expression(const StoredType& type, const StoredAttribute& attribute,
                             std::string_view alias) {
  if (type.own) return from_json(fmt::format("{}.data", alias), attribute);
  if (!attribute.path.empty()) {
    StoredAttribute document;
    document.name = attribute.path.front();
    document.type = contract::AttributeType::json;
    document.is_protected = attribute.is_protected;
    if (attribute.path.size() == 1) {
      document.type = contract::AttributeType::text;
      return value_expression(type, document, alias);
    }
    return scalar_inside(fmt::format("({})", value_expression(type, document, alias)),
                         way_inside(attribute), "#>>");
  }
  const std::string column = fmt::format("{}.{}", alias, quote_name(attribute.name));
  if (attribute.is_protected) return column;
  const std::string overlay = fmt::format("{}.overlay", alias);
  return fmt::format("case when {} ? {} then {} else {} end", overlay, quote_text(attribute.name),
                     from_json(overlay, attribute), column);
}

std::string json_at_path(const StoredAttribute& attribute, std::string_view alias) {
  if (attribute.path.size() == 1)
    return fmt::format("to_jsonb({}.{})", alias, quote_name(attribute.path.front()));
  return scalar_inside(fmt::format("{}.{}", alias, quote_name(attribute.path.front())),
                       way_inside(attribute), "#>");
}

}  // namespace sluice::model
