#include "link/rules.hpp"

#include <charconv>

namespace sluice::link {
namespace {

// By the key order of link_key: $3 and $6 are where the batch before ended.
const pg::Statement kEnqueuePart{
    "link_enqueue_part",
    "with part as (select k.kind, k.digest, k.type_id, k.attribute, k.entity_id from sluice.link_key k "
    "where k.workspace_id = $1 and k.kind = $2::int::smallint and k.type_id = $4 and k.attribute = $5::int::smallint "
    "and (k.digest, k.type_id, k.attribute, k.entity_id) > ($3::uuid, $4::bigint, $5::int::smallint, $6::bigint) "
    "order by k.digest, k.type_id, k.attribute, k.entity_id limit $7), "
    "put as (insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, p.kind, p.digest, p.type_id, p.attribute, p.entity_id from part p) "
    "select digest, entity_id, (select count(*) from part) from part order by digest desc, entity_id desc limit 1"};

const pg::Statement kDeactivate{
    "link_deactivate",
    "with was as (update sluice.link l set state = 'inactive', target_id = null, target_type_id = null, "
    "candidates = '{}', candidate_count = 0, evidence = '{}', updated_at = now() "
    "from (select source_id, target_id from sluice.link where workspace_id = $1 and rule_id = $2 "
    "and decided_by = 'rule' and state <> 'inactive' for update) old "
    "where l.workspace_id = $1 and l.rule_id = $2 and l.source_id = old.source_id "
    "returning l.source_id, l.source_type_id, old.target_id), "
    "told as (insert into sluice.change (workspace_id, type_id, entity_id, op, changed) "
    "select $1, w.source_type_id, w.source_id, 'unlink', "
    "jsonb_build_object(r.name, jsonb_build_array(w.target_id, null)) from was w "
    "join sluice.link_rule r on r.workspace_id = $1 and r.rule_id = $2 where w.target_id is not null) "
    "select count(*) from was"};

const pg::Statement kSummary{
    "link_summary",
    "select rule_id, state, count(*) from sluice.link where workspace_id = $1 group by 1, 2 order by 1, 2"};

const pg::Statement kList{
    "link_list",
    "select rule_id, source_id, source_type_id, state, candidates, candidate_count from sluice.link "
    "where workspace_id = $1 and rule_id = $2 and state = $3 and source_id > $4 order by source_id limit $5"};

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

}  // namespace

Task<std::int64_t> rebuild_rule(pg::Connection& connection, WorkspaceId workspace, model::StoredRule rule) {
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

Task<std::vector<ListedLink>> list_links(pg::Connection& connection, WorkspaceId workspace, RuleId rule,
                                         std::string state, EntityId after, int limit) {
  pg::Params params(workspace, rule, state, after, std::int64_t{std::clamp(limit, 1, kLinksPageMax)});
  const pg::QueryResult rows = co_await connection.query(kList, std::move(params));
  std::vector<ListedLink> all;
  for (int r = 0; r < rows.rows(); ++r) {
    ListedLink& one = all.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.source = rows.get<EntityId>(r, 1);
    one.source_type = rows.get<EntityTypeId>(r, 2);
    one.state = rows.get<std::string>(r, 3);
    one.candidates = ids_of(rows.text(r, 4));
    one.candidate_count = rows.get<std::int32_t>(r, 5);
  }
  co_return all;
}

}  // namespace sluice::link
