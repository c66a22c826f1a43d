#include "feed/upkeep.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"

namespace sluice::feed {
namespace {

constexpr std::chrono::minutes kLookInterval{1};
constexpr std::chrono::seconds kReconnectPause{1};

const pg::Statement kEnsure{"feed_ensure_partitions",
                            "select sluice.ensure_change_partitions($1::int)"};

// By their bounds, "FOR VALUES FROM ('…') TO ('…')"; the default one has none.
const pg::Statement kEnded{
    "feed_ended_partitions",
    "select p.name, p.ends from (select i.inhrelid::regclass::text as name, "
    "substring(pg_get_expr(c.relpartbound, c.oid) from $re$TO \\('([^']+)'\\)$re$)::timestamptz as "
    "ends from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = "
    "'sluice.change'::regclass) p where p.ends <= $1 order by p.ends"};

const pg::Statement kForget{"feed_forget_partition",
                            "select sluice.forget_change_partition($1::text::regclass)"};

const pg::Statement kCheckOrigin{"feed_check_origin", "select sluice.check_feed_origin()"};

const pg::Statement kBegin{"feed_begin_generation", "select sluice.begin_generation($1::text)"};

Task<void> look_after(pg::Connection& connection) {
  co_await check_origin(connection);
  co_await ensure_partitions(connection);
}

/// Until the connection breaks.
Task<void> keep_on(pg::Connection& connection, bool& failing) {
  for (;;) {
    co_await look_after(connection);
    failing = false;
    // Nobody notifies: this only notices at once when the connection breaks.
    co_await connection.wait_for_notification(kLookInterval);
  }
}

Task<void> connect_and_keep_on(Executor executor, pg::ConnectOptions options, bool& failing) {
  const auto connection = co_await pg::Connection::connect(executor, std::move(options));
  co_await keep_on(*connection, failing);
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

Task<void> keep_feed(Executor executor, pg::ConnectOptions options) {
  asio::steady_timer pause(executor);
  bool failing = false;  // said once, until it works again
  for (;;) {
    try {
      co_await connect_and_keep_on(executor, options, failing);
    } catch (const pg::QueryError& error) {
      if (error.kind() == ErrorKind::cancelled) throw;
      if (!failing) log::warning("feed.upkeep_failed", {{"error", error.what()}});
      failing = true;
    }
    pause.expires_after(kReconnectPause);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace sluice::feed
