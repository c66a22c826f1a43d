#include "cli/screen.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/printable.hpp"

namespace sluice::cli {
namespace {

constexpr std::size_t kColumnsFallback = 80;
constexpr std::size_t kMessageColumns = 79;
constexpr std::size_t kColumnsLeast = 40;
constexpr std::size_t kRowsLeast = 6;

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// 0 of what it does not say, or where there is no terminal.
winsize size_of(int descriptor) {
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return {};
  return size;
}

}  // namespace

std::size_t screen_columns(int descriptor) {
  const std::size_t columns = size_of(descriptor).ws_col;
  return columns == 0 ? kColumnsFallback : columns;
}

std::size_t screen_rows() { return size_of(STDOUT_FILENO).ws_row; }

Screen screen_of_output() {
  Screen screen;
  if (::isatty(STDOUT_FILENO) == 0) return screen;
  const char* none = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  screen.colour =
      (none == nullptr || *none == '\0') && (kind == nullptr || std::string_view(kind) != "dumb");
  screen.columns = std::max(screen_columns(), kColumnsLeast);
  if (const std::size_t rows = screen_rows(); rows > 0) screen.rows = std::max(rows, kRowsLeast);
  return screen;
}

std::string visible_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t kept = std::min(text.find_first_of("\n\t"), text.size());
    const bool crlf = kept > 0 && text.substr(kept - 1).starts_with("\r\n");
    out += printable(text.substr(0, crlf ? kept - 1 : kept));
    if (crlf) out += '\r';
    if (kept < text.size()) out += text[kept];
    text.remove_prefix(std::min(kept + 1, text.size()));
  }
  return out;
}

std::string for_screen(std::string_view text) {
  return ::isatty(STDOUT_FILENO) == 0 ? std::string(text) : visible_lines(text);
}

std::size_t table_columns() {
  return ::isatty(STDOUT_FILENO) == 0 ? std::numeric_limits<std::size_t>::max() : screen_columns();
}

std::string wrapped(std::string_view first, std::size_t indent, std::string_view text,
                    std::size_t width) {
  std::string out(first);
  std::size_t column = characters(first);
  bool fresh = true;  // nothing stands in this line yet
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const std::size_t length = characters(word);
    if (!fresh && column + 1 + length > width) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
      fresh = true;
    }
    if (!fresh) {
      out += ' ';
      ++column;
    }
    out += word;
    column += length;
    fresh = false;
  }
  return out += '\n';
}

std::string message_lines(std::string_view first, std::size_t indent, std::string_view text,
                          int descriptor) {
  if (::isatty(descriptor) == 0) return fmt::format("{}{}\n", first, text);
  return wrapped(first, indent, text, kMessageColumns);
}

std::string wrapped_lines(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out;
  for (bool more = true; more;) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::size_t blanks = std::min(line.find_first_not_of(' '), line.size());
    out += wrapped(line.substr(0, blanks), indent, line.substr(blanks), width);
    more = end < text.size();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out.pop_back();
  return out;
}

namespace {

std::size_t widest_line(std::string_view text) {
  std::size_t most = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    most = std::max(most, characters(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return most;
}

/// "2026-11-28T07:52:00.032805Z" to the second, as nobody reads more of it.
json with_short_times(json rows, const std::vector<Column>& columns) {
  for (json& row : rows) {
    for (const Column& column : columns) {
      const json::json_pointer pointer(column.pointer);
      if (!row.contains(pointer) || !row.at(pointer).is_string()) continue;
      auto& text = row.at(pointer).get_ref<std::string&>();
      if (text.size() == 27 && text[10] == 'T' && text[19] == '.' && text.back() == 'Z')
        text.erase(19, 7);
    }
  }
  return rows;
}

}  // namespace

std::string table_that_fits(const json& rows, const std::vector<Column>& columns, std::size_t width,
                            std::size_t cell_min, std::string_view elsewhere) {
  std::string text = table(rows, columns, width);
  if (widest_line(text) <= width) return text;
  const json shown = with_short_times(rows, columns);
  std::vector<Column> left = columns;
  std::string omitted;
  while (left.size() > 2 && widest_line(table(shown, left, cell_min)) > width) {
    omitted = left.back().title + (omitted.empty() ? "" : ", ") + omitted;
    left.pop_back();
  }
  for (std::size_t cell_max = width; cell_max >= cell_min; --cell_max) {
    text = table(shown, left, cell_max);
    if (widest_line(text) <= width) break;
  }
  if (omitted.empty()) return text;
  return text + wrapped("no room for: ", 4, omitted + "; " + std::string(elsewhere), width);
}

std::string fitted(const std::string& text, std::size_t most) {
  if (characters(text) <= most) return text;
  std::size_t at = 0;
  for (std::size_t seen = 0; at < text.size() && seen + 1 < most; ++seen) {
    ++at;
    while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  }
  return text.substr(0, at) + "…";
}

}  // namespace sluice::cli
