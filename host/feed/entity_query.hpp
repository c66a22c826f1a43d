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

inline constexpr int kSortedTextMax = 200;  ///< characters of a text that order it

/// Behind which row a page begins: its id, and its values of what is sorted by, as text; nullopt is
/// null. The first page: id 0 and no values.
struct PagePlace {
  EntityId id;
  std::vector<std::optional<std::string>> values;
};

/// A page, as within_bytes() gives it: by id, or, where it is sorted, with n before the columns.
/// `shown` is `type` with those of its attributes that are read. Errors: bad_input "filter.*",
/// "sort.*", "entity.bad_cursor".
Result<EntityQuery> list_query(const model::Catalog& catalog, const model::StoredType& type,
                               const model::StoredType& shown, const ListQuery& query,
                               const PagePlace& after);

/// How many the filters leave, up to one more than kCountMax.
Result<EntityQuery> count_query(const model::Catalog& catalog, const model::StoredType& type,
                                const ListQuery& query);

/// The entity; two rows when the reference is ambiguous. A preset type, or by id.
[[nodiscard]] EntityQuery get_query(const model::Catalog& catalog, const model::StoredType& type,
                                    const model::StoredType& shown, const EntityRef& reference,
                                    Tombstones tombstones);

}  // namespace sluice::feed
