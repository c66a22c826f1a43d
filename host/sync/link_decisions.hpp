// What people decide of single links: this one is that customer, that one is not, this one is
// nobody's. A decision outranks keys, syncs, imports and rules until it is withdrawn.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/pool.hpp"
#include "sync/audit.hpp"

namespace sluice::sync {

/// Of one source under one rule; more would be a rule of their own.
inline constexpr int kDecisionsOfSourceMax = 100;

enum class Verdict { confirmed, rejected };

struct LinkDecision {
  model::StoredRule rule;
  EntityId source;
  std::optional<EntityId> target;  ///< none: rejected is whoever the rule finds
  Verdict verdict = Verdict::rejected;
  std::string why;  ///< for whoever asks later; may be empty
};

/// How the link stands right behind it. Of whom else the keys find, the resolver decides next.
struct DecidedLink {
  std::string state;  ///< "" when there is no link yet
  std::optional<EntityId> target;
  bool in_advance = false;  ///< somebody was rejected whom the rule does not find now
};

/// Stores a decision with its line of the audit and what the feed is told, in one transaction. It
/// locks the epoch of the workspace's lease "link" for itself: a resolver has committed before, or
/// begins after it. A confirmation takes the place of the one before and of a rejection of
/// everybody; a rejection of everybody takes that of a confirmation.
///
/// Errors: not_found rule.unknown, link.unknown_source, link.unknown_target (gone, or deleted);
/// bad_input link.itself; conflict link.too_many_decisions.
Task<Result<DecidedLink>> decide_link(pg::Pool& pool, model::CatalogPtr catalog,
                                      LinkDecision decision, Actor actor);

/// Withdraws what was decided of the source under the rule, or of that target alone; the rule
/// decides again. Error: not_found link.not_decided.
Task<Result<DecidedLink>> withdraw_decision(pg::Pool& pool, model::CatalogPtr catalog,
                                            model::StoredRule rule, EntityId source,
                                            std::optional<EntityId> target, Actor actor);

}  // namespace sluice::sync
