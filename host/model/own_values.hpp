// Values of own types: from JSON or text to the one form in which they are stored and compared.
#pragma once

#include <expected>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "model/catalog.hpp"

namespace sluice::model {

inline constexpr std::size_t kOwnTextBytesMax = 256 * 1024;  ///< one text, json or bytes value
inline constexpr std::size_t kOwnRowBytesMax = 1024 * 1024;  ///< all values of one entity
inline constexpr std::size_t kJsonDepthMax = 64;      ///< nesting of a json value or an NDJSON line
inline constexpr std::size_t kUniqueBytesMax = 1024;  ///< a value of a unique attribute

enum class FieldFault {
  bad_value,
  too_long,
  bad_utf8,
  missing_value,
  unknown_attribute,
  duplicate_key,
  missing_key,
  ambiguous_key,
  repeated_key,
};
/// "bad_value" and so on; callers put their prefix before it ("entity.bad_value",
/// "import.bad_value").
[[nodiscard]] std::string_view to_string(FieldFault fault);

/// The value as a message shows it: short, one line, and not at all when it is personal.
[[nodiscard]] std::string shown_value(const StoredAttribute& attribute, std::string_view text);

/// Why one value, or one row, cannot be stored. Never quotes the value of a personal attribute.
struct FieldError {
  FieldFault fault = FieldFault::bad_value;
  std::string attribute;  ///< empty: the row as a whole
  std::string reason;
  EntityId other;  ///< of a duplicate_key or repeated_key: who has the value; else 0
};

template <class T>
using FieldResult = std::expected<T, FieldError>;

/// The stored form, which is also REST's: text a string; integer a number; decimal a string of
/// plain digits in their one form ("12.5" for 12.50: base/decimal.hpp); number a double; boolean;
/// timestamp an RFC 3339 string in UTC; date "YYYY-MM-DD"; json anything that jsonb holds, each
/// number with all its digits; bytes lower-case hex. JSON null stays null. Nothing is guessed: "5"
/// is no integer here. Any number or a decimal string is taken for a decimal, any number for a
/// number. `given` is a document of base/exact_json.hpp.
FieldResult<nlohmann::json> stored_value(const StoredAttribute& attribute,
                                         const nlohmann::json& given);

/// The same from a CSV field: integers, decimals, numbers as digits, true/false/1/0 in any case,
/// JSON text.
FieldResult<nlohmann::json> stored_value_of_text(const StoredAttribute& attribute,
                                                 std::string_view text);

/// The values of an entity from what own_entity.data prints, each in the form that stored_value()
/// gives it today; nullopt when it is no object, as only somebody else can have made it.
[[nodiscard]] std::optional<nlohmann::json> stored_values(const StoredType& type,
                                                          std::string_view data);

/// What own_unique and link keys see of a stored value: the raw text of a string, the digits of a
/// number.
[[nodiscard]] std::string raw_text(const nlohmann::json& stored);

/// What no two entities may both have of a unique attribute: of a link key its normal form
/// (link/normalise.hpp), so that what links is one; else, and of what is no such key, its raw text.
[[nodiscard]] std::string unique_form(const StoredAttribute& attribute,
                                      const nlohmann::json& stored);

/// True when PostgreSQL's numeric takes it: digits with an optional sign and point, 1000 at most.
[[nodiscard]] bool is_decimal(std::string_view text);
/// True for a day that exists, years 0001 to 9999.
[[nodiscard]] bool is_date(std::string_view text);

}  // namespace sluice::model
