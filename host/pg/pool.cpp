#include "pg/pool.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/check.hpp"
#include "base/log.hpp"
#include "base/statement_fault.hpp"
#include "pg/operation.hpp"

namespace sluice::pg {
namespace {

constexpr std::chrono::milliseconds kRollbackTimeout = 5s;

QueryError exhausted(const PoolOptions& options) {
  Error error(ErrorKind::retry_later, "pool.exhausted",
              "none of the " + std::to_string(options.size_max) + " connections of the pool '" +
                  options.name + "' came free within " +
                  std::to_string(options.acquire_timeout.count()) + " ms",
              "raise database.pool_size, or find who keeps connections");
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
// Shares: what an owner has been given is counted from that moment until it is free again. One who
// has his full share waits although connections are idle; each that comes back lets one more go.
struct Pool::State : std::enable_shared_from_this<Pool::State> {
  struct Waiter {
    Waiter(const Executor& executor, std::int64_t owner_) : timer(executor), owner(owner_) {}
    asio::steady_timer timer;
    std::int64_t owner;
    std::unique_ptr<Connection> connection;
    bool may_open = false;
  };

  State(Executor e, PoolOptions o) : executor(std::move(e)), options(std::move(o)) {}

  Task<std::unique_ptr<Connection>> acquire(std::int64_t owner);
  Task<void> wait_in_line(std::shared_ptr<Waiter> waiter);
  Task<std::unique_ptr<Connection>> open_in_slot(std::int64_t owner);
  std::unique_ptr<Connection> take_idle();
  void give_back(std::unique_ptr<Connection> connection, std::int64_t owner);
  void lend_or_keep(std::unique_ptr<Connection> connection);
  void release_slot();
  void leave_line(const std::shared_ptr<Waiter>& waiter);
  static Task<void> roll_back(std::shared_ptr<State> state, std::unique_ptr<Connection> connection,
                              std::int64_t owner);
  void close();

  [[nodiscard]] std::size_t share_of(std::int64_t owner) const;
  [[nodiscard]] bool may_take(std::int64_t owner) const;
  /// Who of those that wait is next; end() when none may take one.
  std::deque<std::shared_ptr<Waiter>>::iterator next_in_line();
  std::shared_ptr<Waiter> call_next();
  void begin_share(std::int64_t owner);
  void end_share(std::int64_t owner);

  Executor executor;
  PoolOptions options;
  std::vector<std::unique_ptr<Connection>> idle;
  std::deque<std::shared_ptr<Waiter>> waiters;
  std::size_t taken = 0;
  std::unordered_map<std::int64_t, std::size_t> shares;  ///< by owner, of those who have any
  std::size_t shared_out = 0;                            ///< the sum of them
  bool is_closed = false;
};

std::size_t Pool::State::share_of(std::int64_t owner) const {
  const auto found = shares.find(owner);
  return found == shares.end() ? 0 : found->second;
}

bool Pool::State::may_take(std::int64_t owner) const {
  if (owner == 0) return true;
  if (options.share_max > 0 && share_of(owner) >= options.share_max) return false;
  return shared_out + options.kept_free < options.size_max;
}

std::deque<std::shared_ptr<Pool::State::Waiter>>::iterator Pool::State::next_in_line() {
  auto next = waiters.end();
  for (auto at = waiters.begin(); at != waiters.end(); ++at) {
    if (!may_take((*at)->owner)) continue;
    if (next == waiters.end() || share_of((*at)->owner) < share_of((*next)->owner)) next = at;
  }
  return next;
}

std::shared_ptr<Pool::State::Waiter> Pool::State::call_next() {
  const auto next = next_in_line();
  if (next == waiters.end()) return nullptr;
  auto waiter = std::move(*next);
  waiters.erase(next);
  begin_share(waiter->owner);
  waiter->timer.cancel();
  return waiter;
}

void Pool::State::begin_share(std::int64_t owner) {
  if (owner == 0) return;
  ++shares[owner];
  ++shared_out;
}

void Pool::State::end_share(std::int64_t owner) {
  if (owner == 0) return;
  const auto found = shares.find(owner);
  if (--found->second == 0) shares.erase(found);
  --shared_out;
}

Task<std::unique_ptr<Connection>> Pool::State::acquire(std::int64_t owner) {
  if (is_closed) throw closed();
  if (may_take(owner) && next_in_line() == waiters.end()) {
    if (auto connection = take_idle()) {
      begin_share(owner);
      co_return connection;
    }
    if (taken < options.size_max) {
      ++taken;
      begin_share(owner);
      co_return co_await open_in_slot(owner);
    }
  }
  auto waiter = std::make_shared<Waiter>(executor, owner);
  waiters.push_back(waiter);
  co_await wait_in_line(waiter);
  if (waiter->connection) co_return std::move(waiter->connection);
  co_return co_await open_in_slot(owner);
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
  if (!waiter->connection && !waiter->may_open) throw exhausted(options);
  leave.served = true;
}

void Pool::State::leave_line(const std::shared_ptr<Waiter>& waiter) {
  std::erase(waiters, waiter);
  if (!waiter->connection && !waiter->may_open) return;
  end_share(waiter->owner);
  if (waiter->connection) lend_or_keep(std::move(waiter->connection));
  if (std::exchange(waiter->may_open, false)) release_slot();
}

Task<std::unique_ptr<Connection>> Pool::State::open_in_slot(std::int64_t owner) {
  struct Slot {
    State& state;
    std::int64_t owner;
    bool filled = false;
    ~Slot() {
      if (filled) return;
      state.end_share(owner);
      state.release_slot();
    }
  };
  Slot slot{*this, owner};
  ConnectOptions connect = options.connect;
  auto connection = co_await Connection::connect(executor, std::move(connect));
  if (options.statement_timeout.count() > 0) {
    const std::string limit =
        "SET statement_timeout TO " + std::to_string(options.statement_timeout.count());
    co_await connection->query(limit);
  }
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
  const auto waiter = is_closed ? nullptr : call_next();
  if (waiter == nullptr) {
    --taken;
    return;
  }
  waiter->may_open = true;
}

void Pool::State::lend_or_keep(std::unique_ptr<Connection> connection) {
  if (!connection->usable() || is_closed) {
    connection.reset();
    release_slot();
    return;
  }
  connection->set_query_timeout(options.connect.query_timeout);
  const auto waiter = call_next();
  if (waiter == nullptr) {
    idle.push_back(std::move(connection));
    return;
  }
  waiter->connection = std::move(connection);
}

void Pool::State::give_back(std::unique_ptr<Connection> connection, std::int64_t owner) {
  if (!connection->usable() || is_closed || !connection->in_transaction()) {
    end_share(owner);
    lend_or_keep(std::move(connection));
    return;
  }
  auto job = roll_back(shared_from_this(), std::move(connection), owner);
  asio::co_spawn(executor, std::move(job), asio::detached);
}

Task<void> Pool::State::roll_back(std::shared_ptr<State> state,
                                  std::unique_ptr<Connection> connection, std::int64_t owner) {
  struct GiveBack {
    State& state;
    std::unique_ptr<Connection> connection;
    std::int64_t owner;
    ~GiveBack() {
      state.end_share(owner);
      state.lend_or_keep(std::move(connection));
    }
  };
  GiveBack back{*state, std::move(connection), owner};
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

Pool::Pool(std::shared_ptr<State> state, std::int64_t owner)
    : state_(std::move(state)), owner_(owner), is_share_(true) {}

Pool::~Pool() {
  if (!is_share_) close();
}

Pool Pool::share(std::int64_t owner) const { return Pool(state_, owner); }

Task<Pool::Lease> Pool::acquire(std::source_location where) {
  const auto state = state_;
  const std::int64_t owner = owner_;
  const void* flow = nullptr;
  if constexpr (kWatchesHolding) {
    flow = co_await this_flow();
    require_nothing_held(flow, state->options.name, where);
  }
  auto connection = co_await state->acquire(owner);
  if (failpoint::watches_statements()) {
    flow = co_await this_flow();
    Operation::lend(connection.get(), flow);
  }
  Hold hold(flow, state->options.name, where);
  co_return Lease(state, std::move(connection), owner, std::move(hold));
}

Task<QueryResult> Pool::query(std::string_view sql, Params params, std::source_location where) {
  return query_text(std::string(sql), std::move(params), where);
}

Task<QueryResult> Pool::query_text(std::string sql, Params params, std::source_location where) {
  const Lease lease = co_await acquire(where);
  co_return co_await lease->query(sql, std::move(params));
}

Task<QueryResult> Pool::query(const Statement& statement, Params params,
                              std::source_location where) {
  const Lease lease = co_await acquire(where);
  co_return co_await lease->query(statement, std::move(params));
}

Executor Pool::executor() const { return state_->executor; }

const std::string& Pool::name() const { return state_->options.name; }

std::size_t Pool::in_use() const { return state_->taken - state_->idle.size(); }

void Pool::close() { state_->close(); }

Pool::Lease::Lease(std::shared_ptr<State> state, std::unique_ptr<Connection> connection,
                   std::int64_t owner, Hold hold)
    : state_(std::move(state)),
      connection_(std::move(connection)),
      owner_(owner),
      hold_(std::move(hold)) {}

Pool::Lease::Lease(Lease&&) noexcept = default;

Pool::Lease::~Lease() {
  if (connection_) state_->give_back(std::move(connection_), owner_);
}

}  // namespace sluice::pg
