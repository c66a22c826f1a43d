// Every refusal has a kind that says the next move, and a message without values.
#include <gmock/gmock.h>

#include "pg/diagnosis.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ErrorsTest : public testing::PgTest {
 protected:
  ErrorsTest() : PgTest(Database::empty) {}

  QueryError error_of(std::string_view sql, Params params = {}) {
    try {
      run(pool().query(sql, std::move(params)));
    } catch (const QueryError& error) {
      return error;
    }
    ADD_FAILURE() << "was not refused: " << sql;
    Error none;
    return QueryError(none, {}, {});
  }
};

TEST_F(ErrorsTest, KindsFollowTheSqlstate) {
  run(pool().query("CREATE TABLE parent (id int PRIMARY KEY)"));
  run(
      pool().query("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL CHECK (n < 10), parent int "
                   "REFERENCES parent,"
                   " s varchar(3))"));
  run(pool().query("INSERT INTO t VALUES (1, 1)"));
  const struct {
    const char* sql;
    ErrorKind kind;
    const char* sqlstate;
  } kCases[] = {
      {"INSERT INTO t VALUES (1, 2)", ErrorKind::conflict, "23505"},
      {"INSERT INTO t VALUES (2, 12)", ErrorKind::bad_input, "23514"},
      {"INSERT INTO t VALUES (2, NULL)", ErrorKind::bad_input, "23502"},
      {"INSERT INTO t VALUES (2, 1, 77)", ErrorKind::bad_input, "23503"},
      {"INSERT INTO t VALUES (2, 1, NULL, 'longer')", ErrorKind::bad_input, "22001"},
      {"SELECT 'abc'::int", ErrorKind::bad_input, "22P02"},
      {"SELECT 1/0", ErrorKind::bad_input, "22012"},
      {"SELEKT 1", ErrorKind::internal, "42601"},
      {"SELECT * FROM no_such_table", ErrorKind::internal, "42P01"},
      {"DO $$ BEGIN RAISE serialization_failure; END $$", ErrorKind::retry_later, "40001"},
      {"DO $$ BEGIN RAISE deadlock_detected; END $$", ErrorKind::retry_later, "40P01"},
      {"DO $$ BEGIN RAISE lock_not_available; END $$", ErrorKind::retry_later, "55P03"},
      {"DO $$ BEGIN RAISE insufficient_privilege; END $$", ErrorKind::denied, "42501"},
      {"DO $$ BEGIN RAISE disk_full; END $$", ErrorKind::retry_later, "53100"},
      {"DO $$ BEGIN RAISE query_canceled; END $$", ErrorKind::retry_later, "57014"},
      {"SELECT 1; SELECT 2", ErrorKind::internal, "42601"},
  };
  for (const auto& expected : kCases) {
    SCOPED_TRACE(expected.sql);
    const QueryError error = error_of(expected.sql);
    EXPECT_EQ(error.kind(), expected.kind) << error.what();
    EXPECT_EQ(error.sqlstate(), expected.sqlstate);
    const bool disk_full = std::string_view(expected.sqlstate) == "53100";
    EXPECT_EQ(error.error().code, disk_full ? "pg.disk_full" : "pg.refused");
    if (!disk_full) {
      EXPECT_THAT(error.what(), HasSubstr(std::string(expected.sql).substr(0, 20)));
    }
  }
  EXPECT_EQ(pool().in_use(), 0u);
}

TEST_F(ErrorsTest, AConflictNamesItsConstraintAndColumnsButNoValue) {
  run(pool().query("CREATE TABLE t (email text CONSTRAINT one_email UNIQUE)"));
  run(pool().query("INSERT INTO t VALUES ($1)", Params("ada@secret.example")));
  const QueryError error = error_of("INSERT INTO t VALUES ($1)", Params("ada@secret.example"));
  EXPECT_EQ(error.constraint(), "one_email");
  EXPECT_THAT(error.what(), HasSubstr("Key (email)"));
  EXPECT_THAT(error.what(), Not(HasSubstr("secret")));
}

