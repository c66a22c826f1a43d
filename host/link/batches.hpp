// What a changed rule means for what is there already, in batches of durable work. Each call is one
// batch, in the caller's transaction, and says where the next one begins; doing one twice is
// harmless.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "link/changes.hpp"
#include "model/catalog.hpp"
#include "pg/fenced.hpp"

namespace sluice::link {

inline constexpr int kEnqueueBatch = 10'000;
inline constexpr int kDeactivateBatch = 2'000;
/// So long an applied rule waits for whoever wrote rows before it.
inline constexpr std::chrono::seconds kWritersPatience{15};

struct EnqueuedPart {
  std::int64_t enqueued = 0;
  pg::Uuid digest;  ///< where the next batch begins
  EntityId last;
  bool more = false;
};

/// Puts the next sources that have the rule's key into the queue, from behind (digest, entity) on
/// in the order of their keys, and with the first part (`after` is negative) those that somebody
/// decided about; the resolver does the rest. That first part waits for transactions that
/// were writing rows of own types: they may have found no rule of theirs, and have put nothing into
/// the queue. Throws retry_later "rule.writers_stay" when they go on for kWritersPatience. A rule
/// that is not effective has none.
Task<EnqueuedPart> enqueue_part(pg::Fenced& fenced, WorkspaceId workspace,
                                const model::StoredRule& rule, pg::Uuid after_digest,
                                EntityId after);

struct DeactivatedPart {
  std::int64_t looked = 0;
  EntityId last;  ///< where the next batch begins
  bool more = false;
  LinkChanges changes;  ///< for the caller to append behind everything else
};

/// The next links of a rule, in the order of their sources, become inactive, except a human's.
Task<DeactivatedPart> deactivate_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                      std::string name, EntityId after);

/// The next links of a rule go, whoever decided them, and behind the last of them what people
/// decided under it. The rule stays.
Task<DeactivatedPart> clear_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                 std::string name, EntityId after);

/// The same of a rule that is going: without anything left it goes.
Task<DeactivatedPart> forget_part(pg::Fenced& fenced, WorkspaceId workspace, RuleId rule,
                                  std::string name, EntityId after);

}  // namespace sluice::link
