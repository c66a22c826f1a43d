#include "feed/upkeep.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"
#include "model/row_counts.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::feed {
namespace {

constexpr std::chrono::minutes kLookInterval{1};
constexpr std::chrono::seconds kReconnectPause{1};
/// Each try may keep who writes waiting for two seconds.
constexpr std::chrono::hours kForgetInterval{1};

const pg::Statement kEnsure{"feed_ensure_partitions",
                            "select sluice.ensure_change_partitions($1::int)"};

// By their bounds, "FOR VALUES FROM ('…') TO ('…')"; the default one has none.
const pg::Statement kEnded{
    "feed_ended_partitions",
    "select p.name, p.ends from (select i.inhrelid::regclass::text as name, "
    "substring(pg_get_expr(c.relpartbound, c.oid) from $re$TO \\('([^']+)'\\)$re$)::timestamptz as "
    "ends from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = "
    "'sluice.change'::regclass) p where p.ends <= $1 order by p.ends"};

const pg::Statement kKeptFrom{"feed_kept_from", "select now() - $1 * interval '1 day'"};

const pg::Statement kForget{"feed_forget_partition",
                            "select sluice.forget_change_partition($1::text::regclass)"};

const pg::Statement kCheckOrigin{"feed_check_origin", "select sluice.check_feed_origin()"};

const pg::Statement kBegin{"feed_begin_generation", "select sluice.begin_generation($1::text)"};

struct Upkeep {
  std::chrono::days kept;
  std::chrono::milliseconds head_patience;
  std::chrono::steady_clock::time_point forget_at;  ///< not before
  pg::SqlSessionWatch readers;
  bool failing = false;  ///< said once, until it works again
};

Task<void> forget_old(pg::Connection& connection, Upkeep& upkeep) {
  if (upkeep.kept.count() == 0 || std::chrono::steady_clock::now() < upkeep.forget_at) co_return;
  upkeep.forget_at = std::chrono::steady_clock::now() + kForgetInterval;
  pg::Params days(std::int64_t{upkeep.kept.count()});
  const auto end = co_await connection.query(kKeptFrom, std::move(days));
  try {
    co_await forget_partitions(connection, end.get<Micros>(0, 0));
  } catch (const pg::QueryError& error) {
    if (!connection.usable()) throw;
    log::warning("feed.partition_kept", {{"error", error.what()}});
  }
}

Task<void> look_after(pg::Connection& connection, Upkeep& upkeep) {
  co_await check_origin(connection);
  co_await ensure_partitions(connection);
  co_await model::fold_row_counts(connection);
  co_await forget_old(connection, upkeep);
}

/// Until the connection breaks.
Task<void> keep_on(pg::Connection& connection, Upkeep& upkeep) {
  auto next_look = std::chrono::steady_clock::now();
  for (;;) {
    // First, since a new generation waits at the heads as well.
    co_await journal::end_frozen_holders(connection, upkeep.head_patience);
    co_await upkeep.readers.look(connection);
    if (std::chrono::steady_clock::now() >= next_look) {
      co_await look_after(connection, upkeep);
      next_look = std::chrono::steady_clock::now() + kLookInterval;
    }
    upkeep.failing = false;
    // Nobody notifies: this only notices at once when the connection breaks.
    co_await connection.wait_for_notification(upkeep.head_patience / 5);
  }
}

Task<void> connect_and_keep_on(Executor executor, pg::ConnectOptions options, Upkeep& upkeep) {
  const auto connection = co_await pg::Connection::connect(executor, std::move(options));
  co_await keep_on(*connection, upkeep);
}

}  // namespace

Task<int> ensure_partitions(pg::Connection& connection, int months_ahead) {
  pg::Params params(static_cast<std::int32_t>(months_ahead));
  const auto rows = co_await connection.query(kEnsure, std::move(params));
  const int made = rows.get<int>(0, 0);
  if (made > 0) log::info("feed.partitions_made", {{"count", std::int64_t{made}}});
  co_return made;
}

Task<std::vector<std::string>> forget_partitions(pg::Connection& connection, Micros before) {
  pg::Params until(before);
  const auto ended = co_await connection.query(kEnded, std::move(until));
  std::vector<std::string> forgotten;
  for (int row = 0; row < ended.rows(); ++row) {
    std::string name = ended.get<std::string>(row, 0);
    pg::Params params(name);
    co_await connection.query(kForget, std::move(params));
    log::info("feed.partition_forgotten", {{"partition", name}});
    forgotten.push_back(std::move(name));
  }
  co_return forgotten;
}

Task<std::string> check_origin(pg::Connection& connection) {
  const auto rows = co_await connection.query(kCheckOrigin);
  std::string differs = rows.get<std::string>(0, 0);
  if (!differs.empty()) log::warning("feed.new_generation", {{"another", differs}});
  co_return differs;
}

Task<std::int64_t> begin_generation(pg::Connection& connection, std::string why) {
  pg::Params params(why);
  const auto rows = co_await connection.query(kBegin, std::move(params));
  co_return rows.get<std::int64_t>(0, 0);
}

Task<void> keep_feed(Executor executor, pg::ConnectOptions options, std::chrono::days kept,
                     std::chrono::milliseconds head_patience, pg::ReadersLimits readers) {
  asio::steady_timer pause(executor);
  Upkeep upkeep{.kept = kept,
                .head_patience = head_patience,
                .forget_at = {},
                .readers = pg::SqlSessionWatch(readers)};
  for (;;) {
    try {
      co_await connect_and_keep_on(executor, options, upkeep);
    } catch (const pg::QueryError& error) {
      if (error.kind() == ErrorKind::cancelled) throw;
      if (!upkeep.failing) log::warning("feed.upkeep_failed", {{"error", error.what()}});
      upkeep.failing = true;
    }
    pause.expires_after(kReconnectPause);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace sluice::feed
