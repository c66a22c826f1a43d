// The randomised checker: many writers, few entities, two followers, and a replay that must end
// with what the table holds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <random>
#include <set>

#include "feed/feed.hpp"
#include "journal/append.hpp"
#include "pg/feed/world.hpp"
#include "support/feed_checks.hpp"

namespace sluice::feed {
namespace {

constexpr int kWriters = 8;
constexpr int kEntities = 24;
constexpr int kTransactions = 60;  ///< of each writer

const pg::Statement kCheckpoint{"checker_checkpoint",
                                "update public.checkpoint set n = n + 1 where writer = $1"};
const pg::Statement kSet{"checker_set",
                         "update public.thing t set value = $2 from (select id, value from "
                         "public.thing where id = $1 for update) o "
                         "where t.id = o.id returning o.value"};

/// A follower of the feed, in pages of an odd size.
struct Follower {
  int limit = 7;
  std::string cursor;
  std::vector<std::int64_t> positions;
  std::map<std::int64_t, std::int64_t> values;
};

class FeedCheckerTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    run(script(
        fmt::format("create table public.thing (id bigint primary key, value bigint not null);"
                    "insert into public.thing select n, 0 from generate_series(1, {}) n;"
                    "create table public.checkpoint (writer int primary key, n bigint not null);"
                    "insert into public.checkpoint select n, 0 from generate_series(0, {}) n;"
                    "grant all on public.thing, public.checkpoint to sluice_app",
                    kEntities, kWriters)));
  }

  /// As a page does: writes something of its own first, then locks entities in one order, then
  /// tells. Some transactions end without a commit.
  Task<void> write_all(int writer, unsigned seed) {
    const auto connection = co_await pg::Connection::connect(executor(), options());
    std::mt19937 random(seed);
    for (int n = 0; n < kTransactions; ++n) {
      co_await connection->query("begin");
      pg::Params mine(std::int32_t{writer});
      co_await connection->query(kCheckpoint, std::move(mine));
      std::set<std::int64_t> ids;
      const std::size_t count = 1 + random() % 4;
      while (ids.size() < count) ids.insert(1 + random() % kEntities);
      journal::Changes changes;
      for (const std::int64_t id : ids) {
        const std::int64_t value = static_cast<std::int64_t>(random() >> 1);
        pg::Params params(id, value);
        const auto was = co_await connection->query(kSet, std::move(params));
        changes.add(1, id, "update", "", fmt::format("{{\"v\":[{},{}]}}", was.text(0, 0), value));
      }
      pg::Pipeline tail;
      journal::Source source;
      source.workspace = workspace_;
      changes.append_to(tail, source);
      tail.add(random() % 10 == 0 ? "rollback" : "commit");
      co_await connection->run(std::move(tail));
    }
    ++ended_;
  }

  Task<void> follow(Follower& follower) {
    for (;;) {
      const bool all_written = ended_ == kWriters;
      FeedQuery query;
      query.cursor = follower.cursor;
      query.limit = follower.limit;
      const FeedPage page = expect(co_await read_changes(pool(), workspace_, std::move(query)));
      for (const Change& change : page.changes) {
        follower.positions.push_back(change.position);
        const auto changed = nlohmann::json::parse(change.changed);
        follower.values[change.entity.value] = changed["v"][1].get<std::int64_t>();
      }
      follower.cursor = page.cursor;
      if (all_written && !page.has_more) co_return;
    }
  }

  pg::ConnectOptions options() {
    pg::ConnectOptions options;
    options.conninfo = app_conninfo();
    return options;
  }
  void start(Task<void> task) {
    ++running_;
    asio::co_spawn(io(), std::move(task), [this](std::exception_ptr error) {
      if (error) failed_ = error;
      --running_;
    });
  }
  std::int64_t number(std::string_view query) { return std::stoll(text(std::string(query))); }

  int ended_ = 0;
  int running_ = 0;
  std::exception_ptr failed_ = nullptr;
};

TEST_F(FeedCheckerTest, EveryFollowerReplaysWhatTheTableHolds) {
  for (int round = 0; round < 2; ++round) {
    const unsigned seed = std::random_device()();
    SCOPED_TRACE(fmt::format("seed {}", seed));
    fmt::print("seed {}\n", seed);
    ended_ = 0;
    Follower narrow, wide;
    wide.limit = 101;
    for (int writer = 0; writer < kWriters; ++writer)
      start(write_all(writer, seed + static_cast<unsigned>(writer)));
    start(follow(narrow));
    start(follow(wide));
    ASSERT_TRUE(run_until_true([&] { return running_ == 0 || failed_; }, std::chrono::seconds(60)));
    if (failed_) std::rethrow_exception(failed_);
    EXPECT_EQ(narrow.positions, wide.positions);
    for (std::size_t i = 0; i < narrow.positions.size(); ++i)
      ASSERT_EQ(narrow.positions[i], static_cast<std::int64_t>(i) + 1);
    const auto things = run(pool().query("select id, value from public.thing where value <> 0"));
    for (int row = 0; row < things.rows(); ++row) {
      EXPECT_EQ(narrow.values[things.get<std::int64_t>(row, 0)], things.get<std::int64_t>(row, 1))
          << "entity " << things.text(row, 0);
    }
    EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
    EXPECT_EQ(number(sluice::testing::kFeedTimeGoesBack), 0);
    EXPECT_EQ(number(sluice::testing::kFeedBrokenChains), 0);
  }
}

TEST_F(FeedCheckerTest, TheChecksFindAGapAStepBackAndABrokenChain) {
  sql("select sluice.append_changes({w}, 0, 0, '{1,1,1}', '{5,5,5}', '{update,update,update}', "
      "null, array['{\"v\":[0,1]}', '{\"v\":[1,2]}', '{\"v\":[1,3]}']::jsonb[])");
  EXPECT_EQ(number(sluice::testing::kFeedBrokenChains), 1);
  sql("update sluice.change set op = 'erased', changed = null where position = 2");
  EXPECT_EQ(number(sluice::testing::kFeedBrokenChains), 0) << "nothing is known across it";
  EXPECT_EQ(number(sluice::testing::kFeedTimeGoesBack), 0);
  sql("update sluice.change set at = at - interval '1 second' where position = 2");
  EXPECT_EQ(number(sluice::testing::kFeedTimeGoesBack), 1);
  sql("delete from sluice.change where position = 2");
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 1);
}

}  // namespace
}  // namespace sluice::feed
