// Amounts in minor units (cents) as their currency has them. Internal to feed/.
#pragma once

#include <string>
#include <vector>

#include "model/catalog.hpp"

namespace sluice::feed {

/// An amount of a type in major units: a decimal with as many digits behind the point as its
/// currency has. Null where there is no amount or no currency, and where the currency is neither in
/// ISO 4217 nor among what the connector says: a guess would be off by a hundred.
struct MajorUnits {
  std::string name;  ///< "amount_due_major"; no attribute is called so
  const model::StoredAttribute* attribute = nullptr;  ///< in minor units
  std::string expression;                             ///< SQL, of row "e"; numeric
};

/// Of each attribute that names its currency, in the order of the attributes.
[[nodiscard]] std::vector<MajorUnits> major_units_of(const model::StoredType& type);

}  // namespace sluice::feed
