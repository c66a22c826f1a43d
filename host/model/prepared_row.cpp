#include "model/prepared_row.hpp"

#include <fmt/format.h>

#include "link/normalise.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;

const json* value_of(const StoredAttribute& attribute, const json& values) {
  const auto value = values.find(attribute.name);
  return value == values.end() || value->is_null() ? nullptr : &*value;
}

/// Puts in what a row's values are found and linked by; each is brought into its form once.
void find_by(const StoredType& type, PreparedRow& row) {
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.key_kind && !attribute.unique) continue;
    const json* value = value_of(attribute, row.values);
    if (value == nullptr) continue;
    std::string raw = raw_text(*value);
    if (!attribute.key_kind) {
      row.unique.emplace_back(attribute.name, std::move(raw));
      continue;
    }
    KeyedValue& key = row.keys.emplace_back();
    key.attribute = &attribute;
    key.normal = link::normalise(*attribute.key_kind, raw);
    if (!attribute.unique) continue;
    const bool is_formed = !key.normal || *key.normal == raw;
    row.unique.emplace_back(attribute.name, is_formed ? raw : *key.normal);
    if (!is_formed) row.unformed.emplace_back(attribute.name, std::move(raw));
  }
}

}  // namespace

PreparedRow prepare(const StoredType& type, const json& given) {
  PreparedRow row;
  if (!given.is_object()) {
    FieldError& error = row.errors.emplace_back();
    error.reason = "a row must be a JSON object";
    return row;
  }
  for (const auto& [name, value] : given.items()) {
    const StoredAttribute* attribute = type.find(name);
    if (!attribute) {
      FieldError& error = row.errors.emplace_back();
      error.fault = FieldFault::unknown_attribute;
      error.attribute = name;
      error.reason = fmt::format("type {} has no such attribute", type.name);
      continue;
    }
    auto stored = stored_value(*attribute, value);
    if (stored) {
      row.values[name] = std::move(*stored);
    } else {
      row.errors.push_back(std::move(stored.error()));
    }
  }
  find_by(type, row);
  return row;
}

PreparedRow prepare_stored(const StoredType& type, json values) {
  PreparedRow row;
  row.values = std::move(values);
  find_by(type, row);
  return row;
}

std::vector<KeyedValue> keyed_values(const StoredType& type, const json& stored) {
  std::vector<KeyedValue> values;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.key_kind) continue;
    const json* value = value_of(attribute, stored);
    if (value == nullptr) continue;
    KeyedValue& key = values.emplace_back();
    key.attribute = &attribute;
    key.normal = link::normalise(*attribute.key_kind, raw_text(*value));
  }
  return values;
}

std::vector<UniqueValue> unique_values(const StoredType& type, const json& stored) {
  std::vector<UniqueValue> values;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.unique) continue;
    const json* value = value_of(attribute, stored);
    if (value != nullptr) values.emplace_back(attribute.name, unique_form(attribute, *value));
  }
  return values;
}

std::vector<UniqueValue> unformed_values(const StoredType& type, const json& stored) {
  std::vector<UniqueValue> values;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.unique || !attribute.key_kind) continue;
    const json* value = value_of(attribute, stored);
    if (value == nullptr) continue;
    std::string raw = raw_text(*value);
    if (raw != unique_form(attribute, *value)) values.emplace_back(attribute.name, std::move(raw));
  }
  return values;
}

}  // namespace sluice::model
