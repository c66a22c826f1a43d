#include "model/prepared_row.hpp"

#include <fmt/format.h>

#include "link/normalise.hpp"

namespace sluice::model {

using nlohmann::json;

FoundBy found_by(const StoredType& type, const json& stored) {
  FoundBy by;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.key_kind && !attribute.unique) continue;
    const auto value = stored.find(attribute.name);
    if (value == stored.end() || value->is_null()) continue;
    std::string raw = raw_text(*value);
    if (!attribute.key_kind) {
      by.unique.emplace_back(attribute.name, std::move(raw));
      continue;
    }
    KeyedValue& key = by.keys.emplace_back();
    key.attribute = &attribute;
    key.normal = link::normalise(*attribute.key_kind, raw);
    if (!attribute.unique) continue;
    const bool is_formed = !key.normal || *key.normal == raw;
    by.unique.emplace_back(attribute.name, is_formed ? raw : *key.normal);
    if (!is_formed) by.unformed.emplace_back(attribute.name, std::move(raw));
  }
  return by;
}

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
  row.by = found_by(type, row.values);
  return row;
}

PreparedRow prepare_stored(const StoredType& type, json values) {
  PreparedRow row;
  row.values = std::move(values);
  row.by = found_by(type, row.values);
  return row;
}

}  // namespace sluice::model
