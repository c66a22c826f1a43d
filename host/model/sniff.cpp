#include "model/sniff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;
using nlohmann::json;

constexpr std::array<char, 4> kSeparators = {',', ';', '\t', '|'};
constexpr std::size_t kRecordsCompared = 50;  // when separators are compared
constexpr std::string_view kMark = "\xEF\xBB\xBF";

[[noreturn]] void refuse(std::string code, std::string message, std::string hint) {
  throw Failure(Error(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint)));
}

std::string attribute_names(const StoredType& type) {
  std::string names;
  for (const StoredAttribute& attribute : type.attributes)
    names += (names.empty() ? "" : ", ") + attribute.name;
  return names;
}

bool is_number(const StoredAttribute& attribute) {
  return attribute.type == AttributeType::integer || attribute.type == AttributeType::decimal ||
         attribute.type == AttributeType::number;
}

bool is_time(const StoredAttribute& attribute) {
  return attribute.type == AttributeType::date || attribute.type == AttributeType::timestamp;
}

/// The attribute that a column is of: by its name as it stands, or the only one by its letters.
const StoredAttribute* attribute_of(const StoredType& type, std::string_view name) {
  if (const StoredAttribute* exact = type.find(name)) return exact;
  const std::string loose = loose_name(name);
  const StoredAttribute* found = nullptr;
  for (const StoredAttribute& attribute : type.attributes) {
    if (loose.empty() || loose_name(attribute.name) != loose) continue;
    if (found != nullptr) return nullptr;
    found = &attribute;
  }
  return found;
}

using Mapping = std::map<std::string, std::string>::const_iterator;

/// By its name; else by letters and digits alone, where no other column has an entry's very name.
Mapping mapped(const FormWish& wish, const CsvRecord& header, std::string_view column) {
  const auto exact = wish.map.find(std::string(column));
  if (exact != wish.map.end()) return exact;
  return std::find_if(wish.map.begin(), wish.map.end(), [&](const auto& one) {
    const bool is_anothers =
        std::any_of(header.fields.begin(), header.fields.end(),
                    [&](const std::string& field) { return trimmed(field) == one.first; });
    return !is_anothers && !one.first.empty() && loose_name(one.first) == loose_name(column);
  });
}

/// How many of these names mean something here.
std::size_t known_names(const CsvRecord& header, const StoredType* type, const FormWish& wish) {
  if (type == nullptr) return 0;
  return static_cast<std::size_t>(
      std::count_if(header.fields.begin(), header.fields.end(), [&](const std::string& field) {
        const std::string_view name = trimmed(field);
        return attribute_of(*type, name) != nullptr || mapped(wish, header, name) != wish.map.end();
      }));
}

/// What speaks for a separator.
using Score = std::tuple<std::size_t, std::size_t, std::size_t>;

Score score_of(char separator, std::string_view text, bool whole, const StoredType* type,
               const FormWish& wish) {
  CsvParser parser(separator);
  parser.feed(text);
  if (whole) parser.end();
  CsvRecord record;
  if (!parser.next(record) || record.fault != RecordFault::none) return {};
  const std::size_t known = known_names(record, type, wish);
  const std::size_t fields = record.field_count;
  std::size_t alike = 0;
  for (std::size_t i = 0; i < kRecordsCompared && parser.next(record); ++i)
    if (fields > 1 && record.field_count == fields) ++alike;
  return {known, alike, fields};
}

std::string listed(const CsvRecord& header) {
  constexpr std::size_t kListed = 10;
  std::string names;
  for (std::size_t i = 0; i < header.fields.size() && i < kListed; ++i)
    names += fmt::format("{}'{}'", i > 0 ? ", " : "", header.fields[i].substr(0, 40));
  return names + (header.fields.size() > kListed ? ", …" : "");
}

