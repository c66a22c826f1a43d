// Cursors and what may have happened to the rows behind them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/bytes.hpp"
#include "base/task_group.hpp"
#include "feed/feed.hpp"
#include "feed/upkeep.hpp"
#include "pg/feed/world.hpp"
#include "support/feed_checks.hpp"

namespace sluice::feed {
namespace {

class FeedHistoryTest : public sluice::testing::FeedWorld {
 protected:
  Result<FeedPage> read(std::string cursor, int limit = 100,
                        std::optional<EntityTypeId> type = std::nullopt) {
    FeedQuery query;
    query.cursor = std::move(cursor);
    query.limit = limit;
    query.type = type;
    return run(read_changes(pool(), workspace_, query));
  }
  std::string code(std::string cursor) {
    const auto page = read(std::move(cursor));
    return page ? "" : page.error().code;
  }
  /// What the answer says to go on with.
  static std::string offered(const Error& error) {
    constexpr std::string_view kWord = "cursor ";
    const auto at = error.hint.rfind("cursor Mjo");
    if (at == std::string::npos) return "";
    const auto begin = at + kWord.size();
    return error.hint.substr(begin, error.hint.find_first_of(",. ", begin) - begin);
  }
  static std::string positions(const FeedPage& page) {
    std::string out;
    for (const Change& change : page.changes) out += fmt::format("{} ", change.position);
    return out;
  }
  void append(int count, std::int64_t type = 1) {
    sql(
        fmt::format("select sluice.append_changes({{w}}, 0, 0, array_fill({}::bigint, array[{}]), "
                    "array_fill(7::bigint, array[{}]), array_fill('update'::text, array[{}]), "
                    "null, null)",
                    type, count, count, count));
  }
  /// As a copy of the database's files from before comes back: later changes were never written.
  void put_back_to(std::int64_t position) {
    sql(fmt::format("delete from sluice.change where position > {}", position));
  }
  Task<std::string> look_at_origin() {
    auto lease = co_await pool().acquire();
    co_return co_await check_origin(*lease);
  }
  Task<std::vector<std::string>> forget(Micros before) {
    auto lease = co_await pool().acquire();
    co_return co_await forget_partitions(*lease, before);
  }
  Task<int> ensure(int months) {
    auto lease = co_await pool().acquire();
    co_return co_await ensure_partitions(*lease, months);
  }
  std::int64_t number(std::string_view query) { return std::stoll(text(std::string(query))); }
  /// The database is where it is: no generation begins at the next look.
  void settle_origin() { run(look_at_origin()); }
};

TEST_F(FeedHistoryTest, ACursorBehindTheEndOfAFeedThatWasPutBackIsToldAsAhead) {
  append(3);
  const std::string cursor = read("")->cursor;
  put_back_to(2);
  const auto page = read(cursor);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, "feed.cursor_ahead");
  EXPECT_EQ(page.error().kind, ErrorKind::conflict);
}

TEST_F(FeedHistoryTest, ACursorWhosePositionWasWrittenAnewIsToldThatItsHistoryIsLost) {
  append(3);
  const std::string common = read("", 2)->cursor;
  const std::string cursor = read("")->cursor;
  put_back_to(2);
  append(5);  // and nobody has noticed
  const auto page = read(cursor);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, "feed.history_lost");
  EXPECT_EQ(positions(*read(common)), "3 4 5 6 7 ");
  EXPECT_EQ(positions(*read(offered(page.error()))), "1 2 3 4 5 6 7 ") << page.error().hint;
}

TEST_F(FeedHistoryTest, AFilteredCursorProvesTheRowAtWhichItStopped) {
  const EntityTypeId other(catalog_->find("acme.invoice")->id);
  append(3);
  const auto page = read("", 100, other);
  EXPECT_EQ(positions(*page), "");
  EXPECT_EQ(page->cursor, read("")->cursor) << "all three were looked at";
  put_back_to(2);
  append(5);
  EXPECT_EQ(code(page->cursor), "feed.history_lost");
}

