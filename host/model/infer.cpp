#include "model/infer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/exact_json.hpp"
#include "base/nearest.hpp"
#include "contract/reserved_names.hpp"
#include "link/normalise.hpp"
#include "model/columns.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kSpelt = {
    {{"ä", "ae"}, {"ö", "oe"}, {"ü", "ue"}, {"Ä", "ae"}, {"Ö", "oe"}, {"Ü", "ue"}, {"ß", "ss"}}};

/// A column's name as an attribute's.
std::string attribute_name(std::string_view column, std::string_view type_name, std::size_t at) {
  std::string name;
  while (!column.empty()) {
    const auto spelt = std::find_if(kSpelt.begin(), kSpelt.end(),
                                    [&](const auto& one) { return column.starts_with(one.first); });
    if (spelt != kSpelt.end()) {
      name += spelt->second;
      column.remove_prefix(spelt->first.size());
      continue;
    }
    const char c = column.front();
    column.remove_prefix(1);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      name.push_back(c);
    } else if (c >= 'A' && c <= 'Z') {
      name.push_back(static_cast<char>(c + 32));
    } else if (!name.empty() && !name.ends_with('_')) {
      name.push_back('_');
    }
  }
  while (name.ends_with('_')) name.pop_back();
  if (name.empty()) name = fmt::format("column_{}", at + 1);
  const auto& reserved = contract::kReservedOwnNames;
  const bool is_reserved = std::find(reserved.begin(), reserved.end(), name) != reserved.end();
  if (is_reserved || name.front() < 'a') name = fmt::format("{}_{}", type_name, name);
  return name.substr(0, kIdentifierBytesMax);
}

bool has_leading_zero(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

/// Digits alone, with a sign or without.
bool is_plain_integer(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// What all values of a column can be.
struct Possible {
  bool any = false, flag = true, integer = true, with_point = true, with_comma = true, date = true,
       time = true, document = true, email = true;
  bool seen_true = false, seen_false = false, is_word = false;  ///< of flags

  void look(std::string_view text) {
    any = true;
    constexpr std::size_t kIntegerDigits = 18;
    const NumberReadings number = read_number(text);
    // Blanks alone group the digits of telephone numbers.
    const bool is_number =
        !has_leading_zero(text) && !text.starts_with('+') &&
        (text.find_first_of(".,e") != std::string_view::npos || is_plain_integer(text));
    with_point = with_point && is_number && !number.as_point.empty();
    with_comma = with_comma && is_number && !number.as_comma.empty();
    integer = integer && is_number && text.size() <= kIntegerDigits && is_plain_integer(text);
    look_at_flag(text);
    const auto written = read_date(text);
    time = time && written.has_value();
    date = date && written && !written->time;
    document = document && (text.starts_with('{') || text.starts_with('[')) &&
               read_json(text, kJsonDepthMax).has_value();
    email = email && link::normalise(contract::KeyKind::email, text).has_value();
  }

  /// "NO" alone is a country: both have to be there, or be called true and false.
  void look_at_flag(std::string_view text) {
    const auto one = read_flag(text);
    flag = flag && one && text != "0" && text != "1";
    if (!one) return;
    (*one ? seen_true : seen_false) = true;
    const std::string word = loose_name(text);
    is_word = is_word || word == "true" || word == "false";
  }

  /// With the mark that decimals of the file have, if somebody said so.
  [[nodiscard]] AttributeType type(std::optional<DecimalMark> mark) const {
    if (!any) return AttributeType::text;
    if (flag && (is_word || (seen_true && seen_false))) return AttributeType::boolean;
    if (integer) return AttributeType::integer;
    const bool decimal =
        (with_point && mark != DecimalMark::comma) || (with_comma && mark != DecimalMark::point);
    if (decimal) return AttributeType::decimal;
    if (date) return AttributeType::date;
    if (time) return AttributeType::timestamp;
    return document ? AttributeType::json : AttributeType::text;
  }
};

[[noreturn]] void refuse(std::string code, std::string message, std::string hint) {
  throw Failure(Error(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint)));
}

}  // namespace

