// What an admin does with link rules: apply one to what is there already, see where it stands.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "link/changes.hpp"
#include "link/faces.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"
#include "pg/fenced.hpp"

namespace sluice::link {

inline constexpr int kEnqueueBatch = 10'000;
inline constexpr int kDeactivateBatch = 2'000;
inline constexpr int kLinksPageMax = 1'000;
inline constexpr int kRekeyBatch = 1'000;
/// So long an applied rule waits for whoever wrote rows before it.
inline constexpr std::chrono::seconds kWritersPatience{15};

// What a changed rule or key means for what is there already. Each call is one batch, in the
// caller's transaction, and says where the next one begins; doing one twice is harmless.

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

struct RekeyPart {
  std::int64_t looked = 0;
  EntityId last;  ///< where the next batch begins
  bool more = false;
  std::vector<EntityId> ids;  ///< the entities of this one, locked against writers
};

/// After an attribute of a type that has rows became a link key, stopped being one, or changed its
/// kind: gives the next entities the key that their value makes and takes off any other key of that
/// attribute, with the queue rows for the resolver. Safe beside writers of the type: rows are
/// locked while their key is put on, and a page that still goes by the catalogue before is refused.
/// `type` outlives the call.
Task<RekeyPart> rekey_part(pg::Fenced& fenced, WorkspaceId workspace, const model::StoredType& type,
                           const model::StoredAttribute& attribute, EntityId after);

/// Why a rule can find nothing, and what to do; nullopt when it can, or is switched off. Codes:
///   rule.unknown_type, rule.unknown_attribute   that end is not there (yet)
///   rule.no_such_key                            it is there and no link key of the rule's kind
[[nodiscard]] std::optional<Error> why_idle(const model::Catalog& catalog,
                                            const model::StoredRule& rule);

struct RuleSummary {
  RuleId rule;
  std::string state;
  std::int64_t count = 0;
};

/// How many links of each rule are in each state, by rule and state.
Task<std::vector<RuleSummary>> link_summary(pg::Connection& connection, WorkspaceId workspace);

/// More entities of a type are not counted.
inline constexpr std::int64_t kLivingCounted = 2'000'000;
/// How many entities of a type are there; nothing when they are more than kLivingCounted.
Task<std::optional<std::int64_t>> count_living(pg::Connection& connection, WorkspaceId workspace,
                                               const model::StoredType& type);

/// What a page of links is to hold. Links are listed by rule and source.
struct LinkQuery {
  std::optional<RuleId> rule;        ///< of one rule only
  std::optional<EntityTypeId> type;  ///< of rules that begin or end at this type
  std::optional<std::string> state;  ///< in one state only ("contested", …)
  RuleId after_rule;                 ///< the link that the page before ended with; 0: none
  EntityId after_source;
  int limit = 50;  ///< cut to 1 … kLinksPageMax
};

struct ListedLink {
  RuleId rule;
  EntityId source;
  EntityTypeId source_type;
  std::string state;
  std::optional<EntityId> target;  ///< when linked or confirmed
  std::optional<EntityTypeId> target_type;
  std::vector<EntityId> candidates;  ///< when contested: the first kCandidatesShown
  std::int32_t candidate_count = 0;
  nlohmann::json evidence;
  std::string decided_by;             ///< "rule" or "human"
  Face source_face;                   ///< id 0: its type is gone, or it is
  Face target_face;                   ///< the same; of a link without a target id 0, too
  std::vector<Face> candidate_faces;  ///< of those candidates that are there
};

/// A page of links. Costs what it reads: a state that few links are in is looked for among all
/// links of the rule.
Task<std::vector<ListedLink>> list_links(pg::Connection& connection, WorkspaceId workspace,
                                         model::CatalogPtr catalog, LinkQuery query);

/// So many entities of a type are looked at for one page, however few of them lack a key.
inline constexpr std::int64_t kUnkeyedLooked = 2'000;

struct UnkeyedPage {
  std::vector<ListedLink> links;  ///< state "no_key"
  bool more = false;
  RuleId last_rule;  ///< where to go on
  EntityId last_source;
};

/// Those entities at the beginning of a rule that have no key by it, and so no link: by rule and
/// source. `query.state` counts for nothing. A page may be short of its limit, or empty, and
/// `more`.
Task<UnkeyedPage> list_unkeyed(pg::Connection& connection, WorkspaceId workspace,
                               model::CatalogPtr catalog, LinkQuery query);

}  // namespace sluice::link
