// What PostgreSQL refused, or that it went away.
#pragma once

#include <string>

#include "base/error.hpp"

namespace sluice::pg {

/// Code and hint of what the server says when it has no room left (SQLSTATE 53100).
inline constexpr const char* kDiskFull = "pg.disk_full";
inline constexpr const char* kDiskFullHint =
    "make room where PostgreSQL keeps its files; everything goes on by itself";

/// Thrown by everything in pg/. kind() says the next move:
///   retry_later      serialization failure, deadlock, lock or statement timeout, a missed
///                    deadline, too many connections, starting up, a plan that DDL made stale
///   reconnect        the connection broke before a commit was sent: nothing happened
///   unknown_outcome  the answer to COMMIT was lost (connection broke, deadline, cancelled), or
///                    that to a statement outside a transaction that is no plain read: look before
///                    writing again
///   conflict         unique or exclusion constraint (constraint() names it)
///   bad_input        a value PostgreSQL cannot take (classes 22 and 54), a check, not-null or
///                    foreign key constraint; a connection string that does not parse
///   denied           privileges, row-level security, authentication
///   not_found        the database named in the connection string does not exist
///   cancelled        the caller's coroutine was cancelled
///   internal         anything else: a bug in our SQL
/// Codes: "pg.refused" (the server said no; see sqlstate()), kDiskFull, "pg.lost", "pg.deadline",
/// "pg.cancelled", "pg.unknown_outcome", "pg.connect_failed", "pg.bad_conninfo", "pg.unusable",
/// "pool.exhausted", "pool.closed". Messages hold what the server said, without the values it
/// quotes, and the beginning of the statement; never a parameter, never a password.
class QueryError : public Failure {
 public:
  QueryError(Error error, std::string sqlstate, std::string constraint)
      : Failure(std::move(error)),
        sqlstate_(std::move(sqlstate)),
        constraint_(std::move(constraint)) {}
  /// Five characters, or empty when the connection broke without a word.
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }
  [[nodiscard]] const std::string& constraint() const { return constraint_; }
  [[nodiscard]] ErrorKind kind() const { return error().kind; }

 private:
  std::string sqlstate_;
  std::string constraint_;
};

}  // namespace sluice::pg
