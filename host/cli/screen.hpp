// How wide the answer may be, and words that fit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cli/table.hpp"

namespace sluice::cli {

/// Of the terminal that we write to; 80 where there is none.
[[nodiscard]] std::size_t screen_columns();

/// Its lines; 0 where there is none.
[[nodiscard]] std::size_t screen_rows();

/// The words in lines of at most `width` characters, each behind `indent` spaces, the first one
/// behind `first` instead; ends with a line end. A word that is longer stands alone.
[[nodiscard]] std::string wrapped(std::string_view first, std::size_t indent, std::string_view text,
                                  std::size_t width = screen_columns());

/// Of the terminal; without an end where there is none, since nobody looks at a line's end there.
[[nodiscard]] std::size_t table_columns();

/// The table with its longest cells cut as far as the lines need it to fit; where they would be
/// shorter than `cell_min`, columns from the right are left out instead, and named below, with
/// what shows them.
[[nodiscard]] std::string table_that_fits(const json& rows, const std::vector<Column>& columns,
                                          std::size_t width = table_columns(),
                                          std::size_t cell_min = 8,
                                          std::string_view elsewhere = "--json has them");

/// At most `most` characters, cut with "…".
[[nodiscard]] std::string fitted(const std::string& text, std::size_t most);

}  // namespace sluice::cli
