// Does durable work, batch by batch.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "pg/fenced.hpp"
#include "work/queue.hpp"

namespace sluice::work {

/// A piece of work as its kind gets it.
struct Item {
  WorkspaceId workspace;
  WorkId id;
  std::string kind, subject;
  nlohmann::json task;
  nlohmann::json progress;  ///< what the batch before left; {} at first
  std::string actor;
  bool superseded = false;  ///< a later one of its kind and subject waits: that one does it all
};

/// What a batch did.
struct Batch {
  nlohmann::json progress = nlohmann::json::object();  ///< where the next one begins
  std::int64_t items = 0;                              ///< looked at by this one
  bool done = false;                                   ///< there is no next one
  /// Of a `done`: begin anew after so long, instead of being over.
  std::optional<std::chrono::seconds> again_in;
  pg::Pipeline guards;  ///< behind the batch's writes: what stops the commit
  pg::Pipeline last;    ///< behind everything else, directly before COMMIT
};

/// A kind of work. Stateless; owned by the runner; whatever a batch learns is in its Batch.
class Kind {
 public:
  Kind() = default;
  virtual ~Kind() = default;
  Kind(const Kind&) = delete;
  Kind& operator=(const Kind&) = delete;

  /// One batch, within a transaction that the runner commits together with the progress. Seconds at
  /// most. May throw: nothing of it is stored then, and it is tried again. `connection` is that of
  /// `fenced`, which has begun: for what only reads.
  virtual Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) = 0;
  /// What must not stand in a transaction, before the batch's begins; harmless to repeat.
  virtual Task<void> before(pg::Connection& connection, const Item& item) {
    (void)connection;
    (void)item;
    co_return;
  }
  /// A batch was refused with this SQLSTATE: true when it is to be done again at once, with what
  /// the kind knows by then.
  [[nodiscard]] virtual bool refused(std::string_view sqlstate) const {
    (void)sqlstate;
    return false;
  }
};

/// A kind whose work is all in `before`: in transactions of its own, or in none.
class Outside : public Kind {
 public:
  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) final {
    (void)connection;
    (void)fenced;
    (void)item;
    Batch batch;
    batch.done = true;
    co_return batch;
  }
};

inline constexpr std::chrono::milliseconds kTurn{500};  ///< of one piece of work, while others wait
inline constexpr int kRefusalsMax = 10;                 ///< of one batch in a row

/// Works off sluice.work of a workspace, for whoever holds its lease "work": the pieces take turns,
/// each in batches of one transaction, which stores what the batch did, how far the work is, and
/// that the lease is still held. Killed anywhere, it goes on with the next batch. A piece that
/// fails is tried again after a growing pause and says why; it keeps nobody else. A kind that is
/// not known here is left to a host that knows it.
class Runner {
 public:
  Runner(pg::Pool& pool, std::map<std::string, std::unique_ptr<Kind>> kinds);

  /// The names of what is known here, as text[].
  [[nodiscard]] pg::Array kinds() const;

  /// One turn for each piece that is due in the lease's workspace. False: nothing was. Throws
  /// pg::kLeaseLost when the lease has another epoch, and what the pool throws while the database
  /// is away. `go_on` is asked between batches.
  Task<bool> run_once(pg::LeaseProof proof, std::function<bool()> go_on);

 private:
  Task<void> take_turn(pg::Connection& connection, Item item, pg::LeaseProof proof,
                       std::function<bool()> go_on);
  Task<bool> one_batch(pg::Connection& connection, Kind& kind, Item& item,
                       const pg::LeaseProof& proof);
  Task<void> failed(pg::Connection& connection, const Item& item, Error error,
                    pg::LeaseProof proof);

  pg::Pool& pool_;
  std::map<std::string, std::unique_ptr<Kind>> kinds_;
};

}  // namespace sluice::work
