#include "pg/pools.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace sluice::pg {
namespace {

constexpr std::size_t kTotalMin = 4;
constexpr std::size_t kTwoForLeasesFrom = 8;
constexpr std::size_t kFourForLeasesFrom = 16;

// A renewal that waits longer is no renewal any more.
constexpr std::chrono::milliseconds kLeasesTimeout = 5s;
// An API's client gets its 503 while it still listens. A change waits for others' locks, too.
constexpr std::chrono::milliseconds kChangingAcquireTimeout = 30s;
// A statement ends before whoever waits gives up: who has no connection gets the next one that is
// given back, and so none can be kept out by those who ask for much, however many they are.
constexpr std::chrono::milliseconds kAskingStatementTimeout = 4s;
constexpr std::chrono::milliseconds kAskingAcquireTimeout = 6s;

PoolOptions named(const char* name, const ConnectOptions& connect, std::size_t size) {
  PoolOptions options;
  options.name = name;
  options.connect = connect;
  options.size_max = size;
  return options;
}

PoolOptions for_leases(const ConnectOptions& connect, std::size_t size) {
  PoolOptions options = named("leases", connect, size);
  options.acquire_timeout = kLeasesTimeout;
  options.connect.query_timeout = kLeasesTimeout;
  return options;
}

PoolOptions for_changing(const ConnectOptions& connect, std::size_t size) {
  PoolOptions options = named("changing", connect, size);
  options.acquire_timeout = kChangingAcquireTimeout;
  options.share_max = std::max<std::size_t>(1, size / 2);
  return options;
}

PoolOptions for_asking(const ConnectOptions& connect, std::size_t size) {
  PoolOptions options = named("asking", connect, size);
  options.acquire_timeout = kAskingAcquireTimeout;
  options.statement_timeout = kAskingStatementTimeout;
  options.share_max = std::max<std::size_t>(1, size / 2);
  options.kept_free = size > 1 ? 1 : 0;
  return options;
}

}  // namespace

PoolSizes split(std::size_t total) {
  SLUICE_INVARIANT(total >= kTotalMin);
  PoolSizes sizes;
  sizes.leases = total >= kFourForLeasesFrom ? 4 : total >= kTwoForLeasesFrom ? 2 : 1;
  const std::size_t rest = total - sizes.leases;
  sizes.changing = std::max<std::size_t>(1, rest / 4);
  sizes.asking = sizes.changing;
  sizes.work = rest - sizes.changing - sizes.asking;
  return sizes;
}

Pools::Pools(Executor executor, const ConnectOptions& options, std::size_t total)
    : leases(executor, for_leases(options, split(total).leases)),
      work(executor, named("work", options, split(total).work)),
      changing(executor, for_changing(options, split(total).changing)),
      asking(executor, for_asking(options, split(total).asking)),
      building(executor, named("building", options, 1)) {}

std::size_t Pools::in_use() const {
  return leases.in_use() + work.in_use() + changing.in_use() + asking.in_use() + building.in_use();
}

void Pools::close() {
  for (Pool* pool : {&leases, &work, &changing, &asking, &building}) pool->close();
}

}  // namespace sluice::pg
