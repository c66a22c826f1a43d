// The change feed: everything that changed in a workspace, in an order that never skips, resumable.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"

namespace sluice::feed {

inline constexpr int kFeedPageMax = 1000;  ///< changes in one page

struct Change {
  std::string txid;
  std::int64_t change_id = 0;
  Micros at{};
  EntityTypeId type;
  std::string type_name;  ///< empty when the type is gone
  EntityId entity;
  ConnectionId connection;  ///< 0: none
  RunId run;                ///< 0: none
  std::string op;           ///< insert, update, delete, restore, link, unlink
  std::string external_id;
  nlohmann::json changed;  ///< {"attribute": [before, after]}; null for insert
};
[[nodiscard]] nlohmann::json to_json(const Change& change);

struct FeedQuery {
  std::string cursor;  ///< "" from the beginning; else what a page gave
  int limit = 100;     ///< 1 to kFeedPageMax
  std::optional<EntityTypeId> type;
  std::optional<EntityId> entity;
};

struct FeedPage {
  std::vector<Change> changes;
  std::string cursor;     ///< where to go on; the cursor given when there was nothing
  bool has_more = false;  ///< more was there at once
};

/// A page of changes behind the cursor, ordered by (transaction, change). Only transactions older
/// than the oldest running one are served: nobody can commit behind a cursor, so nothing is ever
/// skipped; a long writing transaction in this database holds the feed back, and one in another
/// database of the server too where the role may not see it (pg_read_all_stats). A reader at the
/// end gets no changes and its own cursor again. A cursor belongs to one workspace and stays valid
/// for ever; filters may change between pages. Errors: bad_input "feed.bad_cursor",
/// "feed.bad_limit". Throws pg::QueryError.
Task<Result<FeedPage>> read_changes(pg::Pool& pool, WorkspaceId workspace, FeedQuery query);

}  // namespace sluice::feed
