// Connections, lent one user at a time.
#pragma once

#include <memory>
#include <source_location>
#include <string>

#include "base/async.hpp"
#include "pg/connection.hpp"
#include "pg/holding.hpp"

namespace sluice::pg {

struct PoolOptions {
  std::string name = "work";  ///< what it is for, in errors
  ConnectOptions connect;
  std::size_t size_max = 16;
  std::chrono::milliseconds acquire_timeout = 30s;  ///< "pool.exhausted" after it
  /// The server ends a statement that takes longer ("pg.refused", 57014); zero: only the client's
  /// deadline does.
  std::chrono::milliseconds statement_timeout{0};
  std::size_t share_max = 0;  ///< connections that one owner's share has at a time; 0: no limit
  std::size_t kept_free = 0;  ///< connections that no share gets: for what is nobody's
};

/// A fixed number of connections, opened when first needed. Owned by main; lives on one loop and
/// outlives every lease. A broken connection is replaced, also one that the server closed while it
/// was idle; one left inside a transaction is rolled back. A changed query timeout is set back;
/// other session state (SET, LISTEN) is not: undo it, or keep such a connection outside the pool.
///
/// Whoever holds a lease must not ask for another, of this pool or any other (holding.hpp): pass
/// the connection on.
class Pool {
 public:
  class Lease;
  Pool(Executor executor, PoolOptions options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// The same connections as one owner among many gets them: `share_max` at a time, and of those
  /// who wait the owner that has the fewest is next. Not more than a name for the pool: make one
  /// for each request. `owner` 0 is nobody.
  [[nodiscard]] Pool share(std::int64_t owner) const;

  /// Waits in order of arrival. Throws QueryError(retry_later, "pool.exhausted") when none came
  /// free in time, QueryError(cancelled, "pool.closed"), and what Connection::connect throws.
  Task<Lease> acquire(std::source_location where = std::source_location::current());
  /// acquire() and one query.
  Task<QueryResult> query(std::string_view sql, Params params = {},
                          std::source_location where = std::source_location::current());
  Task<QueryResult> query(const Statement& statement, Params params = {},
                          std::source_location where = std::source_location::current());

  [[nodiscard]] Executor executor() const;
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] std::size_t in_use() const;
  /// Refuses further acquires and closes idle connections. Leases end as they are returned.
  void close();

 private:
  struct State;
  Pool(std::shared_ptr<State> state, std::int64_t owner);
  Task<QueryResult> query_text(std::string sql, Params params, std::source_location where);
  std::shared_ptr<State> state_;
  std::int64_t owner_ = 0;
  bool is_share_ = false;
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
  Lease(std::shared_ptr<State> state, std::unique_ptr<Connection> connection, std::int64_t owner,
        Hold hold);
  std::shared_ptr<State> state_;
  std::unique_ptr<Connection> connection_;
  std::int64_t owner_;
  Hold hold_;
};

}  // namespace sluice::pg
