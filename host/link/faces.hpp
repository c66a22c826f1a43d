// What entities are called, for people who look at links.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::link {

/// Texts are cut to 200 characters.
struct Face {
  EntityId id;
  std::string external_id;           ///< "" of an own entity
  std::string name;                  ///< as its type is displayed; "": it says nothing
  std::optional<std::string> value;  ///< of the attribute that was asked for
  bool deleted = false;
};

using Faces = std::map<EntityId, Face>;

/// Those of the entities that are there, deleted ones too. One query. `type` and `key` (may be
/// null) outlive the call.
Task<Faces> faces_of(pg::Connection& connection, WorkspaceId workspace,
                     const model::StoredType& type, const model::StoredAttribute* key,
                     std::vector<EntityId> ids);

}  // namespace sluice::link