TEST_F(FeedHistoryTest, AnotherServerTimelineDatabaseOrTableBeginsAGenerationAndOldCursorsGoOn) {
  settle_origin();
  EXPECT_EQ(run(look_at_origin()), "") << "nothing differs";
  const auto generations = "select count(*) from sluice.feed_generation";
  const std::int64_t before = number(generations);
  append(3);
  const std::string cursor = read("")->cursor;
  sql("update sluice.feed_origin set system_identifier = 1, timeline = '0000000F', database = 2, "
      "head = 3");
  EXPECT_EQ(run(look_at_origin()), "server, timeline, database, table");
  EXPECT_EQ(run(look_at_origin()), "");
  EXPECT_EQ(number(generations), before + 1);
  append(1);
  const auto page = read(cursor);
  ASSERT_TRUE(page) << page.error().describe();
  EXPECT_EQ(positions(*page), "4 ");
}

TEST_F(FeedHistoryTest, WhatWasReadAfterTheCommonPositionIsToldAlsoWhenTheHeadHasPassedIt) {
  settle_origin();
  append(2);
  const std::string common = read("")->cursor;
  append(3);
  const std::string beyond = read("")->cursor;
  put_back_to(2);
  sql("update sluice.feed_origin set system_identifier = 1");
  EXPECT_EQ(run(look_at_origin()), "server");
  EXPECT_EQ(code(beyond), "feed.history_lost");
  append(10);
  const auto page = read(beyond);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, "feed.history_lost");
  EXPECT_EQ(positions(*read(offered(page.error()), 2)), "3 4 ") << page.error().hint;
  EXPECT_EQ(positions(*read(common, 2)), "3 4 ");
}

TEST_F(FeedHistoryTest, ACursorOfAGenerationThatNobodyKnowsIsLost) {
  append(3);
  const std::string text = fmt::format("2:{}:12345:2:0", workspace_.value);
  EXPECT_EQ(code(to_base64url(as_bytes(text))), "feed.history_lost");
}

TEST_F(FeedHistoryTest, TwoHostsThatNoticeAtOnceBeginOneGeneration) {
  settle_origin();
  sql("update sluice.feed_origin set system_identifier = 1");
  auto one = connect();
  auto other = connect();
  int ended = 0, noticed = 0;
  for (pg::Connection* connection : {one.get(), other.get()}) {
    asio::co_spawn(io(), check_origin(*connection),
                   [&](std::exception_ptr error, std::string what) {
                     EXPECT_FALSE(error);
                     noticed += what.empty() ? 0 : 1;
                     ++ended;
                   });
  }
  ASSERT_TRUE(run_until_true([&] { return ended == 2; }));
  EXPECT_EQ(noticed, 1);
}

TEST_F(FeedHistoryTest, RetentionToEmptinessNeverGivesAPositionAgainAndTellsOldCursors) {
  append(3);
  const std::string early = read("", 1)->cursor;
  const std::string end = read("")->cursor;
  const Micros much_later(std::chrono::hours(24 * 366 * 60) + std::chrono::microseconds(1));
  const auto forgotten = run(forget(much_later));
  EXPECT_EQ(forgotten.size(), 3U) << "this month and two ahead";
  EXPECT_EQ(number("select count(*) from sluice.change"), 0);
  EXPECT_EQ(code(early), "feed.expired");
  const auto at_end = read(end);
  ASSERT_TRUE(at_end) << at_end.error().describe();
  EXPECT_EQ(at_end->cursor, end);
  append(2);
  EXPECT_EQ(positions(*read(end)), "4 5 ");
  EXPECT_EQ(positions(*read("")), "4 5 ");
  EXPECT_EQ(positions(*read(offered(read(early).error()))), "4 5 ");
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
}

