// JSON as a document of which no number loses a digit.
//
// nlohmann/json has whole numbers of 64 bits and doubles; a number of somebody else's is neither.
// In a document that is read here, a whole number of 64 bits is one of the library's; every other
// number is kept as the text that it came as (12.50, 1e400), in a value that the library takes for
// a binary one. Only what stands in this header knows it: such a document is read, written and
// compared here, and dump() of the library is not used on it (tests/manners sees to that).
//
// A document that goes out may also hold *ready* text: JSON that PostgreSQL or a file of ours
// wrote, put into its place as it is, without being read.
#pragma once

#include <expected>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json_text.hpp"

namespace sluice {

/// Why a text is no JSON that can be kept.
struct JsonProblem {
  std::string_view what;  ///< "an exponent beyond 10000"
  std::size_t at = 0;     ///< byte
  [[nodiscard]] std::string describe() const;
};

/// What check_json() takes, without unpaired surrogates; of a name that comes twice the later one
/// prevails, as in jsonb. A string may hold U+0000.
[[nodiscard]] std::expected<nlohmann::json, JsonProblem> read_json(
    std::string_view text, std::size_t depth_max = kJsonTextDepthMax);
/// The same, with the members in the order of the text.
[[nodiscard]] std::expected<nlohmann::ordered_json, JsonProblem> read_ordered_json(
    std::string_view text);

/// What we or PostgreSQL wrote. Throws Failure(internal, "json.damaged") when it is no JSON.
[[nodiscard]] nlohmann::json stored_json(std::string_view text);

/// JSON text as a value that is written as it is. The text must be JSON.
[[nodiscard]] nlohmann::json ready_json(std::string_view text);

/// A number of any size, by its digits; the text must be a JSON number.
[[nodiscard]] nlohmann::json number_json(std::string_view digits);

/// The document as text, without blanks. Text that is not UTF-8 is written with U+FFFD in its
/// place.
[[nodiscard]] std::string write_json(const nlohmann::json& document);
[[nodiscard]] std::string write_json(const nlohmann::ordered_json& document);
/// The same over several lines, each level two blanks further in.
[[nodiscard]] std::string write_json_lines(const nlohmann::ordered_json& document);
/// nullopt when a text is not UTF-8.
[[nodiscard]] std::optional<std::string> write_utf8_json(const nlohmann::json& document);
[[nodiscard]] std::optional<std::string> write_utf8_json(const nlohmann::ordered_json& document);

/// The digits of a number of any kind, as it is written; nullopt for everything else.
[[nodiscard]] std::optional<std::string> digits_of(const nlohmann::json& value);

/// Equal as jsonb compares: numbers as numeric, members in any order.
[[nodiscard]] bool same_json(const nlohmann::json& a, const nlohmann::json& b);

/// A copy in which every number is one of the library's, the nearest double where it must be: for
/// what judges a document by a schema, and lets it go again. Infinite where no double is near.
[[nodiscard]] nlohmann::json with_doubles(const nlohmann::json& document);

}  // namespace sluice
