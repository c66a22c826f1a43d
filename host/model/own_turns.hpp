// Two batches of one import at a time: the second is stored while the first is, and told behind it.
#pragma once

#include <functional>
#include <vector>

#include "base/async.hpp"
#include "model/own_entities.hpp"
#include "model/prepared_row.hpp"

namespace sluice::model {

/// Where a batch stands between the one before and the one behind it:
///
///   looked up and locked --locked()--> written --before_telling()--> told in the feed, committed
///
/// The next one may begin at locked(): then the first does not wait for a lock of the second, as
/// long as no value of a unique attribute is in both. It may wait for somebody's who waits for one
/// of the second, which PostgreSQL cannot see, since the second waits here and not there. So
/// before_telling() does not wait for long: true when the one before is committed, false when it is
/// not yet. Then all that is held is let go, before_again() comes back when the one before is
/// committed, and it is written again. Both throw when that one was not. The order of the feed is
/// that of the file.
struct OwnTurns {
  std::function<void()> locked;
  std::function<Task<bool>()> before_telling;
  std::function<Task<void>()> before_again;
};

/// write_own() of a batch that has others beside it.
Task<std::vector<OwnOutcome>> write_own_in_turn(pg::Connection& connection, WorkspaceId workspace,
                                                const StoredType& type,
                                                std::vector<PreparedRow> rows, OwnWrite write,
                                                OwnTurns turns);

}  // namespace sluice::model
