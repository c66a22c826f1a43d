#include "sync/type_drop.hpp"

#include <utility>

#include "base/failpoint.hpp"
#include "journal/append.hpp"
#include "link/batches.hpp"
#include "model/catalog_version.hpp"
#include "model/own_types.hpp"
#include "model/row_counts.hpp"
#include "sync/link_rules.hpp"
#include "sync/view_work.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;
using work::Batch;
using work::Item;

const pg::Statement kRulesOfType{"type_drop_rules", R"(
  select r.name, r.origin = 'admin', l.links, l.looked, d.decisions
  from sluice.link_rule r
  cross join lateral (select count(*) filter (where x.state in ('linked', 'confirmed')) as links, count(*) as looked
    from (select k.state from sluice.link k where k.workspace_id = $1 and k.rule_id = r.rule_id limit $3) x) l
  cross join lateral (select count(*) as decisions
    from (select 1 from sluice.link_decision k where k.workspace_id = $1 and k.rule_id = r.rule_id limit $3) x) d
  where r.workspace_id = $1 and not r.going and (r.source_type = $2 or r.target_type = $2) order by r.name)"};

const pg::Statement kNextRule{"type_drop_next_rule", R"(
  select rule_id, name, going from sluice.link_rule
  where workspace_id = $1 and rule_id >= $3 and (source_type = $2 or target_type = $2) order by rule_id limit 1)"};

// The next entities, locked, of which all together print to no more than $5 bytes, or one: told are
// those that live, with what they hold. As they are stored they are bounded first, so that no more
// is read than is told, by what compression makes of it.
const pg::Statement kNextEntities{"type_drop_next_entities", R"(
  with next as materialized (
    select id, pg_column_size(data)::bigint as stored from sluice.own_entity
    where workspace_id = $1 and type_id = $2 and id > $3 order by id limit $4),
  fitting as materialized (
    select f.id from (
      select n.id, sum(n.stored) over (order by n.id rows between unbounded preceding and 1 preceding) as before
      from next n) f where coalesce(f.before, 0) <= $5),
  looked as materialized (
    select e.id, e.deleted_at, e.data from fitting f cross join lateral (
      select o.id, o.deleted_at, o.data from sluice.own_entity o
      where o.workspace_id = $1 and o.type_id = $2 and o.id = f.id for update) e),
  printed as (
    select l.id, l.deleted_at is null as lives, coalesce(case when jsonb_typeof(l.data) = 'object' then
        (select jsonb_object_agg(d.key, jsonb_build_array(d.value, null)) from jsonb_each(l.data) d
         where d.value <> 'null') end, '{}')::text as changed
    from looked l),
  summed as (
    select p.id, p.lives, p.changed,
           sum(octet_length(p.changed)) over (order by p.id rows between unbounded preceding and 1 preceding) as before
    from printed p)
  select s.id, s.lives, s.changed from summed s where coalesce(s.before, 0) <= $5 order by s.id)"};

// Each by its whole key, looked up by itself, as everywhere: they are locked, so their places stay.
const pg::Statement kForgetEntities{"type_drop_entities", R"(
  delete from sluice.own_entity e where e.ctid = any (array(
    select f.tid from unnest($3::bigint[]) as i(id) cross join lateral (
      select o.ctid as tid from sluice.own_entity o
      where o.workspace_id = $1 and o.type_id = $2 and o.id = i.id offset 0) f)))"};
const pg::Statement kForgetKeys{"type_drop_keys", R"(
  delete from sluice.link_key k where k.ctid = any (array(
    select f.tid from unnest($2::bigint[]) as i(id) cross join lateral (
      select o.ctid as tid from sluice.link_key o where o.workspace_id = $1 and o.entity_id = i.id offset 0) f)))"};
const pg::Statement kForgetShared{"type_drop_shared", R"(
  delete from sluice.own_shared where ctid = any (array(
    select s.ctid from sluice.own_shared s where s.workspace_id = $1 and s.type_id = $2 limit $3)))"};

const pg::Statement kPatience{"type_drop_patience",
                              "select set_config('lock_timeout', '2s', true)"};
// Whoever decides a link has it alone, and has looked whether both ends live.
const pg::Statement kNobodyDecides{"type_drop_nobody_decides", R"(
  select 1 from sluice.lease_epoch where workspace_id = $1 and name = 'link' for share)"};
