#include "sync/link_decisions.hpp"

#include <fmt/format.h>

#include "journal/append.hpp"
#include "link/changes.hpp"
#include "link/statements.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

const pg::Statement kEnsureEpoch{"decision_ensure_epoch", R"(
  insert into sluice.lease_epoch (workspace_id, name, epoch) values ($1, 'link', 0) on conflict do nothing)"};

// A resolver shares it until its commit.
const pg::Statement kLockEpoch{"decision_lock_epoch", R"(
  select epoch from sluice.lease_epoch where workspace_id = $1 and name = 'link' for update)"};

const pg::Statement kHoldRule{"decision_hold_rule", R"(
  select 1 from sluice.link_rule where workspace_id = $1 and rule_id = $2 and not going for key share)"};

const pg::Statement kNow{"decision_link_now", R"(
  select state, target_id, decided_by from sluice.link
  where workspace_id = $1 and rule_id = $2 and source_id = $3 for update)"};

const pg::Statement kCount{"decision_count", R"(
  select count(*) from sluice.link_decision where workspace_id = $1 and rule_id = $2 and source_id = $3)"};

const pg::Statement kKeyOf{"decision_key_of", R"(
  select x.digest from (select k.digest, k.type_id, k.attribute, k.kind from sluice.link_key k
                        where k.workspace_id = $1 and k.entity_id = $2 offset 0) x
  where x.type_id = $3 and x.attribute = $4 and x.kind = $5 limit 1)"};

// $4: only a confirmation, or also the rejection of everybody.
const pg::Statement kReplace{"decision_replace", R"(
  delete from sluice.link_decision where workspace_id = $1 and rule_id = $2 and source_id = $3
    and (verdict = 'confirmed' or ($4 and target_id = 0)))"};

const pg::Statement kPut{"decision_put", R"(
  insert into sluice.link_decision as d (workspace_id, rule_id, source_id, target_id, source_type_id,
    target_type_id, verdict, target_digest, decided_by, why)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
  on conflict (workspace_id, rule_id, source_id, target_id) do update set verdict = excluded.verdict,
    target_digest = excluded.target_digest, decided_at = now(), decided_by = excluded.decided_by,
    why = excluded.why)"};

const pg::Statement kWithdraw{"decision_withdraw", R"(
  delete from sluice.link_decision where workspace_id = $1 and rule_id = $2 and source_id = $3
    and ($4::bigint is null or target_id = $4) returning verdict, target_id)"};

const pg::Statement kPutLink{"decision_put_link", R"(
  insert into sluice.link as l (workspace_id, rule_id, source_id, source_type_id, state, target_id,
    target_type_id, kind, evidence, decided_by)
  values ($1, $2, $3, $4, $5, $6, $7, $8::int::smallint,
    jsonb_build_object('rule', $9::text, 'at', now()), 'human')
  on conflict (workspace_id, rule_id, source_id) do update set state = excluded.state,
    target_id = excluded.target_id, target_type_id = excluded.target_type_id, candidates = '{}',
    candidate_count = 0, evidence = excluded.evidence, decided_by = 'human', updated_at = now())"};

// Until the resolver has come to it: who was linked, stays so.
const pg::Statement kGiveBack{"decision_give_back", R"(
  update sluice.link set decided_by = 'rule', updated_at = now(),
    state = case when target_id is null then 'pending' else 'linked' end
  where workspace_id = $1 and rule_id = $2 and source_id = $3 and decided_by = 'human'
    and not exists (select from sluice.link_decision d where d.workspace_id = $1 and d.rule_id = $2
      and d.source_id = $3 and d.verdict = 'confirmed')
  returning state)"};

// As a source only (link/resolver.cpp); of whatever key, since its own is looked up.
const pg::Statement kLookAgain{"decision_look_again", R"(
  insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id)
  values ($1, $2::int::smallint, '00000000-0000-0000-0000-000000000000', $3, (-1 - $4::int)::smallint, $5))"};

Task<bool> lives(pg::Transaction& transaction, const model::Catalog& catalog, EntityTypeId type_id,
                 EntityId id) {
  const model::StoredType* type = catalog.find(type_id);
  if (type == nullptr) co_return false;
  pg::Array ids(pg::Oid::int8);
  ids.add(id.value);
  const std::string sql = link::alive_sql(*type);
  pg::Params params(catalog.workspace, std::move(ids));
  const auto rows = co_await transaction.query(sql, std::move(params));
  co_return !rows.empty();
}

Error not_there(std::string code, const std::string& type, EntityId id) {
  return Error(ErrorKind::not_found, std::move(code),
               fmt::format("there is no {} {}", type, id.value),
               "it may have been deleted; sluice entity list " + type + " shows what there is");
}

struct LinkNow {
  bool exists = false;
  std::string state;
  std::optional<std::int64_t> target;
};

