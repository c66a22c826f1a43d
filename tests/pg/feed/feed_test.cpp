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

TEST_F(FeedTest, TheTimeAtTheVendorStandsBesideOurs) {
  change("insert");
  sql("select sluice.append_changes({w}, 3, 9, '{1,1}', '{7,8}', '{update,update}', null, null, "
      "array['2026-11-23T05:16:54.5Z', null]::timestamptz[])");
  const auto page = read("");
  ASSERT_TRUE(page) << page.error().describe();
  std::vector<std::string> told;
  for (const Change& one : page->changes) told.push_back(to_json(one).at("vendor_at").dump());
  EXPECT_EQ(told, (std::vector<std::string>{"null", "\"2026-11-23T05:16:54.500000Z\"", "null"}));
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

TEST_F(FeedTest, ATimeIsFoundByHalvingAndBeginsWithTheFirstChangeThatIsNotBeforeIt) {
  const auto begins = [&](std::string since) {
    const auto cursor = run(cursor_since(pool(), workspace_, *from_rfc3339(since)));
    EXPECT_TRUE(cursor);
    const auto page = read(*cursor);
    EXPECT_TRUE(page) << page.error().describe();
    return page->changes.empty() ? std::int64_t{0} : page->changes[0].position;
  };
  EXPECT_EQ(begins("2026-11-01T00:00:00Z"), 0) << "of an empty feed";
  for (int n = 1; n <= 11; ++n) change("update");
  // Hour by hour, but for 5 to 7, which were told at once.
  sql("update sluice.change set at = timestamptz '2026-11-01 00:00Z' + case when position between "
      "5 "
      "and 7 then 5 else position end * interval '1 hour'");
  EXPECT_EQ(begins("2026-10-01T00:00:00Z"), 1);
  for (int n = 1; n <= 11; ++n) {
    const bool together = n >= 5 && n <= 7;
    const int hour = together ? 5 : n;
    EXPECT_EQ(begins(fmt::format("2026-11-01T{:02}:00:00Z", hour)), together ? 5 : n);
    EXPECT_EQ(begins(fmt::format("2026-11-01T{:02}:00:00.000001Z", hour)), n == 11    ? 0
                                                                           : together ? 8
                                                                                      : n + 1);
  }
  EXPECT_EQ(begins("2026-12-01T00:00:00Z"), 0);
  sql("delete from sluice.change where position < 4");
  sql("update sluice.feed_head set kept_from = 4");
  EXPECT_EQ(begins("2026-11-01T00:00:00Z"), 4) << "what retention has left";
  EXPECT_EQ(ops(*read(*run(cursor_now(pool(), workspace_)))), "");
  change("insert");
  EXPECT_EQ(begins("2026-11-01T10:30:00Z"), 11);
}

TEST_F(FeedTest, TheNewestAreFoundAndCountedByWhatIsAskedFor) {
  const auto put = [&](int connection, int run_id, const char* op, int times) {
    for (int n = 0; n < times; ++n)
      sql(fmt::format(
          "select sluice.append_changes({{w}}, {}, {}, '{{1}}', '{{7}}', '{{{}}}', null, "
          "array['{{}}']::jsonb[])",
          connection, run_id, op));
  };
  put(3, 9, "insert", 3);
  put(0, 0, "link", 2);
  put(3, 0, "delete", 1);
  put(0, 0, "update", 2);
  put(4, 8, "update", 1);
  put(0, 7, "insert", 1);  // an import's
  const auto newest = [&](FeedFilter filter, int count) {
    FeedQuery query;
    static_cast<FeedFilter&>(query) = filter;
    query.cursor = *run(cursor_newest(pool(), workspace_, filter, count));
    std::string found;
    const auto page = run(read_changes(pool(), workspace_, query));
    for (const Change& one : page->changes) found += fmt::format("{}{} ", one.position, one.op);
    return found;
  };
  FeedFilter filter;
  EXPECT_EQ(newest(filter, 2), "9update 10insert ");
  EXPECT_EQ(newest(filter, 100), newest(filter, 10));
  filter.connection = ConnectionId(3);
  EXPECT_EQ(newest(filter, 2), "3insert 6delete ");
  filter.cause = "sync";
  EXPECT_EQ(newest(filter, 5), "1insert 2insert 3insert ");
  filter = FeedFilter();
  filter.ops = {"link", "delete"};
  EXPECT_EQ(newest(filter, 2), "5link 6delete ");
  filter.ops = {"restore"};
  EXPECT_EQ(newest(filter, 2), "");
  for (const auto& [cause, wanted] :
       {std::pair("link", "4link 5link "), std::pair("own", "7update 8update 10insert "),
        std::pair("connection", "6delete ")}) {
    filter = FeedFilter();
    filter.cause = cause;
    EXPECT_EQ(newest(filter, 5), wanted);
  }
  const auto summary = run(summarise(pool(), workspace_, Micros(0), FeedFilter()));
  ASSERT_TRUE(summary);
  std::string counted;
  for (const FeedCount& one : summary->counts)
    counted += fmt::format("{} by {} {}, ", one.op, one.cause, one.count);
  EXPECT_EQ(counted,
            "delete by connection 1, insert by own 1, insert by sync 3, link by link 2, update by "
            "own 2, update by "
            "sync 1, ");
  EXPECT_EQ(summary->looked, 10);
  EXPECT_FALSE(summary->truncated);
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
