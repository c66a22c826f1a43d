#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

class ResultTest : public testing::PgTest {
 protected:
  ResultTest() : PgTest(Database::empty) {}
  QueryResult query(std::string_view sql) { return run(pool().query(sql)); }
};

TEST_F(ResultTest, SaysWhatTheStatementDid) {
  run(pool().query("CREATE TABLE t (a int)"));
  EXPECT_EQ(query("INSERT INTO t SELECT generate_series(1, 5)").affected(), 5);
  EXPECT_EQ(query("UPDATE t SET a = a + 1 WHERE a > 3").affected(), 2);
  const auto selected = query("SELECT a AS the_name FROM t");
  EXPECT_EQ(selected.affected(), 5);
  EXPECT_EQ(selected.column_name(0), "the_name");
  EXPECT_EQ(selected.command_tag(), "SELECT 5");
  EXPECT_TRUE(query("SELECT a FROM t WHERE false").empty());
}

TEST_F(ResultTest, TimesAreReadInUtc) {
  const auto micros = [&](const std::string& literal) {
    return query("SELECT timestamptz '" + literal + "'").get<Micros>(0, 0);
  };
  EXPECT_EQ(micros("1970-01-01 00:00:00.5+00"), Micros(500'000));
  EXPECT_EQ(micros("2026-11-23 06:16:54.123456+01"), *from_rfc3339("2026-11-23T05:16:54.123456Z"));
  EXPECT_EQ(micros("infinity"), Micros::max());
  EXPECT_LT(micros("4713-01-01 00:00:00+00 BC"), Micros(0));
}

TEST_F(ResultTest, TheWrongTypeIsAnErrorThatDoesNotQuoteTheValue) {
  const auto result = query("SELECT 'secret', '12x', 99999999999, '2026-13-01 00:00:00+00'");
  EXPECT_THROW(static_cast<void>(result.get<int>(0, 0)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<int>(0, 1)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<std::int32_t>(0, 2)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<Micros>(0, 3)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<bool>(0, 0)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<Uuid>(0, 0)), Failure);
  EXPECT_THROW(static_cast<void>(result.get<Bytes>(0, 0)), Failure);
  try {
    static_cast<void>(result.get<double>(0, 0));
    FAIL() << "was read";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "pg.unreadable");
    EXPECT_EQ(std::string(failure.what()).find("secret"), std::string::npos);
  }
}

TEST_F(ResultTest, ReadingNullAsAValueStopsTheProgram) {
  const auto result = query("SELECT NULL::int");
  EXPECT_EQ(result.get<std::optional<int>>(0, 0), std::nullopt);
  EXPECT_DEATH(static_cast<void>(result.get<int>(0, 0)), "is_null");
}

TEST_F(ResultTest, AnEmptyResultHasNoRows) {
  const QueryResult nothing;
  EXPECT_EQ(nothing.rows(), 0);
  EXPECT_EQ(nothing.affected(), 0);
  EXPECT_EQ(nothing.command_tag(), "");
}

}  // namespace
}  // namespace sluice::pg
