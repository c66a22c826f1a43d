#include "link/rules.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <map>

#include "base/check.hpp"
#include "link/normalise.hpp"
#include "link/statements.hpp"

namespace sluice::link {
namespace {

// By the key order of link_key: $3 and $6 are where the batch before ended.
const pg::Statement kEnqueuePart{
    "link_enqueue_part",
    "with part as (select k.kind, k.digest, k.type_id, k.attribute, k.entity_id from "
    "sluice.link_key k "
    "where k.workspace_id = $1 and k.kind = $2::int::smallint and k.type_id = $4 and k.attribute = "
    "$5::int::smallint "
    "and (k.digest, k.type_id, k.attribute, k.entity_id) > ($3::uuid, $4::bigint, "
    "$5::int::smallint, $6::bigint) "
    "order by k.digest, k.type_id, k.attribute, k.entity_id limit $7), "
    "put as (insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, "
    "entity_id) "
    "select $1, p.kind, p.digest, p.type_id, p.attribute, p.entity_id from part p) "
    "select digest, entity_id, (select count(*) from part) from part order by digest desc, "
    "entity_id desc limit 1"};

const pg::Statement kDeactivate{
    "link_deactivate",
    "with was as (update sluice.link l set state = 'inactive', target_id = null, target_type_id = "
    "null, "
    "candidates = '{}', candidate_count = 0, evidence = '{}', updated_at = now() "
    "from (select source_id, target_id from sluice.link where workspace_id = $1 and rule_id = $2 "
    "and decided_by = 'rule' and state <> 'inactive' for update) old "
    "where l.workspace_id = $1 and l.rule_id = $2 and l.source_id = old.source_id "
    "returning l.source_id, l.source_type_id, old.target_id), "
    "told as (select w.source_type_id, w.source_id, "
    "jsonb_build_object(r.name, jsonb_build_array(w.target_id, null)) as changed from was w "
    "join sluice.link_rule r on r.workspace_id = $1 and r.rule_id = $2 where w.target_id is not "
    "null) "
    // Behind all of the above: the feed's head is locked last (journal/append.hpp).
    "select (select count(*) from was), sluice.append_changes($1, 0, 0, "
    "array_agg(t.source_type_id), array_agg(t.source_id), array_agg('unlink'::text), null, "
    "array_agg(t.changed)) from told t"};

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

const pg::Statement kSummary{"link_summary",
                             "select rule_id, state, count(*) from sluice.link where workspace_id "
                             "= $1 group by 1, 2 order by 1, 2"};

// From behind ($2, $3) to the end of rule $4, in the order of the primary key.
const pg::Statement kList{
    "link_list",
    "select rule_id, source_id, source_type_id, state, target_id, target_type_id, candidates, "
    "candidate_count, evidence, decided_by from sluice.link "
    "where workspace_id = $1 and (rule_id, source_id) > ($2, $3) and rule_id <= $4 "
    "and ($5::text is null or state = $5) order by rule_id, source_id limit $6"};

std::vector<EntityId> ids_of(std::string_view array) {  // "{1,2}"
  std::vector<EntityId> ids;
  const char* at = array.data() + 1;
  const char* end = array.data() + array.size() - 1;
  while (at < end) {
    EntityId id;
    at = std::from_chars(at, end, id.value).ptr + 1;
    ids.push_back(id);
  }
  return ids;
}

struct RekeyPart {
  std::int64_t looked = 0;
  std::int64_t last = 0;
};

Task<RekeyPart> rekey_part(pg::Connection& connection, WorkspaceId workspace,
                           const model::StoredType& type, const model::StoredAttribute& attribute,
                           std::int64_t after) {
  auto transaction = co_await pg::Transaction::begin(connection);
  const std::string look = rekey_look_sql(type, attribute);
  pg::Params where(workspace, after, std::int64_t{kRekeyBatch});
  const pg::QueryResult rows = co_await transaction.query(look, std::move(where));
  RekeyPart part;
  part.looked = rows.rows();
  pg::Array entities(pg::Oid::int8), kinds(pg::Oid::int4), digests(pg::Oid::uuid);
  for (int r = 0; r < rows.rows(); ++r) {
    part.last = rows.get<std::int64_t>(r, 0);
    entities.add(part.last);
    std::optional<std::string> normal;
    if (attribute.key_kind && !rows.is_null(r, 1))
      normal = normalise(*attribute.key_kind, rows.text(r, 1));
    if (normal) {
      kinds.add(static_cast<std::int32_t>(*attribute.key_kind));
      digests.add(digest(*attribute.key_kind, *normal));
    } else {
      kinds.add_null();
      digests.add_null();
    }
  }
  if (part.looked > 0) {
    pg::Params remove(workspace, type.id, std::int32_t{attribute.position}, entities, kinds,
                      digests);
    pg::Params add(workspace, type.id, std::int32_t{attribute.position}, std::move(entities),
                   std::move(kinds), std::move(digests));
    pg::Pipeline write;
    write.add(kRekeyRemove, std::move(remove));
    write.add(kRekeyAdd, std::move(add));
    co_await connection.run(std::move(write));
  }
  co_await transaction.commit();
  co_return part;
}

/// The vendor's ids of the sources of a page: one query a type.
Task<void> add_external_ids(pg::Connection& connection, WorkspaceId workspace,
                            const model::Catalog& catalog, std::vector<ListedLink>& links) {
  std::map<const model::StoredType*, std::map<EntityId, std::vector<ListedLink*>>> by_type;
  for (ListedLink& link : links) {
    const model::StoredType* type = catalog.find(link.source_type);
    if (type != nullptr && !type->own) by_type[type][link.source].push_back(&link);
  }
  for (auto& [type, sources] : by_type) {
    pg::Array ids(pg::Oid::int8);
    for (const auto& [id, of_source] : sources) ids.add(id.value);
    const std::string sql = external_ids_sql(*type);
    pg::Params params(workspace, std::move(ids));
    const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
    for (int r = 0; r < rows.rows(); ++r) {
      for (ListedLink* link : sources[rows.get<EntityId>(r, 0)])
        link->source_external_id = rows.get<std::string>(r, 1);
    }
  }
}

}  // namespace

Task<std::int64_t> rekey_attribute(pg::Connection& connection, WorkspaceId workspace,
                                   model::StoredType type, std::string attribute) {
  const model::StoredAttribute* found = type.find(attribute);
  SLUICE_INVARIANT(found != nullptr);
  std::int64_t looked = 0, last = -1;
  for (int attempt = 1;;) {
    RekeyPart part;
    bool again = false;
    try {
      part = co_await rekey_part(connection, workspace, type, *found, last);
    } catch (const pg::QueryError& error) {
      // A page locks rows by external id, this by id: one of the two may be chosen as a deadlock's
      // victim.
      again = error.kind() == ErrorKind::retry_later && connection.usable() &&
              attempt < kRekeyAttemptsMax;
      if (!again) throw;
    }
    if (again) {
      ++attempt;
      if (connection.in_transaction()) co_await connection.query("rollback");
      continue;
    }
    attempt = 1;
    looked += part.looked;
    if (part.looked < kRekeyBatch) co_return looked;
    last = part.last;
  }
}

Task<std::int64_t> rebuild_rule(pg::Connection& connection, WorkspaceId workspace,
                                model::StoredRule rule) {
  std::int64_t enqueued = 0;
  if (!rule.effective()) co_return enqueued;
  pg::Uuid digest;
  std::int64_t entity = -1;
  for (;;) {
    pg::Params params(workspace, static_cast<std::int32_t>(rule.key_kind), digest, rule.source_type,
                      std::int32_t{rule.source_position}, entity, std::int64_t{kEnqueueBatch});
    const pg::QueryResult last = co_await connection.query(kEnqueuePart, std::move(params));
    if (last.empty()) co_return enqueued;
    digest = last.get<pg::Uuid>(0, 0);
    entity = last.get<std::int64_t>(0, 1);
    enqueued += last.get<std::int64_t>(0, 2);
  }
}

Task<std::int64_t> deactivate_rule(pg::Connection& connection, WorkspaceId workspace, RuleId rule) {
  pg::Params params(workspace, rule);
  const pg::QueryResult result = co_await connection.query(kDeactivate, std::move(params));
  co_return result.get<std::int64_t>(0, 0);
}

Task<std::vector<RuleSummary>> link_summary(pg::Connection& connection, WorkspaceId workspace) {
  pg::Params params(workspace);
  const pg::QueryResult rows = co_await connection.query(kSummary, std::move(params));
  std::vector<RuleSummary> all;
  for (int r = 0; r < rows.rows(); ++r) {
    RuleSummary& one = all.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.state = rows.get<std::string>(r, 1);
    one.count = rows.get<std::int64_t>(r, 2);
  }
  co_return all;
}

Task<std::vector<ListedLink>> list_links(pg::Connection& connection, WorkspaceId workspace,
                                         model::CatalogPtr catalog, LinkQuery query) {
  RuleId last(std::numeric_limits<std::int64_t>::max());
  if (query.rule) {
    last = *query.rule;
    // A page of one rule begins with it, wherever the page before ended.
    if (query.after_rule < last) {
      query.after_rule = last;
      query.after_source = EntityId(0);
    }
  }
  pg::Params params(workspace, query.after_rule, query.after_source, last, query.state,
                    std::int64_t{std::clamp(query.limit, 1, kLinksPageMax)});
  const pg::QueryResult rows = co_await connection.query(kList, std::move(params));
  std::vector<ListedLink> all;
  for (int r = 0; r < rows.rows(); ++r) {
    ListedLink& one = all.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.source = rows.get<EntityId>(r, 1);
    one.source_type = rows.get<EntityTypeId>(r, 2);
    one.state = rows.get<std::string>(r, 3);
    if (!rows.is_null(r, 4)) one.target = rows.get<EntityId>(r, 4);
    if (!rows.is_null(r, 5)) one.target_type = rows.get<EntityTypeId>(r, 5);
    one.candidates = ids_of(rows.text(r, 6));
    one.candidate_count = rows.get<std::int32_t>(r, 7);
    one.evidence = nlohmann::json::parse(rows.text(r, 8));
    one.decided_by = rows.get<std::string>(r, 9);
  }
  co_await add_external_ids(connection, workspace, *catalog, all);
  co_return all;
}

}  // namespace sluice::link
