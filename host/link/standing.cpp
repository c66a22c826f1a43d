#include "link/standing.hpp"

#include <algorithm>

#include "link/ids.hpp"

namespace sluice::link {
namespace {

const pg::Statement kLinksOf{
    "link_standing_links",
    "select l.rule_id, l.state, l.target_id, l.candidates, l.candidate_count, l.decided_by = "
    "'human', l.updated_at from (select * from sluice.link where workspace_id = $1 and source_id = "
    "$2 offset 0) l order by l.rule_id"};

const pg::Statement kDecisionsOf{
    "link_standing_decisions",
    "(select rule_id, source_id, target_id, verdict = 'confirmed', decided_at, decided_by, why "
    "from sluice.link_decision where workspace_id = $1 and source_id = $2 limit 200) union all "
    "(select rule_id, source_id, target_id, verdict = 'confirmed', decided_at, decided_by, why "
    "from sluice.link_decision where workspace_id = $1 and target_id = $2 limit 200)"};

// Of each rule: who is linked with it, and who has its key.
const pg::Statement kSourcesOf{
    "link_standing_sources",
    "select i.rule, s.source_id, s.state, s.here from unnest($3::bigint[], $4::bigint[], "
    "$5::int[], $6::int[], $7::bigint[], $8::int[]) as i(rule, source_type, source_attribute, "
    "kind, target_type, target_attribute) cross join lateral (select x.source_id, x.state, true as "
    "here from (select l.source_id, l.state, l.rule_id from sluice.link l where l.workspace_id = "
    "$1 and l.target_id = $2 offset 0) x where x.rule_id = i.rule order by x.source_id limit $9) s "
    "union all "
    "select i.rule, s.entity_id, coalesce(l.state, ''), false from unnest($3::bigint[], "
    "$4::bigint[], $5::int[], $6::int[], $7::bigint[], $8::int[]) as i(rule, source_type, "
    "source_attribute, kind, target_type, target_attribute) cross join lateral (select k.digest "
    "from (select o.digest, o.type_id, o.attribute, o.kind from sluice.link_key o where "
    "o.workspace_id = $1 and o.entity_id = $2 offset 0) k where k.type_id = i.target_type and "
    "k.attribute = i.target_attribute and k.kind = i.kind) k cross join lateral (select "
    "o.entity_id from sluice.link_key o where o.workspace_id = $1 and o.kind = i.kind::smallint "
    "and o.digest = k.digest and o.type_id = i.source_type and o.attribute = "
    "i.source_attribute::smallint and o.entity_id <> $2 order by o.entity_id limit $9 offset 0) s "
    "left join lateral (select o.state, o.target_id from sluice.link o where o.workspace_id = $1 "
    "and o.rule_id = i.rule and o.source_id = s.entity_id offset 0) l on true "
    "where l.target_id is distinct from $2"};

const pg::Statement kQueueWaits{
    "link_standing_queue",
    "select exists (select 1 from sluice.link_queue where (workspace_id, seq) >= ($1, 0) and "
    "workspace_id <= $1)"};

Task<void> add_sources(pg::Connection& connection, const model::Catalog& catalog, EntityTypeId type,
                       EntityId entity, Standing& standing) {
  pg::Array rules(pg::Oid::int8), source_types(pg::Oid::int8), source_at(pg::Oid::int4),
      kinds(pg::Oid::int4), target_types(pg::Oid::int8), target_at(pg::Oid::int4);
  for (const model::StoredRule& rule : catalog.rules) {
    if (rule.target_type != type || rule.going) continue;
    rules.add(rule.id.value);
    source_types.add(rule.source_type.value);
    source_at.add(std::int32_t{rule.source_position});
    kinds.add(static_cast<std::int32_t>(rule.key_kind));
    target_types.add(rule.target_type.value);
    target_at.add(std::int32_t{rule.target_position});
  }
  if (rules.size() == 0) co_return;
  pg::Params params(catalog.workspace, entity, std::move(rules), std::move(source_types),
                    std::move(source_at), std::move(kinds), std::move(target_types),
                    std::move(target_at), std::int64_t{kSourcesShown + 1});
  const pg::QueryResult rows = co_await connection.query(kSourcesOf, std::move(params));
  for (int r = 0; r < rows.rows(); ++r) {
    StandingSource& one = standing.sources.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.source = rows.get<EntityId>(r, 1);
    one.state = rows.get<std::string>(r, 2);
    one.linked_here = rows.get<bool>(r, 3);
  }
}

}  // namespace

Task<Standing> standing_of(pg::Connection& connection, model::CatalogPtr catalog, EntityTypeId type,
                           EntityId entity) {
  Standing standing;
  const pg::QueryResult links =
      co_await connection.query(kLinksOf, pg::Params(catalog->workspace, entity));
  for (int r = 0; r < links.rows(); ++r) {
    StandingLink& one = standing.links.emplace_back();
    one.rule = links.get<RuleId>(r, 0);
    one.state = links.get<std::string>(r, 1);
    if (!links.is_null(r, 2)) one.target = links.get<EntityId>(r, 2);
    one.candidates = ids_of(links.text(r, 3));
    one.candidate_count = links.get<std::int64_t>(r, 4);
    one.by_human = links.get<bool>(r, 5);
    one.since = links.get<Micros>(r, 6);
  }
  const pg::QueryResult said =
      co_await connection.query(kDecisionsOf, pg::Params(catalog->workspace, entity));
  for (int r = 0; r < said.rows(); ++r) {
    StandingDecision& one = standing.decisions.emplace_back();
    one.rule = said.get<RuleId>(r, 0);
    one.source = said.get<EntityId>(r, 1);
    one.target = said.get<EntityId>(r, 2);
    one.confirmed = said.get<bool>(r, 3);
    one.at = said.get<Micros>(r, 4);
    one.by = said.get<std::string>(r, 5);
    one.why = said.get<std::string>(r, 6);
  }
  co_await add_sources(connection, *catalog, type, entity, standing);
  const pg::QueryResult waits =
      co_await connection.query(kQueueWaits, pg::Params(catalog->workspace));
  standing.queue = waits.get<bool>(0, 0);
  co_return standing;
}

}  // namespace sluice::link
