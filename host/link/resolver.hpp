// Joins entities by their link keys, after the transactions that wrote them have committed.
#pragma once

#include <cstdint>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"

namespace sluice::link {

inline constexpr int kQueueRowsMax = 2'000;  ///< queue rows of one transaction
inline constexpr int kInlineSourcesMax =
    100;  ///< a key with more sources is taken apart: see Resolver
/// Decisions of people on targets with one key; more are not looked at when the key comes or goes.
inline constexpr int kDecidedSourcesMax = 10'000;
/// In place of a key's kind in a queue row: an end of a decided link came, went or is to be looked
/// at again.
inline constexpr int kEndChanged = 0;
inline constexpr int kCandidatesShown = 20;
inline constexpr int kCandidatesCounted = 1'000;  ///< beyond it a contested link counts no further

struct ResolveCounts {
  std::int64_t queue_rows = 0;  ///< taken off the queue; 0: nothing to do
  std::int64_t pairs = 0;       ///< (rule, source) looked at
  std::int64_t linked = 0, pending = 0, contested = 0, inactive = 0, removed = 0;  ///< written
  std::int64_t enqueued = 0;  ///< sources of keys that have too many for one transaction
  ResolveCounts& operator+=(const ResolveCounts& other);
};

/// Works off sluice.link_queue, one transaction a call; one loop, no state of its own. Whoever
/// holds the workspace's lease "link" calls run_once until queue_rows is 0, and again when ingest
/// wrote keys.
///
/// A queue row says that an entity gained or lost a key. Affected is then that entity as a source
/// of its rules, and, as a target, each source that holds the key. Every affected (rule, source) is
/// decided anew from what is committed now, so that doing it twice, or in another order, ends the
/// same:
///   0 candidates  pending        more than 1  contested, never guessed
///   1             linked
/// What people decided (link/said.hpp; sync/link_decisions.hpp writes it) comes before that:
///   confirmed     whoever it names, with or without a key; pending while that one is deleted
///   rejected      nobody, or nobody but those that are not rejected
///   either        inactive while its source is deleted
/// A target that was deleted and made again, so with another id, is known by the key it had. An end
/// that goes or comes back puts itself into the queue (migration 0035), as it may have no key. Who
/// decides locks the epoch of the lease for himself, so that no resolver is between its look and
/// its commit.
/// A link's evidence says by which rule and attributes, and with `only_after_folding` whether the
/// two values are written differently. A source without the key has no row; a deleted source is
/// 'inactive'. A key with more than kInlineSourcesMax sources is taken apart: its sources go back
/// into the queue as rows of their own, once for however many targets arrive before the first of
/// them is taken (sluice.link_spread).
///
/// Throws Failure(cancelled, "lease.lost") when the lease has another epoch, and
/// Failure(retry_later, "catalog.changed") when the workspace has another catalogue than the one
/// given: nothing was written, and nothing taken off the queue.
class Resolver {
 public:
  explicit Resolver(pg::Pool& pool) : pool_(pool) {}
  /// Of the lease's workspace.
  Task<ResolveCounts> run_once(model::CatalogPtr catalog, pg::LeaseProof lease);

 private:
  pg::Pool& pool_;
};

/// run_once by what the host remembers of the catalogue, and again by a fresh one when that was
/// old.
Task<ResolveCounts> resolve_some(Resolver& resolver, model::Catalogs& catalogs,
                                 pg::LeaseProof lease);

}  // namespace sluice::link