TEST_F(ErrorsTest, NoMessageQuotesAValue) {
  run(pool().query("CREATE TABLE t (a text NOT NULL CHECK (length(a) < 5), b text)"));
  run(pool().query("CREATE TYPE mood AS ENUM ('fine')"));
  const char* kSecret = "swordfish";
  for (const char* sql :
       {"SELECT $1::text::int", "SELECT $1::text::timestamptz", "SELECT $1::text::jsonb",
        "SELECT $1::text::uuid", "SELECT $1::text::mood", "INSERT INTO t VALUES ($1)",
        "INSERT INTO t (b) VALUES ($1)", "SELECT $1::text::int[]", "SELECT $1::text::numeric",
        "SELECT $1::text::inet", "SELECT '{}'::jsonb #- ARRAY[$1]::text[] || ($1::text)::jsonb"}) {
    SCOPED_TRACE(sql);
    const QueryError error = error_of(sql, Params(kSecret));
    EXPECT_EQ(error.kind(), ErrorKind::bad_input) << error.what();
    EXPECT_THAT(error.what(), Not(HasSubstr(kSecret)));
  }
}

TEST_F(ErrorsTest, ALongStatementIsCutAfterItsBeginning) {
  const std::string sql = "SELECT no_such_column, '" + std::string(1000, 'x') + "'";
  const QueryError error = error_of(sql);
  EXPECT_LT(std::string(error.what()).size(), 400u);
  EXPECT_EQ(beginning_of("  SELECT\n\n   1 "), "SELECT 1 ");
  EXPECT_TRUE(is_utf8(beginning_of(std::string(119, 'x') + "ääää")));
}

TEST_F(ErrorsTest, ConnectingSaysWhereAndNeverThePassword) {
  const auto failure_of = [&](const std::string& conninfo) {
    ConnectOptions options;
    options.conninfo = conninfo;
    try {
      run(Connection::connect(executor(), options));
    } catch (const QueryError& error) {
      EXPECT_THAT(error.what(), Not(HasSubstr("hunter2"))) << conninfo;
      return error;
    }
    ADD_FAILURE() << "connected";
    return QueryError(Error(), {}, {});
  };
  EXPECT_EQ(failure_of(conninfo() + " password=hunter2 dbname=no_such_database").kind(),
            ErrorKind::not_found);
  EXPECT_EQ(failure_of(conninfo() + " password=hunter2 user=no_such_role").kind(),
            ErrorKind::denied);
  const QueryError nowhere = failure_of("host=127.0.0.1 port=1 dbname=x user=y password=hunter2");
  EXPECT_EQ(nowhere.kind(), ErrorKind::reconnect);
  EXPECT_THAT(nowhere.what(), HasSubstr("host '127.0.0.1' port '1' database 'x' user 'y'"));
  EXPECT_EQ(failure_of("host=/no/such/folder dbname=x").kind(), ErrorKind::reconnect);
  EXPECT_EQ(failure_of("host='unclosed hunter2").kind(), ErrorKind::bad_input);
  EXPECT_EQ(failure_of("postgresql://u:hunter2@h/x?no_such_word=1").kind(), ErrorKind::bad_input);
  EXPECT_EQ(failure_of("host=no-such-host.invalid dbname=x password=hunter2").kind(),
            ErrorKind::reconnect);
}

TEST_F(ErrorsTest, AFullServerAsksToRetryLater) {
  run(pool().query("ALTER DATABASE " + database_name() + " CONNECTION LIMIT 0"));
  run(pool().query("CREATE ROLE " + database_name() + " LOGIN"));
  ConnectOptions options;
  options.conninfo = conninfo() + " user=" + database_name();
  try {
    run(Connection::connect(executor(), options));
    ADD_FAILURE() << "connected";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry_later) << error.what();
    EXPECT_EQ(error.sqlstate(), "53300");
  }
  run(pool().query("DROP ROLE " + database_name()));
}

TEST_F(ErrorsTest, ConnectingByNameWorks) {
  // "localhost" goes through the resolver; nothing listens there, but it must have been looked up.
  ConnectOptions options;
  options.conninfo = "host=localhost port=1 dbname=x";
  try {
    run(Connection::connect(executor(), options));
    ADD_FAILURE() << "connected";
  } catch (const QueryError& error) {
    EXPECT_THAT(error.what(), HasSubstr("127.0.0.1"));
  }
}

}  // namespace
}  // namespace sluice::pg
