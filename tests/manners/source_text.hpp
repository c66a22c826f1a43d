// Source files as text, for checks that a compiler does not make.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sluice::manners {

struct SourceFile {
  std::string path;  ///< relative to the repository
  std::string text;
};

/// Every .hpp, .cpp, .h and .c below the folders, sorted by path.
std::vector<SourceFile> read_sources(const std::filesystem::path& root,
                                     const std::vector<std::string>& folders);

/// The same length and lines, with comments and the contents of string and character literals
/// blanked.
std::string blank_comments_and_strings(const std::string& text);

/// Lines (from 1) of statements with co_await that build a braced value or a capturing lambda: the
/// shapes that GCC 12 compiles into a double free. Takes text as blank_comments_and_strings returns
/// it.
std::vector<int> risky_coroutine_lines(const std::string& blanked);

/// Lines (from 1) whose comment goes beyond kTextColumns characters. Drawings that need more stand
/// between "// clang-format off" and "// clang-format on".
inline constexpr std::size_t kTextColumns = 100;
std::vector<int> wide_comment_lines(const std::string& text);

int line_of(const std::string& text, std::size_t offset);

}  // namespace sluice::manners
