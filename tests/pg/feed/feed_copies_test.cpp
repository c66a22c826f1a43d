// Copies of the database: a logical one, put into a server whose transaction ids are far behind,
// and physical ones: files put back, a standby promoted without the last changes, a recovery to a
// point in time. Whoever has seen what is not there any more is told; everybody else goes on.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "feed/feed.hpp"
#include "feed/upkeep.hpp"
#include "pg/cluster.hpp"
#include "pg/feed/world.hpp"
#include "support/feed_checks.hpp"

namespace sluice::feed {
namespace {

namespace fs = std::filesystem;

/// A server of this test's own, and a pool on it.
struct Server {
  std::optional<pg::Cluster> cluster;
  std::unique_ptr<pg::Pool> pool;

  void stop() {
    if (pool) pool->close();
    pool.reset();
    cluster.reset();
  }
};

class FeedCopiesTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    std::string pattern = "/tmp/slcrXXXXXX";  // short: a Unix socket lies below
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    fs::permissions(directory_, static_cast<fs::perms>(0711));
    for (const auto& version : fs::directory_iterator("/usr/lib/postgresql"))
      programs_ = std::max(programs_, version.path() / "bin");
    start(first_, "first");
  }
  void TearDown() override {
    other_.stop();
    first_.stop();
    FeedWorld::TearDown();
    fs::remove_all(directory_);
  }

  void start(Server& server, const std::string& name) {
    pg::ClusterOptions options;
    options.directory = directory_ / name;
    options.socket_directory = directory_ / (name + ".s");
    options.settings = {"wal_keep_size = 1GB"};  // what an archive would have kept
    server.cluster.emplace(expect(pg::Cluster::start(options)));
    pg::PoolOptions pool;
    pool.connect.conninfo = server.cluster->conninfo();
    pool.size_max = 4;
    server.pool = std::make_unique<pg::Pool>(executor(), std::move(pool));
  }
  static void shell(const std::string& command) {
    const int status = std::system(command.c_str());
    ASSERT_EQ(status, 0) << command;
  }
  /// The world, put into the first server, which is noticed there as another place.
  void dump_and_restore() {
    shell(
        fmt::format("{0}/pg_dump --no-owner --no-acl '{1}' | {0}/psql -X -q -v ON_ERROR_STOP=1 "
                    "'{2}' > /dev/null",
                    programs_.string(), conninfo(), first_.cluster->conninfo()));
  }
  /// The files of a server that is stopped, or a copy of them, as they are.
  void copy_files(const std::string& from, const std::string& to) {
    shell(fmt::format("cp -a '{0}/{1}' '{0}/{2}'", directory_.string(), from, to));
  }
  /// A copy of the running first server, as operators make them; the server that is made of it is
  /// to follow, or to recover.
  void base_backup(const std::string& name, const std::string& options) {
    const fs::path copy = directory_ / name;
    shell(
        fmt::format("{0}/pg_basebackup -D '{1}' -d '{2}' {3} --checkpoint=fast && chown -R "
                    "--reference='{4}/first' '{1}' && rm -f '{1}/local.conf'",
                    programs_.string(), copy.string(), first_.cluster->conninfo(), options,
                    directory_.string()));
  }
  void add_line(const fs::path& file, const std::string& line) {
    std::ofstream(file, std::ios::app) << line << "\n";
  }

  std::string ask(Server& server, const std::string& query) {
    const auto rows = run(server.pool->query(query));
    return rows.empty() ? "" : std::string(rows.text(0, 0));
  }
  void change(Server& server, const std::string& query) { run(server.pool->query(query)); }
  bool comes_true(Server& server, const std::string& query) {
    return run_until_true([&] { return ask(server, query) == "t"; });
  }
  /// The world in the first server, where a host has looked, and two changes more.
  void begin() {
    dump_and_restore();
    if (HasFatalFailure()) return;
    look(first_);
    write(first_, 2);
  }

  Result<FeedPage> page(Server& server, std::string cursor) {
    FeedQuery query;
    query.cursor = std::move(cursor);
    query.limit = kFeedPageMax;
    return run(read_changes(*server.pool, workspace_, query));
  }
  /// What the error is, or how many changes there are.
  std::string read(Server& server, const std::string& cursor) {
    const auto answer = page(server, cursor);
    return answer ? std::to_string(answer->changes.size()) : answer.error().code;
  }
  std::string end_of(Server& server) { return expect(page(server, "")).cursor; }

  Task<void> write_task(pg::Pool& to, std::string email) {
    std::vector<model::OwnRow> rows(1);
    rows[0].values["email"] = email;
    model::OwnWrite how;
    auto lease = co_await to.acquire();
    co_await model::write_own(*lease, workspace_, *catalog_->find("customer"), std::move(rows),
                              std::move(how));
  }
  void write(Server& server, int count) {
    for (int n = 0; n < count; ++n)
      run(write_task(*server.pool, fmt::format("{}@x.com", ++written_)));
  }
  Task<std::string> look_task(pg::Pool& pool) {
    auto lease = co_await pool.acquire();
    co_return co_await check_origin(*lease);
  }
  /// What a host's upkeep notices, at its start, after a reconnect, and each minute.
  std::string look(Server& server) { return run(look_task(*server.pool)); }
  void expect_whole(Server& server, const std::string& changes) {
    EXPECT_EQ(read(server, ""), changes);
    EXPECT_EQ(ask(server, std::string(sluice::testing::kFeedGaps)), "0");
    EXPECT_EQ(ask(server, std::string(sluice::testing::kFeedBrokenChains)), "0");
  }

