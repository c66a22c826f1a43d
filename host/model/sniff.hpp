// How a CSV file is written: told from a bounded beginning of it, or by whoever sends it. What
// comes later and contradicts that is a refused row, never another guess.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/catalog.hpp"
#include "model/csv.hpp"
#include "model/own_values.hpp"
#include "model/text_encoding.hpp"
#include "model/written.hpp"

namespace sluice::model {

inline constexpr std::size_t kSniffedBytes = 256 * 1024;  ///< so much of a file is looked at first

/// What whoever sends a file says of it; all else is told from the file.
struct FormWish {
  std::optional<Encoding> encoding;
  std::optional<char> separator;
  std::optional<DecimalMark> decimal;
  std::optional<DateOrder> dates;
  std::optional<std::int32_t> zone_minutes;  ///< of times that do not say theirs; else UTC
  /// Column, or member of an NDJSON line -> attribute; "" leaves it out.
  std::map<std::string, std::string> map;
};

/// One column of the header.
struct FormColumn {
  std::string name;                            ///< as the header has it, without blanks around
  const StoredAttribute* attribute = nullptr;  ///< none: what stands in it is not stored
  bool must_be_empty = false;      ///< it has no name, as behind the comma at the end of a line
  std::optional<DateOrder> order;  ///< of its dates, where one was needed
  std::int64_t order_line = 0;     ///< the line that said so; 0: whoever sends it
};

struct CsvForm {
  char separator = ',';
  bool separator_line = false;  ///< the first line says "sep=;"
  bool space_behind_separator = false;
  std::vector<FormColumn> columns;
  DecimalMark decimal = DecimalMark::point;
  bool decimal_is_known = false;  ///< else no number of the beginning said so: a point
  std::int64_t decimal_line = 0;  ///< the line that did; 0: whoever sends it
  std::int32_t zone_minutes = 0;
  std::size_t fields_min = 0;  ///< of a row: up to the last column with a name
};

/// Throws Failure(bad_input) when the file cannot be read as it is, or in two ways:
/// import.bad_header, import.bad_utf8, import.unknown_column (none of the columns is an attribute),
/// import.duplicate_column, import.bad_map, import.ambiguous_dates, import.mixed_dates,
/// import.ambiguous_decimals, import.mixed_decimals. `beginning` is UTF-8, of a `whole` file or its
/// first bytes; where it ends before the header does, the form has no columns.
[[nodiscard]] CsvForm sniff_csv(std::string_view beginning, bool whole, const StoredType& type,
                                const FormWish& wish);

/// The columns of that header, as above.
[[nodiscard]] std::vector<FormColumn> columns_of(const CsvRecord& header, const StoredType& type,
                                                 const FormWish& wish);

/// The separator and what goes with it, without a look at any type.
[[nodiscard]] CsvForm sniff_separator(std::string_view beginning, bool whole,
                                      const StoredType* type, const FormWish& wish);

/// A field as it is stored; `field` is not empty.
[[nodiscard]] FieldResult<nlohmann::json> stored_value_as_written(const CsvForm& form,
                                                                  const FormColumn& column,
                                                                  std::string_view field);

/// Letters and digits alone, in small letters: "E-Mail" and "e_mail" are one name.
[[nodiscard]] std::string loose_name(std::string_view name);

}  // namespace sluice::model
