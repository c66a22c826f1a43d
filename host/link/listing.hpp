// Links for people to look at: how many there are, and pages of them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "link/faces.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::link {

inline constexpr int kLinksPageMax = 1'000;

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
  std::vector<ListedLink> links;  ///< state model::kNoKey
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
