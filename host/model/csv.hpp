// CSV as RFC 4180 has it, pushed in pieces of any size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::model {

inline constexpr std::size_t kImportRecordBytesMax =
    2 * 1024 * 1024;  ///< one CSV record or NDJSON line

enum class RecordFault {
  none,
  too_long,         ///< more than kImportRecordBytesMax; the rest of it was skipped
  unclosed_quote,   ///< the input ended inside quotes
  text_after_quote  ///< `"a"b`: something between the closing quote and the separator
};

struct CsvRecord {
  std::int64_t line = 0;  ///< where it begins, counted from 1
  RecordFault fault = RecordFault::none;
  std::vector<std::string> fields;  ///< unquoted; meaningless when faulty
};

/// Turns bytes into records. Separator as given; quotes doubled inside quotes; newlines inside
/// quotes kept; records end with LF or CRLF; a byte order mark is skipped; blank lines are skipped;
/// a quote inside an unquoted field is just a character. Holds one record at most. Plain value, one
/// user.
class CsvParser {
 public:
  explicit CsvParser(char separator = ',') : separator_(separator) {}

  /// Appends what became complete to `out`. Any split of the same bytes gives the same records.
  void feed(std::string_view bytes, std::vector<CsvRecord>& out);
  /// The last record, when the input does not end with a newline.
  void finish(std::vector<CsvRecord>& out);

 private:
  enum class State { field_start, unquoted, quoted, quote_in_quoted };
  void take(char c, std::vector<CsvRecord>& out);
  void take_plain(char c, std::vector<CsvRecord>& out);
  void append(char c);
  void end_field();
  void end_record(std::vector<CsvRecord>& out);

  char separator_;
  State state_ = State::field_start;
  int mark_bytes_ = 0;            // of the byte order mark seen; 3: past the beginning
  bool carriage_return_ = false;  // seen, its meaning depends on the next byte
  std::int64_t line_ = 1;
  std::size_t record_bytes_ = 0;
  CsvRecord record_;
  std::string field_;
};

}  // namespace sluice::model
