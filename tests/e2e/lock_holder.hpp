// Somebody who is in the way.
#pragma once

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <string>

namespace sluice::e2e {

/// A session of its own that keeps a lock until it is told to let go.
class LockHolder {
 public:
  LockHolder(const std::string& conninfo, const std::string& statement)
      : connection_(PQconnectdb(conninfo.c_str())) {
    execute("begin");
    execute(statement);
  }
  ~LockHolder() { PQfinish(connection_); }
  LockHolder(const LockHolder&) = delete;
  LockHolder& operator=(const LockHolder&) = delete;
  void let_go() { execute("commit"); }

 private:
  void execute(const std::string& statement) {
    PGresult* result = PQexec(connection_, statement.c_str());
    const ExecStatusType status = PQresultStatus(result);
    EXPECT_TRUE(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        << statement << ": " << PQerrorMessage(connection_);
    PQclear(result);
  }
  PGconn* connection_;
};

}  // namespace sluice::e2e
