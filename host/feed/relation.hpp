// One entity type as something to read: its columns as SQL, its rows as JSON. Internal to feed/.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "model/catalog.hpp"
#include "pg/result.hpp"

namespace sluice::feed {

/// A row that was read: the object for REST, and what edges to other rows start from.
struct Entity {
  nlohmann::json object;
  EntityId id;
  ConnectionId connection;  ///< of a preset type
  std::string external_id;  ///< of a preset type
};

/// "vendor.\"stripe_customer\"" or "sluice.own_entity".
[[nodiscard]] std::string relation_of(const model::StoredType& type);
/// Conditions that confine row `e` to the workspace $1 and the type; tombstones included.
[[nodiscard]] std::string confined(const model::StoredType& type);
/// The select list that read_entity() reads, of a row called `e`.
[[nodiscard]] std::string columns_of(const model::Catalog& catalog, const model::StoredType& type);
/// Reads those columns, beginning at `column`. "references" says by Sluice id what the row refers
/// to, null while that is not there. Numbers keep their digits: decimals are strings in
/// their one form, JSON goes out as jsonb prints it (the object is one of base/exact_json.hpp). A
/// row that cannot be read has attributes null, and under "problem" code, message and hint.
[[nodiscard]] Entity read_entity(const model::StoredType& type, const pg::QueryResult& rows,
                                 int row, int column);

}  // namespace sluice::feed
