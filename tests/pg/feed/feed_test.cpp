#include "feed/feed.hpp"

#include <gtest/gtest.h>

#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

class FeedTest : public sluice::testing::FeedWorld {
 protected:
  /// Other tests' transactions on the same server hold the feed back: waits until ours are served.
  void settle() {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (text("select coalesce(max(txid) < pg_snapshot_xmin(pg_current_snapshot()), true) from "
                "sluice.change") != "t") {
      if (std::chrono::steady_clock::now() > until) FAIL() << "changes were not served in time";
    }
  }
  Result<FeedPage> read(std::string cursor, int limit = 100) {
    FeedQuery query;
    query.cursor = std::move(cursor);
    query.limit = limit;
    return run(read_changes(pool(), workspace_, query));
  }
  static std::string ops(const FeedPage& page) {
    std::string out;
    for (const Change& change : page.changes) out += change.op + " ";
    return out;
  }
  void change(std::string op) {
    sql("insert into sluice.change (workspace_id, type_id, entity_id, op, changed) values ({w}, 1, "
        "7, '" +
        op + "', '{}')");
  }
};

TEST_F(FeedTest, PagesFollowEachOtherAndTheEndKeepsItsCursor) {
  change("insert");
  change("update");
  change("delete");
  settle();
  const auto first = read("", 2);
  ASSERT_TRUE(first);
  EXPECT_EQ(ops(*first), "insert update ");
  EXPECT_TRUE(first->has_more);
  const auto second = read(first->cursor, 2);
  EXPECT_EQ(ops(*second), "delete ");
  EXPECT_FALSE(second->has_more);
  const auto end = read(second->cursor);
  EXPECT_EQ(ops(*end), "");
  EXPECT_EQ(end->cursor, second->cursor);
  change("restore");
  settle();
  EXPECT_EQ(ops(*read(end->cursor)), "restore ");
}

TEST_F(FeedTest, NothingIsServedThatAnOlderTransactionMayStillPrecede) {
  auto slow = connect();
  run(slow->query("begin"));
  run(
      slow->query("insert into sluice.change (workspace_id, type_id, entity_id, op)"
                  " select workspace_id, 1, 7, 'insert' from sluice.workspace"));
  change("update");
  EXPECT_EQ(ops(*read("")), "") << "the older one may still commit";
  run(slow->query("commit"));
  settle();
  EXPECT_EQ(ops(*read("")), "insert update ");
}

TEST_F(FeedTest, ATransactionOfAnotherDatabaseHoldsNothingBack) {
  pg::ConnectOptions elsewhere;
  elsewhere.conninfo = conninfo() + " dbname=postgres";
  auto foreign = run(pg::Connection::connect(executor(), elsewhere));
  run(foreign->query("begin"));
  run(foreign->query("select pg_current_xact_id()"));
  change("insert");
  EXPECT_EQ(ops(*read("")), "insert ");
  // One of ours, beside it, still does.
  auto slow = connect();
  run(slow->query("begin"));
  run(slow->query("select pg_current_xact_id()"));
  change("update");
  EXPECT_EQ(ops(*read("")), "insert ");
  run(slow->query("commit"));
  EXPECT_EQ(ops(*read("")), "insert update ");
  run(foreign->query("rollback"));
}

TEST_F(FeedTest, FiltersByTypeAndEntity) {
  own("a@x.com");
  const EntityId second = own("b@x.com");
  change("link");
  settle();
  FeedQuery query;
  query.entity = second;
  EXPECT_EQ(ops(*run(read_changes(pool(), workspace_, query))), "insert ");
  query.entity.reset();
  query.type = catalog_->find("customer")->id;
  const auto page = run(read_changes(pool(), workspace_, query));
  EXPECT_EQ(ops(*page), "insert insert ");
  EXPECT_EQ(to_json(page->changes[0])["type"], "customer");
  EXPECT_TRUE(to_json(page->changes[0])["changed"].is_null());
}

TEST_F(FeedTest, AStrangeCursorIsBadInput) {
  change("insert");
  settle();
  const std::string good = read("")->cursor;
  for (const std::string& bad :
       {std::string("x"), std::string("!!"), good + "A", good.substr(1), std::string("MTox")}) {
    const auto page = read(bad);
    ASSERT_FALSE(page) << bad;
    EXPECT_EQ(page.error().code, "feed.bad_cursor");
    EXPECT_EQ(page.error().kind, ErrorKind::bad_input);
  }
  FeedQuery query;
  query.cursor = good;
  const WorkspaceId other(workspace_.value + 1);
  EXPECT_EQ(run(read_changes(pool(), other, query)).error().code, "feed.bad_cursor");
  EXPECT_EQ(read("", 0).error().code, "feed.bad_limit");
  EXPECT_EQ(read("", kFeedPageMax + 1).error().code, "feed.bad_limit");
}

}  // namespace
}  // namespace sluice::feed
