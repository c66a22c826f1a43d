#include "feed/feed.hpp"

#include <gtest/gtest.h>

#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

class FeedTest : public sluice::testing::FeedWorld {
 protected:
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
    sql("select sluice.append_changes({w}, 0, 0, '{1}', '{7}', '{" + op +
        "}', null, array['{}']::jsonb[])");
  }
};

TEST_F(FeedTest, PagesFollowEachOtherAndTheEndKeepsItsCursor) {
  change("insert");
  change("update");
  change("delete");
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
  EXPECT_EQ(ops(*read(end->cursor)), "restore ");
}

TEST_F(FeedTest, APageOfLargeChangesEndsWhereItIsFull) {
  const std::string type = std::to_string(catalog_->find("customer")->id.value);
  for (int n = 0; n < 12; ++n) {
    sql("select sluice.append_changes({w}, 0, 0, '{" + type +
        "}', '{7}', '{update}', null, array[jsonb_build_object('info', jsonb_build_array('', "
        "repeat('i', 1000000)))])");
  }
  for (const bool of_one_entity : {false, true}) {
    FeedQuery query;
    query.limit = kFeedPageMax;
    if (of_one_entity) query.entity = EntityId(7);
    std::vector<std::size_t> found;
    bool more = true;
    while (more && found.size() < 10) {
      const auto page = run(read_changes(pool(), workspace_, query));
      ASSERT_TRUE(page) << page.error().describe();
      found.push_back(page->changes.size());
      query.cursor = page->cursor;
      more = page->has_more;
      if (!page->changes.empty()) {
        EXPECT_EQ(page->changes.front().changed.size(), 1'000'018U);
      }
    }
    EXPECT_EQ(found, (std::vector<std::size_t>{5, 5, 2}));
  }
}

TEST_F(FeedTest, FiltersByTypeAndEntity) {
  own("a@x.com");
  const EntityId second = own("b@x.com");
  change("link");
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

TEST_F(FeedTest, AChangeSaysItsPositionAlsoByTheOldNames) {
  change("insert");
  change("update");
  const auto json = to_json(read("")->changes.at(1));
  EXPECT_EQ(json["position"], "2");
  EXPECT_EQ(json["change_id"], "2");
  EXPECT_TRUE(json.contains("txid"));
  EXPECT_TRUE(json["txid"].is_null());
}

TEST_F(FeedTest, AStrangeCursorIsBadInput) {
  change("insert");
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