/// Changes of the last 320 days, and of now, in two workspaces.
class FeedRetentionTest : public FeedHistoryTest {
 protected:
  void SetUp() override {
    FeedHistoryTest::SetUp();
    settle_origin();
    // The first month of a fresh database takes whatever is older: here there are months before it.
    sql("drop table sluice." +
        text("select 'change_' || to_char(now() at time zone 'UTC', 'YYYYMM')"));
    sql("insert into sluice.workspace (name) values ('other');"
        "insert into sluice.change (workspace_id, position, at, type_id, entity_id, op, changed) "
        "select w.workspace_id, n, now() - (9 - n) * interval '40 days', 1, 7, 'update', "
        "jsonb_build_object('a', jsonb_build_array(n - 1, n)) "
        "from sluice.workspace w, generate_series(1, 8) n");
    run(ensure(2));
    append(2);
  }
  Task<void> forget_before(int days) {
    auto lease = co_await pool().acquire();
    pg::Params params(std::int64_t{days});
    const auto at =
        co_await lease->query("select now() - $1 * interval '1 day'", std::move(params));
    co_await forget_partitions(*lease, at.get<Micros>(0, 0));
  }
  /// The upkeep as a host runs it, until nothing that old is left.
  Task<void> upkeep(std::chrono::days kept, int gone_days) {
    pg::ConnectOptions options;
    options.conninfo = conninfo();
    TaskGroup group(executor());
    group.spawn(keep_feed(executor(), options, kept));
    const std::string old = fmt::format(
        "select count(*) from sluice.change where at < now() - interval '{} days'", gone_days);
    for (int look = 0; look < 200; ++look) {
      const auto left = co_await pool().query(old);
      if (left.get<std::int64_t>(0, 0) == 0) break;
      asio::steady_timer pause(executor(), std::chrono::milliseconds(20));
      co_await pause.async_wait(asio::use_awaitable);
    }
    group.cancel();
    try {
      co_await group.wait();
    } catch (const pg::QueryError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::cancelled) << error.what();  // its way to end
    }
  }
  static constexpr const char* kHeads =
      "select string_agg(kept_from::text, ' ' order by workspace_id) from sluice.feed_head";
};

TEST_F(FeedRetentionTest, OldMonthsGoWithTheUpkeepForAllWorkspacesAndOldCursorsAreTold) {
  const std::string before_all = read("", 1)->cursor;
  const std::string end = read("")->cursor;
  ASSERT_EQ(number("select count(*) from sluice.change_later"), 0);
  run(upkeep(std::chrono::days(119), 151));
  EXPECT_EQ(number("select count(*) from sluice.change where at < now() - interval '151 days'"), 0);
  EXPECT_EQ(number("select count(*) from sluice.change where at > now() - interval '119 days'"),
            2 * 2 + 2)
      << "whatever is younger stays";
  const std::int64_t kept_from = number("select min(kept_from) from sluice.feed_head");
  EXPECT_GE(kept_from, 6) << "of six changes that are older than 119 days, those of ended months";
  EXPECT_EQ(text(kHeads), fmt::format("{0} {0}", kept_from));
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
  EXPECT_EQ(number(sluice::testing::kFeedBrokenChains), 0);
  EXPECT_EQ(code(before_all), "feed.expired");
  EXPECT_EQ(read(end)->cursor, end);
  EXPECT_EQ(positions(*read(offered(read(before_all).error()), 1)), fmt::format("{} ", kept_from));
}

TEST_F(FeedRetentionTest, AMonthThatIsBeingReadStaysWithItsPositionsUntilTheNextTime) {
  auto reader = connect();
  run(reader->query("begin"));
  run(reader->query("select count(*) from sluice.change"));
  try {
    run(forget_before(119));
    ADD_FAILURE() << "it did not wait for the reader";
  } catch (const pg::QueryError& error) {
    EXPECT_EQ(error.sqlstate(), "55P03") << error.what();
  }
  EXPECT_EQ(text(kHeads), "1 1");
  append(1);  // nobody is held up behind it
  run(reader->query("rollback"));
  run(forget_before(119));
  EXPECT_NE(text(kHeads), "1 1");
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
}

