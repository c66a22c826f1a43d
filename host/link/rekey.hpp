// Link keys made anew, after the attribute that they are of changed.
#pragma once

#include <cstdint>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/fenced.hpp"

namespace sluice::link {

inline constexpr int kRekeyBatch = 1'000;

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

}  // namespace sluice::link
