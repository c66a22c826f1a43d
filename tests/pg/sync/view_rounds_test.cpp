// Many changes of a catalogue at once have the views made a few times.
#include "sync/view_rounds.hpp"

#include "base/task_group.hpp"
#include "feed/views.hpp"
#include "model/own_types.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::sync {
namespace {

class ViewRoundsTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(pool().query("insert into sluice.workspace (name) values ('first'), ('second')"));
  }
  Task<void> make_type(std::string name) {
    auto request = nlohmann::json::parse(R"({"attributes":[{"name":"title","type":"text"}]})");
    request["name"] = name;
    auto type = model::own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await model::create_own_type(transaction, WorkspaceId(1), std::move(*type));
    co_await transaction.commit();
    std::vector<std::string> notes = co_await rounds_.renew(*lease, WorkspaceId(1), "first");
    // Whatever round it was, whoever made the type finds its view.
    const std::string look = "select count(*) from first." + name;
    co_await lease->query(look);
    notes_ += notes.size();
    ++made_;
  }
  Task<void> make_many(int count) {
    TaskGroup group(pool().executor());
    for (int i = 0; i < count; ++i) group.spawn(make_type("kind" + std::to_string(i)));
    co_await group.wait();
  }
  Task<void> renew_second() {
    auto lease = co_await pool().acquire();
    co_await rounds_.renew(*lease, WorkspaceId(2), "second");
  }

  ViewRounds rounds_;
  std::size_t notes_ = 0;
  int made_ = 0;
};

TEST_F(ViewRoundsTest, whoever_comes_while_views_are_made_shares_the_next_round) {
  run(make_many(24));
  EXPECT_EQ(made_, 24);
  EXPECT_EQ(notes_, 0U);
  EXPECT_GE(rounds_.rounds(), 2);
  EXPECT_LT(rounds_.rounds(), 20) << "each had a round of its own";
}

TEST_F(ViewRoundsTest, one_alone_has_its_own_and_workspaces_do_not_wait_for_each_other) {
  run(make_type("alone"));
  EXPECT_EQ(rounds_.rounds(), 1);
  run(renew_second());
  EXPECT_EQ(rounds_.rounds(), 2);
  EXPECT_EQ(run(pool().query("select to_regclass('second.change') is not null")).get<bool>(0, 0),
            true);
}

// Whoever makes the views and is stopped leaves nobody waiting.
TEST_F(ViewRoundsTest, when_its_maker_is_stopped_somebody_else_makes_them) {
  auto blocker = connect();
  run(blocker->query("begin"));
  run(blocker->query("select 1 from sluice.workspace where workspace_id = 1 for no key update"));
  auto stopped = std::make_unique<TaskGroup>(pool().executor());
  stopped->spawn(make_type("stopped"));
  ASSERT_TRUE(run_until_true([this] { return rounds_.rounds() == 1; }));
  TaskGroup others(pool().executor());
  others.spawn(make_type("waits"));
  others.spawn(make_type("waits_too"));
  stopped->cancel();
  run(blocker->query("rollback"));
  ASSERT_TRUE(run_until_true([this] { return made_ >= 2; }));
  EXPECT_LE(rounds_.rounds(), 3);
}

}  // namespace
}  // namespace sluice::sync
