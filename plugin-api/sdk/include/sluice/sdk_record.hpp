// sluice/sdk_record.hpp - builds one record, and maps JSON objects onto the manifest's attributes
// by table.
#pragma once

#include <array>
#include <cstdint>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <sluice/connector.h>
#include <sluice/sdk_json.hpp>
#include <sluice/sdk_text.hpp>

namespace sluice::sdk {

[[nodiscard]] inline std::string_view to_view(sluice_bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

/// A text that owns its bytes, such as std::string: it may be gone, or hold something else, before
/// the record is emitted. A std::string_view is none, nor is a literal.
template <class Text>
concept OwnsText = std::is_class_v<Text> && std::is_convertible_v<const Text&, std::string_view> &&
    !std::ranges::borrowed_range<Text>;

/// Borrows: the text must live until the call that is given the bytes returns. One that owns its
/// text and is gone by then, such as the sum of two strings, does not compile: give it a name.
[[nodiscard]] inline sluice_bytes to_bytes(std::string_view text) {
  sluice_bytes bytes;
  bytes.data = reinterpret_cast<const std::uint8_t*>(text.data());
  bytes.size = text.size();
  return bytes;
}
template <class Text>
requires(OwnsText<std::remove_cvref_t<Text>> && !std::is_lvalue_reference_v<Text>) sluice_bytes
    to_bytes(Text&& text)
= delete;

/// One record in the making, reused for the next: begin(), values, emit. Setting an attribute twice
/// keeps the later value.
///
/// Texts. A std::string_view is borrowed until the record is emitted: views into the reply's
/// document, which is what most values are, cost nothing. A std::string, a `const char*` and
/// whatever else owns its text is copied, and so is the id. scratch() holds texts that are put
/// together from parts, from begin() to the next.
class Record {
 public:
  Record& begin(std::uint32_t type, std::string_view external_id) {
    external_id_.assign(external_id);  // before scratch() is cleared: it may lie there
    if (++generation_ == 0) {
      places_.assign(places_.size(), Place{});
      generation_ = 1;
    }
    values_.clear();
    named_.clear();
    scratch_.clear();
    type_ = type;
    source_url_ = {};
    source_version_ = 0;
    flags_ = 0;
    return *this;
  }

  void null(std::uint32_t attribute) { put(attribute, SLUICE_NULL, 0); }
  void boolean(std::uint32_t attribute, bool value) { put(attribute, SLUICE_BOOL, value ? 1 : 0); }
  void integer(std::uint32_t attribute, std::int64_t value) { put(attribute, SLUICE_INT64, value); }
  void real(std::uint32_t attribute, double value) {
    sluice_value& slot = put(attribute, SLUICE_DOUBLE, 0);
    slot.real = value;
  }
  void decimal(std::uint32_t attribute, std::string_view digits) {
    put_text(attribute, SLUICE_DECIMAL, digits);
  }
  void text(std::uint32_t attribute, std::string_view value) {
    put_text(attribute, SLUICE_STRING, value);
  }
  void raw(std::uint32_t attribute, std::string_view value) {
    put_text(attribute, SLUICE_RAW, value);
  }
  void json(std::uint32_t attribute, std::string_view value) {
    put_text(attribute, SLUICE_JSON, value);
  }

  template <OwnsText Text>
  void decimal(std::uint32_t attribute, const Text& digits) {
    decimal(attribute, scratch_.keep(digits));
  }
  template <OwnsText Text>
  void text(std::uint32_t attribute, const Text& value) {
    text(attribute, scratch_.keep(value));
  }
  template <OwnsText Text>
  void raw(std::uint32_t attribute, const Text& value) {
    raw(attribute, scratch_.keep(value));
  }
  template <OwnsText Text>
  void json(std::uint32_t attribute, const Text& value) {
    json(attribute, scratch_.keep(value));
  }
  void decimal(std::uint32_t attribute, const char* digits) { decimal(attribute, kept(digits)); }
  void text(std::uint32_t attribute, const char* value) { text(attribute, kept(value)); }
  void raw(std::uint32_t attribute, const char* value) { raw(attribute, kept(value)); }
  void json(std::uint32_t attribute, const char* value) { json(attribute, kept(value)); }

  void timestamp_us(std::uint32_t attribute, std::int64_t value) {
    put(attribute, SLUICE_TIMESTAMP, value);
  }
  void date_days(std::uint32_t attribute, std::int64_t value) {
    put(attribute, SLUICE_DATE, value);
  }

  /// A discovered attribute; the value's kind as the vendor gave it. It is stored with the record;
  /// neither views nor REST show it yet.
  void named(std::string_view name, const json::Value& value) {
    sluice_named_value named{};
    named.name = to_bytes(name);
    const std::size_t before = values_.size();
    natural(0, value, /*addressed=*/false);
    named.value = values_.back();
    values_.resize(before);
    named_.push_back(named);
  }

  template <OwnsText Text>
  void named(const Text& name, const json::Value& value) {
    named(scratch_.keep(name), value);
  }
  void named(const char* name, const json::Value& value) { named(kept(name), value); }

  /// The value as the vendor's JSON has it, when it is not what the attribute declares: the host
  /// then puts the record aside with the reason, and nothing is lost or silently nulled.
  void natural(std::uint32_t attribute, const json::Value& value) {
    natural(attribute, value, true);
  }

  void source_url(std::string_view url) { source_url_ = url; }
  template <OwnsText Text>
  void source_url(const Text& url) {
    source_url_ = scratch_.keep(url);
  }
  void source_url(const char* url) { source_url_ = kept(url); }
  void source_version(std::int64_t version) { source_version_ = version; }
  void deleted() { flags_ |= SLUICE_RECORD_DELETED; }
  /// The vendor's whole object was at hand: discovered attributes and a source URL that this record
  /// does not have are gone. Hosts before 1.2 do not know it and are not told: they keep both. Who
  /// cannot do with that says REQUIRED_MINOR 2.
  void whole() { flags_ |= SLUICE_RECORD_WHOLE; }

  [[nodiscard]] Arena& scratch() { return scratch_; }
  [[nodiscard]] std::string_view external_id() const { return external_id_; }

  /// The record as the contract wants it; valid until begin() or destruction.
  [[nodiscard]] sluice_record view() const {
    sluice_record record{};
    record.struct_size = sizeof(sluice_record);
    record.type = type_;
    record.external_id = to_bytes(external_id_);
    record.source_version = source_version_;
    record.flags = flags_;
    record.value_count = static_cast<std::uint32_t>(values_.size());
    record.values = values_.data();
    record.source_url = to_bytes(source_url_);
    record.named_values = named_.data();
    record.named_count = static_cast<std::uint32_t>(named_.size());
    return record;
  }

 private:
  std::string_view kept(const char* text) {
    return text == nullptr ? std::string_view() : scratch_.keep(text);
  }

  struct Place {
    std::uint32_t generation = 0;
    std::uint32_t index = 0;
  };

  sluice_value& put(std::uint32_t attribute, sluice_kind kind, std::int64_t number) {
    if (attribute >= places_.size()) places_.resize(attribute + 32);
    Place& place = places_[attribute];
    if (place.generation != generation_) {
      place.generation = generation_;
      place.index = static_cast<std::uint32_t>(values_.size());
      values_.emplace_back();
    }
    return fill(values_[place.index], attribute, kind, number);
  }

  static sluice_value& fill(sluice_value& slot, std::uint32_t attribute, sluice_kind kind,
                            std::int64_t number) {
    slot.attribute = attribute;
    slot.kind = kind;
    slot.number = number;
    slot.text.data = nullptr;
    slot.text.size = 0;
    return slot;
  }

  void put_text(std::uint32_t attribute, sluice_kind kind, std::string_view value) {
    put(attribute, kind, 0).text = to_bytes(value);
  }

  void natural(std::uint32_t attribute, const json::Value& value, bool addressed) {
    sluice_value* slot = nullptr;
    if (addressed) {
      slot = &put(attribute, SLUICE_NULL, 0);
    } else {
      slot = &fill(values_.emplace_back(), attribute, SLUICE_NULL, 0);
    }
    switch (value.kind()) {
      case json::Kind::missing:
      case json::Kind::null:
        return;
      case json::Kind::boolean:
        slot->kind = SLUICE_BOOL;
        slot->number = value.boolean().value_or(false) ? 1 : 0;
        return;
      case json::Kind::number:
        if (const auto whole = value.integer()) {
          slot->kind = SLUICE_INT64;
          slot->number = *whole;
        } else if (is_decimal(value.raw())) {
          slot->kind = SLUICE_DECIMAL;
          slot->text = to_bytes(value.raw());
        } else {
          slot->kind = SLUICE_JSON;
          slot->text = to_bytes(value.raw());
        }
        return;
      case json::Kind::string:
        slot->kind = SLUICE_STRING;
        slot->text = to_bytes(value.text());
        return;
      case json::Kind::array:
      case json::Kind::object:
        slot->kind = SLUICE_JSON;
        slot->text = to_bytes(value.compact(scratch_));
        return;
    }
  }

  std::vector<sluice_value> values_;
  std::vector<sluice_named_value> named_;
  std::vector<Place> places_;
  Arena scratch_;
  std::string external_id_;
  std::string_view source_url_;
  std::int64_t source_version_ = 0;
  std::uint32_t type_ = 0;
  std::uint32_t flags_ = 0;
  std::uint32_t generation_ = 0;
};

/// How a field becomes a value.
enum class As : std::uint8_t {
  text,     ///< string
  integer,  ///< whole number
  number,   ///< any number, as a double when it has a fraction
  decimal,  ///< string or number of digits, kept as text
  boolean,
  unix_seconds,  ///< whole number -> timestamp
  rfc3339,       ///< string -> timestamp
  date,          ///< string -> date
  json,          ///< anything, compact
  reference,     ///< an id, or an object that has one under "id" -> text
  fields,        ///< an object whose members are fields in turn; see map_object()
};

struct Fields;

/// One row of a mapping: where it stands, how it is read, which attribute it becomes.
struct Field {
  std::string_view key;
  As as = As::text;
  std::uint32_t attribute = 0;
  const Fields* inner = nullptr;  ///< As::fields

  constexpr Field(std::string_view k, As a, std::uint32_t to) : key(k), as(a), attribute(to) {}
  constexpr Field(std::string_view k, const Fields& f) : key(k), as(As::fields), inner(&f) {}
};

/// A mapping: rows sorted by key, checked at compile time by SLUICE_FIELDS.
struct Fields {
  const Field* rows;
  std::size_t count;
};

/// Sorts the rows by key at compile time; two rows with one key do not compile.
template <std::size_t N>
consteval std::array<Field, N> sorted_fields(std::array<Field, N> rows) {
  for (std::size_t i = 1; i < N; ++i) {
    for (std::size_t j = i; j > 0 && rows[j].key < rows[j - 1].key; --j) {
      const Field moved = rows[j];
      rows[j] = rows[j - 1];
      rows[j - 1] = moved;
    }
  }
  for (std::size_t i = 1; i < N; ++i) {
    if (rows[i].key == rows[i - 1].key) throw "a key stands twice in a mapping";
  }
  return rows;
}

/// Defines the constant mapping NAME from rows: SLUICE_FIELDS(kAddress, {"city", As::text,
/// a::city}, …);
#define SLUICE_FIELDS(NAME, ...)                                                        \
  inline constexpr auto NAME##Rows =                                                    \
      ::sluice::sdk::sorted_fields(std::to_array<::sluice::sdk::Field>({__VA_ARGS__})); \
  inline constexpr ::sluice::sdk::Fields NAME { NAME##Rows.data(), NAME##Rows.size() }

/// The id behind a reference: the text, or the "id" of an object; empty when there is none.
[[nodiscard]] inline std::string_view reference_id(const json::Value& value) {
  return value.is_object() ? value["id"].text() : value.text();
}

/// What the mapping names is null, as if null stood in the object's place.
inline void set_null(Record& record, const Fields& fields) {
  for (std::size_t i = 0; i < fields.count; ++i) {
    if (fields.rows[i].as == As::fields) {
      set_null(record, *fields.rows[i].inner);
    } else {
      record.null(fields.rows[i].attribute);
    }
  }
}

namespace detail {

/// Each attribute gets `json` as a kind that it does not take: JSON, and bytes where it is JSON.
inline void set_odd(Record& record, const Fields& fields, std::string_view json) {
  for (std::size_t i = 0; i < fields.count; ++i) {
    const Field& field = fields.rows[i];
    if (field.as == As::fields) {
      set_odd(record, *field.inner, json);
    } else if (field.as == As::json) {
      record.raw(field.attribute, json);
    } else {
      record.json(field.attribute, json);
    }
  }
}

}  // namespace detail

inline void map_object(Record& record, const Fields& fields, const json::Value& object);

inline void map_value(Record& record, const Field& field, const json::Value& value) {
  const std::uint32_t attribute = field.attribute;
  if (field.as == As::fields) return map_object(record, *field.inner, value);
  if (value.is_null()) return record.null(attribute);
  switch (field.as) {
    case As::text:
      if (value.is_string()) return record.text(attribute, value.text());
      break;
    case As::integer:
      if (const auto whole = value.integer()) return record.integer(attribute, *whole);
      break;
    case As::number:
      if (const auto whole = value.integer()) return record.integer(attribute, *whole);
      if (const auto real = value.real()) return record.real(attribute, *real);
      break;
    case As::decimal: {
      const std::string_view digits = value.is_string() ? value.text() : value.raw();
      if ((value.is_string() || value.is_number()) && is_decimal(digits)) {
        return record.decimal(attribute, digits);
      }
      break;
    }
    case As::boolean:
      if (const auto flag = value.boolean()) return record.boolean(attribute, *flag);
      break;
    case As::unix_seconds:
      if (const auto seconds = value.integer()) {
        constexpr std::int64_t kMax = 253'402'300'799;  // the end of the year 9999
        if (*seconds >= -kMax && *seconds <= kMax)
          return record.timestamp_us(attribute, *seconds * 1'000'000);
      }
      break;
    case As::rfc3339:
      if (const auto us = parse_rfc3339(value.text())) return record.timestamp_us(attribute, *us);
      break;
    case As::date:
      if (const auto days = parse_date(value.text())) return record.date_days(attribute, *days);
      break;
    case As::json:
      return record.json(attribute, value.compact(record.scratch()));
    case As::reference:
      if (value.is_string()) return record.text(attribute, value.text());
      if (value["id"].is_string()) return record.text(attribute, value["id"].text());
      break;
    case As::fields:
      break;
  }
  record.natural(attribute, value);
}

/// Every member that the mapping names becomes a value; the others are passed over. A member that
/// is not there leaves its attribute out of the record, hence as it is in the store; so does an
/// object that is not there. Null instead of the object sets all of them to null. Anything else, an
/// empty list or text too, is given to each of them as what it does not take: the host puts the
/// record aside and names the first. Where a vendor writes `[]` for none, leave the row out of the
/// mapping and say so yourself:
///   const json::Value address = one["address"];
///   if (address.is_array()) set_null(record(), kAddress);
///   else map_object(record(), kAddress, address);
inline void map_object(Record& record, const Fields& fields, const json::Value& object) {
  if (object.is_null()) return set_null(record, fields);
  if (object.exists() && !object.is_object()) {
    return detail::set_odd(record, fields, object.compact(record.scratch()));
  }
  std::size_t next = 0;  // vendors mostly keep one order: look there first
  for (const json::Value::Member member : object.members()) {
    if (next >= fields.count || fields.rows[next].key != member.name) {
      // Between two neighbours there is nothing to find.
      const bool above = next == 0 || fields.rows[next - 1].key < member.name;
      if (above && (next >= fields.count || member.name < fields.rows[next].key)) continue;
      std::size_t low = 0;
      std::size_t high = fields.count;
      while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (fields.rows[middle].key < member.name) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      if (low == fields.count || fields.rows[low].key != member.name) continue;
      next = low;
    }
    map_value(record, fields.rows[next], member.value);
    ++next;
  }
}

}  // namespace sluice::sdk
