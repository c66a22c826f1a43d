// What a page of records comes with, and what became of it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "model/catalog.hpp"

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
  /// Rows of these types are also made ready to be copied; see Writer::check().
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

/// How existing rows were found, since the process started.
struct WriterStats {
  std::int64_t found_near = 0;  ///< and the same, by the range of their ids
  std::int64_t looked_up = 0;   ///< each by its external id
};

}  // namespace sluice::ingest
