// Numbers, dates and times as people, spreadsheets and databases write them: in how many ways each
// can be read, and the one form of what can be read in one.
//
// What has two readings is never guessed: a file's other values decide (model/sniff.hpp), or
// whoever sends it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"

namespace sluice::model {

enum class DecimalMark { point, comma };
/// Of a date whose year comes last and whose month is a number, behind '/' or '-'.
enum class DateOrder { day_first, month_first };

[[nodiscard]] std::string_view to_string(DecimalMark mark);  ///< "point", "comma"
[[nodiscard]] std::string_view to_string(DateOrder order);   ///< "dmy", "mdy"

/// Without blanks at either end: spaces, tabs, no-break spaces.
[[nodiscard]] std::string_view trimmed(std::string_view text);

/// A number's readings, each as plain digits ("-1234.5"), or empty. The other mark, a space or an
/// apostrophe groups thousands, in threes and never behind a leading zero: "1,234" has two
/// readings, "1,234.5", "12,50" and "0,125" have one. An exponent is read as programs write it,
/// "1e-05" and "1.2e+19"; not "1e3", which none does, nor "1,23E+11", of which a spreadsheet has
/// rounded the other digits away.
struct NumberReadings {
  std::string as_point, as_comma;
  [[nodiscard]] bool two() const {
    return !as_point.empty() && !as_comma.empty() && as_point != as_comma;
  }
};
[[nodiscard]] NumberReadings read_number(std::string_view text);

/// A date, with a time of day or without. Numbers stand as they were written.
struct Written {
  int year = 0, first = 0, second = 0;
  bool named = false;      ///< `first` is the month and `second` the day: by name, or year first
  bool day_first = false;  ///< by points: 31.12.2024
  std::optional<Micros> time;
  std::optional<std::int32_t> offset_minutes;  ///< of `time`, when it says so
};

enum class NoDate {
  none,             ///< nothing of the kind
  short_year,       ///< 31-Dec-24
  of_a_spreadsheet  ///< 45657: days since 1900
};

/// "2024-12-31", "2024/12/31", "20241231", "31.12.2024", "31. 12. 2024", "12/31/2024",
/// "31-12-2024", "31-Dec-2024", "31 December 2024", "Dec 31, 2024"; behind it 'T' or a space and
/// "10:00", "10:00:00.5", "10:00 PM", and an offset: "Z", "+01", "+0100", "+01:00", " UTC".
[[nodiscard]] std::expected<Written, NoDate> read_date(std::string_view text);

struct DateReadings {
  std::optional<std::chrono::year_month_day> day_first, month_first;
  [[nodiscard]] bool two() const { return day_first && month_first && day_first != month_first; }
};
/// Those that are days of the calendar, of the years 1 to 9999; both alike where the order is
/// known.
[[nodiscard]] DateReadings readings_of(const Written& written);

/// "+05:30", "-08:00", "Z" or "UTC" as minutes.
[[nodiscard]] std::optional<std::int32_t> read_offset(std::string_view text);
[[nodiscard]] std::string offset_text(std::int32_t minutes);  ///< "+05:30"

/// t, true, yes, y, on, 1, and the like in German; nullopt for anything else. Any case.
[[nodiscard]] std::optional<bool> read_flag(std::string_view text);

}  // namespace sluice::model
