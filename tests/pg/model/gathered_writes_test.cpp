#include "model/gathered_writes.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>

#include "model/own_types.hpp"
#include "pg/model/manifests.hpp"
#include "support/feed_checks.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;
using sluice::testing::make_workspace;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

/// One writer and its answer.
struct Answer {
  bool is_there = false;
  OwnOutcome outcome;
  std::string code;  ///< of the error, if it is one
};

class GatheredWritesTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
    watch_ = connect();
    writes_ = std::make_unique<GatheredWrites>(pool());
  }
  void TearDown() override {
    watch_.reset();
    writes_.reset();
    PgTest::TearDown();
  }
  Task<void> prepare() {
    workspace_ = co_await make_workspace(pool());
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    for (const char* name : {"customer", "product"}) {
      json request = json::parse(R"({"attributes":[{"name":"code","type":"integer","unique":true},
        {"name":"name","type":"text"}]})");
      request["name"] = name;
      auto type = own_type_from_json(request);
      co_await create_own_type(transaction, workspace_, std::move(*type));
    }
    co_await transaction.commit();
    catalog_ = co_await load_catalog(*lease, workspace_);
  }
  [[nodiscard]] OwnItem item(OwnMode mode, json values, EntityId id = {},
                             const char* type = "customer") const {
    OwnItem one;
    one.type = catalog_->find(type);
    one.mode = mode;
    one.row.values = std::move(values);
    one.row.id = id;
    return one;
  }
  [[nodiscard]] OwnItem customer(int code) const {
    return item(OwnMode::upsert, json{{"code", code}});
  }
  /// Begins to write; the answer comes while the loop runs.
  std::size_t begin(OwnItem one) { return begin(catalog_, std::move(one)); }
  std::size_t begin(CatalogPtr catalog, OwnItem one) {
    const std::size_t number = answers_.size();
    answers_.emplace_back();
    asio::co_spawn(io(), writes_->write(std::move(catalog), std::move(one)),
                   [this, number](std::exception_ptr error, OwnOutcome outcome) {
                     Answer& answer = answers_[number];
                     answer.is_there = true;
                     answer.outcome = std::move(outcome);
                     answer.code = code_of(error);
                   });
    return number;
  }
  static std::string code_of(const std::exception_ptr& error) {
    if (!error) return "";
    try {
      std::rethrow_exception(error);
    } catch (const Failure& failure) {
      return failure.error().code;
    } catch (const std::exception& surprise) {
      return surprise.what();
    }
  }
  bool all_answered() {
    return run_until_true([&] {
      return std::ranges::all_of(answers_, [](const Answer& answer) { return answer.is_there; });
    });
  }
  EntityId write_one(OwnItem one) {
    const std::size_t number = begin(std::move(one));
    EXPECT_TRUE(run_until_true([&] { return answers_[number].is_there; }));
    EXPECT_EQ(answers_[number].code, "");
    return answers_[number].outcome.id;
  }
  std::int64_t number(const std::string& query) {
    return run(watch_->query(query)).get<std::int64_t>(0, 0);
  }
  /// Transactions that told changes: each gave all of its own one moment.
  std::int64_t commits() { return number("select count(distinct at) from sluice.change"); }
  bool wait_for_waiters(std::int64_t count) {
    return run_until_true([&] {
      return number(
                 "select count(*) from pg_stat_activity where datname = current_database() and "
                 "wait_event_type = 'Lock'") == count;
    });
  }
  /// Keeps something, until it is told to let go.
  std::unique_ptr<pg::Connection> keep(const std::string& statement) {
    auto holder = connect();
    run(holder->query("begin"));
    run(holder->query(statement));
    return holder;
  }
  std::unique_ptr<pg::Connection> keep_the_head() {
    return keep("select 1 from sluice.feed_head for update");
  }
  void expect_feed_is_right() {
    EXPECT_EQ(number(std::string(sluice::testing::kFeedGaps)), 0);
    EXPECT_EQ(number(std::string(sluice::testing::kFeedBrokenChains)), 0);
  }

  WorkspaceId workspace_;
  CatalogPtr catalog_;
  std::unique_ptr<pg::Connection> watch_;
  std::unique_ptr<GatheredWrites> writes_;
  std::vector<Answer> answers_;
};

