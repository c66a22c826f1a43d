#include "link/rules.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include <limits>
#include <map>

#include "base/exact_json.hpp"
#include "link/ids.hpp"
#include "link/inside.hpp"
#include "link/normalise.hpp"
#include "link/resolver.hpp"
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
    "and ($5::text is null or state = $5) and ($7::bigint[] is null or rule_id = any ($7)) "
    "order by rule_id, source_id limit $6"};

const model::StoredRule* rule_with(const model::Catalog& catalog, RuleId id) {
  for (const model::StoredRule& rule : catalog.rules) {
    if (rule.id == id) return &rule;
  }
  return nullptr;
}

/// Faces of one end of the links of a page; one query for each rule that it has.
struct WantedFaces {
  const model::StoredType* type = nullptr;
  const model::StoredAttribute* key = nullptr;
  std::vector<EntityId> ids;
};

void want(std::map<std::pair<RuleId, EntityTypeId>, WantedFaces>& all,
          const model::Catalog& catalog, RuleId rule, EntityTypeId type, std::string_view attribute,
          EntityId id) {
  WantedFaces& wanted = all[{rule, type}];
  wanted.type = catalog.find(type);
  if (wanted.type != nullptr) wanted.key = wanted.type->find(attribute);
  wanted.ids.push_back(id);
}

/// What the entities of a page are called.
Task<void> add_faces(pg::Connection& connection, WorkspaceId workspace,
                     const model::Catalog& catalog, std::vector<ListedLink>& links) {
  std::map<std::pair<RuleId, EntityTypeId>, WantedFaces> sources, targets;
  const auto end_of = [&](const ListedLink& link, bool source) -> std::string_view {
    const model::StoredRule* rule = rule_with(catalog, link.rule);
    if (rule == nullptr) return {};
    return source ? rule->source_attribute : rule->target_attribute;
  };
  const auto target_type = [&](const ListedLink& link) {
    const model::StoredRule* rule = rule_with(catalog, link.rule);
    return link.target_type ? *link.target_type : rule ? rule->target_type : EntityTypeId(0);
  };
  for (const ListedLink& link : links) {
    want(sources, catalog, link.rule, link.source_type, end_of(link, true), link.source);
    const EntityTypeId type = target_type(link);
    if (link.target) want(targets, catalog, link.rule, type, end_of(link, false), *link.target);
    for (const EntityId candidate : link.candidates)
      want(targets, catalog, link.rule, type, end_of(link, false), candidate);
  }
  for (auto* ends : {&sources, &targets}) {
    for (auto& [of, wanted] : *ends) {
      if (wanted.type == nullptr) continue;
      const Faces faces =
          co_await faces_of(connection, workspace, *wanted.type, wanted.key, std::move(wanted.ids));
      for (ListedLink& link : links) {
        if (link.rule != of.first) continue;
        if (ends == &sources) {
          const auto found = faces.find(link.source);
          if (link.source_type == of.second && found != faces.end())
            link.source_face = found->second;
          continue;
        }
        const auto found = link.target ? faces.find(*link.target) : faces.end();
        if (found != faces.end()) link.target_face = found->second;
        for (const EntityId candidate : link.candidates) {
          const auto one = faces.find(candidate);
          if (one != faces.end()) link.candidate_faces.push_back(one->second);
        }
      }
    }
  }
}

/// Rules that begin or end at the type; nothing: all.
std::optional<pg::Array> rules_at(const model::Catalog& catalog,
                                  const std::optional<EntityTypeId>& type) {
  if (!type) return std::nullopt;
  pg::Array rules(pg::Oid::int8);
  for (const model::StoredRule& rule : catalog.rules) {
    if (rule.source_type == *type || rule.target_type == *type) rules.add(rule.id.value);
  }
  return rules;
}

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

