#include "sync/link_rules.hpp"

#include <optional>

#include "base/failpoint.hpp"
#include "model/catalog.hpp"
#include "model/catalog_version.hpp"
#include "sync/audit.hpp"
#include "sync/view_work.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

const pg::Statement kInsert{"rule_insert", R"(
  insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, target_type, target_attribute,
                                key_kind, origin)
  values ($1, $2, $3, $4, $5, $6, $7, 'admin') on conflict (workspace_id, name) do nothing returning rule_id)"};

const pg::Statement kWas{"rule_was", R"(
  select enabled from sluice.link_rule where workspace_id = $1 and name = $2 and not going for update)"};

// A statement of its own, behind the lock: it sees what whoever had the rule before us has put.
const pg::Statement kLeavesLinks{"rule_leaves_links", R"(
  select exists (select 1 from sluice.work where workspace_id = $1 and kind = $2 and subject = $3
                 and state = 'waiting' and not task ? 'keeps_links'))"};

const pg::Statement kSwitch{"rule_switch", R"(
  update sluice.link_rule set enabled = $3 where workspace_id = $1 and name = $2)"};

const pg::Statement kToRemove{"rule_to_remove", R"(
  select r.origin, coalesce(r.connector, ''), r.rule_id
  from sluice.link_rule r where r.workspace_id = $1 and r.name = $2 and not r.going for update of r)"};

// A statement of its own, behind the lock: what somebody decides meanwhile is stored before it, or
// not at all.
const pg::Statement kDecisionsOf{"rule_decisions", R"(
  select count(*) from sluice.link_decision where workspace_id = $1 and rule_id = $2)"};

const pg::Statement kGoes{"rule_goes", R"(
  update sluice.link_rule set enabled = false, going = true where workspace_id = $1 and name = $2)"};

// Whoever decides a link under one holds its key, and is stored before it goes, or not at all.
const pg::Statement kAllGo{"rules_of_type_go", R"(
  update sluice.link_rule set enabled = false, going = true
  where workspace_id = $1 and rule_id = any (array(
    select r.rule_id from sluice.link_rule r
    where r.workspace_id = $1 and r.origin = 'admin' and not r.going and (r.source_type = $2 or r.target_type = $2)
    order by r.rule_id for update))
  returning name)"};

const pg::Statement kTypesStay{"rules_types_stay", R"(
  select 1 from sluice.mutex where name = 'types' for share)"};

const pg::Statement kOfEnd{"rules_of_end", R"(
  select name from sluice.link_rule where workspace_id = $1 and enabled
    and ((target_type = $2 and target_attribute = any ($3)) or (source_type = $2 and source_attribute = any ($3)))
  order by name)"};

/// The work, the audit, the version, COMMIT.
Task<work::WorkId> finish(pg::Transaction& transaction, WorkspaceId workspace, work::NewWork work,
                          Actor actor, std::string action, json detail) {
  co_await audit(transaction, workspace, std::move(actor), action, work.subject, std::move(detail));
  const work::WorkId id = co_await work::put(transaction, workspace, std::move(work));
  co_await model::raise_catalog_version(transaction, workspace);
  SLUICE_FAILPOINT("rule.before_commit");
  co_await transaction.commit();
  SLUICE_FAILPOINT("rule.after_commit");
  co_return id;
}

work::NewWork work_on(std::string rule, std::string actor) {
  work::NewWork work;
  work.kind = kApplyRule;
  work.subject = std::move(rule);
  work.actor = std::move(actor);
  return work;
}

}  // namespace

Task<Result<work::WorkId>> make_rule(pg::Pool& pool, WorkspaceId workspace, NewRule rule,
                                     Actor actor) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  // A type that is being dropped takes the rules along that it finds: this one comes before that,
  // or finds it gone.
  co_await transaction.query(kTypesStay, pg::Params());
  const model::CatalogPtr catalog = co_await model::load_catalog(*connection, workspace);
  std::string gone;
  if (catalog->find(rule.source_type) == nullptr) gone = rule.source_type;
  if (catalog->find(rule.target_type) == nullptr) gone = rule.target_type;
  if (!gone.empty()) {
    co_await transaction.rollback();
    co_return fail(ErrorKind::not_found, "type.not_found",
                   "there is no entity type '" + gone + "' any more", "sluice entity types");
  }
  pg::Params params(workspace, rule.name, rule.source_type, rule.source_attribute, rule.target_type,
                    rule.target_attribute);
  params.add(static_cast<std::int32_t>(rule.kind));
  const auto made = co_await transaction.query(kInsert, std::move(params));
  if (made.empty()) {
    co_await transaction.rollback();
    co_return fail(ErrorKind::conflict, "rule.name_taken",
                   "there is a rule '" + rule.name + "' already");
  }
  work::NewWork work = work_on(rule.name, actor.name());
  work.task[kKeepsLinks] = true;
  json detail = json::object();
  detail["source"] = rule.source_type + "." + rule.source_attribute;
  detail["target"] = rule.target_type + "." + rule.target_attribute;
  detail["kind"] = contract::to_string(rule.kind);
  co_await renew_views(transaction, workspace, work.actor);  // one has a column more
  co_return co_await finish(transaction, workspace, std::move(work), std::move(actor),
                            "rule.create", std::move(detail));
}

