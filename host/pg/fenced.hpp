// The one way to write under a lease: a transaction that another holder of the lease cannot
// overtake.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"

namespace sluice::pg {

class Pool;

/// That this process held a lease, and when: each next holder has a higher epoch. Made by
/// sync::Leases.
struct LeaseProof {
  WorkspaceId workspace;
  std::string name;
  Epoch epoch;
};

/// What everything here throws when the lease has another epoch: Failure(cancelled, "lease.lost").
/// Nothing of the transaction is stored. Whoever meets it ends its work under that lease.
inline constexpr std::string_view kLeaseLost = "lease.lost";
[[nodiscard]] bool is_lease_lost(const Error& error);

/// A statement with its parameters, made by the owner of the table it writes.
struct Call {
  const Statement* statement = nullptr;
  Params params;
};

/// A transaction under a lease, on a connection that its user keeps for that long.
///
///   (nothing sent) --first statement--> BEGIN, guard, statement … --commit--> stored
///                                              \--0 rows: lease.lost      \--destroyed, rollback
///
/// The guard reads the lease's epoch FOR SHARE before anything is written, and keeps it locked to
/// the end. So
///   1. a transaction under an old epoch ends at its guard: nothing of it is ever written;
///   2. the epoch cannot rise while one is open, so what is committed was committed by the holder;
///   3. whoever takes an expired lease waits at that one row, and at no other, for what the former
///      holder left open, and may end it there (sync/lease.cpp).
/// Do not keep one open across a wait on a vendor.
///
/// Each statement is a pair of failpoints, fenced.before.<name> and fenced.after.<name> ("rows" for
/// statements without a name; "fence_begin", "fence_guard", "fence_copy" and "fence_commit" are its
/// own). While failpoints are armed every statement is a round trip of its own.
///
/// Not committed when destroyed: the pool rolls back. Throws QueryError as Connection does, and
/// lease.lost.
class Fenced {
 public:
  Fenced(Connection& connection, LeaseProof proof);
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  /// BEGIN and the guard, to add the first statements to: what a transaction's first run() begins
  /// with. They count among its results.
  [[nodiscard]] static constexpr std::size_t opening_steps() { return 2; }
  [[nodiscard]] Pipeline opening() const;
  /// All steps in one round trip; results in the order of the steps.
  Task<std::vector<QueryResult>> run(Pipeline pipeline);
  Task<QueryResult> query(Call call);
  Task<QueryResult> query(const Statement& statement, Params params);
  Task<QueryResult> query(std::string sql, Params params = {});
  /// `sql` is a COPY … FROM STDIN (FORMAT binary). Destroyed unfinished, the transaction is lost.
  Task<std::unique_ptr<CopyIn>> copy_in(std::string sql);
  /// The last steps and COMMIT in one round trip; begins with opening() when nothing was sent yet.
  /// QueryError(unknown_outcome) when the answer was lost.
  Task<std::vector<QueryResult>> commit(Pipeline last = {});
  /// For what was only a trial.
  Task<void> rollback();

  [[nodiscard]] const LeaseProof& proof() const { return proof_; }

 private:
  Task<std::vector<QueryResult>> send(Pipeline pipeline);
  Task<std::vector<QueryResult>> send_one_by_one(Pipeline pipeline);

  Connection& connection_;
  LeaseProof proof_;
  bool begun_ = false;
  bool ended_ = false;  ///< what would be sent now is in no transaction
};

/// Statements in one round trip, as a transaction of their own; results in their order.
Task<std::vector<QueryResult>> write_fenced(Pool& pool, LeaseProof proof, std::vector<Call> calls);
Task<QueryResult> write_fenced(Pool& pool, LeaseProof proof, Call call);

}  // namespace sluice::pg
