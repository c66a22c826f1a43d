#include "link/living.hpp"

#include <string>
#include <utility>

#include "link/statements.hpp"

namespace sluice::link {

Task<std::set<std::int64_t>> living(pg::Fenced& fenced, const model::Catalog& catalog,
                                    IdsByType wanted) {
  std::set<std::int64_t> there;
  for (const auto& [type_id, ids] : wanted) {
    const model::StoredType* type = catalog.find(EntityTypeId(type_id));
    if (type == nullptr) continue;
    pg::Array list(pg::Oid::int8);
    for (const std::int64_t id : ids) list.add(id);
    const std::string sql = alive_sql(*type);
    pg::Params params(catalog.workspace, std::move(list));
    const pg::QueryResult rows = co_await fenced.query(sql, std::move(params));
    for (int r = 0; r < rows.rows(); ++r) there.insert(rows.get<std::int64_t>(r, 0));
  }
  co_return there;
}

}  // namespace sluice::link
