#include "link/rekey.hpp"

#include <optional>
#include <string>

#include "link/inside.hpp"
#include "link/normalise.hpp"
#include "link/statements.hpp"

namespace sluice::link {
namespace {

// Each entity of the batch loses what keys of the attribute it should not have. By ctid: rows of
// link_key are never updated.
const pg::Statement kRekeyRemove{
    "link_rekey_remove",
    "with gone as (delete from sluice.link_key k where k.ctid = any(array("
    "select f.tid from unnest($4::bigint[], $5::int[], $6::uuid[]) as i(entity, kind, digest) "
    "cross join lateral (select o.tid from (select x.ctid as tid, x.type_id, x.attribute, x.kind, "
    "x.digest from sluice.link_key x where x.workspace_id = $1 and x.entity_id = i.entity offset "
    "0) "
    "o where o.type_id = $2 and o.attribute = $3::int "
    "and (i.digest is null or o.kind <> i.kind or o.digest <> i.digest)) f)) "
    "returning k.kind, k.digest, k.entity_id) "
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, g.kind, g.digest, $2, $3::int::smallint, g.entity_id from gone g"};

const pg::Statement kRekeyAdd{
    "link_rekey_add",
    "with added as (insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, "
    "entity_id) "
    "select $1, i.kind::smallint, i.digest, $2, $3::int::smallint, i.entity "
    "from unnest($4::bigint[], $5::int[], $6::uuid[]) as i(entity, kind, digest) where i.digest is "
    "not null "
    "on conflict do nothing returning kind, digest, entity_id) "
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, a.kind, a.digest, $2, $3::int::smallint, a.entity_id from added a"};

}  // namespace

Task<RekeyPart> rekey_part(pg::Fenced& fenced, WorkspaceId workspace, const model::StoredType& type,
                           const model::StoredAttribute& attribute, EntityId after) {
  const std::string look = rekey_look_sql(type, attribute);
  pg::Params where(workspace, after, std::int64_t{kRekeyBatch});
  const pg::QueryResult rows = co_await fenced.query(look, std::move(where));
  RekeyPart part;
  part.looked = rows.rows();
  part.more = rows.rows() == kRekeyBatch;
  pg::Array entities(pg::Oid::int8), kinds(pg::Oid::int4), digests(pg::Oid::uuid);
  for (int r = 0; r < rows.rows(); ++r) {
    part.last = rows.get<EntityId>(r, 0);
    part.ids.push_back(part.last);
    entities.add(part.last.value);
    std::optional<std::string> normal;
    auto text = rows.get<std::optional<std::string>>(r, 1);
    // What stands in JSON comes as JSON: a number is a key in the form that ingest gives it.
    if (text && !attribute.path.empty()) text = text_inside(*text);
    if (attribute.key_kind && text) normal = normalise(*attribute.key_kind, *text);
    if (normal) {
      kinds.add(static_cast<std::int32_t>(*attribute.key_kind));
      digests.add(digest(*attribute.key_kind, *normal));
    } else {
      kinds.add_null();
      digests.add_null();
    }
  }
  if (part.looked == 0) co_return part;
  pg::Params remove(workspace, type.id, std::int32_t{attribute.position}, entities, kinds, digests);
  pg::Params add(workspace, type.id, std::int32_t{attribute.position}, std::move(entities),
                 std::move(kinds), std::move(digests));
  pg::Pipeline write;
  write.add(kRekeyRemove, std::move(remove));
  write.add(kRekeyAdd, std::move(add));
  co_await fenced.run(std::move(write));
  co_return part;
}

}  // namespace sluice::link
