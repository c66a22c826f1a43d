// JSON rows as a table for a terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sluice::cli {

/// An answer of the host, or a body for it: no number of it loses a digit (base/exact_json.hpp),
/// and its members stay in the order in which they came.
using json = nlohmann::ordered_json;

struct Column {
  std::string title;
  std::string pointer;  ///< JSON pointer into a row: "/account/id"
  bool right = false;   ///< aligned to the right, for numbers
};

/// Aligned by display width; values are cut to `cell_max` characters with "…". "(none)" for no
/// rows.
[[nodiscard]] std::string table(const json& rows, const std::vector<Column>& columns,
                                std::size_t cell_max = 60);

/// The same as CSV (RFC 4180, lines end with LF): the titles as names ("this_one"), values whole
/// and as they are, null as nothing.
[[nodiscard]] std::string csv_of(const json& rows, const std::vector<Column>& columns);

/// A value as one cell: text without quotes, null as "", objects as compact JSON; control
/// characters blanked.
[[nodiscard]] std::string cell(const json& value);

}  // namespace sluice::cli
