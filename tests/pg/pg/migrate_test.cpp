#include "pg/migrate.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

class MigrateTest : public testing::PgTest {
 protected:
  MigrateTest() : PgTest(Database::empty) {}

  MigrationOutcome migrate_to(std::span<const Migration> all) {
    const auto connection = connect();
    return run(migrate(*connection, all));
  }
  std::string code_of(std::span<const Migration> all) {
    try {
      migrate_to(all);
    } catch (const Failure& failure) {
      return failure.error().code;
    }
    return "none";
  }
  std::string versions() {
    return std::string(
        run(pool().query(
                "SELECT coalesce(string_agg(version || ':' || name, ',' ORDER BY version), '')"
                " FROM sluice.schema_version"))
            .text(0, 0));
  }
};

const Migration kOne{1, "0001_one",
                     "CREATE TABLE sluice.one (a int); INSERT INTO sluice.one VALUES (1)"};
const Migration kTwo{2, "0002_two",
                     "ALTER TABLE sluice.one ADD COLUMN b int; UPDATE sluice.one SET b = a"};
const Migration kThree{3, "0003_three", "CREATE TABLE sluice.three ()"};

TEST_F(MigrateTest, AppliesWhatIsMissingOnce) {
  const Migration all[] = {kOne, kTwo, kThree};
  const auto first = migrate_to(std::span(all, 1));
  EXPECT_EQ(first.from, 0);
  EXPECT_EQ(first.to, 1);
  const auto rest = migrate_to(all);
  EXPECT_EQ(rest.from, 1);
  EXPECT_EQ(rest.to, 3);
  const auto nothing = migrate_to(all);
  EXPECT_EQ(nothing.from, 3);
  EXPECT_EQ(nothing.to, 3);
  EXPECT_EQ(versions(), "1:0001_one,2:0002_two,3:0003_three");
  EXPECT_EQ(run(pool().query("SELECT count(*) FROM sluice.one")).get<int>(0, 0), 1);
}

TEST_F(MigrateTest, ManyAtOnceApplyEachOnce) {
  const Migration slow{2, "0002_slow", "SELECT pg_sleep(0.2); INSERT INTO sluice.one VALUES (2)"};
  const Migration all[] = {kOne, slow, kThree};
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 6; ++i) connections.push_back(connect());
  int ended = 0;
  for (const auto& connection : connections) {
    asio::co_spawn(io(), migrate(*connection, all),
                   [&](std::exception_ptr error, MigrationOutcome outcome) {
                     EXPECT_FALSE(error);
                     EXPECT_EQ(outcome.to, 3);
                     ++ended;
                   });
  }
  ASSERT_TRUE(run_until_true([&] { return ended == 6; }));
  EXPECT_EQ(run(pool().query("SELECT count(*) FROM sluice.one")).get<int>(0, 0), 2);
}

TEST_F(MigrateTest, ANewerDatabaseIsRefusedUnchanged) {
  const Migration all[] = {kOne, kTwo, kThree};
  migrate_to(all);
  EXPECT_EQ(code_of(std::span(all, 2)), "schema.too_new");
  EXPECT_EQ(versions(), "1:0001_one,2:0002_two,3:0003_three");
}

TEST_F(MigrateTest, AChangedMigrationIsRefused) {
  const Migration all[] = {kOne};
  migrate_to(all);
  Migration changed = kOne;
  changed.sql = "CREATE TABLE sluice.one (a bigint)";
  const Migration others[] = {changed, kTwo};
  EXPECT_EQ(code_of(others), "schema.changed");
  EXPECT_EQ(versions(), "1:0001_one");
}

TEST_F(MigrateTest, AFailingMigrationLeavesNothingOfItself) {
  const Migration broken{2, "0002_broken", "CREATE TABLE sluice.half (a int); SELECT 1/0"};
  const Migration all[] = {kOne, broken, kThree};
  const auto connection = connect();
  EXPECT_THROW(run(migrate(*connection, all)), QueryError);
  EXPECT_TRUE(connection->usable());
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(versions(), "1:0001_one");
  EXPECT_EQ(run(pool().query("SELECT to_regclass('sluice.half') IS NULL")).get<bool>(0, 0), true);
}