void check_map(const CsvRecord& header, const StoredType& type, const FormWish& wish) {
  for (const auto& [column, attribute] : wish.map) {
    if (!attribute.empty() && type.find(attribute) == nullptr) {
      refuse("import.bad_map",
             fmt::format("{} has no attribute '{}', which column '{}' is mapped to", type.name,
                         attribute, column),
             fmt::format("its attributes are {}", attribute_names(type)));
    }
    const bool is_there =
        std::any_of(header.fields.begin(), header.fields.end(), [&](const std::string& field) {
          const auto found = mapped(wish, header, trimmed(field));
          return found != wish.map.end() && found->first == column;
        });
    if (!is_there) {
      refuse("import.bad_map", fmt::format("there is no column '{}' to map", column),
             fmt::format("the columns are {}", listed(header)));
    }
  }
}

/// Whether a number of two readings is guessed by nobody, where no other number says which it is:
/// "1,234" never, and "1.234" only where programs write, of what has decimals: in files with
/// commas. What people's spreadsheets write, and any whole number, may have thousands.
bool may_have_thousands(const StoredAttribute& attribute, std::string_view text, char separator) {
  return separator != ',' || attribute.type == AttributeType::integer ||
         text.find(',') != std::string_view::npos;
}

/// Counts what the numbers of the beginning say, and where first.
struct MarkEvidence {
  std::int64_t points = 0, commas = 0;
  std::int64_t point_line = 0, comma_line = 0;
  std::string point_value, comma_value, two_value;
  std::int64_t two_line = 0;  ///< the first value of two readings that nobody may guess

  void add(const StoredAttribute& attribute, std::string_view text, std::int64_t line,
           char separator) {
    if (text.find_first_of(".,") == std::string_view::npos) return;
    const NumberReadings readings = read_number(text);
    if (readings.two()) {
      if (two_line > 0 || !may_have_thousands(attribute, text, separator)) return;
      two_line = line;
      two_value = shown_value(attribute, text);
    } else if (!readings.as_point.empty()) {
      if (points++ == 0) point_line = line, point_value = shown_value(attribute, text);
    } else if (!readings.as_comma.empty()) {
      if (commas++ == 0) comma_line = line, comma_value = shown_value(attribute, text);
    }
  }

  void decide(CsvForm& form) const {
    const std::string hint =
        "say which mark it is that decimals have: --decimal point or --decimal comma (?decimal=)";
    if (points > 0 && points == commas) {
      refuse("import.mixed_decimals",
             fmt::format("{} on line {} has a decimal point, {} on line {} a decimal comma",
                         point_value, point_line, comma_value, comma_line),
             hint);
    }
    if (points + commas > 0) {
      form.decimal = commas > points ? DecimalMark::comma : DecimalMark::point;
      form.decimal_is_known = true;
      form.decimal_line = commas > points ? comma_line : point_line;
      return;
    }
    if (two_line == 0) return;
    refuse("import.ambiguous_decimals",
           fmt::format("{} on line {} can have thousands or decimals, and no other number of the "
                       "file's beginning says which",
                       two_value, two_line),
           hint);
  }
};

/// The same of one column's dates.
struct OrderEvidence {
  std::int64_t day_line = 0, month_line = 0, two_line = 0;
  std::string day_value, month_value, two_value;

  void add(const StoredAttribute& attribute, std::string_view text, std::int64_t line) {
    const auto date = read_date(text);
    if (!date || date->named || date->day_first) return;
    const DateReadings readings = readings_of(*date);
    const auto note = [&](std::int64_t& at, std::string& value) {
      if (at > 0) return;
      at = line;
      value = shown_value(attribute, text);
    };
    if (readings.two()) {
      note(two_line, two_value);
    } else if (readings.day_first && !readings.month_first) {
      note(day_line, day_value);
    } else if (readings.month_first && !readings.day_first) {
      note(month_line, month_value);
    }
  }

