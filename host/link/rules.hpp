// What an admin does with link rules: apply one to what is there already, see where it stands.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::link {

inline constexpr int kEnqueueBatch = 10'000;
inline constexpr int kLinksPageMax = 1'000;
inline constexpr int kRekeyBatch = 1'000;
inline constexpr int kRekeyAttemptsMax =
    5;  ///< of one batch, when pages of the type lock it otherwise

/// After a rule was created, changed or enabled: puts each source that has the key into the queue,
/// in batches that each commit by themselves; the resolver does the rest. Doing it twice is
/// harmless. Returns how many sources. A rule that is not effective has none.
Task<std::int64_t> rebuild_rule(pg::Connection& connection, WorkspaceId workspace,
                                model::StoredRule rule);

/// After a rule was disabled, and before it is deleted: its links become inactive, except a
/// human's.
Task<std::int64_t> deactivate_rule(pg::Connection& connection, WorkspaceId workspace, RuleId rule);

/// After an attribute of a type that has rows became a link key, stopped being one, or changed its
/// kind: gives each entity the key that its value makes and takes off any other key of that
/// attribute, in batches that each commit by themselves, with the queue rows for the resolver.
/// `type` is from a catalogue read after the change. Safe beside writers of the type: rows are
/// locked while their key is put on. Doing it twice, or again after a failure, is harmless. Returns
/// how many entities it looked at.
Task<std::int64_t> rekey_attribute(pg::Connection& connection, WorkspaceId workspace,
                                   model::StoredType type, std::string attribute);

struct RuleSummary {
  RuleId rule;
  std::string state;
  std::int64_t count = 0;
};

/// How many links of each rule are in each state, by rule and state.
Task<std::vector<RuleSummary>> link_summary(pg::Connection& connection, WorkspaceId workspace);

/// What a page of links is to hold. Links are listed by rule and source.
struct LinkQuery {
  std::optional<RuleId> rule;        ///< of one rule only
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
  std::string decided_by;          ///< "rule" or "human"
  std::string source_external_id;  ///< the vendor's id; empty: an own entity, or its type is gone
};

/// A page of links. Costs what it reads: a state that few links are in is looked for among all
/// links of the rule.
Task<std::vector<ListedLink>> list_links(pg::Connection& connection, WorkspaceId workspace,
                                         model::CatalogPtr catalog, LinkQuery query);

}  // namespace sluice::link
