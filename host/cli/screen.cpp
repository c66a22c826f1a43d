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

std::string table_that_fits(const json& rows, const std::vector<Column>& columns,
                            std::size_t width) {
  const auto widest = [](std::string_view text) {
    std::size_t most = 0;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      most = std::max(most, characters(text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return most;
  };
  constexpr std::size_t kCellMin = 8;
  for (std::size_t cell_max = width;; --cell_max) {
    std::string text = table(rows, columns, cell_max);
    if (cell_max <= kCellMin || widest(text) <= width) return text;
  }
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