// All writers of all workspaces would wait while it is counted.
TEST_F(FeedRetentionTest, AMonthIsForgottenWithoutBeingRead) {
  constexpr int kRows = 20'000;
  sql(
      fmt::format("update sluice.change set position = position + {0} where position > 1;"
                  "insert into sluice.change (workspace_id, position, at, type_id, entity_id, op) "
                  "select c.workspace_id, n + 1, c.at, 1, 7, 'update' from sluice.change c, "
                  "generate_series(1, {0}) n where c.position = 1",
                  kRows));
  const std::string month =
      text("select tableoid::regclass::text from sluice.change where position = 1 limit 1");
  ASSERT_EQ(number("select count(*) from " + month), 2 * (kRows + 1));
  const std::string read_so_far =
      "select seq_tup_read + coalesce(idx_tup_fetch, 0) from "
      "pg_stat_user_tables where relid = '" +
      month + "'::regclass";
  auto reader = connect();  // so that what was counted is not dropped with the month
  run(reader->query("begin"));
  run(reader->query("select 1 from " + month + " limit 1"));
  auto forgetting = connect();
  run(forgetting->query("select pg_stat_force_next_flush()"));
  const std::int64_t before = number(read_so_far);
  run(forgetting->query("select pg_stat_force_next_flush()"));
  try {
    run(forgetting->query("select sluice.forget_change_partition('" + month + "')"));
    ADD_FAILURE() << "it did not wait for the reader";
  } catch (const pg::QueryError& error) {
    EXPECT_EQ(error.sqlstate(), "55P03") << error.what();
  }
  run(forgetting->query("select pg_stat_force_next_flush()"));
  EXPECT_LE(number(read_so_far) - before, 20);
  run(reader->query("rollback"));
  run(forgetting->query("select sluice.forget_change_partition('" + month + "')"));
  EXPECT_EQ(text(kHeads), fmt::format("{0} {0}", kRows + 2));
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
}

TEST_F(FeedRetentionTest, TheUpkeepGoesOnBesideAMonthThatIsBeingReadAndZeroKeepsAll) {
  auto reader = connect();
  run(reader->query("begin"));
  run(reader->query("select count(*) from sluice.change"));
  run(upkeep(std::chrono::days(119), 151));  // 2 s of waiting, 2 s of nothing to be seen
  EXPECT_EQ(text(kHeads), "1 1");
  run(reader->query("rollback"));
  run(upkeep(std::chrono::days(0), 151));
  EXPECT_EQ(text(kHeads), "1 1");
}

TEST_F(FeedHistoryTest, OnlyTheOldestMonthMayBeForgotten) {
  append(1);
  sql("update sluice.change set at = at + interval '1 month'");  // as if it were next month's
  append(1);                                                     // and time does not go back
  EXPECT_EQ(number(sluice::testing::kFeedTimeGoesBack), 0);
  sql("insert into sluice.change (workspace_id, position, at, type_id, entity_id, op) values ({w}, "
      "0, now(), 1, 1, 'update')");
  const std::string next =
      text("select 'sluice.change_' || to_char(now() + interval '1 month', 'YYYYMM')");
  EXPECT_THROW(sql("select sluice.forget_change_partition('" + next + "')"), pg::QueryError);
}

TEST_F(FeedHistoryTest, MonthsAreMadeAheadAlsoWhileTheDefaultPartitionHoldsTheirRows) {
  append(2);
  sql("update sluice.change set at = at + interval '3 months' where position = 2");
  EXPECT_EQ(number("select count(*) from sluice.change_later"), 1);
  const std::string end = read("")->cursor;
  EXPECT_EQ(run(ensure(4)), 2);
  EXPECT_EQ(run(ensure(4)), 0);
  EXPECT_EQ(number("select count(*) from sluice.change_later"), 0);
  EXPECT_EQ(number("select count(*) from sluice.change"), 2);
  EXPECT_EQ(read(end)->cursor, end);
  append(1);
  EXPECT_EQ(number(sluice::testing::kFeedGaps), 0);
  EXPECT_EQ(positions(*read(end)), "3 ");
}