  void decide(FormColumn& column) const {
    const std::string hint = "say which order it is: --dates dmy or --dates mdy (?dates=)";
    if (day_line > 0 && month_line > 0) {
      refuse("import.mixed_dates",
             fmt::format("column '{}': {} on line {} has the day first, {} on line {} the month",
                         column.name, day_value, day_line, month_value, month_line),
             hint);
    }
    if (day_line + month_line > 0) {
      column.order = day_line > 0 ? DateOrder::day_first : DateOrder::month_first;
      column.order_line = day_line + month_line;
      return;
    }
    if (two_line == 0) return;
    refuse(
        "import.ambiguous_dates",
        fmt::format("column '{}': {} on line {} can have the day or the month first, and nothing "
                    "in the file's beginning says which",
                    column.name, two_value, two_line),
        hint);
  }
};

/// What the beginning's rows say of numbers and dates.
void weigh(CsvParser& parser, CsvForm& form, const FormWish& wish) {
  MarkEvidence mark;
  std::vector<OrderEvidence> orders(form.columns.size());
  CsvRecord record;
  while (parser.next(record)) {
    if (record.fault != RecordFault::none) continue;
    for (std::size_t i = 0; i < form.columns.size() && i < record.fields.size(); ++i) {
      const StoredAttribute* attribute = form.columns[i].attribute;
      const std::string_view text = trimmed(record.fields[i]);
      if (attribute == nullptr || text.empty()) continue;
      if (is_number(*attribute)) mark.add(*attribute, text, record.line, form.separator);
      if (is_time(*attribute)) orders[i].add(*attribute, text, record.line);
    }
  }
  if (!wish.decimal) mark.decide(form);
  for (std::size_t i = 0; i < form.columns.size(); ++i) {
    if (!wish.dates && form.columns[i].attribute != nullptr) orders[i].decide(form.columns[i]);
  }
}

FieldResult<json> bad_value(const StoredAttribute& attribute, std::string reason) {
  FieldError error;
  error.fault = FieldFault::bad_value;
  error.attribute = attribute.name;
  error.reason = std::move(reason);
  return std::unexpected(std::move(error));
}

FieldResult<json> number_as_written(const CsvForm& form, const StoredAttribute& attribute,
                                    std::string_view text) {
  const NumberReadings readings = read_number(text);
  const bool comma = form.decimal == DecimalMark::comma;
  const std::string& wanted = comma ? readings.as_comma : readings.as_point;
  const std::string& other = comma ? readings.as_point : readings.as_comma;
  const bool guessed = !form.decimal_is_known && readings.two() &&
                       may_have_thousands(attribute, text, form.separator);
  if (guessed || (wanted.empty() && !other.empty())) {
    const std::string why =
        !form.decimal_is_known
            ? std::string(
                  "and nothing in the file's beginning says so: say --decimal comma, or "
                  "point (?decimal=)")
        : form.decimal_line > 0
            ? fmt::format("and line {} a decimal {}: say --decimal {} (?decimal=) if that is right",
                          form.decimal_line, to_string(form.decimal), comma ? "point" : "comma")
            : fmt::format("and decimals are said to have a {}", to_string(form.decimal));
    return bad_value(
        attribute, fmt::format("{} {} a decimal {}, {}", shown_value(attribute, text),
                               guessed ? "may have" : "has",
                               text.find(',') == std::string_view::npos ? "point" : "comma", why));
  }
  std::string_view plain = wanted;
  if (attribute.type == AttributeType::integer) {
    // Who wrote a whole number with an exponent had no room for its last digits.
    if (text.find('e') != std::string_view::npos) return stored_value_of_text(attribute, text);
    const std::size_t point = plain.find('.');
    const bool is_whole = point != std::string_view::npos &&
                          plain.find_first_not_of('0', point + 1) == std::string_view::npos;
    if (is_whole) plain = plain.substr(0, point);
  }
  if (plain.empty()) return stored_value_of_text(attribute, text);
  auto stored = stored_value_of_text(attribute, plain);
  return stored ? std::move(stored) : stored_value_of_text(attribute, text);
}