namespace {

/// What keeps one end of a rule from being found.
std::optional<Error> why_no_end(const model::Catalog& catalog, const std::string& type,
                                const std::string& attribute, contract::KeyKind kind) {
  const model::StoredType* stored = catalog.find(type);
  if (stored == nullptr) {
    const std::size_t dot = type.find('.');
    const std::string brings = dot == std::string::npos
                                   ? fmt::format("sluice entity create-type {} {}:text:key={}",
                                                 type, attribute, contract::to_string(kind))
                                   : "sluice connector install " + type.substr(0, dot);
    return Error(ErrorKind::bad_input, "rule.unknown_type",
                 fmt::format("there is no entity type '{}'", type),
                 brings + " brings it; a rule that nobody needs: sluice link disable-rule");
  }
  const model::StoredAttribute* found = stored->find(attribute);
  if (found == nullptr) {
    return Error(ErrorKind::bad_input, "rule.unknown_attribute",
                 fmt::format("'{}' has no attribute '{}'", type, attribute),
                 "sluice entity type " + type);
  }
  if (found->key_kind == kind) return std::nullopt;
  const std::string is =
      found->key_kind
          ? fmt::format("a link key of kind {}, not {}", contract::to_string(*found->key_kind),
                        contract::to_string(kind))
          : fmt::format("no link key of kind {}", contract::to_string(kind));
  std::string what_to_do =
      fmt::format("The connector {} has to declare it under link_keys", stored->connector);
  if (stored->own) {
    what_to_do = fmt::format(
        "A key is declared when the attribute is made: add another one with "
        "\"link_key\": \"{}\" (POST …/types/{}/attributes), import its "
        "values, and make a rule to it (sluice link add-rule)",
        contract::to_string(kind), type);
  } else if (!found->path.empty() || found->type == contract::AttributeType::json ||
             found->type == contract::AttributeType::text) {
    what_to_do = fmt::format(
        "Add an attribute that is one: sluice entity add-attribute {} NAME:key={} --path {}", type,
        contract::to_string(kind),
        !found->path.empty()                           ? model::joined_path(found->path)
        : found->type == contract::AttributeType::json ? attribute + ".WHERE"
                                                       : attribute);
  }
  return Error(ErrorKind::bad_input, "rule.no_such_key",
               fmt::format("'{}.{}' is {}", type, attribute, is), what_to_do);
}

}  // namespace

std::optional<Error> why_idle(const model::Catalog& catalog, const model::StoredRule& rule) {
  if (!rule.enabled) return std::nullopt;
  auto why = why_no_end(catalog, rule.source_type_name, rule.source_attribute, rule.key_kind);
  if (why) return why;
  return why_no_end(catalog, rule.target_type_name, rule.target_attribute, rule.key_kind);
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
  auto rules = rules_at(*catalog, query.type);
  if (rules) {
    params.add(std::move(*rules));
  } else {
    params.add(nullptr);
  }
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
    one.evidence = stored_json(rows.text(r, 8));
    one.decided_by = rows.get<std::string>(r, 9);
  }
  co_await add_faces(connection, workspace, *catalog, all);
  co_return all;
}

Task<std::optional<std::int64_t>> count_living(pg::Connection& connection, WorkspaceId workspace,
                                               const model::StoredType& type) {
  const std::string sql = living_sql(type);
  pg::Params params(workspace, kLivingCounted + 1);
  const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
  const auto count = rows.get<std::int64_t>(0, 0);
  if (count > kLivingCounted) co_return std::nullopt;
  co_return count;
}

Task<UnkeyedPage> list_unkeyed(pg::Connection& connection, WorkspaceId workspace,
                               model::CatalogPtr catalog, LinkQuery query) {
  UnkeyedPage page;
  const auto limit = static_cast<std::size_t>(std::clamp(query.limit, 1, kLinksPageMax));
  std::int64_t looked = 0;
  for (const model::StoredRule& rule : catalog->rules) {
    if (rule.going || rule.id < query.after_rule) continue;
    if (query.rule && rule.id != *query.rule) continue;
    if (query.type && rule.source_type != *query.type && rule.target_type != *query.type) continue;
    const model::StoredType* type = catalog->find(rule.source_type);
    if (type == nullptr || rule.source_position < 0) continue;
    const std::string sql = unkeyed_sql(*type);
    EntityId after = rule.id == query.after_rule ? query.after_source : EntityId(0);
    for (bool ends = false; !ends;) {
      if (page.links.size() == limit || looked >= kUnkeyedLooked) {
        page.more = true;
        page.last_rule = rule.id;
        page.last_source = after;
        break;
      }
      const std::int64_t look = kUnkeyedLooked - looked;
      pg::Params params(workspace, after, look, rule.source_type,
                        std::int32_t{rule.source_position},
                        static_cast<std::int32_t>(rule.key_kind), rule.id,
                        static_cast<std::int64_t>(limit - page.links.size()));
      const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
      const auto found = rows.get<std::int64_t>(0, 2);
      looked += found;
      ends = found < look;
      if (!rows.is_null(0, 1)) after = rows.get<EntityId>(0, 1);
      for (int r = 0; r < rows.rows(); ++r) {
        if (rows.is_null(r, 0)) continue;
        ListedLink& one = page.links.emplace_back();
        one.rule = rule.id;
        one.source = rows.get<EntityId>(r, 0);
        one.source_type = rule.source_type;
        one.state = "no_key";
        one.evidence = nlohmann::json::object();
      }
      // Full: others that were looked at may lack a key, too.
      if (page.links.size() == limit) {
        after = page.links.back().source;
        ends = false;
      }
    }
    if (page.more) break;
  }
  co_await add_faces(connection, workspace, *catalog, page.links);
  co_return page;
}

}  // namespace sluice::link
