// Whoever keeps a workspace's head: a host that froze is ended, anybody else is not.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <boost/asio/co_spawn.hpp>

#include "base/task_group.hpp"
#include "feed/upkeep.hpp"
#include "pg/feed/world.hpp"
#include "support/feed_checks.hpp"

namespace sluice::feed {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience = 1s;

/// A host that was stopped in mid-pipeline: it has sent all up to its append, and never the end.
class FrozenHost {
 public:
  explicit FrozenHost(const std::string& conninfo)
      : connection_(PQconnectdb((conninfo + " application_name=sluiced").c_str())) {
    EXPECT_EQ(PQenterPipelineMode(connection_), 1);
    send("begin");
    send(
        "insert into sluice.audit (workspace_id, actor, action, subject) values (0, 'frozen', '', "
        "'')");
    send(
        "select sluice.append_changes(w.workspace_id, 0, 0, '{1}', '{99}', '{update}', null, null) "
        "from sluice.workspace w");
    EXPECT_EQ(PQsendFlushRequest(connection_), 1);
    EXPECT_EQ(PQflush(connection_), 0);
  }
  ~FrozenHost() { PQfinish(connection_); }
  FrozenHost(const FrozenHost&) = delete;
  FrozenHost& operator=(const FrozenHost&) = delete;
  [[nodiscard]] int backend() const { return PQbackendPID(connection_); }

 private:
  void send(const char* sql) {
    EXPECT_EQ(PQsendQueryParams(connection_, sql, 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  }
  PGconn* connection_;
};

class FeedHeadTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    watch_ = connect();
    run(check_origin(*watch_));  // or the upkeep would begin with a new generation
  }
  void TearDown() override {
    upkeep_.cancel();
    run_until_true([&] { return upkeep_.running() == 0; });
    watch_.reset();
    FeedWorld::TearDown();
  }
  /// As a host does it.
  void look_after_the_feed() {
    pg::ConnectOptions options;
    options.conninfo = app_conninfo();
    upkeep_.spawn(keep_feed(executor(), options, std::chrono::days(0), kPatience));
  }
  void begin_write(std::string email) {
    std::vector<model::OwnRow> rows(1);
    rows[0].values["email"] = std::move(email);
    ++running_;
    const auto begun = steady_clock::now();
    asio::co_spawn(io(), write(std::move(rows)),
                   [this, begun](std::exception_ptr error, const std::vector<model::OwnOutcome>&) {
                     if (error) failed_ = error;
                     longest_ = std::max(longest_, steady_clock::now() - begun);
                     --running_;
                   });
  }
  [[nodiscard]] bool all_written() {
    return run_until_true([&] { return running_ == 0; }) && !failed_;
  }
  std::int64_t number(const std::string& query) {
    return run(watch_->query(query)).get<std::int64_t>(0, 0);
  }
  std::int64_t waiting() {
    return number(
        "select count(*) from pg_stat_activity where datname = current_database() and "
        "wait_event_type = 'Lock'");
  }
  /// Until so many wait for a lock.
  bool wait_for_waiters(std::int64_t count) {
    return run_until_true([&] { return waiting() == count; });
  }
  bool is_there(int backend) {
    return number(fmt::format("select count(*) from pg_stat_activity where pid = {}", backend)) ==
           1;
  }
  /// A backend that is ended gives its locks away before it leaves pg_stat_activity.
  bool leaves(int backend) {
    return run_until_true([&] { return !is_there(backend); });
  }
  /// The loop goes on meanwhile.
  void let_pass(std::chrono::milliseconds time) {
    const auto until = steady_clock::now() + time;
    run_until_true([&] { return steady_clock::now() >= until; });
  }
  int backend_of(pg::Connection& connection) {
    return run(connection.query("select pg_backend_pid()")).get<std::int32_t>(0, 0);
  }
  /// Holds the head, by whatever this statement does, longer than anybody has patience for.
  void expect_left_alone(const std::string& statement) {
    look_after_the_feed();
    auto holder = connect_as_app();
    const int backend = backend_of(*holder);
    run(holder->query("begin"));
    run(holder->query(statement));
    begin_write("a@x.com");
    ASSERT_TRUE(wait_for_waiters(1));
    let_pass(3 * kPatience);
    EXPECT_TRUE(is_there(backend));
    EXPECT_EQ(running_, 1) << "it waits";
    run(holder->query("commit"));
    EXPECT_TRUE(all_written());
  }

