// The feed's order is that of the commits, whoever else is at work in the database.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "feed/feed.hpp"
#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

class FeedOrderTest : public sluice::testing::FeedWorld {
 protected:
  FeedPage read(std::string cursor, std::optional<EntityTypeId> type = std::nullopt) {
    FeedQuery query;
    query.cursor = std::move(cursor);
    query.limit = kFeedPageMax;
    query.type = type;
    return expect(run(read_changes(pool(), workspace_, query)));
  }

  /// Writes like an import: by e-mail, in a transaction and on a connection of its own.
  Task<void> import_all(std::vector<std::string> emails, std::int64_t seats) {
    std::vector<model::OwnRow> rows;
    for (const std::string& email : emails) {
      model::OwnRow& row = rows.emplace_back();
      row.values["email"] = email;
      row.values["seats"] = seats;
    }
    co_await write(std::move(rows));
  }

  void begin_import(std::vector<std::string> emails, std::int64_t seats) {
    ++running_;
    asio::co_spawn(io(), import_all(std::move(emails), seats), [this](std::exception_ptr error) {
      if (error) failed_ = error;
      --running_;
    });
  }

  /// What a consumer ends with that takes each change's word for it.
  std::int64_t replayed_seats(EntityId entity) {
    std::int64_t seats = -1;
    for (const Change& change : read("").changes) {
      if (change.entity != entity || change.changed.empty()) continue;
      const auto changed = nlohmann::json::parse(change.changed);
      if (changed.contains("seats")) seats = changed["seats"][1].get<std::int64_t>();
    }
    return seats;
  }

  int running_ = 0;
  std::exception_ptr failed_ = nullptr;
};

TEST_F(FeedOrderTest, AnImportThatBeganEarlierStandsBehindTheChangeThatItOverwrote) {
  own("a@x.com");
  const EntityId x = own("x@x.com");
  const EntityId y = own("y@x.com");
  auto holder = connect();
  auto watcher = connect();
  run(holder->query("begin"));
  run(holder->query("select 1 from sluice.own_entity where id = " + std::to_string(x.value) +
                    " for update"));
  begin_import({"a@x.com", "x@x.com", "y@x.com"}, 22);  // has written to a, waits for x
  ASSERT_TRUE(run_until_true([&] {
    return run(watcher->query("select 1 from pg_stat_activity where datname = current_database() "
                              "and wait_event_type = 'Lock'"))
               .rows() == 1;
  }));
  run(import_all({"y@x.com"}, 11));
  run(holder->query("commit"));
  ASSERT_TRUE(run_until_true([&] { return running_ == 0; }));
  ASSERT_FALSE(failed_);
  EXPECT_EQ(
      text("select data->>'seats' from sluice.own_entity where id = " + std::to_string(y.value)),
      "22");
  EXPECT_EQ(replayed_seats(y), 22);
}

TEST_F(FeedOrderTest, AStrangersOpenTransactionHoldsNothingBack) {
  auto stranger = connect();
  run(stranger->query("begin"));
  run(stranger->query(
      "create temp table theirs (n int)"));  // has an xid now, for as long as it likes
  own("a@x.com");
  EXPECT_EQ(read("").changes.size(), 1U);
  run(stranger->query("rollback"));
}

TEST_F(FeedOrderTest, AFilteredReaderMovesOverTheChangesOfOthers) {
  own("a@x.com");
  const EntityTypeId other(catalog_->find("acme.invoice")->id);
  std::string cursor;
  int polls = 0;
  for (bool more = true; more && polls < 50; ++polls) {
    const FeedPage page = read(cursor, other);
    EXPECT_TRUE(page.changes.empty());
    more = page.has_more;
    cursor = page.cursor;
  }
  EXPECT_EQ(cursor, read("").cursor) << "all of it was looked at";
}

}  // namespace
}  // namespace sluice::feed