FieldResult<json> time_as_written(const CsvForm& form, const FormColumn& column,
                                  std::string_view text) {
  const StoredAttribute& attribute = *column.attribute;
  const auto date = read_date(text);
  if (!date && date.error() == NoDate::short_year) {
    return bad_value(attribute, fmt::format("{} has a year of two digits: write all four",
                                            shown_value(attribute, text)));
  }
  if (!date && date.error() == NoDate::of_a_spreadsheet) {
    return bad_value(attribute,
                     fmt::format("{} is the number that a spreadsheet keeps of a date: show it as "
                                 "a date there before the file is written",
                                 shown_value(attribute, text)));
  }
  if (!date) return stored_value_of_text(attribute, text);
  const DateReadings readings = readings_of(*date);
  if (readings.two() && !column.order) {
    return bad_value(
        attribute, fmt::format("{} can have the day or the month first, and nothing in the file's "
                               "beginning says which: say --dates dmy or --dates mdy (?dates=)",
                               shown_value(attribute, text)));
  }
  const bool day_first =
      column.order ? *column.order == DateOrder::day_first : readings.day_first.has_value();
  const auto& day = day_first ? readings.day_first : readings.month_first;
  if (!day && column.order && (readings.day_first || readings.month_first)) {
    return bad_value(
        attribute,
        fmt::format("{} is no date with the {} first, as {}", shown_value(attribute, text),
                    day_first ? "day" : "month",
                    column.order_line > 0 ? fmt::format("line {} has it", column.order_line)
                                          : std::string("it was said")));
  }
  if (!day) return stored_value_of_text(attribute, text);
  if (attribute.type == AttributeType::date) {
    if (date->time.value_or(Micros(0)) != Micros(0)) {
      return bad_value(attribute, fmt::format("{} has a time of day, and the attribute is a date",
                                              shown_value(attribute, text)));
    }
    return json(fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day->year()),
                            static_cast<unsigned>(day->month()),
                            static_cast<unsigned>(day->day())));
  }
  const Micros midnight(std::chrono::sys_days(*day).time_since_epoch());
  const std::int32_t offset = date->offset_minutes.value_or(form.zone_minutes);
  const Micros time = midnight + date->time.value_or(Micros(0)) - std::chrono::minutes(offset);
  return stored_value_of_text(attribute, to_rfc3339(time));
}

}  // namespace

std::string loose_name(std::string_view name) {
  std::string loose;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') {
      loose.push_back(static_cast<char>(c + 32));
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               static_cast<unsigned char>(c) >= 0x80) {
      loose.push_back(c);
    }
  }
  return loose;
}

