#include "pg/migrate.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include "base/log.hpp"
#include "pg/migrations.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::pg {
namespace {

// Of our own table, and no advisory lock: those can be taken by any role that may connect.
constexpr const char* kLock = "LOCK TABLE sluice.schema_version IN SHARE ROW EXCLUSIVE MODE";
// Between these waits whoever reads by SQL, and stays, is ended; others are waited for.
constexpr const char* kPatience = "select set_config('lock_timeout', '5s', true)";
constexpr const char* kLockTimeoutState = "55P03";
constexpr const char* kIsThere = "SELECT to_regclass('sluice.schema_version') IS NOT NULL";
constexpr const char* kMake =
    "CREATE SCHEMA IF NOT EXISTS sluice;"
    "CREATE TABLE sluice.schema_version ("
    "  version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
    "  applied_at timestamptz NOT NULL DEFAULT now())";
constexpr const char* kApplied =
    "SELECT version, name, checksum FROM sluice.schema_version ORDER BY version";
constexpr const char* kRecord =
    "INSERT INTO sluice.schema_version (version, name, checksum) VALUES ($1, $2, $3)";
// Whose the schema is to be, where there is none.
constexpr const char* kMayMigrate =
    "SELECT coalesce((SELECT pg_has_role(current_user, c.relowner, 'member') FROM pg_class c"
    " WHERE c.oid = to_regclass('sluice.schema_version')), true)";
constexpr const char* kDurability =
    "SELECT name, setting FROM pg_settings"
    " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER "
    "BY name";

[[noreturn]] void refuse(ErrorKind kind, std::string code, std::string message, std::string hint) {
  throw Failure(Error(kind, std::move(code), std::move(message), std::move(hint)));
}

std::string checksum_of(std::string_view sql) {
  std::uint8_t digest[32] = {};
  const ByteView text = as_bytes(sql);
  crypto_generichash(digest, sizeof(digest), text.data(), text.size(), nullptr, 0);
  return to_hex(digest);
}

void require_numbered(std::span<const Migration> all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].version == static_cast<int>(i) + 1) continue;
    refuse(ErrorKind::internal, "schema.gap",
           fmt::format("migration {} stands where number {} belongs", all[i].name, i + 1),
           "number migrations 1, 2, 3, …");
  }
}

// What the database says was applied must be what we have. Returns its version.
int require_known(const QueryResult& applied, std::span<const Migration> all) {
  const int version = applied.empty() ? 0 : applied.get<int>(applied.rows() - 1, 0);
  if (version > static_cast<int>(all.size())) {
    refuse(ErrorKind::unsupported, "schema.too_new",
           fmt::format("the database's schema is version {}, this program knows {}", version,
                       all.size()),
           "start the newer program; nothing was changed");
  }
  for (int row = 0; row < applied.rows(); ++row) {
    const Migration& ours = all[static_cast<std::size_t>(applied.get<int>(row, 0) - 1)];
    if (applied.text(row, 2) == checksum_of(ours.sql)) continue;
    refuse(ErrorKind::internal, "schema.changed",
           fmt::format("migration {} was applied to this database with another text", ours.name),
           "an applied migration never changes: write the change as a new one");
  }
  return version;
}

class TimeoutFor {
 public:
  TimeoutFor(Connection& connection, std::chrono::milliseconds timeout)
      : connection_(connection), before_(connection.query_timeout()) {
    connection.set_query_timeout(timeout);
  }
  ~TimeoutFor() { connection_.set_query_timeout(before_); }
  TimeoutFor(const TimeoutFor&) = delete;
  TimeoutFor& operator=(const TimeoutFor&) = delete;

 private:
  Connection& connection_;
  std::chrono::milliseconds before_;
};

void tell_failed(const Migration& migration) {
  log::error("schema.failed", {{"migration", migration.name}});
}

Task<void> apply(Transaction& transaction, const Migration& migration) {
  std::string sql(migration.sql);
  try {
    co_await transaction.connection().script(std::move(sql));
  } catch (const QueryError& error) {
    if (error.sqlstate() != kLockTimeoutState) tell_failed(migration);  // else patient_step() does
    throw;
  } catch (const Failure&) {
    tell_failed(migration);
    throw;
  }
  if (!transaction.connection().in_transaction()) {
    refuse(ErrorKind::internal, "schema.ends_transaction",
           fmt::format("migration {} has a COMMIT or ROLLBACK in it", migration.name),
           "take it out");
  }
  Params row(migration.version, migration.name, checksum_of(migration.sql));
  co_await transaction.query(kRecord, std::move(row));
}

