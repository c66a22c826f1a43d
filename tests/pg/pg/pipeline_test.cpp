#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

const Statement kEcho{"test_echo", "SELECT t FROM UNNEST($1::text[]) AS t"};
const Statement kInsert{"test_insert", "INSERT INTO t VALUES ($1)"};

class PipelineTest : public testing::PgTest {
 protected:
  PipelineTest() : PgTest(Database::empty) {}
  void SetUp() override {
    PgTest::SetUp();
    connection = connect();
    run(connection->query("CREATE TABLE t (a int PRIMARY KEY)"));
  }
  void TearDown() override {
    connection.reset();
    PgTest::TearDown();
  }
  std::int64_t rows() {
    return run(connection->query("SELECT count(*) FROM t")).get<std::int64_t>(0, 0);
  }

  std::unique_ptr<Connection> connection;
};

Array texts(std::size_t count, std::size_t size) {
  Array array(Oid::text);
  const std::string value(size, 'x');
  for (std::size_t i = 0; i < count; ++i) array.add(std::string_view(value));
  return array;
}

TEST_F(PipelineTest, ResultsComeInTheOrderOfTheSteps) {
  Pipeline pipeline;
  pipeline.add("SELECT 1")
      .add(kInsert, Params(7))
      .add("SELECT a FROM t")
      .add(kInsert, Params(8))
      .add("SELECT 4");
  const auto results = run(connection->run(std::move(pipeline)));
  ASSERT_EQ(results.size(), 5u);
  EXPECT_EQ(results[0].get<int>(0, 0), 1);
  EXPECT_EQ(results[1].affected(), 1);
  EXPECT_EQ(results[2].get<int>(0, 0), 7);
  EXPECT_EQ(results[4].get<int>(0, 0), 4);
  EXPECT_EQ(rows(), 2);
  EXPECT_EQ(run(connection->query("SELECT count(*) FROM pg_prepared_statements")).get<int>(0, 0),
            1);
}

TEST_F(PipelineTest, AnEmptyPipelineAnswersNothing) {
  EXPECT_TRUE(run(connection->run(Pipeline())).empty());
}

TEST_F(PipelineTest, OneFailingStepFailsTheWholeAndTheConnectionStaysGood) {
  Pipeline pipeline;
  pipeline.add(kInsert, Params(1)).add(kInsert, Params(1)).add(kInsert, Params(2));
  try {
    run(connection->run(std::move(pipeline)));
    FAIL() << "was taken";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_EQ(error.constraint(), "t_pkey");
  }
  EXPECT_TRUE(connection->usable());
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(rows(), 0);
  EXPECT_EQ(run(connection->query(kInsert, Params(3))).affected(), 1)
      << "prepared although the pipeline failed";
}

TEST_F(PipelineTest, AStepThatDoesNotParseFailsTheWhole) {
  const Statement wrong{"test_wrong", "NONSENSE"};
  for (int i = 0; i < 2; ++i) {
    Pipeline pipeline;
    pipeline.add(kInsert, Params(1)).add(wrong, Params()).add(kInsert, Params(2));
    EXPECT_THROW(run(connection->run(std::move(pipeline))), QueryError);
  }
  EXPECT_EQ(rows(), 0);
}

TEST_F(PipelineTest, AWholeTransactionInOneRoundTrip) {
  Pipeline pipeline;
  pipeline.add("BEGIN").add(kInsert, Params(1)).add("COMMIT");
  run(connection->run(std::move(pipeline)));
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(rows(), 1);
}

TEST_F(PipelineTest, AFailedTransactionStaysOpenUntilItIsRolledBack) {
  Pipeline pipeline;
  pipeline.add("BEGIN").add(kInsert, Params(1)).add("SELECT 1/0").add("COMMIT");
  EXPECT_THROW(run(connection->run(std::move(pipeline))), QueryError);
  EXPECT_TRUE(connection->in_transaction());
  run(connection->query("ROLLBACK"));
  EXPECT_EQ(rows(), 0);
}

// 5 MB out and 5 MB back, four times in one pipeline: neither side may wait for the other to read.
TEST_F(PipelineTest, LargeArraysInBothDirectionsDoNotBlock) {
  Pipeline pipeline;
  const Array big = texts(5000, 1000);
  for (int i = 0; i < 4; ++i) pipeline.add(kEcho, Params(big));
  const auto results = run(connection->run(std::move(pipeline)));
  ASSERT_EQ(results.size(), 4u);
  for (const auto& result : results) {
    ASSERT_EQ(result.rows(), 5000);
    EXPECT_EQ(result.text(4999, 0).size(), 1000u);
  }
}

TEST_F(PipelineTest, ALargeArrayInOneStatementComesBack) {
  const Array big = texts(50, 200'000);
  const auto result = run(connection->query(kEcho, Params(big)));
  EXPECT_EQ(result.rows(), 50);
  EXPECT_EQ(result.text(49, 0).size(), 200'000u);
}

TEST_F(PipelineTest, ManySmallStepsWork) {
  Pipeline pipeline;
  for (int i = 0; i < 5000; ++i) pipeline.add(kInsert, Params(i));
  EXPECT_EQ(run(connection->run(std::move(pipeline))).size(), 5000u);
  EXPECT_EQ(rows(), 5000);
}

TEST_F(PipelineTest, AMissedDeadlineLosesTheConnection) {
  connection->set_query_timeout(std::chrono::milliseconds(100));
  Pipeline pipeline;
  pipeline.add("SELECT 1").add("SELECT pg_sleep(60)");
  try {
    run(connection->run(std::move(pipeline)));
    FAIL() << "answered";
  } catch (const QueryError& error) {
    EXPECT_EQ(error.error().code, "pg.deadline");
  }
  EXPECT_FALSE(connection->usable());
}

}  // namespace
}  // namespace sluice::pg
