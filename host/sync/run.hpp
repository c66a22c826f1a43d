// One session from its first step to its end: the vendor's answers in, pages into the store.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/async.hpp"
#include "base/at_work.hpp"
#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "connector/session.hpp"
#include "contract/exchange.hpp"
#include "fetch/client.hpp"
#include "ingest/writer.hpp"
#include "sync/page_budget.hpp"
#include "sync/step_pool.hpp"

namespace sluice::sync {

/// How a session ended. `failure` is set unless it is done.
struct SessionEnd {
  std::optional<contract::ConnectorFailure> failure;
  std::optional<std::string> result_json;  ///< of CHECK and DISCOVER
  std::string transport_error;    ///< of the last answer, when it was none; see contract::Response
  bool left_some_out = false;     ///< of a FETCH that is done: of some ids nothing was said
  bool unframed = false;          ///< an answer may have been cut (contract::Response::unframed)
  std::int64_t not_believed = 0;  ///< deletions that came of such an answer
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
  /// Called for one page after the other, each when the one before has been stored.
  virtual Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                         bool last) = 0;
  /// With what the next page can be checked ahead, on another thread and while the one before is
  /// stored; the answer comes back in effects.checked. Without a catalogue nothing is checked
  /// ahead.
  [[nodiscard]] virtual ingest::PageCheck check() const { return {}; }
};

/// Everything a session needs; references live until run_session returns.
struct SessionRun {
  std::shared_ptr<connector::Session> session;  ///< handed over: it is closed with the run
  fetch::Client& client;
  const fetch::SendContext& send;
  PageSink* sink = nullptr;
  const Clock& clock;
  Entropy& entropy;
  std::uint32_t checkpoint_format = 0;
  contract::Operation operation = contract::Operation::read;  ///< the session's
  /// All that it emits is as of its first request: a later one may fetch what the vendor made then.
  bool is_snapshot = false;
  std::function<bool()> stopping;  ///< asked after each step; true ends the session by CANCEL
  StepPool* steps = nullptr;       ///< nullptr: the session steps on the loop's thread
  StepOwner owner = {};            ///< whom a slow step is shown as
  PageBudget* pages = nullptr;     ///< nullptr: nothing bounds the pages in flight
  AtWork* at_work = nullptr;       ///< busy by the caller; not while the session waits
};

inline constexpr int kIdleStepsMax =
    10'000;  ///< steps without a request or a record: "sync.no_progress"

/// Opens a session, on one of the threads: that is the connector's code already. Errors: those of
/// ConnectorCode::open(); what StepPool::run_code() throws is thrown. A session must not be closed
/// on the loop, so it is to be handed to run_session() at once: also of a caller that was
/// cancelled, who hears of it there.
Task<Result<std::shared_ptr<connector::Session>>> open_session(
    StepPool& steps, std::shared_ptr<const connector::ConnectorCode> code,
    const contract::SessionArgs& args, StepOwner owner);

/// Drives the session, and closes it. While page N is written, the next request is at the vendor,
/// and page N+1 is stepped, checked and held:
///
///   vendor   | request 1 | request 2 | request 3 |
///   steps                | page 1    | page 2    | page 3 (held until page 2 is stored)
///   writer                           | page 1        | page 2        | page 3
///
/// A step's requests leave as soon as it has ended; its page is checked while they are answered.
/// So at most one page is written and one is stepped ahead. Pages are stored in their order, each
/// with the checkpoint that its step put out. A step that fails is discarded as a whole, but the
/// page before it is still stored; so is the page under way when `stopping` ends the session. A
/// page whose write fails takes the one that was stepped ahead of it with it.
///
/// An answer that may have been cut proves that what it shows is there, and nothing else: from the
/// first one on no complete set is taken at its word, a FETCH deletes nothing by it (an error
/// status, such as 404, still speaks for itself), and PageEffects::unframed says so with each page.
///
/// Throws what the writer throws (pg::QueryError, Failure "lease.lost"), and Failure(kStepGivenUp):
/// then a thread keeps the session; kStepsLost and kStepNotBegun: it got none. What was written by
/// then stays, and the checkpoint in the store says from where to go on. Returns and throws only
/// when nothing else of it is under way, no step, no write and no request; a cancelled caller's
/// page and requests are given up.
Task<SessionEnd> run_session(SessionRun run);

}  // namespace sluice::sync
