// Numbered changes of the schema, each applied once, in order, in a transaction, under a lock.
#pragma once

#include <span>
#include <string_view>

#include "pg/connection.hpp"

namespace sluice::pg {

struct Migration {
  int version;            ///< 1, 2, 3, … without gaps
  std::string_view name;  ///< file name without ending
  std::string_view sql;   ///< a script; no BEGIN or COMMIT in it
};

/// All migrations of this program (host/pg/migrations/NNNN_name.sql, compiled in).
[[nodiscard]] std::span<const Migration> migrations();

inline constexpr std::chrono::milliseconds kMigrationTimeout = 1h;

struct MigrationOutcome {
  int from = 0;
  int to = 0;
};

/// Brings the database up to the newest of `all`. Any number of hosts may do it at once: one works,
/// the others wait for the table schema_version, which it locks, and find nothing to do.
/// Throws Failure:
///   unsupported "schema.too_new"   the database is newer than this program; nothing was changed
///   internal "schema.changed"      an applied migration has another checksum than ours
///   internal "schema.gap"          `all` is not numbered 1, 2, 3, …
///   internal "schema.ends_transaction"  a migration has a COMMIT or ROLLBACK in it
/// and what the failing migration itself threw, after "schema.failed: NNNN_name" in the log; it and
/// all later ones are not applied. Makes the schema "sluice" and its table schema_version when
/// absent. A step may take kMigrationTimeout.
Task<MigrationOutcome> migrate(Connection& connection, std::span<const Migration> all);

/// Whether the connection's role owns the schema, or may make it where there is none.
Task<bool> may_migrate(Connection& connection);

/// For a role that may not: throws Failure(bad_input, "schema.too_old") where a migration is
/// missing, and as migrate() does where the database is newer or another.
Task<void> require_current(Connection& connection, std::span<const Migration> all);

/// G11: reads fsync, full_page_writes, synchronous_commit. Throws Failure(bad_input,
/// "database.unsafe_setting") that names each bad setting, its value and the value it must have.
/// Every synchronous_commit but off waits for this server's disk, and is good.
Task<void> require_safe_settings(Connection& connection);

}  // namespace sluice::pg