TEST_F(FeedHistoryTest, AFilteredReaderPassesAMillionForeignChangesInBoundedSteps) {
  constexpr int kForeign = 300'000;
  append(kForeign);
  const EntityTypeId other(catalog_->find("acme.invoice")->id);
  append(1, other.value);
  std::string cursor;
  std::string found;
  int polls = 0;
  for (bool more = true; more; ++polls) {
    const auto page = read(cursor, 100, other);
    ASSERT_TRUE(page);
    ASSERT_TRUE(!page->has_more || page->cursor != cursor) << "it must move";
    found += positions(*page);
    more = page->has_more;
    cursor = page->cursor;
  }
  EXPECT_EQ(found, fmt::format("{} ", kForeign + 1));
  EXPECT_LE(polls, 1 + kForeign / (kScanPositions * kScanSteps));
}

TEST_F(FeedHistoryTest, AHeadThatIsHeldIsToldToWhoDeletesToo) {
  const EntityId entity = own("a@x.com");
  auto holder = connect();
  run(holder->query("begin"));
  run(holder->query("select 1 from sluice.feed_head for update"));
  const auto deletes = [](pg::Pool& pool, WorkspaceId workspace, const model::StoredType& type,
                          EntityId id) -> Task<void> {
    auto connection = co_await pool.acquire();
    std::vector<model::OwnRow> rows(1);
    rows[0].id = id;
    model::OwnWrite how;
    how.mode = model::OwnMode::remove;
    co_await model::write_own(*connection, workspace, type, std::move(rows), std::move(how));
  };
  try {
    run(deletes(pool(), workspace_, *catalog_->find("customer"), entity));
    ADD_FAILURE() << "nobody can have told a change";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "feed.busy") << failure.what();
  }
  EXPECT_EQ(number("select count(*) from sluice.own_entity where deleted_at is null"), 1);
}

TEST_F(FeedHistoryTest, AHeadThatIsHeldIsToldWithWhoHoldsIt) {
  run(superuser_pool().query(
      "alter function sluice.append_changes(bigint, bigint, bigint, bigint[], bigint[], text[], "
      "text[], jsonb[], timestamptz[]) set lock_timeout = '1s'"));
  // A host's, and that of somebody else, of whose session a host may not see much.
  for (const bool hosts : {true, false}) {
    auto holder = hosts ? connect_as_app() : connect();
    run(holder->query("begin"));
    run(holder->query("select 1 from sluice.feed_head for update"));
    try {
      own("a@x.com");
      ADD_FAILURE() << "nobody can have told a change";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.error().code, "feed.busy");
      EXPECT_EQ(failure.error().kind, ErrorKind::retry_later);
      const auto pid = run(holder->query("select pg_backend_pid()::text"));
      const std::string& said = failure.error().message;
      EXPECT_NE(said.find("process " + pid.get<std::string>(0, 0)), std::string::npos) << said;
      EXPECT_NE(said.find(hosts ? "has held it for" : "of the role postgres"), std::string::npos)
          << said;
    }
    EXPECT_EQ(positions(*read("")), "") << "readers are not held up";
    run(holder->query("commit"));
  }
  own("a@x.com");
  EXPECT_EQ(positions(*read("")), "1 ");
}

TEST_F(FeedHistoryTest, AppendingUnderASnapshotOfBeforeTheLockIsRefused) {
  auto connection = connect();
  run(connection->query("begin isolation level repeatable read"));
  EXPECT_THROW(run(connection->query("select sluice.append_changes(1, 0, 0, '{1}', '{1}', "
                                     "'{insert}', null, null)")),
               pg::QueryError);
}

TEST_F(FeedHistoryTest, AWorkspaceHasAFeedFromItsFirstMoment) {
  run(pool().query("insert into sluice.workspace (name) values ('second')"));
  EXPECT_EQ(number("select count(*) from sluice.workspace w join sluice.feed_head h using "
                   "(workspace_id) join sluice.feed_generation g using (workspace_id, generation) "
                   "where g.ordinal = 1"),
            2);
}

}  // namespace
}  // namespace sluice::feed
