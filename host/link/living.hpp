// Which entities are there, of several types at once.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "base/async.hpp"
#include "model/catalog.hpp"
#include "pg/fenced.hpp"

namespace sluice::link {

/// Ids of entities by the id of their type.
using IdsByType = std::map<std::int64_t, std::set<std::int64_t>>;

/// Those of them that are not deleted; one query a type. Of a type that is not there nobody is.
Task<std::set<std::int64_t>> living(pg::Fenced& fenced, const model::Catalog& catalog,
                                    IdsByType wanted);

}  // namespace sluice::link
