// What keeps the change feed going: its months, its heads, and whether it is still the same
// history.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "journal/frozen.hpp"
#include "pg/connection.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::feed {

inline constexpr int kMonthsAhead = 2;

/// Makes the partitions of `change` for this month and the next ones, where they are missing, and
/// moves into them what waits in the default one meanwhile. Returns how many it made. Throws
/// pg::QueryError(retry_later) when readers keep it waiting for two seconds: nothing is done then,
/// and nobody queues behind it; ask again.
Task<int> ensure_partitions(pg::Connection& connection, int months_ahead = kMonthsAhead);

/// Drops the months that ended before this time, oldest first, for all workspaces; their positions
/// are never given again, and cursors into them are answered "feed.expired". Waits like
/// ensure_partitions. Returns the partitions' names. A month of rows that are younger than their
/// partition's bounds say does not exist; what waits in the default partition is never dropped.
Task<std::vector<std::string>> forget_partitions(pg::Connection& connection, Micros before);

/// Compares server, timeline, database and table with what they were when a host last looked. Where
/// they differ, the rows have come here in another way than by being written, so every workspace
/// begins a new generation: cursors up to its last position go on, younger ones of before are told.
/// Returns what differs; empty when nothing does. Hosts do it one at a time.
Task<std::string> check_origin(pg::Connection& connection);

/// For what cannot be noticed: an operator put the files of a running system back to an earlier
/// state. Returns how many workspaces began anew.
Task<std::int64_t> begin_generation(pg::Connection& connection, std::string why);

/// For as long as the host runs, on a connection of its own, so that also a host whose others all
/// wait at a head goes on: check_origin and ensure_partitions at once, every minute, and as soon as
/// the connection had to be made anew, which is what a failover or a restored server looks like
/// from here. At once and every hour the months go that ended more than `kept` ago by the server's
/// clock (zero: none ever go); one that is being read stays until the next time, with a line in the
/// log. journal::end_frozen_holders and pg::SqlSessionWatch five times in `head_patience`. A
/// failure is logged once, until it works again, and it goes on.
Task<void> keep_feed(Executor executor, pg::ConnectOptions options, std::chrono::days kept,
                     std::chrono::milliseconds head_patience = journal::kHeadPatience,
                     pg::ReadersLimits readers = {});

}  // namespace sluice::feed
