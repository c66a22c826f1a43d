#include "model/written.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ascii.hpp"
#include "base/decimal.hpp"

namespace sluice::model {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

constexpr std::array<std::string_view, 4> kBlanks = {" ", "\t", "\xC2\xA0", "\xE2\x80\xAF"};

/// What is read from its beginning on.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  [[nodiscard]] bool ended() const { return rest_.empty(); }
  [[nodiscard]] std::string_view rest() const { return rest_; }
  [[nodiscard]] char peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  bool take(char c) {
    if (peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take_blanks() {
    const std::size_t before = rest_.size();
    while (peek() == ' ') rest_.remove_prefix(1);
    return rest_.size() < before;
  }
  std::string_view digits() {
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_digit);
    return cut(static_cast<std::size_t>(end - rest_.begin()));
  }
  std::string_view letters() {
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), [](char c) {
      return in_lower_case(c) >= 'a' && in_lower_case(c) <= 'z';
    });
    return cut(static_cast<std::size_t>(end - rest_.begin()));
  }

 private:
  std::string_view cut(std::size_t length) {
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  std::string_view rest_;
};

/// Of at most nine digits; -1 for none.
int number_of(std::string_view digits) {
  if (digits.empty() || digits.size() > 9) return -1;
  int value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return value;
}

/// 1 to 12; 0 when it is no month. By three letters, or the whole name.
int month_named(std::string_view name) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "january", "february", "march",     "april",   "may",      "june",
      "july",    "august",   "september", "october", "november", "december"};
  for (std::size_t i = 0; i < kMonths.size(); ++i)
    if (equal_without_case(name, kMonths[i]) || equal_without_case(name, kMonths[i].substr(0, 3)))
      return static_cast<int>(i) + 1;
  return 0;
}

/// How long the blank at the front is.
std::size_t blank_at(std::string_view text) {
  for (const std::string_view blank : kBlanks)
    if (text.starts_with(blank)) return blank.size();
  return 0;
}

/// The digits with `mark`; empty when they are no number by it.
std::string read_by(std::string_view text, char mark) {
  std::string out;
  if (text.starts_with('-')) out = "-";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const char other = mark == '.' ? ',' : '.';
  std::string_view group;  // what groups thousands; the same throughout
  std::size_t run = 0;     // digits since the last of them
  std::size_t before = 0;  // all digits before the mark
  for (;;) {
    if (text.empty() || text.front() == mark) break;
    if (is_digit(text.front())) {
      out.push_back(text.front());
      text.remove_prefix(1);
      ++run;
      ++before;
      continue;
    }
    const std::size_t blank = blank_at(text);
    const std::size_t length = blank > 0                                       ? blank
                               : text.front() == other || text.front() == '\'' ? 1
                                                                               : 0;
    if (length == 0) return {};
    const std::string_view here = text.substr(0, length);
    const bool first = group.empty();
    const bool fits =
        first ? run >= 1 && run <= 3 && out.back() != '-' && out[out.size() - before] != '0'
              : run == 3 && here == group;
    if (!fits) return {};
    group = here;
    run = 0;
    text.remove_prefix(length);
  }
  if (!group.empty() && run != 3) return {};
  if (text.empty()) return before > 0 ? out : std::string();
  text.remove_prefix(1);
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return {};
  if (before == 0) out.push_back('0');
  out.push_back('.');
  out += text;
  return out;
}

/// What is behind a number's digits: "e-05" of "1e-05"; empty when it ends otherwise.
std::string_view exponent_of(std::string_view text) {
  constexpr std::size_t kExponentDigitsMax = 3;
  const std::size_t at = text.find('e');
  if (at == std::string_view::npos || at == 0) return {};
  const std::string_view exponent = text.substr(at);
  Reader in(exponent.substr(1));
  if (!in.take('-') && !in.take('+')) return {};
  const std::size_t digits = in.digits().size();
  const bool is_one = digits >= 1 && digits <= kExponentDigitsMax && in.ended();
  return is_one ? exponent : std::string_view();
}

/// The digits before an exponent, which are never grouped; `mark` as for read_by().
std::string read_by(std::string_view digits, char mark, std::string_view exponent) {
  const std::string_view others = mark == '.' ? ", '" : ". '";
  if (digits.find_first_of(others) != std::string_view::npos) return {};
  const std::string plain = read_by(digits, mark);
  return plain.empty() ? plain : plain_decimal(plain + std::string(exponent));
}

