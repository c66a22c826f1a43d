// CSV as RFC 4180 has it, pushed in pieces of any size; of a file with stray quotes, each line that
// has one is refused by itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::model {

inline constexpr std::size_t kImportRecordBytesMax =
    2 * 1024 * 1024;  ///< one CSV record or NDJSON line, without its LF

enum class RecordFault {
  none,
  too_long,              ///< more than the bytes of a record; the rest of its line is skipped
  unclosed_quote,        ///< the input ends inside quotes
  text_after_quote,      ///< `"a"b`: something between the closing quote and the separator
  quote_too_long,        ///< the bytes of a record end inside quotes
  quote_spans_too_much,  ///< quotes over more lines than a record may have by now
};

/// What one record may take. Reading the lines behind a stray quote again costs what the record may
/// take, each time; hence fewer lines when there are many of them.
struct CsvLimits {
  std::size_t record_bytes = kImportRecordBytesMax;
  std::int64_t stray_quotes = 100;  ///< so many lines refused for their quotes, …
  std::int64_t record_lines = 64;   ///< … and from then on a record has at most so many lines
};

inline constexpr std::size_t kCsvFieldsKept = 1024;  ///< of a record; all are counted

struct CsvRecord {
  std::int64_t line = 0;   ///< where it begins, counted from 1
  std::int64_t lines = 0;  ///< how many it takes
  RecordFault fault = RecordFault::none;
  /// Of a fault in quotes: the line on which these quotes open, which is the last one of the
  /// record. Whatever comes behind it is read anew.
  std::int64_t quote_line = 0;
  std::vector<std::string> fields;  ///< unquoted, the first kCsvFieldsKept; none when faulty
  std::size_t field_count = 0;
};

/// Turns bytes into records. Separator as given; quotes doubled inside quotes; newlines inside
/// quotes kept; records end with LF or CRLF; a byte order mark is skipped; blank lines are skipped
/// and counted; a quote inside an unquoted field is just a character.
///
///   for each piece:  parser.feed(piece); while (parser.next(record)) …
///   at the end:      parser.end();       while (parser.next(record)) …
///
/// Each line is one of a record's, or blank: the `lines` of all records and blank_lines() add up to
/// lines(). Any split of the same bytes gives the same records. Holds one record and one piece at
/// most. Plain value, one user.
class CsvParser {
 public:
  explicit CsvParser(char separator = ',') : separator_(separator) {}
  /// With `space_behind_separator` the blanks at the beginning of a field are none of it.
  CsvParser(char separator, CsvLimits limits, bool space_behind_separator = false)
      : separator_(separator), limits_(limits), skips_space_(space_behind_separator) {}

  void feed(std::string_view bytes);
  /// There are no more bytes: what is left is a record, too.
  void end() { ended_ = true; }
  /// The next record, in place of what `record` was; false: more bytes are needed.
  bool next(CsvRecord& record);

  [[nodiscard]] std::int64_t lines() const { return line_ - 1; }  ///< so far, whole ones
  [[nodiscard]] std::int64_t blank_lines() const { return blank_; }

 private:
  enum class State { field_start, unquoted, quoted, after_quote, carriage_return, skipping };
  enum class Seen { nothing_yet, line_end, fault };

  bool past_byte_order_mark();
  Seen scan();
  Seen scan_quoted(std::size_t end);
  Seen scan_unquoted(std::size_t end);
  Seen scan_after_quote();
  Seen at_the_end();
  Seen fault(RecordFault fault);
  bool take_record(CsvRecord& record);
  void refuse();
  bool skip_line(CsvRecord& record);
  void begin_at(std::size_t next);

  char separator_;
  CsvLimits limits_;
  bool skips_space_ = false;
  bool begun_ = false;  // past where a byte order mark may stand
  bool ended_ = false;
  State state_ = State::field_start;
  std::string held_;       // what has not become a record yet
  std::size_t begin_ = 0;  // of the current record
  std::size_t at_ = 0;     // read up to here
  std::size_t quote_ = 0;  // where the last quotes opened
  std::int64_t line_ = 1;
  std::int64_t blank_ = 0;
  std::int64_t newlines_ = 0;  // inside the record's quotes
  std::int64_t stray_ = 0;     // records refused for their quotes
  CsvRecord refused_;          // whose line is being skipped
};

}  // namespace sluice::model