InferredType infer_type(std::string_view beginning, bool whole, std::string_view name,
                        std::string_view key, const FormWish& wish) {
  const Encoding encoding = wish.encoding.value_or(guess_encoding(beginning));
  TextDecoder decoder(encoding);
  std::string text;
  decoder.decode(beginning, text);
  const CsvForm form = sniff_separator(text, whole, nullptr, wish);
  CsvParser parser(form.separator, CsvLimits(), form.space_behind_separator);
  parser.feed(text);
  if (whole) parser.end();
  CsvRecord record;
  if (form.separator_line) parser.next(record);
  if (!parser.next(record) || record.fault != RecordFault::none)
    refuse("import.empty", "the file has no header", "the first line must name the attributes");

  InferredType made;
  made.form = wish;
  made.type.name = name;
  std::vector<std::optional<std::size_t>> places;  // of a column's attribute
  std::set<std::string> names;
  for (std::size_t i = 0; i < record.fields.size(); ++i) {
    const std::string column(trimmed(record.fields[i]));
    const auto mapped = wish.map.find(column);
    const bool left_out = column.empty() || (mapped != wish.map.end() && mapped->second.empty());
    places.push_back(std::nullopt);
    if (left_out) continue;
    OwnAttribute attribute;
    const bool is_key = !key.empty() && loose_name(column) == loose_name(key);
    // The key is called as it was asked for, so that link rules find "email" in a column "E-Mail".
    const std::string called(is_key ? std::string(key) : column);
    attribute.name = mapped != wish.map.end() ? mapped->second : attribute_name(called, name, i);
    if (!names.insert(attribute.name).second) {
      refuse("import.duplicate_column",
             fmt::format("line {}: two columns are '{}'", record.line, attribute.name),
             fmt::format("leave one out: --map '{}=' (?map=)", column));
    }
    made.form.map[column] = attribute.name;
    if (!key.empty() && (attribute.name == key || is_key)) attribute.unique = true;
    places.back() = made.type.attributes.size();
    made.type.attributes.push_back(std::move(attribute));
  }
  const bool has_key = std::any_of(made.type.attributes.begin(), made.type.attributes.end(),
                                   [](const OwnAttribute& one) { return one.unique; });
  if (!key.empty() && !has_key) {
    const std::vector<std::string> columns(names.begin(), names.end());
    const std::string meant = nearest(key, columns);
    refuse("import.missing_key", fmt::format("there is no column '{}' to be the key", key),
           meant.empty() ? "name one of the header's columns" : "did you mean '" + meant + "'?");
  }
  std::vector<Possible> possible(made.type.attributes.size());
  while (parser.next(record)) {
    for (std::size_t i = 0; i < places.size() && i < record.fields.size(); ++i) {
      const std::string_view value = trimmed(record.fields[i]);
      if (places[i] && !value.empty()) possible[*places[i]].look(value);
    }
  }
  for (std::size_t i = 0; i < possible.size(); ++i) {
    OwnAttribute& attribute = made.type.attributes[i];
    attribute.type = possible[i].type(wish.decimal);
    if (attribute.type == AttributeType::text && possible[i].any && possible[i].email)
      attribute.format = "email";
  }
  const StoredType stored = stored_type_of(made.type);
  (void)sniff_csv(text, whole, stored, made.form);  // it is refused before its type is made
  return made;
}

StoredType stored_type_of(const OwnType& type) {
  StoredType stored;
  stored.id = type.id;
  stored.name = type.name;
  stored.own = true;
  for (const OwnAttribute& attribute : type.attributes) {
    StoredAttribute& one = stored.attributes.emplace_back();
    one.name = attribute.name;
    one.type = attribute.type;
    one.format = attribute.format;
    one.position = static_cast<std::int16_t>(stored.attributes.size() - 1);
    one.required = attribute.required;
    one.unique = attribute.unique;
    one.personal = attribute.personal;
    one.key_kind = attribute.key_kind;
    const bool is_email = attribute.format == "email" && !attribute.no_key;
    if (is_email && !one.key_kind) one.key_kind = contract::KeyKind::email;
  }
  return stored;
}

}  // namespace sluice::model
