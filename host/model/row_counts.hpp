// How many rows there are of each type, as they stand: what the tables' own triggers add up.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/pool.hpp"

namespace sluice::model {

/// Living rows, those that views show, of one workspace. Exact as of the statement that read them:
/// sums of what each writer's transaction left behind (migration row_counts), so it costs a row a
/// type and connection, and what was written in the last minute, whatever is stored.
struct RowCounts {
  /// By the table's name in schema vendor and the connection's id; own types by "own_entity" and
  /// the type's id. What is not there has none.
  std::map<std::pair<std::string, std::int64_t>, std::int64_t> live;

  [[nodiscard]] std::int64_t of(const StoredType& type, ConnectionId connection) const;
  /// Of all connections; of an own type, all that there are.
  [[nodiscard]] std::int64_t of(const StoredType& type) const;
};
Task<RowCounts> row_counts(pg::Pool& pool, WorkspaceId workspace);
Task<RowCounts> row_counts(pg::Connection& connection, WorkspaceId workspace);

/// Folds what writers left behind into the sums, in bounded steps; how many differences it were.
/// Each host does it once a minute; any number may at once.
Task<std::int64_t> fold_row_counts(pg::Connection& connection);

}  // namespace sluice::model