/// A catalogue is read anew every few seconds: writers with the one before stand in line with those
/// who have the next, and whoever leads leads others first.
TEST_F(GatheredWritesTest, WritersWithSeveralCataloguesAreAllWritten) {
  const auto newer = [this]() -> Task<CatalogPtr> {
    auto lease = co_await pool().acquire();
    co_return co_await load_catalog(*lease, workspace_);
  };
  std::vector<CatalogPtr> catalogs;
  for (int n = 0; n < 3; ++n) catalogs.push_back(run(newer()));
  constexpr int kWriters = 24;
  for (int round = 0; round < 5; ++round) {
    const auto holder = keep_the_head();
    for (int n = 0; n < kWriters; ++n) {
      const CatalogPtr& catalog = catalogs[static_cast<std::size_t>(n) % catalogs.size()];
      OwnItem one = customer(round * kWriters + n);
      one.type = catalog->find("customer");
      begin(catalog, std::move(one));
    }
    // Some have waited for as long as one waits for another by now, and lead as well.
    EXPECT_TRUE(run_until_true([&] {
      return number(
                 "select count(*) from pg_stat_activity where datname = current_database() and "
                 "wait_event_type = 'Lock'") >= 2;
    }));
    run(holder->query("rollback"));
    ASSERT_TRUE(all_answered());
  }
  for (const Answer& answer : answers_) {
    EXPECT_EQ(answer.code, "");
    EXPECT_EQ(answer.outcome.action, OwnAction::inserted);
  }
  EXPECT_EQ(number("select count(*) from sluice.own_entity"), 5 * kWriters);
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, WritersOfEveryKindThatComeTogetherShareACommitAndEachHasItsAnswer) {
  const EntityId one = write_one(customer(1));
  const EntityId two = write_one(customer(2));
  answers_.clear();
  const auto holder = keep("select 1 from sluice.own_entity where data->>'code' = '1' for update");
  const std::size_t first = begin(item(OwnMode::update, json{{"name", "A"}}, one));
  begin(item(OwnMode::update, json{{"name", "B"}}, two));
  begin(item(OwnMode::update, json{{"name", "C"}}, two));
  begin(item(OwnMode::insert, json{{"code", 9}}, {}, "product"));
  begin(item(OwnMode::remove, json::object(), two));
  begin(item(OwnMode::update, json{{"name", "D"}}, two));
  begin(customer(2));
  begin(customer(3));
  begin(item(OwnMode::upsert, json{{"code", "x"}}));
  const std::int64_t before = commits();
  EXPECT_TRUE(run_until_true([&] { return answers_.back().is_there; }));
  EXPECT_FALSE(answers_[first].is_there) << "somebody keeps its row";
  EXPECT_EQ(commits() - before, 1) << "all others went together";
  run(holder->query("commit"));
  ASSERT_TRUE(all_answered());
  std::string actions;
  for (const Answer& answer : answers_) {
    EXPECT_EQ(answer.code, "");
    actions += "iu=-!"[static_cast<int>(answer.outcome.action)];
  }
  EXPECT_EQ(actions, "uuui-!ii!");
  EXPECT_NE(answers_[6].outcome.id, two) << "the removed one's value was free again";
  EXPECT_EQ(number("select count(*) from sluice.change where entity_id = " +
                   std::to_string(two.value) + " and op <> 'insert'"),
            3)
      << "one for each write";
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, SixteenWritersNeedAFewCommits) {
  const auto head = keep_the_head();
  for (int n = 0; n < 16; ++n) begin(customer(n));
  ASSERT_TRUE(wait_for_waiters(2)) << "the first, and all others in a second one";
  run(head->query("commit"));
  ASSERT_TRUE(all_answered());
  for (const Answer& answer : answers_) EXPECT_EQ(answer.outcome.action, OwnAction::inserted);
  EXPECT_EQ(number("select count(*) from sluice.own_entity"), 16);
  EXPECT_EQ(commits(), 2);
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, OneThatTheDatabaseRefusesHasItsOwnErrorAndTheOthersAreWritten) {
  run(
      superuser_pool().query("alter table sluice.own_entity add constraint no_thirteen check "
                             "((data->>'code') is distinct from '13')"));
  for (int n = 0; n < 16; ++n) begin(customer(n));
  ASSERT_TRUE(all_answered());
  for (std::size_t n = 0; n < answers_.size(); ++n) {
    SCOPED_TRACE(n);
    EXPECT_EQ(answers_[n].code, n == 13 ? "pg.refused" : "");
  }
  EXPECT_EQ(number("select count(*) from sluice.own_entity"), 15);
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, OneWhoseRowSomebodyKeepsHoldsUpNobodyElse) {
  const EntityId kept = write_one(customer(1));
  answers_.clear();
  const auto holder = keep("select 1 from sluice.own_entity for update");
  const auto begun = steady_clock::now();
  begin(item(OwnMode::update, json{{"name", "A"}}, kept));
  for (int n = 2; n < 10; ++n) begin(customer(n));
  begin(item(OwnMode::update, json{{"name", "B"}}, kept));
  ASSERT_TRUE(
      run_until_true([&] { return std::ranges::count_if(answers_, &Answer::is_there) == 8; }));
  EXPECT_LT(steady_clock::now() - begun, 2s);
  EXPECT_FALSE(answers_.front().is_there);
  EXPECT_FALSE(answers_.back().is_there);
  run(holder->query("commit"));
  ASSERT_TRUE(all_answered());
  for (const Answer& answer : answers_) EXPECT_EQ(answer.code, "");
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, WhoWaitsForNobodyIsNotDelayed) {
  const EntityId kept = write_one(customer(1));
  answers_.clear();
  const auto holder = keep("select 1 from sluice.own_entity for update");
  begin(item(OwnMode::update, json{{"name", "A"}}, kept));
  ASSERT_TRUE(wait_for_waiters(1));
  // It has been under way for long: nobody gives it another turn.
  const auto until = steady_clock::now() + 2 * GatheredWrites::kTurnMax;
  run_until_true([&] { return steady_clock::now() >= until; });
  auto quickest = steady_clock::duration::max();
  for (int n = 2; n < 12; ++n) {
    const auto begun = steady_clock::now();
    write_one(customer(n));
    quickest = std::min(quickest, steady_clock::now() - begun);
  }
  EXPECT_LT(quickest, GatheredWrites::kTurnMax);
  run(holder->query("commit"));
  ASSERT_TRUE(all_answered());
}

