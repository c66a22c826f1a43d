// Soft-deleting what is stored, through the one way in which anything is written.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "base/async.hpp"
#include "ingest/writer.hpp"
#include "pg/fenced.hpp"
#include "sync/services.hpp"

namespace sluice::sync {

/// Of the services, those that reach what is stored.
struct Store {
  pg::Pool& pool;
  const Clock& clock;
  model::Catalogs& catalogs;
  ingest::Writer& writer;
};

/// What opens a pg::Fenced for what belongs to the page's run.
[[nodiscard]] pg::LeaseProof proof_of(const ingest::PageContext& context);

inline constexpr int kBuryBatch = 1000;  ///< rows a page of deletions

/// One page that deletes these entities: their changes, link keys and lease check as for any page.
/// `type` is an index into the context's manifest; `ids` without repetition, at most kBuryBatch.
/// What is deleted already, or unknown, is left alone. Throws what the writer throws.
Task<ingest::PageCounts> bury(const Store& store, const ingest::PageContext& context,
                              std::uint32_t type, std::span<const std::string> ids);

/// Every living entity of the connection, type by type, in pages. Can be stopped and begun again:
/// what is deleted stays deleted. False when `go_on` ended it early.
Task<bool> bury_everything(const Store& store, const ingest::PageContext& context,
                           const std::function<bool()>& go_on);

}  // namespace sluice::sync
