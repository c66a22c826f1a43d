#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

class CopyInTest : public testing::PgTest {
 protected:
  CopyInTest() : PgTest(Database::empty) {}
  void SetUp() override {
    PgTest::SetUp();
    connection = connect();
    run(connection->query("CREATE TABLE t (a bigint PRIMARY KEY, b text, c timestamptz)"));
  }
  void TearDown() override {
    connection.reset();
    PgTest::TearDown();
  }
  std::int64_t rows() {
    return run(pool().query("SELECT count(*) FROM t")).get<std::int64_t>(0, 0);
  }

  std::unique_ptr<Connection> connection;
};

constexpr const char* kCopy = "COPY t (a, b, c) FROM STDIN (FORMAT binary)";

Task<std::int64_t> copy_rows(Connection& connection, std::int64_t count, std::int64_t step) {
  auto copy = co_await connection.copy_in(kCopy);
  const std::string text(300, 'y');
  for (std::int64_t i = 0; i < count; ++i) {
    Params row(i * step, i % 3 == 0 ? std::optional<std::string>() : text, Micros(i));
    co_await copy->row(std::move(row));
  }
  co_return co_await copy->finish();
}

Task<void> copy_and_drop(Connection& connection) {
  auto copy = co_await connection.copy_in(kCopy);
  for (std::int64_t i = 0; i < 1000; ++i) {
    Params row(i, std::optional<std::string>("dropped"), Micros(i));
    co_await copy->row(std::move(row));
  }
}

TEST_F(CopyInTest, RowsArrive) {
  EXPECT_EQ(run(copy_rows(*connection, 20'000, 1)), 20'000);
  const auto sums =
      run(connection->query("SELECT sum(a), count(b), max(length(b)), max(c) FROM t"));
  EXPECT_EQ(sums.get<std::int64_t>(0, 0), 20'000LL * 19'999 / 2);
  EXPECT_EQ(sums.get<int>(0, 1), 13'333);
  EXPECT_EQ(sums.get<int>(0, 2), 300);
  EXPECT_EQ(sums.get<Micros>(0, 3), Micros(19'999));
}

TEST_F(CopyInTest, NoRowsIsFine) { EXPECT_EQ(run(copy_rows(*connection, 0, 1)), 0); }

TEST_F(CopyInTest, OneRefusedRowMeansNone) {
  try {
    run(copy_rows(*connection, 20'000, 0));
    FAIL() << "was taken";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
  }
  EXPECT_TRUE(connection->usable());
  EXPECT_EQ(rows(), 0);
  EXPECT_EQ(run(copy_rows(*connection, 10, 1)), 10);
}

TEST_F(CopyInTest, UnfinishedMeansNone) {
  run(copy_and_drop(*connection));
  EXPECT_FALSE(connection->usable());
  EXPECT_EQ(rows(), 0);
}

TEST_F(CopyInTest, WorksInsideATransaction) {
  run(connection->query("BEGIN"));
  EXPECT_EQ(run(copy_rows(*connection, 5, 1)), 5);
  run(connection->query("ROLLBACK"));
  EXPECT_EQ(rows(), 0);
}

TEST_F(CopyInTest, AnotherCommandIsRefused) {
  EXPECT_THROW(run(connection->copy_in("COPY no_such_table FROM STDIN (FORMAT binary)")),
               QueryError);
  EXPECT_TRUE(connection->usable());
  EXPECT_THROW(run(connection->query("COPY t FROM STDIN")), QueryError);
  EXPECT_FALSE(connection->usable());
}

}  // namespace
}  // namespace sluice::pg