CsvForm sniff_separator(std::string_view beginning, bool whole, const StoredType* type,
                        const FormWish& wish) {
  if (beginning.starts_with(kMark)) beginning.remove_prefix(kMark.size());
  CsvForm form;
  std::string_view line = beginning.substr(0, beginning.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  form.separator_line =
      line.size() == 5 && loose_name(line.substr(0, 3)) == "sep" && line[3] == '=';
  if (form.separator_line) {
    form.separator = line[4];
    beginning.remove_prefix(std::min(beginning.size(), beginning.find('\n') + 1));
  }
  if (wish.separator) {
    form.separator = *wish.separator;
  } else if (!form.separator_line) {
    Score best{};
    for (const char separator : kSeparators) {
      const Score score = score_of(separator, beginning, whole, type, wish);
      if (score <= best) continue;
      best = score;
      form.separator = separator;
    }
  }
  CsvParser parser(form.separator);
  parser.feed(beginning);
  if (whole) parser.end();
  CsvRecord header;
  if (parser.next(header) && header.fields.size() > 1) {
    form.space_behind_separator =
        form.separator != ' ' &&
        std::all_of(header.fields.begin() + 1, header.fields.end(),
                    [](const std::string& field) { return field.starts_with(' '); });
  }
  return form;
}

std::vector<FormColumn> columns_of(const CsvRecord& header, const StoredType& type,
                                   const FormWish& wish) {
  if (header.field_count > header.fields.size()) {
    refuse("import.bad_header",
           fmt::format("line {}: the header has {} columns", header.line, header.field_count),
           fmt::format("a file has {} at most", kCsvFieldsKept));
  }
  for (const std::string& field : header.fields) {
    if (is_utf8(field)) continue;
    refuse("import.bad_utf8", fmt::format("line {}: the header is no text", header.line),
           "save the file as UTF-8, or say what it is: --encoding (?encoding=) utf-8, utf-16le, "
           "utf-16be or windows-1252");
  }
  check_map(header, type, wish);
  std::vector<FormColumn> columns;
  std::map<const StoredAttribute*, std::string> taken;
  for (std::size_t i = 0; i < header.fields.size(); ++i) {
    FormColumn& column = columns.emplace_back();
    column.name = trimmed(header.fields[i]);
    const auto map = mapped(wish, header, column.name);
    if (map != wish.map.end()) {
      column.attribute = map->second.empty() ? nullptr : type.find(map->second);
    } else {
      column.attribute = attribute_of(type, column.name);
    }
    // The first may be a data frame's index, which has no name.
    column.must_be_empty = column.name.empty() && i > 0;
    if (column.name.empty() && i == 0) column.name = "(column 1, without a name)";
    if (column.attribute == nullptr) continue;
    const auto [other, fresh] = taken.emplace(column.attribute, column.name);
    if (fresh) continue;
    if (other->second == column.name) {
      refuse("import.duplicate_column",
             fmt::format("line {}: the column '{}' is there twice", header.line, column.name),
             "remove one of them");
    }
    refuse("import.duplicate_column",
           fmt::format("line {}: columns '{}' and '{}' are both {}", header.line, other->second,
                       column.name, column.attribute->name),
           fmt::format("remove one of them, or leave it out: --map '{}=' (?map=)", column.name));
  }
  if (taken.empty()) {
    refuse("import.unknown_column",
           fmt::format("line {}: none of {} is an attribute of {}", header.line, listed(header),
                       type.name),
           fmt::format("the first line must name the attributes ({}); columns of other names are "
                       "mapped: --map COLUMN=ATTRIBUTE (?map=)",
                       attribute_names(type)));
  }
  return columns;
}

CsvForm sniff_csv(std::string_view beginning, bool whole, const StoredType& type,
                  const FormWish& wish) {
  CsvForm form = sniff_separator(beginning, whole, &type, wish);
  form.zone_minutes = wish.zone_minutes.value_or(0);
  if (wish.decimal) {
    form.decimal = *wish.decimal;
    form.decimal_is_known = true;
  }
  CsvParser parser(form.separator, CsvLimits(), form.space_behind_separator);
  parser.feed(beginning);
  if (whole) parser.end();
  CsvRecord header;
  if (form.separator_line) parser.next(header);
  if (!parser.next(header) || header.fault != RecordFault::none) return form;
  form.columns = columns_of(header, type, wish);
  for (FormColumn& column : form.columns)
    if (wish.dates && column.attribute != nullptr && is_time(*column.attribute))
      column.order = wish.dates;
  weigh(parser, form, wish);
  return form;
}

FieldResult<json> stored_value_as_written(const CsvForm& form, const FormColumn& column,
                                          std::string_view field) {
  const StoredAttribute& attribute = *column.attribute;
  if (attribute.type == AttributeType::text) return stored_value_of_text(attribute, field);
  const std::string_view text = trimmed(field);
  if (is_number(attribute)) return number_as_written(form, attribute, text);
  if (is_time(attribute)) return time_as_written(form, column, text);
  if (attribute.type == AttributeType::boolean) {
    if (const auto flag = read_flag(text)) return json(*flag);
  }
  if (attribute.type == AttributeType::bytes && text.starts_with("\\x"))
    return stored_value_of_text(attribute, text.substr(2));
  return stored_value_of_text(attribute, text);
}

}  // namespace sluice::model
