// A database of before migration 5, its changes, its view and its cursors.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "base/bytes.hpp"
#include "feed/feed.hpp"
#include "pg/migrate.hpp"
#include "support/feed_checks.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::feed {
namespace {

class FeedMigrationTest : public sluice::testing::PgTest {
 protected:
  FeedMigrationTest() : PgTest(Database::empty) {}

  Task<void> migrate_to(std::size_t version) {
    auto lease = co_await pool().acquire();
    co_await pg::migrate(*lease, pg::migrations().first(version));
  }
  Task<void> script(std::string text) {
    auto lease = co_await pool().acquire();
    co_await lease->script(std::move(text));
  }
  std::string text(std::string query) {
    const auto rows = run(pool().query(query));
    return rows.empty() || rows.is_null(0, 0) ? "" : std::string(rows.text(0, 0));
  }
  std::set<std::int64_t> rest_of(const std::string& cursor, WorkspaceId workspace) {
    FeedQuery query;
    query.cursor = to_base64url(as_bytes(cursor));
    query.limit = kFeedPageMax;
    const auto page = run(read_changes(pool(), workspace, query));
    EXPECT_TRUE(page) << page.error().describe();
    std::set<std::int64_t> entities;
    for (const Change& change : page->changes) entities.insert(change.entity.value);
    return entities;
  }
};

// The entity of each old row is its change_id, so that it can be found again.
constexpr const char* kOldRows =
    "insert into sluice.workspace (name) values ('acme'), ('silent');"
    "insert into sluice.change (workspace_id, txid, change_id, at, type_id, entity_id, op) "
    "overriding system value "
    "select 1, v.txid::xid8, v.id, '2026-01-31 23:59:00Z'::timestamptz + v.id * interval '10 "
    "seconds', 1, v.id, 'update' from (values "
    // Transaction 100 began before 101 and wrote behind it.
    "('100', 1), ('100', 2), ('101', 3), ('101', 4), ('100', 5), ('101', 6), ('100', 7), ('105', 8)"
    ") as v(txid, id);"
    "create schema acme; comment on schema acme is 'sluice workspace 1';"
    "create view acme.change as select h.txid, h.change_id, h.at, t.name as type, h.entity_id, "
    "h.external_id, h.op, h.changed, c.name as connection_name, h.run_id from sluice.change h left "
    "join sluice.entity_type t on t.workspace_id = 1 and t.type_id = h.type_id left join "
    "sluice.connection c on c.workspace_id = 1 and c.connection_id = h.connection_id where "
    "h.workspace_id = 1;"
    "comment on view acme.change is 'sluice 0123';"
    "create view public.theirs as select change_id, op from acme.change;"
    "grant select on acme.change to pg_monitor;";

TEST_F(FeedMigrationTest, OldChangesKeepTheirOrderWithinEachEntityAndViewsTheirGrants) {
  run(migrate_to(4));
  run(script(kOldRows));
  run(migrate_to(pg::migrations().size()));
  EXPECT_EQ(text("select string_agg(position || '=' || entity_id, ' ' order by position) from "
                 "sluice.change"),
            "1=1 2=2 3=3 4=4 5=5 6=6 7=7 8=8");
  EXPECT_EQ(text(std::string(sluice::testing::kFeedGaps)), "0");
  EXPECT_EQ(text(std::string(sluice::testing::kFeedTimeGoesBack)), "0");
  EXPECT_EQ(text("select string_agg(workspace_id || ' ' || kept_from, ', ' order by 1) from "
                 "sluice.feed_head"),
            "1 1, 2 1")
      << "also of a workspace without a change";
  EXPECT_EQ(text("select string_agg(change_id || op, ' ' order by 1) from public.theirs where "
                 "change_id < 3"),
            "1update 2update");
  EXPECT_EQ(text("select concat_ws(' ', txid is null, change_id, position) from acme.change order "
                 "by position limit 1"),
            "t 1 1");
  EXPECT_EQ(text("select has_table_privilege('pg_monitor', 'acme.change', 'select')"), "t");
  EXPECT_EQ(text("select count(*) from sluice.change_later"), "0");
  EXPECT_EQ(text("select sluice.append_changes(2, 0, 0, '{1}', '{1}', '{insert}', null, null)"),
            "1");
  EXPECT_EQ(text("select sluice.append_changes(1, 0, 0, '{1}', '{9}', '{update}', null, null)"),
            "9");
}

TEST_F(FeedMigrationTest, ChangesOfBeforeHaveNoTimeAtTheVendorAndAreNotWrittenAnew) {
  run(migrate_to(39));
  run(
      script("insert into sluice.workspace (name) values ('acme');"
             "select sluice.append_changes(1, 0, 0, '{1,1}', '{7,8}', '{insert,insert}', null, "
             "null)"));
  const std::string files =
      "select string_agg(relname || ' ' || relfilenode, ', ' order by relname) from pg_class "
      "where relkind = 'r' and relnamespace = 'sluice'::regnamespace and relname ~ "
      "'^change_[0-9l]'";
  const std::string before = text(files);
  ASSERT_NE(before, "");
  run(migrate_to(pg::migrations().size()));
  EXPECT_EQ(text(files), before);
  EXPECT_EQ(text("select count(*) from sluice.change where vendor_at is null"), "2");
  // A month that is made later takes what waited for it.
  run(
      script("insert into sluice.change (workspace_id, position, at, type_id, entity_id, op, "
             "vendor_at) values (1, 3, now() + interval '100 days', 1, 9, 'update', "
             "'2026-01-31Z')"));
  const std::string third =
      "select tableoid::regclass || ' ' || (vendor_at at time zone 'UTC') from sluice.change "
      "where position = 3";
  EXPECT_EQ(text(third), "sluice.change_later 2026-01-31 00:00:00");
  run(script("select sluice.ensure_change_partitions(5)"));
  EXPECT_EQ(text(third).find("sluice.change_2"), 0U) << text(third);
  EXPECT_NE(text(third).find(" 2026-01-31 00:00:00"), std::string::npos);
}

TEST_F(FeedMigrationTest, AnOldCursorMissesNothing) {
  run(migrate_to(4));
  run(script(kOldRows));
  // What each place in the old order had behind it.
  const std::vector<std::pair<std::string, std::set<std::int64_t>>> places = {
      {"1:1:100:1", {2, 5, 7, 3, 4, 6, 8}},
      {"1:1:100:7", {3, 4, 6, 8}},
      {"1:1:101:3", {4, 6, 8}},
      {"1:1:101:6", {8}},
      {"1:1:105:8", {}},
      {"1:1:104:1", {8}},
      {"1:1:999:1", {}}};
  run(migrate_to(pg::migrations().size()));
  run(script("select sluice.append_changes(1, 0, 0, '{1}', '{9}', '{update}', null, null)"));
  for (const auto& [cursor, behind] : places) {
    const auto told = rest_of(cursor, WorkspaceId(1));
    for (const std::int64_t entity : behind) EXPECT_TRUE(told.contains(entity)) << cursor;
    EXPECT_TRUE(told.contains(9)) << cursor << ": what came after the migration";
  }
  EXPECT_EQ(rest_of("1:1:999:1", WorkspaceId(1)), std::set<std::int64_t>{9});
  EXPECT_EQ(rest_of("1:1:105:8", WorkspaceId(1)), (std::set<std::int64_t>{8, 9}))
      << "its own transaction again, and no other";
  EXPECT_EQ(rest_of("1:2:5:1", WorkspaceId(2)), std::set<std::int64_t>{});
}

}  // namespace
}  // namespace sluice::feed
