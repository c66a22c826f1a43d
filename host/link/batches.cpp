#include "link/batches.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/error.hpp"
#include "link/resolver.hpp"

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

// Whoever writes rows of own types reads them for key share until its end (model/own_entities.cpp).
// Who has begun so before now may have found no rule of its type, and have queued nothing.
const pg::Statement kWriters{
    "link_writers",
    "select l.virtualtransaction from pg_locks l where l.locktype = 'relation' and l.granted "
    "and l.mode = 'RowShareLock' and l.relation = 'sluice.entity_type'::regclass "
    "and l.database = (select d.oid from pg_database d where d.datname = current_database()) "
    "and l.pid <> pg_backend_pid()"};
const pg::Statement kWritersLeft{
    "link_writers_left",
    "select exists (select from pg_locks l where l.virtualtransaction = any($1::text[]) "
    "and l.mode = 'RowShareLock' and l.relation = 'sluice.entity_type'::regclass)"};

// Sources that somebody decided about, with a key or without one.
const pg::Statement kEnqueueDecided{
    "link_enqueue_decided",
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, $3::int::smallint, '00000000-0000-0000-0000-000000000000', 0, 0, d.source_id from "
    "(select distinct x.source_id from sluice.link_decision x where x.workspace_id = $1 and "
    "x.rule_id = $2) d"};

const pg::Statement kLinksOfRule{
    "link_of_rule",
    "select source_id, source_type_id, target_id, decided_by = 'rule' and state <> 'inactive' "
    "from sluice.link where workspace_id = $1 and (rule_id, source_id) > ($2::bigint, $3::bigint) "
    "and rule_id <= $2 order by rule_id, source_id limit $4 for update"};

// Each by its whole key, looked up by itself: with a list of ids, or joined with the batch as a
// table, a planner without statistics reads all links of the rule. They are locked: their places
// stay.
const pg::Statement kDeactivate{
    "link_deactivate",
    "update sluice.link set state = 'inactive', target_id = null, target_type_id = null, "
    "candidates = '{}', candidate_count = 0, evidence = '{}', updated_at = now() "
    "where ctid = any(array(select f.tid from unnest($3::bigint[]) as i(source) cross join lateral "
    "(select l.ctid as tid from sluice.link l where l.workspace_id = $1 and l.rule_id = $2 "
    "and l.source_id = i.source offset 0) f))"};

const pg::Statement kForgetLinks{
    "link_forget_links",
    "delete from sluice.link where ctid = any(array(select f.tid from unnest($3::bigint[]) as "
    "i(source) cross join lateral (select l.ctid as tid from sluice.link l where l.workspace_id = "
    "$1 and l.rule_id = $2 and l.source_id = i.source offset 0) f))"};

const pg::Statement kForgetDecisions{
    "link_forget_decisions",
    "delete from sluice.link_decision where ctid = any(array(select d.ctid from "
    "sluice.link_decision d where d.workspace_id = $1 and d.rule_id = $2 limit $3))"};

const pg::Statement kForgetRule{
    "link_forget_rule",
    "delete from sluice.link_rule where workspace_id = $1 and rule_id = $2 and going"};

/// Until all have ended who wrote when it began: what they wrote is there then, and all others see
/// the rule. It holds nothing that anybody waits for. Throws retry_later "rule.writers_stay".
Task<void> writers_end(pg::Fenced& fenced) {
  const pg::QueryResult writers = co_await fenced.query(kWriters, pg::Params());
  if (writers.empty()) co_return;
  pg::Array names(pg::Oid::text);
  for (int row = 0; row < writers.rows(); ++row) names.add(writers.text(row, 0));
  const auto until = std::chrono::steady_clock::now() + kWritersPatience;
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  while (std::chrono::steady_clock::now() < until) {
    pg::Params which(names);
    const pg::QueryResult left = co_await fenced.query(kWritersLeft, std::move(which));
    if (!left.get<bool>(0, 0)) co_return;
    timer.expires_after(std::chrono::milliseconds(20));
    co_await timer.async_wait(asio::use_awaitable);
  }
  throw Failure(
      Error(ErrorKind::retry_later, "rule.writers_stay",
            fmt::format("whoever wrote rows as the rule was made does so for more than {} s",
                        kWritersPatience.count()),
            "nothing: it is tried again"));
}

}  // namespace

