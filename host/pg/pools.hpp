// The database connections of a host, by what they are for: no kind of work can take another's.
#pragma once

#include "pg/pool.hpp"

namespace sluice::pg {

/// How database.pool_size is divided.
struct PoolSizes {
  std::size_t leases = 0, work = 0, changing = 0, asking = 0;
};

/// Four connections for leases (two of fewer than sixteen, one of fewer than eight): taking many at
/// once must leave renewing its own. Of the others a quarter each for changing
/// and asking, and what is left for work; at least one each. `total` is 4 at least.
[[nodiscard]] PoolSizes split(std::size_t total);

/// Owned by main, closed with it. One loop. docs/decisions/0007-pools-by-purpose.md has the
/// reasons.
///
///   leases    taking, renewing and giving back leases (sync/lease.hpp), and nothing else
///   work      what runs under them: sessions, pages, links, the look for due work; secrets and
///             catalogues for it. Waits as long as a statement may take
///   changing  what an admin asks for by the API. A workspace has half of it at most, so that one
///             that waits for a lock leaves the other half to the others
///   asking    what the API reads; tokens and readiness too, for which one is kept free. The server
///             ends a statement after 4 s, before who waits gives up. Shared like `changing`
///   building  indexes that are built beside who writes, an hour each at most: one connection,
///             which is none of `total`, and gone while nothing is built
class Pools {
 public:
  /// `options`: how to connect; sizes by split(total).
  Pools(Executor executor, const ConnectOptions& options, std::size_t total);

  [[nodiscard]] std::size_t in_use() const;
  void close();

  Pool leases, work, changing, asking, building;
};

}  // namespace sluice::pg
