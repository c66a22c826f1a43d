#include "cli/table.hpp"

#include <algorithm>

#include "base/ascii.hpp"
#include "base/exact_json.hpp"
#include "base/printable.hpp"

namespace sluice::cli {
namespace {

/// Characters, counted as code points: right for what names and ids hold, near enough elsewhere.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string cut(const std::string& text, std::size_t most) {
  if (width(text) <= most) return text;
  std::size_t seen = 0;
  std::size_t at = 0;
  while (at < text.size() && seen + 1 < most) {
    ++at;
    while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
    ++seen;
  }
  return text.substr(0, at) + "…";
}

}  // namespace

std::string cell(const json& value) {
  if (value.is_null()) return {};
  std::string text = value.is_string() ? value.get<std::string>() : write_json(value);
  // A vendor's text must not steer a terminal.
  std::string out;
  for (std::string_view left = text; !left.empty();) {
    const std::size_t hidden = unseen(left);
    out += hidden > 0 ? ' ' : left.front();
    left.remove_prefix(std::max<std::size_t>(hidden, 1));
  }
  return out;
}

std::string csv_of(const json& rows, const std::vector<Column>& columns) {
  std::string out;
  const auto put = [&out](std::string_view field, bool first) {
    if (!first) out += ',';
    if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
      out += field;
      return;
    }
    out += '"';
    for (const char c : field) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    out += '"';
  };
  for (std::size_t i = 0; i < columns.size(); ++i) {
    std::string name = in_lower_case(columns[i].title);
    std::replace(name.begin(), name.end(), ' ', '_');
    put(name, i == 0);
  }
  out += '\n';
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const json::json_pointer pointer(columns[i].pointer);
      const json value = row.contains(pointer) ? row.at(pointer) : json();
      put(value.is_null()     ? std::string()
          : value.is_string() ? value.get<std::string>()
                              : write_json(value),
          i == 0);
    }
    out += '\n';
  }
  return out;
}

std::string table(const json& rows, const std::vector<Column>& columns, std::size_t cell_max) {
  if (rows.empty()) return "(none)\n";
  std::vector<std::vector<std::string>> cells;
  std::vector<std::size_t> widths;
  for (const Column& column : columns) widths.push_back(width(column.title));
  for (const auto& row : rows) {
    auto& line = cells.emplace_back();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const json::json_pointer pointer(columns[i].pointer);
      line.push_back(cut(row.contains(pointer) ? cell(row.at(pointer)) : std::string(), cell_max));
      widths[i] = std::max(widths[i], width(line.back()));
    }
  }
  std::string out;
  const auto put = [&](const std::vector<std::string>& line) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string padding(widths[i] - width(line[i]), ' ');
      const bool last = i + 1 == line.size();
      out += columns[i].right ? padding + line[i] : last ? line[i] : line[i] + padding;
      out += last ? "\n" : "  ";
    }
  };
  std::vector<std::string> titles;
  for (const Column& column : columns) titles.push_back(column.title);
  put(titles);
  for (const auto& line : cells) put(line);
  return out;
}

}  // namespace sluice::cli