Task<EnqueuedPart> enqueue_part(pg::Fenced& fenced, WorkspaceId workspace,
                                const model::StoredRule& rule, pg::Uuid after_digest,
                                EntityId after) {
  EnqueuedPart part;
  part.digest = after_digest;
  part.last = after;
  if (!rule.effective()) co_return part;
  if (after.value < 0) {  // the first part
    co_await writers_end(fenced);
    pg::Params decided(workspace, rule.id, std::int32_t{kEndChanged});
    co_await fenced.query(kEnqueueDecided, std::move(decided));
  }
  pg::Params params(workspace, static_cast<std::int32_t>(rule.key_kind), part.digest,
                    rule.source_type, std::int32_t{rule.source_position}, after,
                    std::int64_t{kEnqueueBatch});
  const pg::QueryResult last = co_await fenced.query(kEnqueuePart, std::move(params));
  if (last.empty()) co_return part;
  part.digest = last.get<pg::Uuid>(0, 0);
  part.last = last.get<EntityId>(0, 1);
  part.enqueued = last.get<std::int64_t>(0, 2);
  part.more = part.enqueued == kEnqueueBatch;
  co_return part;
}

namespace {

enum class Wanted { linked, all };

/// The next links of a rule, and what becomes of them told; `sources` gets whose they are.
Task<DeactivatedPart> look_at_links(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                    std::string name, EntityId after, Wanted wanted,
                                    pg::Array& sources) {
  DeactivatedPart part;
  part.last = after;
  pg::Params where(workspace, rule, after, std::int64_t{kDeactivateBatch});
  const pg::QueryResult rows = co_await fenced.query(kLinksOfRule, std::move(where));
  part.looked = rows.rows();
  part.more = rows.rows() == kDeactivateBatch;
  for (int r = 0; r < rows.rows(); ++r) {
    part.last = rows.get<EntityId>(r, 0);
    if (wanted == Wanted::linked && !rows.get<bool>(r, 3)) continue;
    sources.add(part.last.value);
    part.changes.retarget(name, rows.get<std::int64_t>(r, 1), part.last.value,
                          rows.get<std::optional<std::int64_t>>(r, 2), std::nullopt);
  }
  co_return part;
}

}  // namespace

Task<DeactivatedPart> deactivate_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                      std::string name, EntityId after) {
  pg::Array sources(pg::Oid::int8);
  DeactivatedPart part = co_await look_at_links(fenced, workspace, rule, std::move(name), after,
                                                Wanted::linked, sources);
  if (sources.size() == 0) co_return part;
  pg::Params params(workspace, rule, std::move(sources));
  co_await fenced.query(kDeactivate, std::move(params));
  co_return part;
}

Task<DeactivatedPart> clear_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                 std::string name, EntityId after) {
  pg::Array sources(pg::Oid::int8);
  DeactivatedPart part =
      co_await look_at_links(fenced, workspace, rule, std::move(name), after, Wanted::all, sources);
  if (sources.size() > 0) {
    pg::Params params(workspace, rule, std::move(sources));
    co_await fenced.query(kForgetLinks, std::move(params));
  }
  if (part.more) co_return part;
  pg::Params said(workspace, rule, std::int64_t{kDeactivateBatch});
  const pg::QueryResult forgotten = co_await fenced.query(kForgetDecisions, std::move(said));
  part.looked += forgotten.affected();
  part.more = forgotten.affected() == kDeactivateBatch;
  co_return part;
}

Task<DeactivatedPart> forget_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                  std::string name, EntityId after) {
  DeactivatedPart part = co_await clear_part(fenced, workspace, rule, std::move(name), after);
  if (part.more) co_return part;
  pg::Params gone(workspace, rule);
  co_await fenced.query(kForgetRule, std::move(gone));
  co_return part;
}

}  // namespace sluice::link
