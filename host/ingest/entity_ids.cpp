#include "ingest/entity_ids.hpp"

#include <algorithm>

namespace sluice::ingest {
namespace {

const pg::Statement kTakeIds{
    "ingest_take_ids", "select nextval('sluice.entity_id') from generate_series(1, $1::bigint)"};

}  // namespace

Task<std::vector<std::int64_t>> EntityIds::take(pg::Connection& connection, std::size_t count) {
  while (free_.size() < count) {  // another page may take some while we wait
    pg::Params params(static_cast<std::int64_t>(std::max(kBlock, count)));
    const pg::QueryResult block = co_await connection.query(kTakeIds, std::move(params));
    for (int row = 0; row < block.rows(); ++row) free_.push_back(block.get<std::int64_t>(row, 0));
  }
  const auto end = free_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<std::int64_t> taken(free_.begin(), end);
  free_.erase(free_.begin(), end);
  co_return taken;
}

}  // namespace sluice::ingest
