#include "cli/screen.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace sluice::cli {
namespace {

constexpr std::size_t kColumnsFallback = 80;

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::size_t screen_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsFallback;
  return size.ws_col;
}

std::size_t screen_rows() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_row;
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