/// The table that all that follows is locked by. Another host may make it at the same moment.
Task<void> make_version_table(Connection& connection) {
  const QueryResult there = co_await connection.query(kIsThere);
  if (there.get<bool>(0, 0)) co_return;
  std::string make = kMake;
  try {
    co_await connection.script(std::move(make));
  } catch (const QueryError& error) {
    const bool made_by_another =
        error.sqlstate() == "23505" || error.sqlstate() == "42P06" || error.sqlstate() == "42P07";
    if (!made_by_another) throw;
  }
}

// Under the lock: what is the version, and one step further if there is one. Returns the version
// before.
Task<int> one_step(Connection& connection, std::span<const Migration> all) {
  Transaction transaction = co_await Transaction::begin(connection);
  co_await transaction.query(kLock);
  const QueryResult applied = co_await transaction.query(kApplied);
  const int version = require_known(applied, all);
  if (version < static_cast<int>(all.size())) {
    co_await transaction.query(kPatience);
    co_await apply(transaction, all[static_cast<std::size_t>(version)]);
  }
  co_await transaction.commit();
  co_return version;
}

Task<void> give_up(Connection& connection) {
  if (connection.usable() && connection.in_transaction()) co_await connection.query("ROLLBACK");
}

Task<int> patient_step(Connection& connection, std::span<const Migration> all) {
  const auto until = std::chrono::steady_clock::now() + kMigrationTimeout;
  bool told = false;
  for (;;) {
    std::exception_ptr busy;
    try {
      co_return co_await one_step(connection, all);
    } catch (const QueryError& error) {
      if (error.sqlstate() != kLockTimeoutState) throw;
      if (std::chrono::steady_clock::now() >= until) {
        log::error("schema.failed", {{"reason", "its tables were in use all the time"}});
        throw;
      }
      busy = std::current_exception();
    }
    co_await give_up(connection);
    if (!connection.usable()) std::rethrow_exception(busy);
    if (!std::exchange(told, true))
      log::warning("schema.waits",
                   {{"for", "whoever uses a table that the next migration changes"}});
    // Which of them was in the way is not known any more.
    const ReadersLimits limits(kReadersPatience, kReadersPatience);
    co_await end_sql_sessions(connection, limits);
  }
}

}  // namespace

std::span<const Migration> migrations() { return kMigrations; }

Task<MigrationOutcome> migrate(Connection& connection, std::span<const Migration> all) {
  require_numbered(all);
  const TimeoutFor timeout(connection, kMigrationTimeout);
  const int newest = static_cast<int>(all.size());
  MigrationOutcome outcome;
  std::exception_ptr failure;
  try {
    co_await make_version_table(connection);
    outcome.from = co_await patient_step(connection, all);
    for (int version = outcome.from; version < newest;)
      version = co_await patient_step(connection, all);
    outcome.to = newest;
  } catch (const Failure&) {
    failure = std::current_exception();
  }
  if (failure) {
    co_await give_up(connection);
    std::rethrow_exception(failure);
  }
  co_return outcome;
}

Task<bool> may_migrate(Connection& connection) {
  const QueryResult rows = co_await connection.query(kMayMigrate);
  co_return rows.get<bool>(0, 0);
}

Task<void> require_current(Connection& connection, std::span<const Migration> all) {
  const QueryResult applied = co_await connection.query(kApplied);
  const int version = require_known(applied, all);
  if (version == static_cast<int>(all.size())) co_return;
  refuse(ErrorKind::bad_input, "schema.too_old",
         fmt::format("the database's schema is version {}, this program needs {}, and the role of "
                     "database.url does not own it",
                     version, all.size()),
         "start one host with database.owner_url, the login that may change the schema");
}

Task<void> require_safe_settings(Connection& connection) {
  const QueryResult bad = co_await connection.query(kDurability);
  if (bad.empty()) co_return;
  std::string named;
  for (int row = 0; row < bad.rows(); ++row) {
    named += fmt::format("{}{} is {} and must be on", row == 0 ? "" : "; ", bad.text(row, 0),
                         bad.text(row, 1));
  }
  refuse(ErrorKind::bad_input, "database.unsafe_setting",
         fmt::format("this database may lose what it has confirmed: {}", named),
         "correct postgresql.conf, or the setting of the role or database, and start again");
}

}  // namespace sluice::pg