// Whoever writes entities of the type holds its key until his commit.
const pg::Statement kNobodyWrites{"type_drop_nobody_writes", R"(
  select state from sluice.entity_type where workspace_id = $1 and type_id = $2 for update)"};
const pg::Statement kDropped{"type_drop_dropped", R"(
  update sluice.entity_type set state = 'dropped' where workspace_id = $1 and type_id = $2 and state = 'dropping')"};

constexpr std::int64_t kEntities = 500;      ///< of a batch
constexpr std::int64_t kBytes = 4 << 20;     ///< that those print to
constexpr std::int64_t kSharedRows = 2'000;  ///< of a batch

/// Links first, so that who follows the feed hears that one is no more before its end is deleted.
///   links --none is left--> entities --none is left--> last: all of it once more, alone
class DropType final : public work::Kind {
 public:
  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    (void)connection;
    const EntityTypeId type(item.task.at("type").get<std::int64_t>());
    Batch batch;
    batch.progress = item.progress;
    const auto stage = item.progress.value("stage", std::string("links"));
    if (stage == "links") {
      const RuleId rule(item.progress.value("rule", std::int64_t{0}));
      const EntityId after(item.progress.value("after", std::int64_t{0}));
      const bool more = co_await links(fenced, item, rule, after, batch);
      if (!more) batch.progress = at("entities");
    } else if (stage == "entities") {
      const EntityId after(item.progress.value("after", std::int64_t{0}));
      const bool more = co_await entities(fenced, item, type, after, batch);
      if (!more) batch.progress = at("last");
    } else {
      co_await last(fenced, item, type, batch);
    }
    co_return batch;
  }

 private:
  static json at(const char* stage) {
    json progress = json::object();
    progress["stage"] = stage;
    return progress;
  }

  /// Some links of the next rule from `from` on. False: there is no such rule.
  static Task<bool> links(pg::Fenced& fenced, const Item& item, RuleId from, EntityId after,
                          Batch& batch) {
    const auto next =
        co_await fenced.query(kNextRule, pg::Params(item.workspace, item.subject, from));
    if (next.empty()) co_return false;
    const auto rule = next.get<RuleId>(0, 0);
    if (rule != from) after = EntityId(0);
    const auto name = next.get<std::string>(0, 1);
    link::DeactivatedPart part;
    if (next.get<bool>(0, 2)) {
      part = co_await link::forget_part(fenced, item.workspace, rule, name, after);
    } else {
      part = co_await link::clear_part(fenced, item.workspace, rule, name, after);
    }
    part.changes.append_to(batch.last, item.workspace);
    batch.items = part.looked;
    batch.progress = at("links");
    batch.progress["rule"] = part.more ? rule.value : rule.value + 1;
    batch.progress["after"] = part.more ? part.last.value : 0;
    co_return true;
  }

  /// Some entities behind `after`. False: there is none.
  static Task<bool> entities(pg::Fenced& fenced, const Item& item, EntityTypeId type,
                             EntityId after, Batch& batch) {
    pg::Params where(item.workspace, type, after, kEntities, kBytes);
    const auto rows = co_await fenced.query(kNextEntities, std::move(where));
    if (rows.empty()) co_return false;
    pg::Array ids(pg::Oid::int8);
    journal::Changes told;
    for (int row = 0; row < rows.rows(); ++row) {
      const auto id = rows.get<std::int64_t>(row, 0);
      ids.add(id);
      if (rows.get<bool>(row, 1)) told.add(type.value, id, "delete", "", rows.text(row, 2));
    }
    pg::Params keys(item.workspace, ids);
    co_await fenced.query(kForgetKeys, std::move(keys));
    pg::Params doomed(item.workspace, type, std::move(ids));
    co_await fenced.query(kForgetEntities, std::move(doomed));
    journal::Source source;
    source.workspace = item.workspace;
    told.append_to(batch.last, source);
    batch.items = rows.rows();
    batch.progress["after"] = rows.get<std::int64_t>(rows.rows() - 1, 0);
    co_return true;
  }

  /// Nothing can come any more; whatever came behind the batches before goes.
  static Task<void> last(pg::Fenced& fenced, const Item& item, EntityTypeId type, Batch& batch) {
    co_await fenced.query(kPatience, pg::Params());
    co_await fenced.query(kNobodyDecides, pg::Params(item.workspace));
    const auto is = co_await fenced.query(kNobodyWrites, pg::Params(item.workspace, type));
    if (is.empty() || is.text(0, 0) != "dropping") {
      batch.done = true;
      co_return;
    }
    for (RuleId from(0);;) {
      const bool found = co_await links(fenced, item, from, EntityId(0), batch);
      if (!found) break;
      from.value = batch.progress["rule"].get<std::int64_t>();
      if (batch.items > 0) break;
    }
    bool more = batch.items > 0;
    if (!more) more = co_await entities(fenced, item, type, EntityId(0), batch);
    if (!more) {
      pg::Params shared(item.workspace, type, kSharedRows);
      const auto gone = co_await fenced.query(kForgetShared, std::move(shared));
      more = gone.affected() == kSharedRows;
    }
    batch.progress = at("last");
    if (more) co_return;
    co_await fenced.query(kDropped, pg::Params(item.workspace, type));
    batch.done = true;
  }
};

}  // namespace

