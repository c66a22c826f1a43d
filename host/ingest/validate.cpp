#include "ingest/validate.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/decimal.hpp"
#include "base/error.hpp"
#include "base/json_text.hpp"
#include "contract/kinds.hpp"
#include "ingest/hash.hpp"

namespace sluice::ingest {
namespace {

using contract::AttributeType;
using contract::Kind;
using contract::Value;
using Problem = std::pair<std::string, std::string>;  // code, reason

// What PostgreSQL's date and timestamptz hold: from 4713 BC.
constexpr std::int64_t kDayMin = -2'440'588;
constexpr std::int64_t kDayMax = 2'145'042'905;
constexpr std::int64_t kMicrosMin = -210'866'803'200'000'000;

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

std::string replace_nul(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0') {
      out.append(kReplacementCharacter);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

/// Optional sign, digits with at most one point, optional exponent. Empty: it is a decimal.
std::string_view decimal_problem(std::string_view text) {
  if (text.size() > kDecimalBytesMax) return "is longer than 1000 characters";
  std::size_t at = 0, digits = 0;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) ++at;
  bool point = false;
  for (; at < text.size(); ++at) {
    if (text[at] >= '0' && text[at] <= '9') {
      ++digits;
    } else if (text[at] == '.' && !point) {
      point = true;
    } else {
      break;
    }
  }
  if (digits == 0) return "is no decimal number";
  if (at == text.size()) return {};
  if (text[at] != 'e' && text[at] != 'E') return "is no decimal number";
  ++at;
  if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
  if (at == text.size()) return "is no decimal number";
  int exponent = 0;
  for (; at < text.size(); ++at) {
    if (text[at] < '0' || text[at] > '9') return "is no decimal number";
    exponent = std::min(exponent * 10 + (text[at] - '0'), kDecimalExponentMax + 1);
  }
  return exponent > kDecimalExponentMax ? "has an exponent beyond 10000" : std::string_view{};
}

Problem wrong_kind(const model::StoredAttribute& attribute, const Value& value) {
  const bool shown = !attribute.is_protected && !attribute.personal;
  return {"value.wrong_kind",
          contract::wrong_kind(attribute.name, attribute.type,
                               shown ? contract::Shown::yes : contract::Shown::no, value)};
}

Problem too_long(std::string_view where, std::size_t size, std::size_t max) {
  return {"value.too_long", fmt::format("{} has {} bytes; the limit is {}", where, size, max)};
}

void append_number(std::string& out, double number) {
  if (std::isfinite(number)) {
    fmt::format_to(std::back_inserter(out), "{}", number);
  } else {
    append_json_string(out, fmt::format("{}", number));
  }
}

std::string iso_date(std::int64_t days) {
  const std::string text = to_rfc3339(Micros(days * 86'400'000'000));
  return text.substr(0, text.find('T'));
}

/// `value` as JSON. JSON and text must have been checked; other things always have a form.
void append_json(std::string& out, const Value& value) {
  switch (value.kind) {
    case Kind::null:
      out.append("null");
      return;
    case Kind::boolean:
      out.append(value.number != 0 ? "true" : "false");
      return;
    case Kind::int64:
      out.append(std::to_string(value.number));
      return;
    case Kind::real:
      append_number(out, value.real);
      return;
    case Kind::decimal:
    case Kind::string:
      append_json_string(out, value.text);
      return;
    case Kind::raw:
      append_json_string(out, "\\x" + to_hex(as_bytes(value.text)));
      return;
    case Kind::timestamp:
      append_json_string(out, to_rfc3339(Micros(value.number)));
      return;
    case Kind::date:
      append_json_string(out, iso_date(value.number));
      return;
    case Kind::json:
      out.append(value.text);
      return;
  }
}

/// Text of any origin as something that jsonb takes.
std::string harmless(std::string_view text) {
  if (!is_utf8(text)) return "\\x" + to_hex(as_bytes(text.substr(0, 4096)));
  return has_nul(text) ? replace_nul(text) : std::string(text);
}

/// For the quarantine, where nothing has been checked.
void append_unchecked_json(std::string& out, Value value) {
  std::string text;
  if (value.kind == Kind::json) {
    const JsonCheck check = check_json(value.text);
    const bool good =
        is_utf8(value.text) && check.ok() && check.printed_bytes <= kQuarantinedRecordBytesMax;
    text = good ? replace_unstorable(value.text) : harmless(value.text);
    if (!good) value.kind = Kind::string;
    value.text = text;
  } else if (value.kind == Kind::string || value.kind == Kind::decimal) {
    text = harmless(value.text);
    value.text = text;
  } else if (value.kind == Kind::timestamp || value.kind == Kind::date) {
    const std::int64_t limit =
        value.kind == Kind::date ? 2'000'000 : std::int64_t{200'000'000'000'000'000};
    if (value.number > limit || value.number < -limit) value.kind = Kind::int64;
  }
  append_json(out, value);
}

/// Stable. Nearly every record comes this way, and most have few values: no memory is taken for
/// those.
void sort_by_attribute(std::span<Value> values) {
  constexpr std::size_t kFew = 64;
  if (values.size() > kFew) {
    std::stable_sort(values.begin(), values.end(),
                     [](const Value& a, const Value& b) { return a.attribute < b.attribute; });
    return;
  }
  for (std::size_t at = 1; at < values.size(); ++at) {
    const Value value = values[at];
    std::size_t place = at;
    for (; place > 0 && values[place - 1].attribute > value.attribute; --place)
      values[place] = values[place - 1];
    values[place] = value;
  }
}

void add_path_key(std::vector<KeyDocument>& documents, const model::StoredType& type,
                  const model::StoredAttribute& attribute) {
  const model::StoredAttribute* const document = type.find(attribute.path.front());
  const std::int32_t column =
      document == nullptr ? -1 : static_cast<std::int32_t>(document - type.attributes.data());
  auto at = std::find_if(documents.begin(), documents.end(),
                         [&](const KeyDocument& one) { return one.column == column; });
  if (at == documents.end()) {
    at = documents.emplace(documents.end());
    at->column = column;
  }
  at->attributes.push_back(&attribute);
  at->ways.push_back(link::Path(attribute.path).subspan(1));
}

void set_bit(std::string& bits, std::size_t index) {
  if (bits.size() <= index / 8) bits.resize(index / 8 + 1, '\0');
  bits[index / 8] = static_cast<char>(bits[index / 8] | (1 << (index % 8)));
}

}  // namespace

std::optional<Micros> plausible_time(Micros time) {
  constexpr Micros kFirst{-62'135'596'800'000'000};   // 0001-01-01T00:00:00Z
  constexpr Micros kBehind{253'402'300'800'000'000};  // 10000-01-01T00:00:00Z
  return time >= kFirst && time < kBehind ? std::optional(time) : std::nullopt;
}

bool Presence::covers(const Presence& other) const {
  // Discovered attributes are added to those of before, unless the record is whole.
  return (whole || (!other.whole && !other.extra && (source_url || !other.source_url))) &&
         std::includes(columns.begin(), columns.end(), other.columns.begin(), other.columns.end());
}

void Presence::merge(const Presence& other) {
  source_url = source_url || other.source_url;
  extra = extra || other.extra;
  whole = whole || other.whole;
  if (columns == other.columns) return;
  std::vector<std::uint16_t> both;
  std::set_union(columns.begin(), columns.end(), other.columns.begin(), other.columns.end(),
                 std::back_inserter(both));
  columns = std::move(both);
}

Batch::Batch(const contract::Manifest& manifest, const model::Catalog& catalog,
             const contract::Page& page)
    : manifest_(manifest), catalog_(catalog), records_(page.records) {
  rows.reserve(page.records.size());
  for (std::uint32_t i = 0; i < page.records.size(); ++i) take(i);
  for (const contract::CompleteSet& set : page.sets) plan_for(set.type);
  for (const contract::RejectedRecord& rejected : page.rejected) {
    const auto& type = manifest.entity_types.at(rejected.type);
    Refusal refusal;
    refusal.type = manifest.id + "." + type.name;
    refusal.external_id = harmless(rejected.external_id);
    refusal.code = rejected.code;
    refusal.reason = rejected.reason;
    refusals.push_back(std::move(refusal));
  }
}

TypePlan& Batch::plan_for(std::uint32_t type) {
  std::unique_ptr<TypePlan>& plan = plans_[type];
  if (plan) return *plan;
  const contract::EntityType& declared = manifest_.entity_types.at(type);
  const std::string name = manifest_.id + "." + declared.name;
  const model::StoredType* stored = catalog_.find(name);
  const auto behind = [&](const std::string& what) {
    return Failure(Error(ErrorKind::conflict, "ingest.catalog_behind",
                         fmt::format("{} is declared by connector {} {} but not in the catalogue",
                                     what, manifest_.id, manifest_.version),
                         "install this version of the connector in the workspace"));
  };
  if (stored == nullptr || stored->own) throw behind("type " + name);
  auto made = std::make_unique<TypePlan>();
  made->declared = &declared;
  made->stored = stored;
  for (const contract::Attribute& attribute : declared.attributes) {
    const auto found = std::find_if(stored->attributes.begin(), stored->attributes.end(),
                                    [&](const auto& each) { return each.name == attribute.name; });
    if (found == stored->attributes.end() || found->type != attribute.type) {
      throw behind("attribute " + name + "." + attribute.name);
    }
    const auto column = static_cast<std::uint16_t>(found - stored->attributes.begin());
    made->column_of.push_back(column);
    if (attribute.required) made->required.push_back(column);
    if (attribute.type != AttributeType::timestamp) continue;
    if (attribute.format == contract::kModifiedAt) made->modified_column = column;
    if (attribute.format == contract::kCreatedAt) made->created_column = column;
  }
  for (std::size_t column = 0; column < stored->attributes.size(); ++column) {
    const model::StoredAttribute& attribute = stored->attributes[column];
    if (!attribute.key_kind) continue;
    if (attribute.path.empty()) {
      made->key_columns.push_back(static_cast<std::uint16_t>(column));
    } else {
      add_path_key(made->key_documents, *stored, attribute);
    }
  }
  plan = std::move(made);
  return *plan;
}

std::string_view Batch::own(std::string text) { return owned_.emplace_back(std::move(text)); }

void Batch::refuse_record(std::uint32_t index, std::string code, std::string reason) {
  const contract::Record& record = records_[index];
  const contract::EntityType& type = manifest_.entity_types.at(record.type);
  Refusal refusal;
  refusal.type = manifest_.id + "." + type.name;
  refusal.external_id = harmless(record.external_id.substr(0, kExternalIdBytesMax));
  refusal.code = std::move(code);
  refusal.reason = std::move(reason);
  refusal.record = record_as_json(type, record);
  refusals.push_back(std::move(refusal));
}

void Batch::refuse(std::uint32_t row, std::string code, std::string reason) {
  if (rows[row].refused) return;
  rows[row].refused = true;
  std::erase_if(notes, [row](const Note& note) { return note.row == row; });
  refuse_record(rows[row].record, std::move(code), std::move(reason));
}

const Value* Batch::value(const Row& row, std::uint16_t column) const {
  const auto all = values(row);
  const auto found =
      std::lower_bound(all.begin(), all.end(), column,
                       [](const Value& v, std::uint16_t c) { return v.attribute < c; });
  return found != all.end() && found->attribute == column ? &*found : nullptr;
}

std::optional<Micros> Batch::time_in(const Row& row, std::optional<std::uint16_t> column) const {
  const Value* const value = column ? this->value(row, *column) : nullptr;
  if (value == nullptr || value->kind != Kind::timestamp) return std::nullopt;
  return plausible_time(Micros(value->number));
}

std::optional<Micros> Batch::modified_at(const Row& row) const {
  return time_in(row, plan(row.type).modified_column);
}

std::optional<Micros> Batch::created_at(const Row& row) const {
  return time_in(row, plan(row.type).created_column);
}

std::string Batch::missing_required(const Row& row) const {
  const TypePlan& of = plan(row.type);
  std::string names;
  for (const std::uint16_t column : of.required) {
    if (value(row, column) != nullptr) continue;
    names += (names.empty() ? "'" : ", '") + of.stored->attributes[column].name + "'";
  }
  return names;
}

void Batch::take(std::uint32_t index) {
  const contract::Record& record = records_[index];
  TypePlan& of = plan_for(record.type);
  if (record.external_id.empty() || record.external_id.size() > kExternalIdBytesMax ||
      has_nul(record.external_id) || !is_utf8(record.external_id)) {
    refuse_record(
        index, "record.external_id_invalid",
        fmt::format(
            "an external id is UTF-8 text of 1 to {} bytes without U+0000; this one has {} bytes",
            kExternalIdBytesMax, record.external_id.size()));
    return;
  }
  Row row;
  row.type = record.type;
  row.record = index;
  row.external_id = record.external_id;
  row.version = record.source_version;
  row.deleted = record.deleted;
  row.whole = record.whole;
  row.first_value = static_cast<std::uint32_t>(values_.size());
  new_notes_.clear();
  json_bytes_ = 0;
  if (row.deleted) {
    row.hash = deleted_hash();
  } else if (const auto problem = check_values(record, row)) {
    values_.resize(row.first_value);
    refuse_record(index, problem->first, problem->second);
    return;
  }
  row.presence = intern_presence(of, row);
  for (Note& note : new_notes_) {
    note.row = static_cast<std::uint32_t>(rows.size());
    notes.push_back(std::move(note));
  }
  rows.push_back(row);
}

std::optional<Problem> Batch::check_values(const contract::Record& record, Row& row) {
  const TypePlan& of = plan_for(record.type);
  bool ascending = true;
  for (const Value& given : record.values) {
    if (given.attribute >= of.column_of.size()) {
      return Problem{"value.unknown_attribute",
                     fmt::format("attribute index {} of {}", given.attribute, of.column_of.size())};
    }
    Value value = given;
    value.attribute = static_cast<std::uint32_t>(of.column_of[given.attribute]);
    if (auto problem = check_value(of.stored->attributes[value.attribute], value)) return problem;
    ascending = ascending &&
                (values_.size() == row.first_value || values_.back().attribute < value.attribute);
    values_.push_back(value);
  }
  const auto begin = values_.begin() + row.first_value;
  if (!ascending) {
    sort_by_attribute({begin, values_.end()});
    for (auto at = begin; at != values_.end() && at + 1 != values_.end(); ++at) {
      if (at->attribute == (at + 1)->attribute) {
        return Problem{"value.twice", fmt::format("attribute '{}' is there twice",
                                                  of.stored->attributes[at->attribute].name)};
      }
    }
  }
  row.values = static_cast<std::uint32_t>(values_.size() - row.first_value);
  for (const std::uint16_t column : of.required) {
    const Value* value = this->value(row, column);
    if (value == nullptr) {
      row.insertable = false;
    } else if (value->kind == Kind::null) {
      return Problem{"record.required_null", fmt::format("required attribute '{}' is null",
                                                         of.stored->attributes[column].name)};
    }
  }
  if (!record.source_url.empty()) {
    if (record.source_url.size() > kSourceUrlBytesMax) {
      return too_long("the source URL", record.source_url.size(), kSourceUrlBytesMax);
    }
    if (!is_utf8(record.source_url))
      return Problem{"value.not_utf8", "the source URL is not UTF-8"};
    row.source_url = storable_text(record.source_url, "the source URL");
  }
  if (auto problem = build_extra(record, row)) return problem;
  // Hashed by position, which means the same attribute for ever; a column index does not.
  HashInput input;
  std::span<Value> mine(values_.data() + row.first_value, row.values);
  for (Value& value : mine) {
    value.attribute = static_cast<std::uint32_t>(of.stored->attributes[value.attribute].position);
  }
  input.values = mine;
  input.source_url = row.source_url;
  input.extra = row.extra;
  input.whole = row.whole;
  row.hash = content_hash(input, scratch_);
  std::size_t column = 0;
  for (Value& value : mine) {  // by position, like the columns
    while (of.stored->attributes[column].position != static_cast<std::int16_t>(value.attribute))
      ++column;
    value.attribute = static_cast<std::uint32_t>(column);
  }
  return std::nullopt;
}

std::string_view Batch::storable_text(std::string_view text, std::string_view where) {
  if (!has_nul(text)) return text;
  Note note;
  note.code = "value.nul_replaced";
  note.reason = fmt::format(
      "{} held U+0000, which PostgreSQL cannot store; U+FFFD stands there instead", where);
  new_notes_.push_back(std::move(note));
  return own(replace_nul(text));
}

std::optional<Problem> Batch::storable_json(std::string_view& text, std::string_view where) {
  if (text.size() > kJsonBytesMax) return too_long(where, text.size(), kJsonBytesMax);
  if (!is_utf8(text)) return Problem{"value.not_utf8", fmt::format("{} is not UTF-8", where)};
  const JsonCheck check = check_json(text);
  if (!check.ok()) {
    return Problem{"value.invalid_json",
                   fmt::format("{}: {} at byte {}", where, check.problem, check.at)};
  }
  // As it is printed: what cannot be read again, for its size, is not taken.
  if (check.printed_bytes > kJsonBytesMax) {
    return too_long(fmt::format("{}, its numbers written out,", where), check.printed_bytes,
                    kJsonBytesMax);
  }
  json_bytes_ += check.printed_bytes;
  if (json_bytes_ > kRecordJsonBytesMax) {
    return too_long("the record's JSON, its numbers written out,", json_bytes_,
                    kRecordJsonBytesMax);
  }
  if (!check.has_nul && !check.has_lone_surrogate) return std::nullopt;
  Note note;
  note.code = check.has_nul ? "value.nul_replaced" : "value.surrogate_replaced";
  note.reason =
      fmt::format("{} held {}, which PostgreSQL cannot store; U+FFFD stands there instead", where,
                  check.has_nul ? "U+0000" : "half of a surrogate pair");
  new_notes_.push_back(std::move(note));
  text = own(replace_unstorable(text));
  return std::nullopt;
}

std::optional<Problem> Batch::check_value(const model::StoredAttribute& attribute, Value& value) {
  if (value.kind == Kind::null) return std::nullopt;
  const auto where = [&] { return "attribute '" + attribute.name + "'"; };
  const auto out_of_range = [&] {
    return Problem{"value.out_of_range", where() + " is outside what PostgreSQL holds"};
  };
  switch (attribute.type) {
    case AttributeType::text:
      if (value.kind != Kind::string) return wrong_kind(attribute, value);
      if (value.text.size() > kTextBytesMax)
        return too_long(where(), value.text.size(), kTextBytesMax);
      if (!is_utf8(value.text)) return Problem{"value.not_utf8", where() + " is not UTF-8"};
      if (has_nul(value.text)) value.text = storable_text(value.text, where());
      return std::nullopt;
    case AttributeType::integer:
      if (value.kind == Kind::int64) return std::nullopt;
      if (!contract::holds_exactly(attribute.type, value.kind, value.text))
        return wrong_kind(attribute, value);
      value.number = exact_integer(value.text).value();
      value.kind = Kind::int64;
      value.text = {};
      return std::nullopt;
    case AttributeType::decimal: {
      if (value.kind == Kind::int64) {
        value.text = own(std::to_string(value.number));
        value.kind = Kind::decimal;
        return std::nullopt;
      }
      const bool is_json = value.kind == Kind::json;
      if (value.kind != Kind::decimal &&
          !contract::holds_exactly(attribute.type, value.kind, value.text))
        return wrong_kind(attribute, value);
      const std::string_view problem = decimal_problem(value.text);
      if (problem.empty()) {
        value.kind = Kind::decimal;
        if (is_json) value.text = own(plain_decimal(value.text));
        return std::nullopt;
      }
      return Problem{"value.invalid_decimal", fmt::format("{} {}", where(), problem)};
    }
    case AttributeType::number:
      if (value.kind == Kind::int64) {
        value.real = static_cast<double>(value.number);
        value.kind = Kind::real;
      }
      if (value.kind != Kind::real) return wrong_kind(attribute, value);
      if (!std::isfinite(value.real))
        return Problem{"value.not_finite", where() + " is no finite number"};
      return std::nullopt;
    case AttributeType::boolean:
      if (value.kind != Kind::boolean) return wrong_kind(attribute, value);
      value.number = value.number != 0 ? 1 : 0;
      return std::nullopt;
    case AttributeType::timestamp:
      if (value.kind != Kind::timestamp) return wrong_kind(attribute, value);
      if (value.number < kMicrosMin) return out_of_range();
      return std::nullopt;
    case AttributeType::date:
      if (value.kind != Kind::date) return wrong_kind(attribute, value);
      if (value.number < kDayMin || value.number > kDayMax) return out_of_range();
      return std::nullopt;
    case AttributeType::json: {
      if (value.kind != Kind::json) return wrong_kind(attribute, value);
      return storable_json(value.text, where());
    }
    case AttributeType::bytes:
      if (value.kind != Kind::raw) return wrong_kind(attribute, value);
      if (value.text.size() > kRawBytesMax)
        return too_long(where(), value.text.size(), kRawBytesMax);
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Problem> Batch::build_extra(const contract::Record& record, Row& row) {
  if (record.named.empty()) return std::nullopt;
  std::map<std::string, Value, std::less<>> sorted;
  for (const contract::NamedValue& named : record.named) {
    if (named.name.empty() || named.name.size() > kDiscoveredNameBytesMax || has_nul(named.name) ||
        !is_utf8(named.name)) {
      return Problem{
          "value.discovered_name_invalid",
          fmt::format(
              "the name of a discovered attribute is UTF-8 text of 1 to {} bytes without U+0000",
              kDiscoveredNameBytesMax)};
    }
    const std::string where = "discovered attribute '" + std::string(named.name) + "'";
    Value value = named.value;
    if (value.kind == Kind::json) {
      if (auto problem = storable_json(value.text, where)) return problem;
    } else if (value.kind == Kind::string || value.kind == Kind::decimal) {
      if (value.text.size() > kTextBytesMax)
        return too_long(where, value.text.size(), kTextBytesMax);
      if (!is_utf8(value.text)) return Problem{"value.not_utf8", where + " is not UTF-8"};
      value.text = storable_text(value.text, where);
    } else if (value.kind == Kind::date &&
               (value.number < kDayMin || value.number > kDayMax / 100)) {
      return Problem{"value.out_of_range", where + " is no day of our calendar"};
    }
    sorted.insert_or_assign(std::string(named.name), value);
  }
  std::string json = "{";
  for (const auto& [name, value] : sorted) {
    if (json.size() > 1) json.push_back(',');
    append_json_string(json, name);
    json.push_back(':');
    append_json(json, value);
  }
  json.push_back('}');
  if (json.size() > kJsonBytesMax)
    return too_long("the discovered attributes together", json.size(), kJsonBytesMax);
  row.extra = own(std::move(json));
  return std::nullopt;
}

std::uint32_t Batch::intern_presence(TypePlan& of, const Row& row) {
  std::string& bits = scratch_;
  bits.clear();
  if (!row.source_url.empty()) set_bit(bits, 0);
  if (!row.extra.empty()) set_bit(bits, 1);
  if (row.whole) set_bit(bits, 2);
  for (const Value& value : values(row)) set_bit(bits, value.attribute + 3);
  const auto found = of.presence_by_bits.find(bits);
  if (found != of.presence_by_bits.end()) return found->second;
  Presence presence;
  presence.source_url = !row.source_url.empty();
  presence.extra = !row.extra.empty();
  presence.whole = row.whole;
  for (const Value& value : values(row)) {
    presence.columns.push_back(static_cast<std::uint16_t>(value.attribute));
  }
  const auto index = static_cast<std::uint32_t>(of.presences.size());
  of.presences.push_back(std::move(presence));
  of.presence_by_bits.emplace(bits, index);
  return index;
}

std::vector<std::vector<std::uint32_t>> Batch::rounds(std::vector<Note>* twice) const {
  std::vector<std::uint32_t> order;
  order.reserve(rows.size());
  for (std::uint32_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].refused) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
    const Row& x = rows[a];
    const Row& y = rows[b];
    if (x.type != y.type) return x.type < y.type;
    const int text = x.external_id.compare(y.external_id);
    return text != 0 ? text < 0 : a < b;
  });
  std::vector<std::vector<std::uint32_t>> all;
  std::vector<std::uint32_t> same;  // what is left of one external id's records, in their order
  const auto put_same = [&] {
    for (std::size_t i = 0; i < same.size(); ++i) {
      if (all.size() <= i) all.emplace_back().reserve(order.size());
      all[i].push_back(same[i]);
    }
    same.clear();
  };
  for (const std::uint32_t index : order) {
    const Row& row = rows[index];
    if (!same.empty()) {
      const Row& before = rows[same.back()];
      if (before.type != row.type || before.external_id != row.external_id) {
        put_same();
      } else if (!before.deleted && !row.deleted && before.insertable) {
        if (twice != nullptr && row.version == before.version && row.presence == before.presence &&
            row.hash != before.hash) {
          Note& note = twice->emplace_back();
          note.row = index;
          note.code = "record.twice";
          note.reason = "came twice in one page with different content; the later one is stored";
        }
        if (row.version != 0 && row.version < before.version) continue;  // stale already
        if (row.version >= before.version && presence(row).covers(presence(before)))
          same.pop_back();
      }
    }
    same.push_back(index);
  }
  put_same();
  return all;
}

std::string record_as_json(const contract::EntityType& type, const contract::Record& record) {
  std::size_t size = 0;
  for (const Value& value : record.values) size += value.text.size();
  for (const contract::NamedValue& named : record.named) size += named.value.text.size();
  if (size > kQuarantinedRecordBytesMax) return {};
  std::string out = fmt::format("{{\"source_version\":{},\"deleted\":{},\"values\":{{",
                                record.source_version, record.deleted);
  bool first = true;
  const auto member = [&](std::string_view name, const Value& value) {
    if (!first) out.push_back(',');
    first = false;
    append_json_string(out, name);
    out.push_back(':');
    append_unchecked_json(out, value);
  };
  for (const Value& value : record.values) {
    if (value.attribute < type.attributes.size())
      member(type.attributes[value.attribute].name, value);
  }
  out.append("},\"discovered\":{");
  first = true;
  for (const contract::NamedValue& named : record.named) {
    member(harmless(named.name.substr(0, kDiscoveredNameBytesMax)), named.value);
  }
  out.append("}}");
  return out.size() > 2 * kQuarantinedRecordBytesMax ? std::string{} : out;
}

}  // namespace sluice::ingest