/// The year behind what a date begins with.
std::expected<int, NoDate> year_of(std::string_view digits) {
  if (digits.size() == 4) return number_of(digits);
  return std::unexpected(digits.size() == 2 ? NoDate::short_year : NoDate::none);
}

std::unexpected<NoDate> no_date() { return std::unexpected(NoDate::none); }

/// "2024-12-31" behind its year.
std::expected<Written, NoDate> year_first(Reader& in, std::string_view year) {
  Written date;
  date.named = true;
  date.year = number_of(year);
  const char separator = in.peek();
  if (separator != '-' && separator != '/' && separator != '.') return no_date();
  in.take(separator);
  date.first = number_of(in.digits());
  if (!in.take(separator)) return no_date();
  date.second = number_of(in.digits());
  return date;
}

/// "31.12.2024", "12/31/2024", "31-Dec-2024", "31 Dec 2024" behind the first number.
std::expected<Written, NoDate> year_last(Reader& in, std::string_view first) {
  Written date;
  date.first = number_of(first);
  if (first.size() > 2) return no_date();
  const char separator = in.peek();
  if (separator != '.' && separator != '/' && separator != '-' && separator != ' ')
    return no_date();
  in.take(separator);
  if (separator == '.') in.take_blanks();
  const std::string_view name = in.letters();
  if (!name.empty()) {
    date.named = true;
    date.second = date.first;
    date.first = month_named(name);
    if (date.first == 0) return no_date();
    if (!in.take(separator) && !in.take(' ')) return no_date();
  } else {
    const std::string_view second = in.digits();
    if (separator == ' ' || second.empty() || second.size() > 2 || !in.take(separator))
      return no_date();
    if (separator == '.') in.take_blanks();
    date.day_first = separator == '.';
    date.second = number_of(second);
  }
  const auto year = year_of(in.digits());
  if (!year) return std::unexpected(year.error());
  date.year = *year;
  return date;
}

/// "Dec 31, 2024"
std::expected<Written, NoDate> month_first(Reader& in) {
  Written date;
  date.named = true;
  date.first = month_named(in.letters());
  if (date.first == 0 || !in.take_blanks()) return no_date();
  date.second = number_of(in.digits());
  in.take(',');
  if (!in.take_blanks()) return no_date();
  const auto year = year_of(in.digits());
  if (!year) return std::unexpected(year.error());
  date.year = *year;
  return date;
}

bool is_spreadsheet_number(std::string_view text) {
  Reader in(text);
  const std::string_view days = in.digits();
  if (days.size() != 5) return false;
  if (in.ended()) return true;
  if (!in.take('.') && !in.take(',')) return false;
  return !in.digits().empty() && in.ended();
}

std::optional<Micros> fraction_of(std::string_view digits) {
  if (digits.empty() || digits.size() > 9) return std::nullopt;
  std::int64_t micros = 0;
  for (std::size_t i = 0; i < 6; ++i)
    micros = micros * 10 + (i < digits.size() ? digits[i] - '0' : 0);
  return Micros(micros);
}

/// "10:00", "10:00:00.5", "10:00 PM", and an offset. False when it is none.
bool read_time(Reader& in, Written& date) {
  int hour = number_of(in.digits());
  if (!in.take(':')) return false;
  const std::string_view minutes = in.digits();
  if (minutes.size() != 2) return false;
  std::string_view seconds = "00";
  Micros fraction{};
  if (in.take(':')) {
    seconds = in.digits();
    if (seconds.size() != 2) return false;
    if (in.take('.') || in.take(',')) {
      const auto part = fraction_of(in.digits());
      if (!part) return false;
      fraction = *part;
    }
  }
  in.take_blanks();
  const char half = in_lower_case(in.peek());
  if ((half == 'a' || half == 'p') && in.rest().size() >= 2 && in_lower_case(in.rest()[1]) == 'm') {
    if (in.letters().size() != 2 || hour < 1 || hour > 12) return false;
    hour = hour % 12 + (half == 'p' ? 12 : 0);
    in.take_blanks();
  }
  const int minute = number_of(minutes), second = number_of(seconds);
  if (hour < 0 || hour > 23 || minute > 59 || second > 60) return false;
  date.time = std::chrono::hours(hour) + std::chrono::minutes(minute) +
              std::chrono::seconds(second) + fraction;
  if (in.ended()) return true;
  date.offset_minutes = read_offset(in.rest());
  return date.offset_minutes.has_value();
}

}  // namespace