TEST_F(GatheredWritesTest, WhenTheirSessionEndsBeforeTheCommitAllAreWrittenByAnother) {
  const auto head = keep_the_head();
  for (int n = 0; n < 16; ++n) begin(customer(n));
  ASSERT_TRUE(wait_for_waiters(2));
  run(
      watch_->query("select pg_terminate_backend(pid) from pg_stat_activity where datname = "
                    "current_database() and wait_event_type = 'Lock'"));
  run_until_true([&] { return answers_[0].is_there; });
  run(head->query("commit"));
  ASSERT_TRUE(all_answered());
  std::int64_t done = 0;
  for (const Answer& answer : answers_) {
    done += answer.code.empty() ? 1 : 0;
    if (!answer.code.empty()) {
      EXPECT_EQ(answer.code, "pg.lost");
    }
  }
  EXPECT_GE(done, 15) << "who went alone is told, the others go on";
  EXPECT_EQ(number("select count(*) from sluice.own_entity"), done);
  expect_feed_is_right();
}

TEST_F(GatheredWritesTest, WhenTheAnswerToTheirCommitIsLostEachIsToldThatItIsInDoubt) {
  run(superuser_pool().query(
      "create function public.end_me() returns trigger language plpgsql as $$ begin perform "
      "pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1); return null; end $$"));
  run(superuser_pool().query(
      "create constraint trigger at_commit after insert on sluice.own_entity "
      "deferrable initially deferred for each row execute function public.end_me()"));
  for (int n = 0; n < 4; ++n) begin(customer(n));
  ASSERT_TRUE(all_answered());
  for (const Answer& answer : answers_) EXPECT_EQ(answer.code, "pg.unknown_outcome");
  EXPECT_EQ(number("select count(*) from sluice.own_entity"), 0);
}

}  // namespace
}  // namespace sluice::model
