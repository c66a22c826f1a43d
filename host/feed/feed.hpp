// The change feed: everything that changed in a workspace, in the order of its commits, resumable.
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

inline constexpr int kFeedPageMax = 1000;  ///< changes in one page; few large ones fill it, too
/// A reader of one type looks at so many positions in one statement, and makes so many of these
/// steps before it answers that it has found nothing yet.
inline constexpr std::int64_t kScanPositions = 20'000;
inline constexpr int kScanSteps = 4;

struct Change {
  std::int64_t position = 0;        ///< in its workspace: 1, 2, 3, …, without a gap; below 2^53
  Micros at{};                      ///< never goes back from one position to the next
  std::optional<Micros> vendor_at;  ///< when it happened at the vendor, where that is known
  EntityTypeId type;
  std::string type_name;  ///< empty when the type is gone
  EntityId entity;
  ConnectionId connection;  ///< 0: none
  RunId run;                ///< 0: none
  std::string op;           ///< insert, update, delete, restore, link, unlink, erased
  std::string external_id;
  std::string
      changed;  ///< {"attribute": [before, after]}, as jsonb prints it; "" for insert and erased
};
/// Also says "change_id", as another name of the position, and "txid", null: what they were called
/// before.
[[nodiscard]] nlohmann::json to_json(const Change& change);

/// Which changes are wanted; all that is given must hold.
struct FeedFilter {
  std::optional<EntityTypeId> type;
  std::optional<ConnectionId> connection;
  std::vector<std::string> ops;  ///< one of them; none: any
  std::string cause;             ///< cause_of(); "": any
  [[nodiscard]] bool any() const { return type || connection || !ops.empty() || !cause.empty(); }
};

struct FeedQuery : FeedFilter {
  std::string cursor;  ///< "" from the beginning; else what a page gave
  int limit = 100;     ///< 1 to kFeedPageMax
  std::optional<EntityId> entity;
};

/// Where a change comes from: "link" (keys, a rule, or what a person decided), "sync" (a run),
/// "connection" (it is turned off or deleted), "own" (your own data: REST or an import).
[[nodiscard]] std::string_view cause_of(const Change& change);

struct FeedPage {
  std::vector<Change> changes;
  std::string cursor;     ///< where to go on: everything before it was looked at
  bool has_more = false;  ///< there is more to look at, though perhaps nothing of what is asked for
  std::int64_t kept_from = 1;  ///< the first position that retention has left
};

/// A cursor to begin with: behind everything that there is now; before the first change that was
/// told at `since` or later, found by halving, since times never go back; before the newest
/// `count` that the filter wants, of the last kScanPositions * kScanSteps positions. Error:
/// not_found "workspace.not_found".
Task<Result<std::string>> cursor_now(pg::Pool& pool, WorkspaceId workspace);
Task<Result<std::string>> cursor_since(pg::Pool& pool, WorkspaceId workspace, Micros since);
Task<Result<std::string>> cursor_newest(pg::Pool& pool, WorkspaceId workspace, FeedFilter filter,
                                        int count);

/// No more changes than these are looked at by one summary.
inline constexpr std::int64_t kSummaryMax = 200'000;
struct FeedCount {
  std::string type;  ///< "" when it is gone
  std::string op;
  std::string cause;
  std::int64_t count = 0;
};
struct FeedSummary {
  std::vector<FeedCount> counts;
  std::int64_t looked = 0;  ///< all of them together
  bool truncated = false;   ///< more than kSummaryMax stand there, and the first are counted
};
/// How many changes there are since then, by type, op and cause.
Task<Result<FeedSummary>> summarise(pg::Pool& pool, WorkspaceId workspace, Micros since,
                                    FeedFilter filter);

/// A page of changes behind the cursor, in the order of their positions. Positions are given under
/// a lock of the workspace until the commit, so a reader that sees one sees all before it: nothing
/// is skipped, and nobody's open transaction holds anything back.
///
/// A reader at the end gets no changes and its own cursor again; one with a filter gets a cursor
/// behind all that was looked at. Filters may change between pages.
///
/// A cursor belongs to one workspace, and says of which history it is and at what time its position
/// was written; both are compared, so a database that was put back to an earlier state is told and
/// not passed over. Cursors of before ("1:…") are understood: some of the last changes are told
/// again, none is missed.
///
/// Errors:
///   bad_input  "feed.bad_cursor", "feed.bad_limit"
///   conflict   "feed.cursor_ahead"   the feed ends before this cursor
///              "feed.expired"        retention has dropped what comes next
///              "feed.history_lost"   what this cursor has seen is not what is stored now
/// The hint of the last two holds a cursor to go on with. Throws pg::QueryError.
Task<Result<FeedPage>> read_changes(pg::Pool& pool, WorkspaceId workspace, FeedQuery query);

}  // namespace sluice::feed
