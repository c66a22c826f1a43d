// The reader of CSV files: model/csv.hpp. The first four bytes of an input say how it is cut and
// how much a record may have; the rest is the file.
#include "model/csv.hpp"

#include <algorithm>
#include <vector>

#include "target.hpp"

using namespace sluice;

namespace {

struct Read {
  std::vector<model::CsvRecord> records;
  std::int64_t lines = 0, blank = 0;
};

Read read(std::string_view text, std::size_t piece, char separator, model::CsvLimits limits) {
  model::CsvParser parser(separator, limits);
  Read all;
  model::CsvRecord record;
  const auto take_all = [&] {
    while (parser.next(record)) all.records.push_back(record);
  };
  for (std::size_t at = 0; at < text.size(); at += piece) {
    parser.feed(text.substr(at, piece));
    take_all();
  }
  parser.end();
  take_all();
  all.lines = parser.lines();
  all.blank = parser.blank_lines();
  return all;
}

std::string quoted(const model::CsvRecord& record, char separator) {
  std::string text;
  for (const std::string& field : record.fields) {
    if (!text.empty()) text += separator;
    text += '"';
    for (const char c : field) text += c == '"' ? std::string("\"\"") : std::string(1, c);
    text += '"';
  }
  return text;
}

bool same(const model::CsvRecord& a, const model::CsvRecord& b) {
  return a.line == b.line && a.lines == b.lines && a.fault == b.fault &&
         a.quote_line == b.quote_line && a.field_count == b.field_count && a.fields == b.fields;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  model::CsvLimits limits;
  limits.record_bytes = 1 + std::size_t{data[1]} * 16;
  limits.stray_quotes = data[2] % 16;
  limits.record_lines = 1 + data[2] / 16;
  const char separator = data[3] % 2 == 0 ? ',' : ';';
  std::string_view text = as_text(ByteView(data + 4, size - 4));
  const Read whole = read(text, text.size() + 1, separator, limits);
  const Read cut = read(text, 1 + data[0], separator, limits);

  fuzz::check(whole.records.size() == cut.records.size(), "any cut gives as many records");
  for (std::size_t i = 0; i < whole.records.size(); ++i)
    fuzz::check(same(whole.records[i], cut.records[i]), "any cut gives the same records");

  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const auto newlines = std::count(text.begin(), text.end(), '\n');
  const std::int64_t lines = newlines + (text.empty() || text.ends_with('\n') ? 0 : 1);
  std::int64_t counted = whole.blank;
  std::int64_t next = 1;
  std::int64_t strays = 0;
  for (const model::CsvRecord& record : whole.records) {
    fuzz::check(record.line >= next && record.lines >= 1, "records follow each other");
    next = record.line + record.lines;
    counted += record.lines;
    const bool sound = record.fault == model::RecordFault::none;
    if (strays >= limits.stray_quotes)
      fuzz::check(!sound || record.lines <= limits.record_lines, "reading again is bounded");
    strays += record.quote_line > 0 ? 1 : 0;
    fuzz::check(record.quote_line == 0 || record.quote_line == next - 1,
                "a stray quote is refused with its own line");
    fuzz::check(sound != record.fields.empty(), "a record has fields or a fault");
    if (!sound || record.field_count > model::kCsvFieldsKept) continue;
    const std::string written = quoted(record, separator);
    const Read again = read(written, written.size(), separator, model::CsvLimits());
    fuzz::check(again.records.size() == 1 && again.records[0].fields == record.fields,
                "what was read is read again when it is written");
  }
  fuzz::check(whole.lines == lines, "all lines are counted", std::to_string(lines));
  fuzz::check(counted == lines, "each line is a record's, refused, or blank",
              std::to_string(counted) + " of " + std::to_string(lines));
  return 0;
}
