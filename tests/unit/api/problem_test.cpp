#include "api/problem.hpp"

#include <gtest/gtest.h>

namespace sluice::api {
namespace {

pg::QueryError failure(ErrorKind kind, std::string code = "pg.failed") {
  return pg::QueryError(Error(kind, std::move(code), "what libpq said"), "", "");
}

TEST(Problem, says_that_nothing_was_done_only_where_nothing_was) {
  struct Row {
    pg::QueryError failure;
    std::string message, end;
  };
  const Row rows[] = {
      {failure(ErrorKind::retry_later, "pool.exhausted"),
       "too many requests at once for this host's database connections; this one waited in vain",
       ", and nothing was done"},
      {failure(ErrorKind::retry_later, std::string(pg::kDiskFull)), "the database's disk is full",
       "; nothing was stored"},
      {failure(ErrorKind::reconnect), "the database cannot be reached", "; nothing was done"},
      {failure(ErrorKind::unknown_outcome),
       "the connection to the database broke before its answer came", ""},
      {failure(ErrorKind::retry_later), "the database cannot do this right now", ""},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(error_of(row.failure).message, row.message + row.end);
    EXPECT_EQ(error_of(row.failure, Done::a_part).message, row.message);
    EXPECT_EQ(error_of(row.failure, Done::a_part).code, error_of(row.failure).code);
  }
}

}  // namespace
}  // namespace sluice::api
