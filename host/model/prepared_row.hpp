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

/// What an entity is linked and unique by.
struct FoundBy {
  std::vector<KeyedValue> keys;
  std::vector<UniqueValue> unique;
  /// The values of unique link keys as they are written, where that is not the form: so those are
  /// found by that were stored before the attribute's form was what it is, until durable work has
  /// made it anew.
  std::vector<UniqueValue> unformed;
};
/// Of values in stored form; each is brought into its form once. Refers to attributes of `type`.
[[nodiscard]] FoundBy found_by(const StoredType& type, const nlohmann::json& stored);

/// The values in stored form, and what they are found by; or what is wrong with them.
struct PreparedRow {
  nlohmann::json values = nlohmann::json::object();  ///< null: cleared
  FoundBy by;
  std::vector<FieldError> errors;
};

/// Of values as a row is given.
[[nodiscard]] PreparedRow prepare(const StoredType& type, const nlohmann::json& given);
/// Of values that are in stored form.
[[nodiscard]] PreparedRow prepare_stored(const StoredType& type, nlohmann::json values);

}  // namespace sluice::model
