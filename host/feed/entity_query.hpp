// What is asked about entities, as SQL: filters, tombstones, pages. Internal to feed/, and for the
// test of its plans; entities.hpp says what filters mean.
#pragma once

#include <string>

#include "base/error.hpp"
#include "feed/entities.hpp"
#include "model/catalog.hpp"
#include "pg/params.hpp"

namespace sluice::feed {

struct EntityQuery {
  std::string sql;  ///< read_entity()'s columns first; $1 is the workspace
  pg::Params params;
};

/// A page by id, as within_bytes() gives it. Errors: bad_input "filter.*".
Result<EntityQuery> list_query(const model::Catalog& catalog, const model::StoredType& type,
                               const ListQuery& query, EntityId after);

/// The entity; two rows when the reference is ambiguous. A preset type, or by id.
[[nodiscard]] EntityQuery get_query(const model::Catalog& catalog, const model::StoredType& type,
                                    const EntityRef& reference, Tombstones tombstones);

}  // namespace sluice::feed
