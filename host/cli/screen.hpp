// How wide the answer may be, and words that fit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cli/table.hpp"

namespace sluice::cli {

/// Of the terminal behind the descriptor, standard output unless another is named; 80 where there
/// is none.
[[nodiscard]] std::size_t screen_columns(int descriptor = 1);

/// Lines of the terminal that we write to; 0 where there is none.
[[nodiscard]] std::size_t screen_rows();

/// Where text is shown. What is no terminal has no height, and lines are never cut for it.
struct Screen {
  std::size_t columns = 80;
  std::size_t rows = 0;  ///< 0: no window, all is written
  bool colour = false;   ///< a terminal, and NO_COLOR is not set
};
/// Of standard output. Never smaller than a picture needs.
[[nodiscard]] Screen screen_of_output();

/// The words in lines of at most `width` characters, each behind `indent` spaces, the first one
/// behind `first` instead; ends with a line end. A word that is longer stands alone.
[[nodiscard]] std::string wrapped(std::string_view first, std::size_t indent, std::string_view text,
                                  std::size_t width = screen_columns());

/// A message for people who sit at the terminal behind the descriptor: wrapped() there in lines of
/// 79, elsewhere one line, for whoever looks for a part of it.
[[nodiscard]] std::string message_lines(std::string_view first, std::size_t indent,
                                        std::string_view text, int descriptor);

/// Each line of the text by itself, which keeps the blanks that it begins with; without a line end.
/// Where one is broken it goes on behind `indent` spaces.
[[nodiscard]] std::string wrapped_lines(std::string_view text, std::size_t indent,
                                        std::size_t width);

/// Of the terminal; without an end where there is none, since nobody looks at a line's end there.
[[nodiscard]] std::size_t table_columns();

/// The table with its longest cells cut as far as the lines need it to fit; where they would be
/// shorter than `cell_min`, columns from the right are left out instead, and named below, with
/// what shows them.
[[nodiscard]] std::string table_that_fits(const json& rows, const std::vector<Column>& columns,
                                          std::size_t width = table_columns(),
                                          std::size_t cell_min = 8,
                                          std::string_view elsewhere = "--json has them");

/// Stored text for standard output, of one line or more. On a terminal what it would obey or hide
/// is shown ("\x1b"), line ends and tabs excepted; elsewhere every byte is as it was.
[[nodiscard]] std::string for_screen(std::string_view text);
/// What that does on a terminal.
[[nodiscard]] std::string visible_lines(std::string_view text);

/// At most `most` characters, cut with "…".
[[nodiscard]] std::string fitted(const std::string& text, std::size_t most);

}  // namespace sluice::cli
