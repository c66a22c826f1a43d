// One row of an own type, judged once: its values as they are stored, and what it is found and
// linked by.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/catalog.hpp"
#include "model/own_values.hpp"

namespace sluice::model {

using UniqueValue = std::pair<std::string, std::string>;  ///< attribute, unique_form()

/// A value of a link key's attribute.
struct KeyedValue {
  const StoredAttribute* attribute = nullptr;  ///< has a key_kind
  std::optional<std::string> normal;           ///< none: the value gives no key
};

/// The values in stored form, and what they are unique and linked by; or what is wrong with them.
struct PreparedRow {
  nlohmann::json values = nlohmann::json::object();  ///< null: cleared
  std::vector<KeyedValue> keys;
  std::vector<UniqueValue> unique;
  /// The values of unique link keys as they are written, where that is not the form: so those are
  /// found by that were stored before the attribute's form was what it is, until durable work has
  /// made it anew.
  std::vector<UniqueValue> unformed;
  std::vector<FieldError> errors;
};

/// Of values as a row is given. What refers to attributes refers to `type`'s.
[[nodiscard]] PreparedRow prepare(const StoredType& type, const nlohmann::json& given);
/// Of values that are in stored form.
[[nodiscard]] PreparedRow prepare_stored(const StoredType& type, nlohmann::json values);

/// The same parts of values that are stored already.
[[nodiscard]] std::vector<KeyedValue> keyed_values(const StoredType& type,
                                                   const nlohmann::json& stored);
[[nodiscard]] std::vector<UniqueValue> unique_values(const StoredType& type,
                                                     const nlohmann::json& stored);
[[nodiscard]] std::vector<UniqueValue> unformed_values(const StoredType& type,
                                                       const nlohmann::json& stored);

}  // namespace sluice::model
