#include "link/faces.hpp"

#include "link/statements.hpp"

namespace sluice::link {

Task<Faces> faces_of(pg::Connection& connection, WorkspaceId workspace,
                     const model::StoredType& type, const model::StoredAttribute* key,
                     std::vector<EntityId> ids) {
  Faces faces;
  if (ids.empty()) co_return faces;
  pg::Array list(pg::Oid::int8);
  for (const EntityId id : ids) list.add(id.value);
  const std::string sql = face_sql(type, key);
  pg::Params params(workspace, std::move(list));
  const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
  for (int r = 0; r < rows.rows(); ++r) {
    Face face;
    face.id = rows.get<EntityId>(r, 0);
    if (!rows.is_null(r, 1)) face.external_id = rows.get<std::string>(r, 1);
    if (!rows.is_null(r, 2)) face.name = rows.get<std::string>(r, 2);
    face.value = rows.get<std::optional<std::string>>(r, 3);
    face.deleted = rows.get<bool>(r, 4);
    faces[face.id] = std::move(face);
  }
  co_return faces;
}

}  // namespace sluice::link
