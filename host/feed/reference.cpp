#include "feed/reference.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"
#include "model/columns.hpp"

namespace sluice::feed {

std::vector<Reference> references_of(const model::StoredType& type) {
  std::vector<Reference> references;
  for (const model::StoredRelationship& one : type.relationships) {
    const model::StoredAttribute* attribute = type.find(one.attribute);
    if (type.own || attribute == nullptr) continue;
    const auto shared = std::ranges::count(type.relationships, one.attribute,
                                           &model::StoredRelationship::attribute);
    Reference& reference = references.emplace_back();
    reference.name = shared > 1 ? one.name : one.attribute;
    reference.attribute = attribute;
    reference.target = one.target_name;
  }
  return references;
}

std::string reference_lookup(const model::Catalog& catalog, const model::StoredType& type,
                             const Reference& reference) {
  const model::StoredType* target = catalog.find(reference.target);
  SLUICE_INVARIANT(target != nullptr);  // a foreign key of sluice.relationship
  return fmt::format(
      "(select r.id from vendor.{} r where r.workspace_id = e.workspace_id"
      " and r.connection_id = e.connection_id and r.external_id = ({}) collate \"C\" and {})",
      model::quote_name(target->table), model::value_expression(type, *reference.attribute, "e"),
      alive("r.deleted_at"));
}

std::string alive(std::string_view deleted_at) {
  return fmt::format("case when {} is null then true else false end", deleted_at);
}

}  // namespace sluice::feed
