// Ids for entities whose rows are copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/async.hpp"
#include "pg/connection.hpp"

namespace sluice::ingest {

/// Taken from the database's sequence by the block; what is left when the host ends, and what a
/// failed page had, is never used. One loop; several pages may take at once.
class EntityIds {
 public:
  static constexpr std::size_t kBlock = 10'000;

  /// Ascending. Throws pg::QueryError.
  Task<std::vector<std::int64_t>> take(pg::Connection& connection, std::size_t count);

 private:
  std::deque<std::int64_t> free_;
};

}  // namespace sluice::ingest
