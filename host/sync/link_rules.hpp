// What an admin does with link rules. The rule, the version of the catalogue and the work that
// makes the links follow are one transaction: links follow when the answer is there, and cannot be
// forgotten.
#pragma once

#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "contract/manifest.hpp"
#include "pg/pool.hpp"
#include "sync/audit.hpp"
#include "work/queue.hpp"

namespace sluice::sync {

struct NewRule {
  std::string name;
  std::string source_type, source_attribute;
  std::string target_type, target_attribute;
  contract::KeyKind kind = contract::KeyKind::exact;
};

/// Makes a rule. The caller has checked that both ends exist. Returns the work that applies it to
/// what is there. Error: rule.name_taken.
Task<Result<work::WorkId>> make_rule(pg::Pool& pool, WorkspaceId workspace, NewRule rule,
                                     Actor actor);

/// Switches a rule on or off; as it is already: its links are looked at again. Returns the work
/// that makes its links, or makes them inactive. Error: rule.unknown.
Task<Result<work::WorkId>> switch_rule(pg::Pool& pool, WorkspaceId workspace, std::string name,
                                       bool enabled, Actor actor);

/// Removes an admin's rule, with its links and what people decided under it: at once it finds
/// nothing and is listed no more, and the work takes what it had. Errors: rule.unknown,
/// rule.of_connector, rule.has_decisions (unless `with_decisions`).
Task<Result<work::WorkId>> remove_rule(pg::Pool& pool, WorkspaceId workspace, std::string name,
                                       bool with_decisions, Actor actor);

/// Part of the transaction that makes these attributes of a type: rules that name one, and stood
/// idle without it, are applied to what is there.
Task<void> apply_rules_of(pg::Transaction& transaction, WorkspaceId workspace, std::string type,
                          std::vector<std::string> attributes, std::string actor);

/// Part of the transaction that drops a type: rules of admins that name it are going. Its durable
/// work takes their links and decisions, and them (type_drop.hpp). Their names.
Task<std::vector<std::string>> let_rules_go(pg::Transaction& transaction, WorkspaceId workspace,
                                            std::string type);

/// Part of a transaction that changes the rule otherwise (an install): its links become inactive,
/// and are made anew when it is enabled.
Task<work::WorkId> apply_rule(pg::Transaction& transaction, WorkspaceId workspace, std::string name,
                              std::string actor);

}  // namespace sluice::sync
