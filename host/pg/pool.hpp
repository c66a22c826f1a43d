// Connections, lent one user at a time.
#pragma once

#include <memory>

#include "base/async.hpp"
#include "pg/connection.hpp"

namespace sluice::pg {

struct PoolOptions {
  ConnectOptions connect;
  std::size_t size_max = 16;
  std::chrono::milliseconds acquire_timeout = 30s;  ///< "pool.exhausted" after it
};

/// A fixed number of connections, opened when first needed. Owned by main; lives on one loop and
/// outlives every lease. A broken connection is replaced, also one that the server closed while it
/// was idle; one left inside a transaction is rolled back. A changed query timeout is set back;
/// other session state (SET, LISTEN) is not: undo it, or keep such a connection outside the pool.
class Pool {
 public:
  class Lease;
  Pool(Executor executor, PoolOptions options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Waits in order of arrival. Throws QueryError(retry_later, "pool.exhausted") when none came
  /// free in time, QueryError(cancelled, "pool.closed"), and what Connection::connect throws.
  Task<Lease> acquire();
  /// acquire() and one query.
  Task<QueryResult> query(std::string_view sql, Params params = {});
  Task<QueryResult> query(const Statement& statement, Params params = {});

  [[nodiscard]] Executor executor() const;
  [[nodiscard]] std::size_t in_use() const;
  /// Refuses further acquires and closes idle connections. Leases end as they are returned.
  void close();

 private:
  struct State;
  Task<QueryResult> query_text(std::string sql, Params params);
  std::shared_ptr<State> state_;
};

/// Returns its connection when destroyed.
class Pool::Lease {
 public:
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) = delete;
  ~Lease();
  Connection& operator*() const { return *connection_; }
  Connection* operator->() const { return connection_.get(); }

 private:
  friend class Pool;
  friend struct Pool::State;
  Lease(std::shared_ptr<State> state, std::unique_ptr<Connection> connection);
  std::shared_ptr<State> state_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace sluice::pg