  std::unique_ptr<pg::Connection> watch_;
  TaskGroup upkeep_{executor()};
  int running_ = 0;
  std::exception_ptr failed_;
  steady_clock::duration longest_{};
};

TEST_F(FeedHeadTest, AHostThatFrozeInMidPipelineIsEndedByWhoeverHasWaitedForIt) {
  FrozenHost frozen(app_conninfo());
  ASSERT_TRUE(run_until_true([&] {
    return number(fmt::format("select count(*) from pg_stat_activity where pid = {} and state = "
                              "'active' and wait_event = 'ClientRead'",
                              frozen.backend())) == 1;
  }));
  begin_write("a@x.com");
  ASSERT_TRUE(wait_for_waiters(1));
  look_after_the_feed();
  ASSERT_TRUE(all_written());
  EXPECT_GE(longest_, kPatience);
  EXPECT_LT(longest_, kPatience + kPatience / 5 + 1s);
  EXPECT_TRUE(leaves(frozen.backend()));
  EXPECT_EQ(number("select count(*) from sluice.change where entity_id = 99"), 0);
  EXPECT_EQ(number("select count(*) from sluice.audit where actor = 'frozen'"), 0);
  EXPECT_EQ(number("select count(*) from sluice.change"), 1);
  EXPECT_EQ(number(std::string(sluice::testing::kFeedGaps)), 0);
}

TEST_F(FeedHeadTest, AHostAllOfWhoseConnectionsWaitAtTheHeadGoesOnAsWell) {
  auto frozen = connect_as_app();
  const int backend = backend_of(*frozen);
  run(frozen->query("begin"));
  run(frozen->query("select 1 from sluice.feed_head for update"));
  for (int n = 0; n < 16; ++n) begin_write(fmt::format("{}@x.com", n));  // of a pool of eight
  ASSERT_TRUE(wait_for_waiters(8));
  look_after_the_feed();
  ASSERT_TRUE(all_written());
  EXPECT_TRUE(leaves(backend));
  EXPECT_EQ(number("select count(*) from sluice.change"), 16);
}

TEST_F(FeedHeadTest, AHolderThatIsWaitedForLessIsLeftAlone) {
  look_after_the_feed();
  auto holder = connect_as_app();
  for (int n = 0; n < 4; ++n) {  // in all longer than anybody has patience for
    run(holder->query("begin"));
    run(holder->query("select 1 from sluice.feed_head for update"));
    begin_write(fmt::format("{}@x.com", n));
    ASSERT_TRUE(wait_for_waiters(1));
    let_pass(kPatience / 2);
    run(holder->query("commit"));
    ASSERT_TRUE(all_written());
  }
}

TEST_F(FeedHeadTest, AHolderThatWorksIsLeftAlone) {
  look_after_the_feed();
  auto holder = connect_as_app();
  bool worked = false;
  run(holder->query("begin"));
  run(holder->query("select 1 from sluice.feed_head for update"));
  asio::co_spawn(io(), holder->query("select pg_sleep(3)"),
                 [&](std::exception_ptr error, const pg::QueryResult&) {
                   EXPECT_FALSE(error);
                   worked = true;
                 });
  begin_write("a@x.com");
  ASSERT_TRUE(run_until_true([&] { return worked; }));
  run(holder->query("commit"));
  EXPECT_TRUE(all_written());
}

TEST_F(FeedHeadTest, WhoeverHasTheWholeTableIsLeftAlone) {
  expect_left_alone("lock table sluice.feed_head in access exclusive mode");
}

TEST_F(FeedHeadTest, AnOperatorAtAPromptIsLeftAlone) {
  expect_left_alone(
      "select set_config('application_name', 'psql', false), h.* from sluice.feed_head h for "
      "update");
}

}  // namespace
}  // namespace sluice::feed