TEST_F(MigrateTest, AMigrationMayNotCommit) {
  const Migration commits{1, "0001_commits", "SELECT 1; COMMIT"};
  const Migration all[] = {commits};
  EXPECT_EQ(code_of(all), "schema.ends_transaction");
}

TEST_F(MigrateTest, NumbersHaveNoGaps) {
  const Migration all[] = {kOne, kThree};
  EXPECT_EQ(code_of(all), "schema.gap");
}

TEST_F(MigrateTest, OurOwnMigrationsApply) {
  ASSERT_FALSE(migrations().empty());
  EXPECT_EQ(migrate_to(migrations()).to, static_cast<int>(migrations().size()));
  EXPECT_EQ(migrate_to(migrations()).from, static_cast<int>(migrations().size()));
}

// Each host held it for itself, by the deaths that were counted.
TEST_F(MigrateTest, AFileThatEndedItsHostTwiceWhileItWasLoadedStaysHeld) {
  const auto all = migrations();
  const auto holds = std::find_if(all.begin(), all.end(), [](const Migration& one) {
    return one.name.find("connector_holds") != std::string_view::npos;
  });
  ASSERT_NE(holds, all.end());
  migrate_to(all.first(static_cast<std::size_t>(holds - all.begin())));
  run(pool().query(
      "insert into sluice.connector_death (workspace_id, connection_id, operation, subject, death, "
      "connector, version, sha256, function, how, half_made, run_id, at) "
      "select 0, 0, 'load', repeat(one.digit, 64), n::text, 'acme', '1.2', repeat(one.digit, 64), "
      "'load', 'SIGILL', false, 0, now() from (values ('a', 2), ('b', 1)) one (digit, times), "
      "generate_series(1, one.times) n union all "
      "select 1, 2, 'read', 'orders', n::text, 'acme', '1.3', repeat('c', 64), 'step', 'exit(3)', "
      "false, 7, now() from generate_series(1, 3) n union all "
      "select 1, 2, 'check', '', 'torn', 'acme', '1.3', 'no hash', 'step', 'exit(3)', false, 7, "
      "now()"));
  migrate_to(all);
  const auto held = run(
      pool().query("select string_agg(left(encode(sha256, 'hex'), 1) || ': ' || reason, '; ') from "
                   "sluice.connector_hold"));
  EXPECT_EQ(held.text(0, 0),
            "a: acme 1.2 ended hosts 2 times while being loaded; it runs for nobody until an "
            "operator approves it again");
  const auto counted = run(pool().query(
      "select string_agg(digit || times || ' ' || what, ', ' order by digit) from (select "
      "left(encode(sha256, 'hex'), 1) digit, count(*) times, min(what || ': ' || how) what from "
      "sluice.connector_file_death group by sha256) f"));
  EXPECT_EQ(counted.text(0, 0),
            "a2 being loaded: SIGILL in load(), b1 being loaded: SIGILL in load(), c3 reading the "
            "stream orders: exit(3) in step()");
}

class MigratedTest : public testing::PgTest {};

TEST_F(MigratedTest, TheFixtureGivesAMigratedDatabase) {
  EXPECT_EQ(run(pool().query("SELECT max(version) FROM sluice.schema_version")).get<int>(0, 0),
            static_cast<int>(migrations().size()));
}

// G11. fsync and full_page_writes belong to the server: cluster_test starts one with each.
TEST_F(MigrateTest, UnsafeSettingsAreRefusedByName) {
  const auto connection = connect();
  EXPECT_NO_THROW(run(require_safe_settings(*connection)));
  for (const char* good : {"on", "local", "remote_write", "remote_apply"}) {
    run(connection->query(std::string("SET synchronous_commit = ") + good));
    EXPECT_NO_THROW(run(require_safe_settings(*connection))) << good;
  }
  run(connection->query("SET synchronous_commit = off"));
  try {
    run(require_safe_settings(*connection));
    FAIL() << "was accepted";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(failure.error().code, "database.unsafe_setting");
    EXPECT_THAT(failure.what(), ::testing::HasSubstr("synchronous_commit is off and must be on"));
  }
}

}  // namespace
}  // namespace sluice::pg
