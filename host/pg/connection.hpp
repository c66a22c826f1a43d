// libpq, wrapped once, as coroutines.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "pg/copy_rows.hpp"
#include "pg/error.hpp"
#include "pg/params.hpp"
#include "pg/result.hpp"

namespace sluice::pg {

using namespace std::chrono_literals;

/// A statement that is worth preparing: the name is unique in the program, the text never changes.
/// Define as `inline const Statement kName{"ingest_probe", "SELECT …"}`. A connection prepares it
/// at first use.
struct Statement {
  std::string name;
  std::string sql;
};

struct ConnectOptions {
  std::string conninfo;  ///< libpq connection string or URI
  std::string application_name = "sluice";
  std::chrono::milliseconds connect_timeout = 10s;
  std::chrono::milliseconds query_timeout = 30s;  ///< default deadline of every call
  /// Where a name without a schema is looked for. Only where nobody but a superuser can put
  /// anything: a function whose arguments fit better than those of PostgreSQL's own would be called
  /// in its place, with our rights. So every statement names the schema of what is not
  /// PostgreSQL's.
  std::string search_path = "pg_catalog, pg_temp";
};

/// Several statements in one round trip (libpq pipeline mode). Filled by the caller, run by
/// Connection::run. One failing statement fails the whole pipeline.
class Pipeline {
 public:
  Pipeline& add(const Statement& statement, Params params);
  Pipeline& add(std::string_view sql, Params params = {});
  /// The other's steps behind these.
  Pipeline& append(Pipeline other);
  [[nodiscard]] std::size_t size() const { return steps_.size(); }

  struct Step {
    std::string name;  ///< empty: unprepared
    std::string sql;
    Params params;
  };
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

 private:
  std::vector<Step> steps_;
};

/// Rows on their way into one COPY … FROM STDIN (FORMAT binary). Made by Connection::copy_in;
/// append row by row, then finish(). Destroyed unfinished, the COPY failed, nothing is stored and
/// the connection is closed. Destroy it before its connection.
class CopyIn;

/// One connection to PostgreSQL, used by one coroutine at a time, on its executor's thread. Every
/// call has a deadline (the default of the options, or the one given); a call that misses it, or
/// that is cancelled, closes the connection, whereupon the server cancels the statement within half
/// a second; the pool throws the connection away. Nothing here blocks the loop.
///
/// Session settings made at connect: the search path, timezone UTC, ISO dates, jit off,
/// application_name, client encoding UTF8, and that the server looks every half second whether we
/// are still there.
class Connection {
 public:
  /// Throws QueryError(reconnect | denied | retry_later) saying host and database, never the
  /// password.
  static Task<std::unique_ptr<Connection>> connect(Executor executor, ConnectOptions options);

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  virtual ~Connection() = default;

  /// One statement with parameters, unprepared. Never several statements in one text.
  virtual Task<QueryResult> query(std::string_view sql, Params params = {}) = 0;
  /// One prepared statement; it must outlive the call. NULLs of unknown type (`nullptr`) prepare it
  /// a second time: prefer std::optional. After "pg.refused" with retry_later because DDL made its
  /// plan stale, the next call prepares it anew.
  virtual Task<QueryResult> query(const Statement& statement, Params params = {}) = 0;
  /// All steps in one round trip; results in the order of the steps. Throws what the first failing
  /// step failed with. When one step's text is COMMIT and the answer is lost: unknown_outcome.
  virtual Task<std::vector<QueryResult>> run(Pipeline pipeline) = 0;
  /// A script of several statements by the simple protocol; for migrations and set-up.
  virtual Task<void> script(std::string sql) = 0;
  /// Starts `COPY … FROM STDIN (FORMAT binary)`; `sql` is the whole command. It may begin with
  /// "begin; ", which spares a round trip: the transaction then stays open behind the COPY.
  virtual Task<std::unique_ptr<CopyIn>> copy_in(std::string sql) = 0;

  /// Inside BEGIN … COMMIT, as libpq sees it.
  [[nodiscard]] virtual bool in_transaction() const = 0;
  /// Looks, without waiting, whether the server has closed this idle connection; then it is
  /// unusable.
  virtual bool still_open() = 0;
  /// False after a lost connection, a missed deadline or a cancelled call.
  [[nodiscard]] virtual bool usable() const = 0;
  /// Default deadline of the calls that follow.
  virtual void set_query_timeout(std::chrono::milliseconds timeout) = 0;
  [[nodiscard]] virtual std::chrono::milliseconds query_timeout() const = 0;
  /// The next NOTIFY on a channel this connection LISTENs to, or nothing when `wait` passes first.
  /// Ends early with reconnect when the connection breaks.
  virtual Task<bool> wait_for_notification(std::chrono::milliseconds wait) = 0;
  /// What a server keeps of a role's password (SCRAM-SHA-256), made here: of the password itself
  /// nothing is sent, so that no log and no statistics of the server can hold it.
  virtual std::string password_verifier(const std::string& role, const std::string& password) = 0;
  /// The server's version, as 150020 for 15.20.
  [[nodiscard]] virtual int server_version() const = 0;

 protected:
  Connection() = default;
};

class CopyIn {
 public:
  virtual ~CopyIn() = default;
  CopyIn() = default;
  CopyIn(const CopyIn&) = delete;
  CopyIn& operator=(const CopyIn&) = delete;
  /// Appends one row, in the exact types of the columns (binary COPY casts nothing); the number of
  /// values is that of the COPY's column list. Buffers 64 KiB at most, then waits.
  virtual Task<void> row(Params values) = 0;
  /// Appends rows that were built before, without copying them. They outlive the call.
  virtual Task<void> rows(const CopyRows& rows) = 0;
  /// Ends the COPY and returns the number of rows stored.
  virtual Task<std::int64_t> finish() = 0;
};

/// BEGIN … COMMIT on a connection. Not committed when destroyed: the connection is marked for
/// rollback and the pool rolls it back before the next use.
class Transaction {
 public:
  /// `mode` is appended to BEGIN, for example "ISOLATION LEVEL REPEATABLE READ READ ONLY".
  static Task<Transaction> begin(Connection& connection, std::string_view mode = {});
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  [[nodiscard]] Connection& connection() const { return *connection_; }
  Task<QueryResult> query(std::string_view sql, Params params = {});
  Task<QueryResult> query(const Statement& statement, Params params = {});
  /// Throws QueryError(unknown_outcome) when the answer to COMMIT was lost.
  Task<void> commit();
  Task<void> rollback();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  static Task<Transaction> begin_with(Connection& connection, std::string sql);
  Connection* connection_;
};

}  // namespace sluice::pg
