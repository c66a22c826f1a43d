// What a complete enumeration did not show: gone at the vendor, or only not listed?
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "ingest/writer.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"
#include "sync/bury.hpp"

namespace sluice::sync {

/// More than this share of a type's entities is not deleted without a person's yes, unless it is a
/// handful.
struct ReconcileLimits {
  double delete_share_max = 0.2;  ///< "sync.delete_percent_max"
  std::int64_t always_allowed = 20;
};

/// A stream's enumeration, from sluice.stream.
struct Enumeration {
  std::string stream;
  std::int64_t number = 0;
  bool confirmed = false;  ///< a person said yes to what the limits had stopped
};

struct ReconcileOutcome {
  bool blocked = false;
  bool finished = true;        ///< false: go_on ended it; it is as due as before
  std::int64_t missing = 0;    ///< were not in the list, when it was compared
  std::int64_t looked_up = 0;  ///< put on the refetch list: the vendor's answer decides
  std::int64_t deleted = 0;
  std::string reason;  ///< when blocked, in words
};

/// Compares what is stored with the ids that the enumeration's pages held (sluice.seen), for the
/// types that the stream `enumerates`. Only a complete enumeration is ever compared
/// (stream.reconcile = 'due', set with the last page), so a run that failed deletes nothing.
/// An entity that was stored or changed since the enumeration began is not missed by it.
///
/// What is missing is asked for again one by one where the connector can FETCH, because a list may
/// leave out what still exists; where it cannot, it is deleted. When too many are missing nothing
/// happens but that the stream says so and waits ('blocked'). After a person's yes ('confirmed')
/// what that said is deleted without asking the vendor; it comes back when the vendor lists it
/// again.
///
/// Afterwards the stream's `reconcile` is 'none' and its ids are dropped. Safe to begin again after
/// a crash. What it writes, it writes under the connection's lease, and of this enumeration only;
/// throws what pg, the fence and the writer throw.
Task<ReconcileOutcome> reconcile(const Store& store, const ingest::PageContext& context,
                                 Enumeration enumeration, ReconcileLimits limits,
                                 const std::function<bool()>& go_on);

/// Begins an enumeration, in one transaction under the lease: a new number, no checkpoint, and
/// whether ids are to be kept (there are entities that could be missed). Ids of earlier
/// enumerations are dropped. The stream's `reading` rises, so that no page of another run, of
/// whichever host, says anything of this one.
struct BegunEnumeration {
  std::int64_t number = 0;
  std::int64_t reading = 0;
  bool recording = false;
  bool trusts_vendor = false;  ///< asked for until now: what is asked from now on begins another
};
Task<BegunEnumeration> begin_enumeration(const Store& store, pg::LeaseProof lease,
                                         ConnectionId connection,
                                         const contract::Manifest& manifest, std::string stream);

}  // namespace sluice::sync
