// Small writes of own entities, gathered: what waits for the feed's head anyway waits once.
#pragma once

#include <memory>

#include "base/async.hpp"
#include "model/own_entities.hpp"
#include "pg/pool.hpp"

namespace sluice::model {

/// Transactions of one workspace commit one after the other, since each has the feed's head until
/// its flush is done. Writers that come while one is under way therefore go together in the next:
///
///   (nobody is under way) --write--> under way at once, alone --commit--> its own answer
///                                         \ who comes meanwhile --> all in one transaction …
///
/// Who comes waits for nobody else: not for one that has been under way for kTurnMax. In a
/// transaction of several none may wait for longer than kLockPatience for a row that somebody
/// keeps. When one fails at the database nothing of it is stored, and each goes on alone, at once,
/// on a connection of its own: so each has its own answer, and an answer "done" comes after the
/// commit. An error that says nothing of any single write (no connection, the head is busy, an
/// unknown outcome) is everybody's.
///
/// One a host, owned by main; one loop. Connections are the workspaces' shares of `pool`.
class GatheredWrites {
 public:
  static constexpr std::size_t kGroupMax = 32;  ///< writes in one transaction
  static constexpr std::chrono::milliseconds kTurnMax{20};
  static constexpr std::chrono::milliseconds kLockPatience{50};

  explicit GatheredWrites(pg::Pool& pool);
  ~GatheredWrites();

  /// write_own of one row. `item.type` is one of `catalog`; holding a connection is not allowed.
  Task<OwnOutcome> write(CatalogPtr catalog, OwnItem item);

 private:
  struct Member;
  struct Line;
  struct State;
  std::shared_ptr<State> state_;  ///< of the calls under way, too
};

}  // namespace sluice::model