/// One decision, or its withdrawal, in one transaction.
class Deciding {
 public:
  Deciding(pg::Connection& connection, model::CatalogPtr catalog, model::StoredRule rule,
           EntityId source, Actor actor)
      : connection_(connection),
        catalog_(std::move(catalog)),
        rule_(std::move(rule)),
        source_(source),
        actor_(std::move(actor)) {}

  Task<Result<DecidedLink>> decide(LinkDecision decision) {
    pg::Transaction transaction = co_await pg::Transaction::begin(connection_);
    std::optional<Error> refused = co_await begin(transaction);
    if (!refused) refused = co_await refuse(transaction, decision);
    if (refused) {
      co_await transaction.rollback();
      co_return std::unexpected(*refused);
    }
    co_await store(transaction, decision);
    const bool confirms = decision.verdict == Verdict::confirmed;
    const bool settles = confirms || !decision.target;
    const bool takes_away = decision.target && now_.target == decision.target->value;
    const std::string before = now_.state;
    if (settles || takes_away) {
      now_.state = confirms ? "confirmed" : "rejected";
      std::optional<std::int64_t> after;
      if (confirms) after = decision.target->value;
      changes_.retarget(rule_.name, rule_.source_type.value, source_.value, now_.target, after);
      now_.target = after;
      co_await put_link(transaction);
    }
    if (!settles) co_await look_again(transaction);
    json detail = subject_of(decision.target);
    detail["decision"] = confirms ? "confirmed" : "rejected";
    detail["before"] = before;
    if (!decision.why.empty()) detail["why"] = decision.why;
    co_return co_await finish(transaction, "link.decide", std::move(detail));
  }

  Task<Result<DecidedLink>> withdraw(std::optional<EntityId> target) {
    pg::Transaction transaction = co_await pg::Transaction::begin(connection_);
    const std::optional<Error> refused = co_await begin(transaction);
    if (refused) {
      co_await transaction.rollback();
      co_return std::unexpected(*refused);
    }
    std::optional<std::int64_t> of;
    if (target) of = target->value;
    pg::Params params(catalog_->workspace, rule_.id, source_, of);
    const auto gone = co_await transaction.query(kWithdraw, std::move(params));
    if (gone.empty()) {
      co_await transaction.rollback();
      co_return fail(ErrorKind::not_found, "link.not_decided",
                     fmt::format("nobody has decided anything of {} {} under the rule '{}'{}",
                                 rule_.source_type_name, source_.value, rule_.name,
                                 target ? fmt::format(" and {}", target->value) : std::string()),
                     fmt::format("sluice link why {} {}", rule_.source_type_name, source_.value));
    }
    pg::Params back(catalog_->workspace, rule_.id, source_);
    const auto given = co_await transaction.query(kGiveBack, std::move(back));
    if (!given.empty()) now_.state = given.get<std::string>(0, 0);
    co_await look_again(transaction);
    json detail = subject_of(target);
    detail["withdrawn"] = gone.rows();
    co_return co_await finish(transaction, "link.withdraw", std::move(detail));
  }

 private:
  /// Locks in the order of a resolver: epoch, link, and the feed's head last.
  Task<std::optional<Error>> begin(pg::Transaction& transaction) {
    co_await transaction.query(kEnsureEpoch, pg::Params(catalog_->workspace));
    co_await transaction.query(kLockEpoch, pg::Params(catalog_->workspace));
    const auto held =
        co_await transaction.query(kHoldRule, pg::Params(catalog_->workspace, rule_.id));
    if (held.empty()) {
      co_return Error(ErrorKind::not_found, "rule.unknown", "there is no rule '" + rule_.name + "'",
                      "sluice link rules");
    }
    const auto rows =
        co_await transaction.query(kNow, pg::Params(catalog_->workspace, rule_.id, source_));
    now_.exists = !rows.empty();
    if (now_.exists) {
      now_.state = rows.get<std::string>(0, 0);
      now_.target = rows.get<std::optional<std::int64_t>>(0, 1);
    }
    co_return std::nullopt;
  }

  Task<std::optional<Error>> refuse(pg::Transaction& transaction, const LinkDecision& decision) {
    if (decision.target == source_) {
      co_return Error(ErrorKind::bad_input, "link.itself", "an entity is not linked with itself",
                      "name the target's id");
    }
    const bool there = co_await lives(transaction, *catalog_, rule_.source_type, source_);
    if (!there) co_return not_there("link.unknown_source", rule_.source_type_name, source_);
    bool target_there = true;
    if (decision.target)
      target_there = co_await lives(transaction, *catalog_, rule_.target_type, *decision.target);
    if (!target_there)
      co_return not_there("link.unknown_target", rule_.target_type_name, *decision.target);
    const auto count =
        co_await transaction.query(kCount, pg::Params(catalog_->workspace, rule_.id, source_));
    if (count.get<std::int64_t>(0, 0) < kDecisionsOfSourceMax) co_return std::nullopt;
    co_return Error(
        ErrorKind::conflict, "link.too_many_decisions",
        fmt::format("{} {} has {} decisions under the rule '{}' already", rule_.source_type_name,
                    source_.value, kDecisionsOfSourceMax, rule_.name),
        "withdraw those that are not needed (sluice link forget), or reject everybody "
        "(sluice link unlink)");
  }