Task<Result<work::WorkId>> switch_rule(pg::Pool& pool, WorkspaceId workspace, std::string name,
                                       bool enabled, Actor actor) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto was = co_await transaction.query(kWas, pg::Params(workspace, name));
  if (was.empty()) {
    co_await transaction.rollback();
    co_return fail(ErrorKind::not_found, "rule.unknown", "there is no rule '" + name + "'",
                   "sluice link rules");
  }
  pg::Params params(workspace, name, enabled);
  co_await transaction.query(kSwitch, std::move(params));
  work::NewWork work = work_on(std::move(name), actor.name());
  // The later work stands for both: what an unfinished one has to take away, this one must.
  pg::Params before(workspace, std::string_view(kApplyRule), std::string_view(work.subject));
  const auto unfinished = co_await transaction.query(kLeavesLinks, std::move(before));
  if (enabled && was.get<bool>(0, 0) && !unfinished.get<bool>(0, 0)) work.task[kKeepsLinks] = true;
  json detail = json::object();
  detail["enabled"] = enabled;
  co_return co_await finish(transaction, workspace, std::move(work), std::move(actor),
                            "rule.change", std::move(detail));
}

Task<Result<work::WorkId>> remove_rule(pg::Pool& pool, WorkspaceId workspace, std::string name,
                                       bool with_decisions, Actor actor) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto is = co_await transaction.query(kToRemove, pg::Params(workspace, name));
  std::int64_t decisions = 0;
  if (!is.empty()) {
    pg::Params of_rule(workspace, is.get<std::int64_t>(0, 2));
    const auto counted = co_await transaction.query(kDecisionsOf, std::move(of_rule));
    decisions = counted.get<std::int64_t>(0, 0);
  }
  std::optional<Error> refused;
  if (is.empty()) {
    refused.emplace(ErrorKind::not_found, "rule.unknown", "there is no rule '" + name + "'",
                    "sluice link rules");
  } else if (is.text(0, 0) == "connector") {
    refused.emplace(ErrorKind::conflict, "rule.of_connector",
                    "the rule '" + name + "' is the connector's: " + is.get<std::string>(0, 1),
                    "turn it off instead: sluice link disable-rule " + name);
  } else if (decisions > 0 && !with_decisions) {
    refused.emplace(ErrorKind::conflict, "rule.has_decisions",
                    "people decided " + std::to_string(decisions) + " links under the rule '" +
                        name + "', which would go with it",
                    "turn it off (sluice link disable-rule " + name +
                        "), or remove it with them (--with-decisions)");
  }
  if (refused) {
    co_await transaction.rollback();
    co_return std::unexpected(*refused);
  }
  co_await transaction.query(kGoes, pg::Params(workspace, name));
  work::NewWork work = work_on(std::move(name), actor.name());
  co_await renew_views(transaction, workspace, work.actor);  // one has a column less
  json detail = json::object();
  detail["decisions"] = decisions;
  co_return co_await finish(transaction, workspace, std::move(work), std::move(actor),
                            "rule.remove", std::move(detail));
}

Task<void> apply_rules_of(pg::Transaction& transaction, WorkspaceId workspace, std::string type,
                          std::vector<std::string> attributes, std::string actor) {
  pg::Array names(pg::Oid::text);
  for (const std::string& attribute : attributes) names.add(std::string_view(attribute));
  pg::Params params(workspace, std::string_view(type), std::move(names));
  const auto rules = co_await transaction.query(kOfEnd, std::move(params));
  for (int row = 0; row < rules.rows(); ++row)
    co_await apply_rule(transaction, workspace, rules.get<std::string>(row, 0), actor);
}

Task<std::vector<std::string>> let_rules_go(pg::Transaction& transaction, WorkspaceId workspace,
                                            std::string type) {
  pg::Params params(workspace, std::string_view(type));
  const auto gone = co_await transaction.query(kAllGo, std::move(params));
  std::vector<std::string> names;
  for (int row = 0; row < gone.rows(); ++row) names.push_back(gone.get<std::string>(row, 0));
  co_return names;
}

Task<work::WorkId> apply_rule(pg::Transaction& transaction, WorkspaceId workspace, std::string name,
                              std::string actor) {
  return work::put(transaction, workspace, work_on(std::move(name), std::move(actor)));
}

}  // namespace sluice::sync
