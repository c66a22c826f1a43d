// How types and attributes become SQL: column types, quoted names and the expression that reads an
// attribute. Pure text, no I/O.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/catalog.hpp"

namespace sluice::model {

/// PostgreSQL keeps 63 bytes of a name and cuts the rest without a word.
inline constexpr std::size_t kIdentifierBytesMax = 63;

/// `"name"`, with quotes inside doubled.
[[nodiscard]] std::string quote_name(std::string_view name);
/// `'text'`, for the few places that take no parameter (view definitions, COMMENT).
[[nodiscard]] std::string quote_text(std::string_view text);
/// The name itself when it fits, else its beginning and a hash of the whole: never cut silently.
[[nodiscard]] std::string fitted_name(std::string_view name);
/// 16 hex digits (FNV-1a, 64 bit) that change when the text does.
[[nodiscard]] std::string text_hash(std::string_view text);

/// "stripe_customer" for "stripe.customer": the table in schema vendor, and the name of its view.
[[nodiscard]] std::string table_name(std::string_view connector, std::string_view type);
/// "bigint" for integer, and so on, as format_type() spells it.
[[nodiscard]] std::string_view column_type(contract::AttributeType type);
/// The attribute type whose column has that type; nullopt for a type we never make.
[[nodiscard]] std::optional<contract::AttributeType> attribute_type_of_column(
    std::string_view type);
/// The attribute's effective value as SQL of column_type(): of a preset type the column, under its
/// overlay when users may shadow it, or what stands at the attribute's path in such a one, as text
/// where it is no object and no list; of an own type the cast from `data`. `alias` is the row's
/// name.
[[nodiscard]] std::string value_expression(const StoredType& type, const StoredAttribute& attribute,
                                           std::string_view alias);
/// As jsonb, what stands at the path of an admin's attribute as the vendor sent it, without the
/// overlay; null where an object or a list stands there, or nothing does.
[[nodiscard]] std::string json_at_path(const StoredAttribute& attribute, std::string_view alias);

}  // namespace sluice::model
