// How one entity stands in its workspace's links: as a source of rules, and as a target of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::link {

inline constexpr int kSourcesShown = 20;

/// sluice.link's row of the entity as a source.
struct StandingLink {
  RuleId rule;
  std::string state;
  std::optional<EntityId> target;
  std::vector<EntityId> candidates;  ///< the first kCandidatesShown
  std::int64_t candidate_count = 0;
  bool by_human = false;
  Micros since{};
};

/// What somebody decided, with the entity at either end.
struct StandingDecision {
  RuleId rule;
  EntityId source;
  EntityId target;  ///< 0: whoever it may be
  bool confirmed = false;
  Micros at{};
  std::string by;  ///< "token 3"
  std::string why;
};

/// Who has the entity's key, or is linked with it, under a rule whose target's type it is.
struct StandingSource {
  RuleId rule;
  EntityId source;
  std::string state;  ///< of the source's link; "": not looked at yet
  bool linked_here = false;
};

struct Standing {
  std::vector<StandingLink> links;
  std::vector<StandingDecision> decisions;
  std::vector<StandingSource> sources;  ///< up to kSourcesShown + 1 a rule
  bool queue = false;                   ///< keys of the workspace wait to be looked at
};

/// Costs what it shows. `type` outlives the call.
Task<Standing> standing_of(pg::Connection& connection, model::CatalogPtr catalog, EntityTypeId type,
                           EntityId entity);

}  // namespace sluice::link
