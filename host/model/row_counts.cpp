#include "model/row_counts.hpp"

namespace sluice::model {
namespace {

constexpr std::int32_t kFoldedAtOnce = 10'000;
constexpr int kFoldsMax = 100;  ///< in a row: what is left is folded the next time
constexpr const char* kOwnEntity = "own_entity";

const pg::Statement kCounts{"model_row_counts", R"(
  select c.relation, c.part, sum(c.live)::bigint from (
    select n.relation, n.part, n.live from sluice.row_count n where n.workspace_id = $1
    union all
    select d.relation, d.part, d.live from sluice.row_delta d where d.workspace_id = $1) c
  group by c.relation, c.part having sum(c.live) <> 0)"};

const pg::Statement kFold{"model_fold_row_counts", "select sluice.fold_row_counts($1::int)"};

std::string relation_of(const StoredType& type) { return type.own ? kOwnEntity : type.table; }

}  // namespace

std::int64_t RowCounts::of(const StoredType& type, ConnectionId connection) const {
  const auto found = live.find(std::make_pair(relation_of(type), connection.value));
  return found == live.end() ? 0 : found->second;
}

std::int64_t RowCounts::of(const StoredType& type) const {
  const std::string relation = relation_of(type);
  if (type.own) {
    const auto found = live.find(std::make_pair(relation, type.id.value));
    return found == live.end() ? 0 : found->second;
  }
  std::int64_t all = 0;
  for (auto at = live.lower_bound(std::make_pair(relation, INT64_MIN));
       at != live.end() && at->first.first == relation; ++at)
    all += at->second;
  return all;
}

Task<RowCounts> row_counts(pg::Pool& pool, WorkspaceId workspace) {
  auto lease = co_await pool.acquire();
  co_return co_await row_counts(*lease, workspace);
}

Task<RowCounts> row_counts(pg::Connection& connection, WorkspaceId workspace) {
  const auto rows = co_await connection.query(kCounts, pg::Params(workspace));
  RowCounts counts;
  for (int row = 0; row < rows.rows(); ++row) {
    counts.live.emplace(
        std::make_pair(rows.get<std::string>(row, 0), rows.get<std::int64_t>(row, 1)),
        rows.get<std::int64_t>(row, 2));
  }
  co_return counts;
}

Task<std::int64_t> fold_row_counts(pg::Connection& connection) {
  std::int64_t folded = 0;
  for (int times = 0; times < kFoldsMax; ++times) {
    pg::Params most(kFoldedAtOnce);
    const auto some = co_await connection.query(kFold, std::move(most));
    const auto count = some.get<std::int64_t>(0, 0);
    folded += count;
    if (count < kFoldedAtOnce) break;
  }
  co_return folded;
}

}  // namespace sluice::model
