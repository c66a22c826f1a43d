// A vendor's references as Sluice ids. Internal to feed/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/catalog.hpp"

namespace sluice::feed {

/// What a preset type's record says of another one of its connection.
struct Reference {
  std::string name;  ///< "customer"; the view's column is called after it
  const model::StoredAttribute* attribute = nullptr;  ///< of the type; holds the vendor's id
  std::string target;                                 ///< "stripe.customer"
};

/// Called like the attribute; where several relationships carry one attribute, each like itself.
/// An own type has none.
[[nodiscard]] std::vector<Reference> references_of(const model::StoredType& type);

/// The Sluice id of the living row of the same connection that row `e` of `type` refers to, as a
/// scalar subquery: null while there is none. One lookup by the target's whole primary key.
[[nodiscard]] std::string reference_lookup(const model::Catalog& catalog,
                                           const model::StoredType& type,
                                           const Reference& reference);

/// Without statistics the planner takes one row in 200 for `is null`, and soon holds whole tables
/// for one row, which it compares with all of another. Of this it takes every second one.
[[nodiscard]] std::string alive(std::string_view deleted_at);

}  // namespace sluice::feed
