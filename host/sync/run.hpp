// One session from its first step to its end: the vendor's answers in, pages into the store.
#pragma once

#include <functional>
#include <string>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "connector/session.hpp"
#include "contract/exchange.hpp"
#include "fetch/client.hpp"
#include "ingest/writer.hpp"

namespace sluice::sync {

/// How a session ended. `failure` is set unless it is done.
struct SessionEnd {
  std::optional<contract::ConnectorFailure> failure;
  std::optional<std::string> result_json;  ///< of CHECK and DISCOVER
  ingest::PageCounts counts;
  std::int64_t pages = 0;
  std::int64_t requests = 0;
  std::int64_t bytes = 0;
  [[nodiscard]] bool done() const { return !failure.has_value(); }
};

/// Where a session's pages go. A CHECK has none.
class PageSink {
 public:
  virtual ~PageSink() = default;
  /// Stores the page with its effects in one transaction. `last` when the session is done with it.
  virtual Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                         bool last) = 0;
};

/// Everything a session needs; references live until run_session returns.
struct SessionRun {
  connector::Session& session;
  fetch::Client& client;
  const fetch::SendContext& send;
  PageSink* sink = nullptr;
  const Clock& clock;
  Entropy& entropy;
  std::uint32_t checkpoint_format = 0;
  std::function<bool()> stopping;  ///< asked after each page; true ends the session by CANCEL
};

inline constexpr int kOutstandingMax = 16;  ///< "sync.too_many_requests"
inline constexpr int kIdleStepsMax =
    10'000;  ///< steps without a request or a record: "sync.no_progress"

/// Drives the session. The next request is on its way to the vendor while the page before is
/// written. Throws what the writer throws (pg::QueryError, Failure "lease.lost"): what was written
/// by then stays, and the checkpoint in the store says from where to go on.
Task<SessionEnd> run_session(SessionRun run);

}  // namespace sluice::sync