  Task<void> store(pg::Transaction& transaction, const LinkDecision& decision) {
    const bool confirms = decision.verdict == Verdict::confirmed;
    if (confirms || !decision.target) {
      pg::Params replaced(catalog_->workspace, rule_.id, source_, confirms);
      co_await transaction.query(kReplace, std::move(replaced));
    }
    std::optional<pg::Uuid> digest;
    if (decision.target) {
      digest =
          co_await key_of(transaction, *decision.target, rule_.target_type, rule_.target_position);
    }
    if (decision.target && !confirms) {
      const auto wanted =
          co_await key_of(transaction, source_, rule_.source_type, rule_.source_position);
      in_advance_ = !wanted || wanted != digest;
    }
    const std::string_view verdict = confirms ? "confirmed" : "rejected";
    pg::Params params(catalog_->workspace, rule_.id, source_,
                      decision.target ? decision.target->value : std::int64_t{0});
    params.add(rule_.source_type).add(rule_.target_type).add(verdict).add(digest);
    params.add(actor_.name()).add(decision.why);
    co_await transaction.query(kPut, std::move(params));
  }

  /// By what the rule finds the entity, or looks for it.
  Task<std::optional<pg::Uuid>> key_of(pg::Transaction& transaction, EntityId entity,
                                       EntityTypeId type, std::int16_t position) {
    pg::Params of(catalog_->workspace, entity, type, std::int32_t{position},
                  static_cast<std::int32_t>(rule_.key_kind));
    const auto key = co_await transaction.query(kKeyOf, std::move(of));
    if (key.empty()) co_return std::nullopt;
    co_return key.get<pg::Uuid>(0, 0);
  }

  Task<void> put_link(pg::Transaction& transaction) {
    std::optional<std::int64_t> type;
    if (now_.target) type = rule_.target_type.value;
    pg::Params params(catalog_->workspace, rule_.id, source_, rule_.source_type, now_.state,
                      now_.target, type, static_cast<std::int32_t>(rule_.key_kind), rule_.name);
    co_await transaction.query(kPutLink, std::move(params));
  }

  Task<void> look_again(pg::Transaction& transaction) {
    pg::Params params(catalog_->workspace, static_cast<std::int32_t>(rule_.key_kind),
                      rule_.source_type, std::int32_t{rule_.source_position}, source_);
    co_await transaction.query(kLookAgain, std::move(params));
  }

  [[nodiscard]] json subject_of(std::optional<EntityId> target) const {
    json detail = json::object();
    detail["rule"] = rule_.name;
    detail["target"] = target ? json(std::to_string(target->value)) : json(nullptr);
    return detail;
  }

  /// The audit, what the feed is told, COMMIT.
  Task<Result<DecidedLink>> finish(pg::Transaction& transaction, std::string action, json detail) {
    std::string subject = fmt::format("{}/{}", rule_.source_type_name, source_.value);
    co_await audit(transaction, catalog_->workspace, actor_, std::move(action), std::move(subject),
                   std::move(detail));
    if (!changes_.empty()) {
      pg::Pipeline told;
      changes_.append_to(told, catalog_->workspace);
      co_await connection_.run(std::move(told));
    }
    co_await transaction.commit();
    DecidedLink decided;
    decided.state = now_.state;
    decided.in_advance = in_advance_;
    if (now_.target) decided.target = EntityId(*now_.target);
    co_return decided;
  }

  pg::Connection& connection_;
  model::CatalogPtr catalog_;
  model::StoredRule rule_;
  EntityId source_;
  Actor actor_;
  LinkNow now_;
  bool in_advance_ = false;
  link::LinkChanges changes_;
};

}  // namespace

Task<Result<DecidedLink>> decide_link(pg::Pool& pool, model::CatalogPtr catalog,
                                      LinkDecision decision, Actor actor) {
  auto connection = co_await pool.acquire();
  const WorkspaceId workspace = catalog->workspace;
  Deciding deciding(*connection, std::move(catalog), decision.rule, decision.source,
                    std::move(actor));
  Task<Result<DecidedLink>> telling = deciding.decide(std::move(decision));
  co_return co_await journal::or_feed_busy(*connection, workspace, std::move(telling));
}

Task<Result<DecidedLink>> withdraw_decision(pg::Pool& pool, model::CatalogPtr catalog,
                                            model::StoredRule rule, EntityId source,
                                            std::optional<EntityId> target, Actor actor) {
  auto connection = co_await pool.acquire();
  const WorkspaceId workspace = catalog->workspace;
  Deciding deciding(*connection, std::move(catalog), std::move(rule), source, std::move(actor));
  Task<Result<DecidedLink>> telling = deciding.withdraw(target);
  co_return co_await journal::or_feed_busy(*connection, workspace, std::move(telling));
}

}  // namespace sluice::sync
