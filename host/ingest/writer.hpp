// One page of records becomes one transaction: validated, compared, written, with its link keys,
// changes, notices and checkpoint, or not at all.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "model/catalog.hpp"
#include "pg/pool.hpp"

namespace sluice::ingest {

/// What a page belongs to. References live as long as the call.
struct PageContext {
  WorkspaceId workspace;
  ConnectionId connection;
  RunId run;
  std::string stream;      ///< "" for a refetch
  std::string lease_name;  ///< the lease under which the run works
  Epoch epoch;             ///< the page is refused when the lease has another one
  const contract::Manifest* manifest = nullptr;
  model::CatalogPtr catalog;
};

/// A page that was checked ahead of its turn: what Writer::write needs of it and of no database.
/// For one write; a page that is written again is checked again.
class CheckedPage;

/// Checks pages on any thread, also while the one before is written. Holds what it needs; the
/// manifest must outlive what it makes. The page may be moved afterwards, not changed.
struct PageCheck {
  const contract::Manifest* manifest = nullptr;
  model::CatalogPtr catalog;
  /// Rows of these types are also made ready to be copied; see Writer::check.
  std::vector<EntityTypeId> copied;
  WorkspaceId workspace{};
  ConnectionId connection{};
  /// nullptr when there is nothing to check, or when it cannot be done (Writer::write then says
  /// why).
  [[nodiscard]] std::shared_ptr<CheckedPage> operator()(const contract::Page& page) const;
};

/// Why an object is read again, by its id.
struct Wish {
  std::optional<Micros> noticed_at;  ///< the vendor said that it changed, then
  RunId for_run;                     ///< a reconcile that missed it asks; 0: none
};
/// What a run of look-ups asked for, of one type.
struct Wishes {
  std::uint32_t type = 0;  ///< index into the manifest's entity types
  std::map<std::string, Wish, std::less<>> by_id;
};

/// What the same transaction also does.
struct PageEffects {
  std::optional<std::string> checkpoint;  ///< replaces the stream's
  std::uint32_t checkpoint_format = 0;
  bool snapshot_done = false;  ///< the stream's snapshot is complete with this page
  /// The run is over with this page: so say its row and the stream's, and when the stream is due
  /// next. What asked for a change or poll stream after the run began is kept: it stays due.
  bool last = false;
  bool keeps_reason = false;  ///< with `last`: what was wrong with the stream is not over
  /// With the first checkpoint of a change stream: what the connection's snapshots read before may
  /// have changed since, so all of them are read again, and say this.
  std::string snapshots_again;
  /// The stream's number as the run began (sluice.stream.reading). When it has another meanwhile,
  /// it is to be read from its start: the page's records are stored, but nothing is said of the
  /// stream, and PageCounts::superseded is true. Without a value nothing is compared.
  std::optional<std::int64_t> reading;
  std::int64_t requests = 0;  ///< added to the run's counts
  std::int64_t bytes = 0;
  std::int64_t vendor_total = 0;
  /// When the request was sent whose answer this is, ms since the epoch; stands in for the version
  /// of records that have none. 0: no order. Never goes back within a lease's epoch: see Writer.
  std::int64_t observed_version = 0;
  /// The stream's enumeration whose ids are kept, to find afterwards what the vendor no longer
  /// lists (sync/reconcile.hpp). 0: none are kept.
  std::int64_t enumeration = 0;
  /// What the records say counts even where their source_version is lower than the row's. What is
  /// newer by the order of answers still stays.
  bool trust_vendor = false;
  /// An answer of the run may have been cut (contract::Response::unframed): what the enumeration
  /// did not show is not missing, and nothing is compared when it ends.
  bool unframed = false;
  /// Refetch rows that this page answers: removed when their generation is still the one that was
  /// read.
  struct Answered {
    std::string type;  ///< without the connector's prefix
    std::string external_id;
    std::int64_t generation = 0;
  };
  /// Their quarantine rows leave too, unless this run refused or noted the object again.
  std::vector<Answered> answered;
  /// What the page answers; nullptr: nobody asked for single objects. Lives as long as the call.
  const Wishes* wishes = nullptr;
  /// The same page, checked with the same manifest and catalogue; else it is checked now.
  std::shared_ptr<CheckedPage> checked;
};

struct PageCounts {
  std::int64_t records = 0, inserted = 0, updated = 0, unchanged = 0, deleted = 0, quarantined = 0,
               notices = 0;
  std::int64_t older = 0;   ///< left aside: the stored row has a higher source_version
  bool superseded = false;  ///< see PageEffects::reading
  PageCounts& operator+=(const PageCounts& other);
};

// What is newer. Two lanes of one connection write side by side, so pages commit in another order
// than the vendor answered them.
//   1. A record changes a row (or restores it, or deletes it, also as what a complete set lacks)
//      only when it is not older. Equal by both measures of 2 is not older.
//   2. Which is older is told by the vendor's version, where record and row have one; by
//      observed_version where they have none, where it is equal, and against a deletion.
//   3. Observed times are compared within one epoch of the lease only: the answers of an older
//      epoch can no longer commit, so whatever comes is newer than theirs, and the clocks of two
//      hosts never meet.
//   4. Within an epoch the caller never lets the time go back, as a clock that is set back would:
//      he derives it from a steady clock.
//
// What this does not cover, because an answer that changes nothing writes nothing:
//   A-B-A                 The row holds A, seen at 1. A page with B, seen at 2, is on its way; an
//                         answer seen at 3 says A again and is unchanged, so the row stays at 1;
//                         now B commits. The row holds B until it is read again. It takes a value
//                         that goes to and fro at the vendor while one page is on its way; the
//                         price of closing it would be a write for each unchanged row of each
//                         snapshot.
//   A row that never was  A deletion seen at 3 of an object without a row stores nothing; a page
//                         that saw the object at 2 and commits later inserts it. The next snapshot
//                         or complete set puts that right.

// When a change happened at the vendor (feed::Change::vendor_at), the first of these that there is:
//   what the record says in the attribute of format "modified_at"
//   the last notice of the object, where it is read again for that
//   of an insert: what it says in the attribute of format "created_at"
// What is gone because a complete set or a complete read lacks it, and children of what is gone,
// have none: the vendor said nothing of when.

/// How rows that were there were met, since the start.
struct WriterStats {
  std::int64_t found_near = 0;  ///< and the same, by the range of their ids
  std::int64_t looked_up = 0;   ///< each by its external id
};

/// The writer of one host loop. Remembers per (connection, type) how its pages are met best:
///   copy    there was no row when we first looked: pages go straight into the table by COPY, with
///           ids taken from the sequence beforehand, until one holds a row that is there already
///           (then the page is written again by the way below)
///   insert  the last page was mostly new: inserted without a look, what is there already is left
///   look    mostly known: which rows differ? Where many of a page's rows were stored one after the
///           other, as a vendor lists them, they are read by the range of their ids; the rest, and
///           pages that are too scattered, by their external ids
/// Throws:
///   Failure(cancelled, "lease.lost")         another host has the lease; nothing was written
///   Failure(retry_later, "catalog.changed")  the context's catalogue is an older one than the
///                                            database's; nothing was written: again, with
///                                            Catalogs::renewed()
///   pg::QueryError                           as pg/ says; unknown_outcome: the page may be stored;
///                                            writing it again is harmless
class Writer {
 public:
  explicit Writer(pg::Pool& pool);
  ~Writer();
  Task<PageCounts> write(const PageContext& context, const contract::Page& page,
                         PageEffects effects);
  /// For the next page of the same context, with what is known of its types by now.
  [[nodiscard]] PageCheck check(const PageContext& context) const;
  [[nodiscard]] const WriterStats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::ingest
