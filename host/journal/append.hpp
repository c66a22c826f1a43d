// How a transaction tells what it changed: one call, as its last statement before the commit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"

namespace sluice::journal {

/// sluice.append_changes and sluice.append_change_parts (migration 0041). They lock the workspace's
/// head row until the commit, so nothing that locks anything may be sent behind them, and a
/// transaction that tells changes at several places collects them and tells them once. They wait at
/// most 20 s for the head, and then fail (is_busy); a host that froze with the head in its
/// hands is ended before (journal/frozen.hpp), so that whoever it is that has it works, or is none
/// of ours.
extern const pg::Statement kAppend;
extern const pg::Statement kAppendParts;
/// Puts changes aside, within their transaction, for kAppendParts.
extern const pg::Statement kPutPart;

/// That an append waited for the head in vain, whatever else of its transaction has a limit, too.
[[nodiscard]] bool is_busy(const pg::QueryError& error);

/// Where changes come from.
struct Source {
  WorkspaceId workspace;
  ConnectionId connection;  ///< 0: none
  RunId run;                ///< 0: none
};

/// Changes in the order in which they are told.
class Changes {
 public:
  /// `changed` is JSON, {"attribute": [before, after]}; empty: null. `vendor_at`: when it happened
  /// at the vendor; none: not known, or not of a vendor.
  void add(std::int64_t type, std::int64_t entity, std::string_view op,
           std::string_view external_id, std::string_view changed,
           std::optional<Micros> vendor_at = {});
  [[nodiscard]] bool empty() const { return entities_.size() == 0; }
  [[nodiscard]] std::size_t size() const { return entities_.size(); }

  /// Both leave no changes here; without any, nothing is sent.
  void append_to(pg::Pipeline& pipeline, const Source& source);
  void put_aside(pg::Pipeline& pipeline, const Source& source);

 private:
  [[nodiscard]] pg::Params take(pg::Params params);
  pg::Array types_{pg::Oid::int8}, entities_{pg::Oid::int8}, ops_{pg::Oid::text},
      ids_{pg::Oid::text}, changed_{pg::Oid::jsonb}, vendor_times_{pg::Oid::timestamptz};
};

/// "feed.busy", retry_later, for a transaction that is_busy ended: says which session
/// holds the workspace's head, and since when. Asks on the connection of that transaction, which it
/// rolls back. Throws pg::QueryError.
Task<Error> who_holds_the_head(pg::Connection& connection, WorkspaceId workspace);

/// What `telling` returns and throws; where that is_busy, Failure("feed.busy") instead.
/// `telling` holds a transaction of this connection, and ends with it.
template <class T>
Task<T> or_feed_busy(pg::Connection& connection, WorkspaceId workspace, Task<T> telling) {
  try {
    co_return co_await std::move(telling);
  } catch (const pg::QueryError& error) {
    if (!is_busy(error)) throw;
  }
  Error busy = co_await who_holds_the_head(connection, workspace);  // never inside a handler
  throw Failure(std::move(busy));
}

}  // namespace sluice::journal
