// An own type for a file that there is no type for yet.
#pragma once

#include <string>
#include <string_view>

#include "model/own_types.hpp"
#include "model/sniff.hpp"

namespace sluice::model {

struct InferredType {
  OwnType type;
  FormWish form;  ///< with every column mapped to its attribute
};

/// From a CSV file's beginning, as it came: an attribute a column, named after it (small letters,
/// digits and '_'; what Sluice itself has on every entity, such as `id`, is called `<type>_id`), of
/// the type that all of its values are: boolean, integer, decimal, date, timestamp, json, else
/// text; numbers with leading zeros are text. Text that is e-mail addresses throughout has that
/// format. `key` names a column or an attribute, which becomes unique; empty: none does. Throws
/// Failure(bad_input): import.empty, import.missing_key, and what sniff_csv() throws.
[[nodiscard]] InferredType infer_type(std::string_view beginning, bool whole, std::string_view name,
                                      std::string_view key, const FormWish& wish);

/// What the catalogue will say of it. Without ids.
[[nodiscard]] StoredType stored_type_of(const OwnType& type);

}  // namespace sluice::model