Task<std::vector<RuleOfType>> rules_of_type(pg::Connection& connection, WorkspaceId workspace,
                                            std::string type) {
  pg::Params params(workspace, std::string_view(type), kLinksCounted);
  const auto rows = co_await connection.query(kRulesOfType, std::move(params));
  std::vector<RuleOfType> all;
  for (int row = 0; row < rows.rows(); ++row) {
    RuleOfType& one = all.emplace_back();
    one.name = rows.get<std::string>(row, 0);
    one.goes = rows.get<bool>(row, 1);
    one.links = rows.get<std::int64_t>(row, 2);
    one.decisions = rows.get<std::int64_t>(row, 4);
    one.exact = rows.get<std::int64_t>(row, 3) < kLinksCounted && one.decisions < kLinksCounted;
  }
  co_return all;
}

namespace {

/// What there was just before, for whoever asks later what went.
json counts_of(const model::RowCounts& rows, EntityTypeId type,
               const std::vector<RuleOfType>& rules) {
  json counts = json::object();
  const auto living = rows.live.find({"own_entity", type.value});
  counts["rows"] = living == rows.live.end() ? 0 : living->second;
  std::int64_t links = 0, decisions = 0;
  bool exact = true;
  for (const RuleOfType& rule : rules) {
    links += rule.links;
    decisions += rule.decisions;
    exact = exact && rule.exact;
  }
  counts["links"] = links;
  counts["decisions"] = decisions;
  counts["exact"] = exact;
  return counts;
}

}  // namespace

Task<Result<TypeDrop>> drop_type(pg::Connection& connection, WorkspaceId workspace,
                                 std::string name, Actor actor) {
  const model::RowCounts rows = co_await model::row_counts(connection, workspace);
  const std::vector<RuleOfType> rules = co_await rules_of_type(connection, workspace, name);
  auto transaction = co_await pg::Transaction::begin(connection);
  const Result<EntityTypeId> type = co_await model::drop_own_type(transaction, workspace, name);
  if (!type) {
    co_await transaction.rollback();
    co_return std::unexpected(type.error());
  }
  TypeDrop drop;
  drop.rules = co_await let_rules_go(transaction, workspace, name);
  work::NewWork work;
  work.kind = kDropType;
  work.subject = name;
  work.task["type"] = type->value;
  work.actor = actor.name();
  co_await renew_views(transaction, workspace, work.actor);
  json detail = counts_of(rows, *type, rules);
  detail["rules"] = drop.rules;
  co_await audit(transaction, workspace, std::move(actor), "type.drop", std::move(name),
                 std::move(detail));
  drop.work = co_await work::put(transaction, workspace, std::move(work));
  co_await model::raise_catalog_version(transaction, workspace);
  SLUICE_FAILPOINT("type.drop.before_commit");
  co_await transaction.commit();
  SLUICE_FAILPOINT("type.drop.after_commit");
  co_return drop;
}

std::unique_ptr<work::Kind> drop_type_kind() { return std::make_unique<DropType>(); }

}  // namespace sluice::sync
