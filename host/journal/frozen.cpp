#include "journal/frozen.hpp"

#include "base/log.hpp"

namespace sluice::journal {
namespace {

// Who waits for a row has a lock of the row itself, so as to be the next one, and waits for the
// transaction of the row's holder; those behind wait for that lock of the row. So the first in line
// knows the holder, and since when it waits for this one.
const pg::Statement kEndFrozen{"journal_end_frozen", R"(
  with locks as materialized (
    select l.pid, l.locktype, l.granted, l.database, l.relation, l.transactionid, l.waitstart
    from pg_locks l where l.locktype in ('tuple', 'transactionid'))
  select ended.pid, pg_terminate_backend(ended.pid), ended.client, ended.waited_ms
  from (
    select a.pid, coalesce(host(a.client_addr), 'a local socket') as client,
           max(extract(epoch from clock_timestamp() - waits.waitstart) * 1000)::bigint as waited_ms
    from locks first_in_line
    join locks waits on waits.pid = first_in_line.pid and waits.locktype = 'transactionid'
      and not waits.granted and waits.waitstart < clock_timestamp() - $1 * interval '1 millisecond'
    join locks held on held.locktype = 'transactionid' and held.granted
      and held.transactionid = waits.transactionid
    join pg_stat_activity a on a.pid = held.pid
    where first_in_line.locktype = 'tuple' and first_in_line.granted
      and first_in_line.relation = 'sluice.feed_head'::regclass
      and first_in_line.database = (select d.oid from pg_database d where d.datname = current_database())
      and a.datname = current_database() and a.usename = current_user
      and a.application_name like 'sluice%' and a.wait_event_type = 'Client'
    group by a.pid, a.client_addr offset 0) ended)"};

}  // namespace

Task<int> end_frozen_holders(pg::Connection& connection, std::chrono::milliseconds patience) {
  pg::Params params(static_cast<std::int64_t>(patience.count()));
  const pg::QueryResult ended = co_await connection.query(kEndFrozen, std::move(params));
  for (int row = 0; row < ended.rows(); ++row) {
    log::warning("feed.frozen_holder_ended", {{"backend", ended.get<std::int64_t>(row, 0)},
                                              {"ended", ended.get<bool>(row, 1)},
                                              {"client", ended.get<std::string>(row, 2)},
                                              {"waited_ms", ended.get<std::int64_t>(row, 3)}});
  }
  co_return ended.rows();
}

}  // namespace sluice::journal
