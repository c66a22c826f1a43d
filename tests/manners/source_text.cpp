#include "manners/source_text.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

namespace sluice::manners {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::size_t skip_space_back(const std::string& text, std::size_t at) {
  while (at > 0 && std::isspace(static_cast<unsigned char>(text[at - 1])) != 0) --at;
  return at;
}

/// Where the statement around `at` begins: behind the last ';' or block brace before it.
std::size_t statement_begin(const std::string& text, std::size_t at) {
  int depth = 0;
  std::size_t outermost = 0;
  for (std::size_t i = at; i-- > 0;) {
    const char c = text[i];
    if (c == '}') {
      if (depth++ == 0) outermost = i + 1;
    } else if (c == '{') {
      if (depth == 0) return i + 1;
      --depth;
    } else if (c == ';') {
      return depth > 0 ? outermost : i + 1;
    }
  }
  return 0;
}

/// Where it ends: at its ';', or at the '{' of the block that it heads (if, for, while).
std::size_t statement_end(const std::string& text, std::size_t begin, std::size_t at) {
  int parens = 0;
  int braces = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '(') ++parens;
    if (c == ')') --parens;
    if (c == '{') {
      const std::size_t before = skip_space_back(text, i);
      if (i > at && parens <= 0 && braces == 0 && before > 0 && text[before - 1] == ')') return i;
      ++braces;
    }
    if (c == '}') --braces;
    if (c == ';' && i > at && parens <= 0 && braces <= 0) return i;
  }
  return text.size();
}

/// A '{' that begins a value: behind a word, '(', ',', '>' or 'return', and not the body of a
/// lambda or block.
bool begins_value(const std::string& statement, std::size_t brace) {
  const std::size_t before = skip_space_back(statement, brace);
  if (before == 0) return false;
  const char c = statement[before - 1];
  return is_word(c) || c == '(' || c == ',' || c == '>' || c == '=';
}

/// A lambda introducer with something in it: "[x]", "[=]", "[&, x]". "[]" and a subscript are none.
bool begins_capturing_lambda(const std::string& statement, std::size_t bracket) {
  const std::size_t before = skip_space_back(statement, bracket);
  if (before > 0 && (is_word(statement[before - 1]) || statement[before - 1] == ')' ||
                     statement[before - 1] == ']')) {
    const std::string_view head(statement.data(), before);
    if (!head.ends_with("co_await") && !head.ends_with("return")) return false;  // subscript
  }
  if (statement.compare(bracket, 2, "[[") == 0) return false;  // attribute
  const std::size_t end = statement.find(']', bracket);
  if (end == std::string::npos) return false;
  const std::string inside = statement.substr(bracket + 1, end - bracket - 1);
  return std::any_of(inside.begin(), inside.end(),
                     [](char c) { return !std::isspace(static_cast<unsigned char>(c)); });
}

bool is_risky(const std::string& statement) {
  for (std::size_t i = 0; i < statement.size(); ++i) {
    if (statement[i] == '{' && begins_value(statement, i)) return true;
    if (statement[i] == '[' && begins_capturing_lambda(statement, i)) return true;
  }
  return false;
}

}  // namespace

std::vector<int> wide_comment_lines(const std::string& text) {
  std::vector<int> lines;
  bool fenced = false;
  int number = 0;
  std::istringstream all(text);
  for (std::string line; std::getline(all, line);) {
    ++number;
    const std::size_t begin = line.find_first_not_of(' ');
    if (begin == std::string::npos || line.compare(begin, 2, "//") != 0) continue;
    if (line.compare(begin, 19, "// clang-format off") == 0) fenced = true;
    if (line.compare(begin, 18, "// clang-format on") == 0) fenced = false;
    const auto characters = std::ranges::count_if(
        line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
    if (!fenced && static_cast<std::size_t>(characters) > kTextColumns) lines.push_back(number);
  }
  return lines;
}

int line_of(const std::string& text, std::size_t offset) {
  return 1 + static_cast<int>(std::count(text.begin(),
                                         text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

std::vector<SourceFile> read_sources(const std::filesystem::path& root,
                                     const std::vector<std::string>& folders) {
  std::vector<SourceFile> files;
  for (const std::string& folder : folders) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const auto ending = entry.path().extension();
      if (!entry.is_regular_file() ||
          (ending != ".hpp" && ending != ".cpp" && ending != ".h" && ending != ".c"))
        continue;
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      SourceFile file;
      file.path = std::filesystem::relative(entry.path(), root).string();
      file.text = text.str();
      files.push_back(std::move(file));
    }
  }
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

std::string blank_comments_and_strings(const std::string& text) {
  std::string out = text;
  const auto blank = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to && i < out.size(); ++i) {
      if (out[i] != '\n') out[i] = ' ';
    }
  };
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "//") == 0) {
      const std::size_t end = std::min(text.find('\n', i), text.size());
      blank(i, end);
      i = end;
    } else if (text.compare(i, 2, "/*") == 0) {
      const std::size_t found = text.find("*/", i + 2);
      const std::size_t end = found == std::string::npos ? text.size() : found + 2;
      blank(i, end);
      i = end;
    } else if (text.compare(i, 2, "R\"") == 0 && (i == 0 || !is_word(text[i - 1]))) {
      const std::size_t open = text.find('(', i);
      const std::string close = ")" + text.substr(i + 2, open - i - 2) + "\"";
      const std::size_t found = text.find(close, open);
      const std::size_t end = found == std::string::npos ? text.size() : found + close.size();
      blank(i + 1, end);
      i = end;
    } else if (text[i] == '"' || (text[i] == '\'' && (i == 0 || !is_word(text[i - 1])))) {
      std::size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      blank(i + 1, end);
      i = end + 1;
    } else {
      ++i;
    }
  }
  return out;
}

std::vector<int> risky_coroutine_lines(const std::string& blanked) {
  std::vector<int> lines;
  for (std::size_t at = blanked.find("co_await"); at != std::string::npos;
       at = blanked.find("co_await", at + 1)) {
    const std::size_t begin = statement_begin(blanked, at);
    const std::size_t end = statement_end(blanked, begin, at);
    if (is_risky(blanked.substr(begin, end - begin))) lines.push_back(line_of(blanked, at));
  }
  return lines;
}

}  // namespace sluice::manners
