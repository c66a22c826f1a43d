#include "pg/pool.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <vector>

#include "base/check.hpp"
#include "base/log.hpp"

namespace sluice::pg {
namespace {

constexpr std::chrono::milliseconds kRollbackTimeout = 5s;

QueryError exhausted(std::size_t size, std::chrono::milliseconds waited) {
  Error error(ErrorKind::retry_later, "pool.exhausted",
              "all " + std::to_string(size) + " connections of the pool were in use for " +
                  std::to_string(waited.count()) + " ms",
              "raise the pool's size, or find who keeps connections");
  return QueryError(std::move(error), {}, {});
}

QueryError closed() {
  Error error(ErrorKind::cancelled, "pool.closed", "the connection pool is closed",
              "the host is stopping");
  return QueryError(std::move(error), {}, {});
}

}  // namespace

// Slots: each of the size_max is free, or counted in `taken` because a connection exists for it
// (idle, lent, being rolled back) or is being opened. Whoever waits is given an idle connection, or
// the right to open one in a slot that is already counted for him.
struct Pool::State : std::enable_shared_from_this<Pool::State> {
  struct Waiter {
    explicit Waiter(const Executor& executor) : timer(executor) {}
    asio::steady_timer timer;
    std::unique_ptr<Connection> connection;
    bool may_open = false;
  };

  State(Executor e, PoolOptions o) : executor(std::move(e)), options(std::move(o)) {}

  Task<std::unique_ptr<Connection>> acquire();
  Task<void> wait_in_line(std::shared_ptr<Waiter> waiter);
  Task<std::unique_ptr<Connection>> open_in_slot();
  std::unique_ptr<Connection> take_idle();
  void give_back(std::unique_ptr<Connection> connection);
  void lend_or_keep(std::unique_ptr<Connection> connection);
  void release_slot();
  void leave_line(const std::shared_ptr<Waiter>& waiter);
  static Task<void> roll_back(std::shared_ptr<State> state, std::unique_ptr<Connection> connection);
  void close();

  Executor executor;
  PoolOptions options;
  std::vector<std::unique_ptr<Connection>> idle;
  std::deque<std::shared_ptr<Waiter>> waiters;
  std::size_t taken = 0;
  bool is_closed = false;
};

Task<std::unique_ptr<Connection>> Pool::State::acquire() {
  if (is_closed) throw closed();
  if (waiters.empty()) {
    if (auto connection = take_idle()) co_return connection;
    if (taken < options.size_max) {
      ++taken;
      co_return co_await open_in_slot();
    }
  }
  auto waiter = std::make_shared<Waiter>(executor);
  waiters.push_back(waiter);
  co_await wait_in_line(waiter);
  if (waiter->connection) co_return std::move(waiter->connection);
  co_return co_await open_in_slot();
}

// Returns when the waiter was given something; whatever ends the wait otherwise takes it out of
// line.
Task<void> Pool::State::wait_in_line(std::shared_ptr<Waiter> waiter) {
  struct Leave {
    State& state;
    std::shared_ptr<Waiter> waiter;
    bool served = false;
    ~Leave() {
      if (!served) state.leave_line(waiter);
    }
  };
  Leave leave{*this, waiter};
  waiter->timer.expires_after(options.acquire_timeout);
  co_await waiter->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) {
    Error error(ErrorKind::cancelled, "pg.cancelled",
                "the wait for a database connection was cancelled");
    throw QueryError(std::move(error), {}, {});
  }
  if (is_closed) throw closed();
  if (!waiter->connection && !waiter->may_open)
    throw exhausted(options.size_max, options.acquire_timeout);
  leave.served = true;
}

void Pool::State::leave_line(const std::shared_ptr<Waiter>& waiter) {
  std::erase(waiters, waiter);
  if (waiter->connection) lend_or_keep(std::move(waiter->connection));
  if (std::exchange(waiter->may_open, false)) release_slot();
}

