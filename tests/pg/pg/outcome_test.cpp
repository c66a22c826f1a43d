// What is known when a line is cut: nothing was done, or one has to look.
#include "pg/server_endpoints.hpp"
#include "support/cutting_proxy.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

using testing::CuttingProxy;

class OutcomeTest : public testing::PgTest {
 protected:
  OutcomeTest() : PgTest(Database::empty) {}
  void SetUp() override {
    PgTest::SetUp();
    run(pool().query("CREATE TABLE t (a int)"));
  }

  std::string server_socket() {
    const auto settings = run(
        pool().query("SELECT btrim(split_part(current_setting('unix_socket_directories'), ',', 1),"
                     "' \"'), current_setting('port')"));
    return std::string(settings.text(0, 0)) + "/.s.PGSQL." + std::string(settings.text(0, 1));
  }
  std::unique_ptr<Connection> connect_through(const CuttingProxy& proxy) {
    ConnectOptions options;
    options.conninfo = proxy.conninfo() + " user=postgres dbname=" + database_name();
    options.query_timeout = std::chrono::seconds(5);
    options.search_path = kOfTests;
    return run(Connection::connect(executor(), std::move(options)));
  }
  std::int64_t rows() {
    return run(pool().query("SELECT count(*) FROM t")).get<std::int64_t>(0, 0);
  }

  // What the work ended with when the line is cut `at` the word.
  template <class Work>
  std::optional<ErrorKind> kind_when_cut(CuttingProxy::At at, const std::string& word, Work work) {
    const CuttingProxy proxy(io(), server_socket(), word, at);
    const auto connection = connect_through(proxy);
    if (at == CuttingProxy::At::silence)
      connection->set_query_timeout(std::chrono::milliseconds(200));
    try {
      run(work(*connection));
    } catch (const QueryError& error) {
      EXPECT_FALSE(connection->usable());
      return error.kind();
    }
    return std::nullopt;
  }
};

Task<void> insert_in_transaction(Connection& connection) {
  Transaction transaction = co_await Transaction::begin(connection);
  co_await transaction.query("INSERT INTO t VALUES (1)");
  co_await transaction.commit();
}

Task<void> insert_in_pipeline(Connection& connection) {
  Pipeline pipeline;
  pipeline.add("BEGIN").add("INSERT INTO t VALUES (1)").add("COMMIT");
  co_await connection.run(std::move(pipeline));
}

Task<void> insert_alone(Connection& connection) {
  co_await connection.query("INSERT INTO t VALUES (1)");
}

Task<void> select_alone(Connection& connection) {
  co_await connection.query("SELECT count(*) FROM t");
}

TEST_F(OutcomeTest, WithoutACutTheWorkIsDone) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::never, "COMMIT", insert_in_transaction), std::nullopt);
  EXPECT_EQ(rows(), 1);
}

TEST_F(OutcomeTest, ALostAnswerToCommitIsUnknownAndMayHaveHappened) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_the_answer, "COMMIT", insert_in_transaction),
            ErrorKind::unknown_outcome);
  EXPECT_EQ(rows(), 1);
}

TEST_F(OutcomeTest, ALostCommitIsUnknownAndMayNotHaveHappened) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_forwarding, "COMMIT", insert_in_transaction),
            ErrorKind::unknown_outcome);
  EXPECT_EQ(rows(), 0);
}

TEST_F(OutcomeTest, ACommitThatMissesItsDeadlineIsUnknown) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::silence, "COMMIT", insert_in_transaction),
            ErrorKind::unknown_outcome);
  EXPECT_EQ(rows(), 1);
}

TEST_F(OutcomeTest, ALostAnswerToAPipelineWithCommitIsUnknown) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_the_answer, "COMMIT", insert_in_pipeline),
            ErrorKind::unknown_outcome);
  EXPECT_EQ(rows(), 1);
}

TEST_F(OutcomeTest, ALineCutInsideATransactionMeansNothingWasDone) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_the_answer, "INSERT", insert_in_transaction),
            ErrorKind::reconnect);
  EXPECT_EQ(rows(), 0);
}

TEST_F(OutcomeTest, AWriteOutsideATransactionIsUnknown) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_the_answer, "INSERT", insert_alone),
            ErrorKind::unknown_outcome);
}

TEST_F(OutcomeTest, AReadOutsideATransactionMeansReconnect) {
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::before_the_answer, "SELECT count", select_alone),
            ErrorKind::reconnect);
  EXPECT_EQ(kind_when_cut(CuttingProxy::At::silence, "SELECT count", select_alone),
            ErrorKind::retry_later);
}

// Which addresses nobody else may be sent to: those that were asked for, and what the server says.
TEST_F(OutcomeTest, WhereTheServerAnswersIsKnownForEveryWayToIt) {
  using asio::ip::tcp;
  const auto holds = [](const std::vector<tcp::endpoint>& all, const char* address, int port) {
    const tcp::endpoint wanted(asio::ip::make_address(address), static_cast<std::uint16_t>(port));
    return std::find(all.begin(), all.end(), wanted) != all.end();
  };
  const auto endpoints_by = [this](const std::string& conninfo) {
    ConnectOptions options;
    options.conninfo = conninfo + " user=postgres dbname=" + database_name();
    const auto connection = run(Connection::connect(executor(), std::move(options)));
    return run(server_endpoints(run(server_names(*connection))));
  };
  const std::string socket = server_socket();
  const std::string by_socket = "host=" + socket.substr(0, socket.rfind("/.s.PGSQL.")) +
                                " port=" + socket.substr(socket.rfind('.') + 1);
  EXPECT_TRUE(endpoints_by(by_socket).empty()) << "the tests' server has Unix sockets only";

  const CuttingProxy proxy(io(), socket, "never said", CuttingProxy::At::never);
  const int port = std::stoi(proxy.conninfo().substr(proxy.conninfo().rfind('=') + 1));
  EXPECT_TRUE(holds(endpoints_by(proxy.conninfo()), "127.0.0.1", port));

  const std::string more = fmt::format(
      "host=127.0.0.1,localhost,127.0.0.9,/tmp port={},{},7001,5 sslmode=disable "
      "gssencmode=disable",
      port, port);
  const auto all = endpoints_by(more);
  EXPECT_TRUE(holds(all, "127.0.0.1", port));
  EXPECT_TRUE(holds(all, "127.0.0.9", 7001)) << "a further host, which was not needed";
  EXPECT_FALSE(holds(all, "127.0.0.9", port));
  for (const tcp::endpoint& one : all) EXPECT_NE(one.port(), 5) << "a Unix socket has no address";

  const auto named =
      endpoints_by(fmt::format("host=localhost port={} sslmode=disable gssencmode=disable", port));
  EXPECT_TRUE(holds(named, "127.0.0.1", port));
}

}  // namespace
}  // namespace sluice::pg