  fs::path directory_, programs_;
  Server first_, other_;
  int written_ = 0;
};

TEST_F(FeedCopiesTest, AnOldCursorGoesOnWithWhatIsChangedAfterARestore) {
  // The server that is left has come further than the new one will for a while.
  run(script(
      "do $$ begin for i in 1..3000 loop begin perform pg_current_xact_id(); insert into "
      "sluice.audit (workspace_id, actor, action, subject) values (0, '', '', ''); exception "
      "when division_by_zero then end; end loop; end $$"));
  own("a@x.com");
  own("b@x.com");
  FeedQuery all;
  const std::string cursor = expect(run(read_changes(pool(), workspace_, all))).cursor;
  dump_and_restore();
  if (HasFatalFailure()) return;
  write(first_, 1);
  EXPECT_EQ(read(first_, cursor), "1");
  EXPECT_EQ(read(first_, ""), "3");
}

// Neither identifier nor timeline tell it: the row that the cursor has seen is not there.
TEST_F(FeedCopiesTest, FilesThatWerePutBackAreToldToWhoHadSeenMore) {
  begin();
  if (HasFatalFailure()) return;
  const std::string common = end_of(first_);
  first_.stop();
  copy_files("first", "snapshot");
  start(first_, "first");
  write(first_, 3);
  const std::string lost = end_of(first_);
  first_.stop();
  fs::remove_all(directory_ / "first");
  copy_files("snapshot", "first");
  start(first_, "first");
  EXPECT_EQ(look(first_), "") << "the same place, as far as can be seen";
  EXPECT_EQ(read(first_, lost), "feed.cursor_ahead");
  write(first_, 10);
  EXPECT_EQ(read(first_, lost), "feed.history_lost") << "also when the head has passed it";
  EXPECT_EQ(read(first_, common), "10");
  expect_whole(first_, "12");
}

TEST_F(FeedCopiesTest, APromotedStandbyThatLackedTheLastChangesTellsWhoHadSeenThem) {
  begin();
  if (HasFatalFailure()) return;
  base_backup("other", "-R -X stream");
  if (HasFatalFailure()) return;
  start(other_, "other");
  ASSERT_EQ(ask(other_, "select pg_is_in_recovery()"), "t");
  write(first_, 1);
  ASSERT_TRUE(comes_true(other_, "select count(*) = 3 from sluice.change"));
  const std::string common = end_of(first_);
  EXPECT_EQ(end_of(other_), common) << "a standby serves the same";
  EXPECT_EQ(look(other_), "") << "and begins nothing";
  // It falls behind: nothing more comes from the primary.
  change(other_, "alter system set primary_conninfo = ''");
  change(other_, "select pg_reload_conf()");
  ASSERT_TRUE(comes_true(other_, "select not exists (select 1 from pg_stat_wal_receiver)"));
  write(first_, 4);
  const std::string lost = end_of(first_);
  first_.stop();
  change(other_, "select pg_promote()");
  ASSERT_TRUE(comes_true(other_, "select not pg_is_in_recovery()"));

  EXPECT_EQ(read(other_, lost), "feed.cursor_ahead") << "before any host has noticed";
  write(other_, 6);
  EXPECT_EQ(read(other_, lost), "feed.history_lost") << "the same, and the head has passed it";
  EXPECT_EQ(look(other_), "timeline");
  EXPECT_EQ(look(other_), "");
  write(other_, 2);
  EXPECT_EQ(read(other_, lost), "feed.history_lost");
  EXPECT_EQ(read(other_, common), "8");
  expect_whole(other_, "11");
}

TEST_F(FeedCopiesTest, ARecoveryToAPointInTimeTellsWhoHadSeenWhatCameAfterIt) {
  begin();
  if (HasFatalFailure()) return;
  base_backup("other", "-X none");
  if (HasFatalFailure()) return;
  write(first_, 3);
  const std::string common = end_of(first_);
  const std::string until = ask(first_, "select pg_current_wal_insert_lsn()::text");
  write(first_, 5);
  const std::string lost = end_of(first_);
  first_.stop();
  copy_files("first/pg_wal", "archive");
  add_line(directory_ / "other/postgresql.auto.conf",
           fmt::format("restore_command = 'cp \"{}/archive/%f\" \"%p\"'\nrecovery_target_lsn = "
                       "'{}'\nrecovery_target_action = 'promote'",
                       directory_.string(), until));
  shell(
      fmt::format("touch '{0}/other/recovery.signal' && chown --reference='{0}/archive' "
                  "'{0}/other/recovery.signal'",
                  directory_.string()));
  start(other_, "other");
  ASSERT_TRUE(comes_true(other_, "select not pg_is_in_recovery()"));
  EXPECT_EQ(look(other_), "timeline");
  EXPECT_EQ(read(other_, lost), "feed.history_lost");
  write(other_, 9);
  EXPECT_EQ(read(other_, lost), "feed.history_lost");
  EXPECT_EQ(read(other_, common), "9");
  expect_whole(other_, "14");
}

}  // namespace
}  // namespace sluice::feed