Task<std::unique_ptr<Connection>> Pool::State::open_in_slot() {
  struct Slot {
    State& state;
    bool filled = false;
    ~Slot() {
      if (!filled) state.release_slot();
    }
  };
  Slot slot{*this};
  ConnectOptions connect = options.connect;
  auto connection = co_await Connection::connect(executor, std::move(connect));
  slot.filled = true;
  co_return connection;
}

std::unique_ptr<Connection> Pool::State::take_idle() {
  while (!idle.empty()) {
    auto connection = std::move(idle.back());
    idle.pop_back();
    if (connection->still_open()) return connection;
    --taken;
  }
  return nullptr;
}

void Pool::State::release_slot() {
  if (waiters.empty() || is_closed) {
    --taken;
    return;
  }
  auto waiter = std::move(waiters.front());
  waiters.pop_front();
  waiter->may_open = true;
  waiter->timer.cancel();
}

void Pool::State::lend_or_keep(std::unique_ptr<Connection> connection) {
  if (!connection->usable() || is_closed) {
    connection.reset();
    release_slot();
    return;
  }
  connection->set_query_timeout(options.connect.query_timeout);
  if (waiters.empty()) {
    idle.push_back(std::move(connection));
    return;
  }
  auto waiter = std::move(waiters.front());
  waiters.pop_front();
  waiter->connection = std::move(connection);
  waiter->timer.cancel();
}

void Pool::State::give_back(std::unique_ptr<Connection> connection) {
  if (!connection->usable() || is_closed || !connection->in_transaction()) {
    lend_or_keep(std::move(connection));
    return;
  }
  auto job = roll_back(shared_from_this(), std::move(connection));
  asio::co_spawn(executor, std::move(job), asio::detached);
}

Task<void> Pool::State::roll_back(std::shared_ptr<State> state,
                                  std::unique_ptr<Connection> connection) {
  struct GiveBack {
    State& state;
    std::unique_ptr<Connection> connection;
    ~GiveBack() { state.lend_or_keep(std::move(connection)); }
  };
  GiveBack back{*state, std::move(connection)};
  try {
    back.connection->set_query_timeout(kRollbackTimeout);
    co_await back.connection->query("ROLLBACK");
  } catch (const Failure& failure) {
    // The connection is unusable now, so it is closed and the server rolls back.
    log::warning("pg.rollback_failed", {{"error", failure.what()}});
  }
}

void Pool::State::close() {
  is_closed = true;
  taken -= idle.size();
  idle.clear();
  for (const auto& waiter : waiters) waiter->timer.cancel();
}

Pool::Pool(Executor executor, PoolOptions options)
    : state_(std::make_shared<State>(std::move(executor), std::move(options))) {
  SLUICE_INVARIANT(state_->options.size_max > 0);
}

Pool::~Pool() { close(); }

Task<Pool::Lease> Pool::acquire() {
  const auto state = state_;
  auto connection = co_await state->acquire();
  co_return Lease(state, std::move(connection));
}

Task<QueryResult> Pool::query(std::string_view sql, Params params) {
  return query_text(std::string(sql), std::move(params));
}

Task<QueryResult> Pool::query_text(std::string sql, Params params) {
  const Lease lease = co_await acquire();
  co_return co_await lease->query(sql, std::move(params));
}

Task<QueryResult> Pool::query(const Statement& statement, Params params) {
  const Lease lease = co_await acquire();
  co_return co_await lease->query(statement, std::move(params));
}

Executor Pool::executor() const { return state_->executor; }

std::size_t Pool::in_use() const { return state_->taken - state_->idle.size(); }

void Pool::close() { state_->close(); }

Pool::Lease::Lease(std::shared_ptr<State> state, std::unique_ptr<Connection> connection)
    : state_(std::move(state)), connection_(std::move(connection)) {}

Pool::Lease::Lease(Lease&&) noexcept = default;

Pool::Lease::~Lease() {
  if (connection_) state_->give_back(std::move(connection_));
}

}  // namespace sluice::pg
