// One page of records becomes one transaction: validated, compared, written, with its link keys,
// changes, notices and checkpoint, or not at all.
#pragma once

#include <memory>

#include "base/async.hpp"
#include "ingest/page.hpp"
#include "pg/pool.hpp"

namespace sluice::ingest {

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

/// The writer of one host loop. Remembers how the rows of each connection's types are written best
/// (Strategy).
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