std::string_view to_string(DecimalMark mark) {
  return mark == DecimalMark::point ? "point" : "comma";
}

std::string_view to_string(DateOrder order) {
  return order == DateOrder::day_first ? "dmy" : "mdy";
}

std::string_view trimmed(std::string_view text) {
  for (std::size_t length = blank_at(text); length > 0; length = blank_at(text))
    text.remove_prefix(length);
  const auto ends = [&] {
    return std::find_if(kBlanks.begin(), kBlanks.end(),
                        [&](std::string_view blank) { return text.ends_with(blank); });
  };
  for (auto blank = ends(); blank != kBlanks.end(); blank = ends())
    text.remove_suffix(blank->size());
  return text;
}

NumberReadings read_number(std::string_view text) {
  NumberReadings readings;
  const std::string_view exponent = exponent_of(text);
  if (exponent.empty()) {
    readings.as_point = read_by(text, '.');
    readings.as_comma = read_by(text, ',');
    return readings;
  }
  text.remove_suffix(exponent.size());
  readings.as_point = read_by(text, '.', exponent);
  readings.as_comma = read_by(text, ',', exponent);
  return readings;
}

std::expected<Written, NoDate> read_date(std::string_view text) {
  if (is_spreadsheet_number(text)) return std::unexpected(NoDate::of_a_spreadsheet);
  Reader in(text);
  std::expected<Written, NoDate> date = no_date();
  if (!is_digit(in.peek())) {
    date = month_first(in);
  } else {
    const std::string_view number = in.digits();
    if (number.size() == 4) {
      date = year_first(in, number);
    } else if (number.size() == 8) {
      date = Written();
      date->named = true;
      date->year = number_of(number.substr(0, 4));
      date->first = number_of(number.substr(4, 2));
      date->second = number_of(number.substr(6));
    } else {
      date = year_last(in, number);
    }
  }
  if (!date || in.ended()) return date;
  if (!in.take('T') && !in.take('t') && !in.take_blanks()) return no_date();
  if (!read_time(in, *date)) return no_date();
  return date;
}

DateReadings readings_of(const Written& written) {
  const auto day = [&](int month, int day_of_month) -> std::optional<std::chrono::year_month_day> {
    if (written.year < 1 || month < 1 || day_of_month < 1) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year{written.year},
                                           std::chrono::month{static_cast<unsigned>(month)},
                                           std::chrono::day{static_cast<unsigned>(day_of_month)}};
    return date.ok() ? std::optional(date) : std::nullopt;
  };
  DateReadings readings;
  readings.month_first = day(written.first, written.second);
  readings.day_first = day(written.second, written.first);
  if (written.named) readings.day_first = readings.month_first;
  if (written.day_first) readings.month_first = readings.day_first;
  return readings;
}

std::optional<std::int32_t> read_offset(std::string_view text) {
  if (equal_without_case(text, "z") || equal_without_case(text, "utc") ||
      equal_without_case(text, "gmt"))
    return 0;
  Reader in(text);
  const bool minus = in.peek() == '-';
  if (!in.take('+') && !in.take('-')) return std::nullopt;
  std::string_view hours = in.digits(), minutes = "00";
  if (hours.size() == 4 && in.ended()) {
    minutes = hours.substr(2);
    hours = hours.substr(0, 2);
  } else if (in.take(':')) {
    minutes = in.digits();
  }
  const int h = number_of(hours), m = number_of(minutes);
  if (!in.ended() || hours.size() != 2 || minutes.size() != 2 || h > 23 || m > 59)
    return std::nullopt;
  return (minus ? -1 : 1) * (h * 60 + m);
}

std::string offset_text(std::int32_t minutes) {
  const std::int32_t size = minutes < 0 ? -minutes : minutes;
  return fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', size / 60, size % 60);
}

std::optional<bool> read_flag(std::string_view text) {
  static constexpr std::array<std::string_view, 8> kYes = {"true", "t",    "1",  "yes",
                                                           "y",    "wahr", "ja", "on"};
  static constexpr std::array<std::string_view, 8> kNo = {"false", "f",      "0",    "no",
                                                          "n",     "falsch", "nein", "off"};
  const auto is_among = [&](const auto& words) {
    return std::any_of(words.begin(), words.end(),
                       [&](std::string_view word) { return equal_without_case(text, word); });
  };
  if (is_among(kYes)) return true;
  if (is_among(kNo)) return false;
  return std::nullopt;
}

}  // namespace sluice::model
