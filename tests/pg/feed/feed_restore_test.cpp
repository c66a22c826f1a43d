// A logical copy of the database, put into a server whose transaction ids are far behind.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "feed/feed.hpp"
#include "pg/cluster.hpp"
#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

namespace fs = std::filesystem;

class FeedRestoreTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    std::string pattern = "/tmp/slcrXXXXXX";  // short: a Unix socket lies below
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    fs::permissions(directory_, static_cast<fs::perms>(0711));
    pg::ClusterOptions options;
    options.directory = directory_ / "pg";
    options.socket_directory = directory_ / "run";
    cluster_.emplace(expect(pg::Cluster::start(options)));
    pg::PoolOptions pool;
    pool.connect.conninfo = cluster_->conninfo();
    pool.size_max = 4;
    fresh_ = std::make_unique<pg::Pool>(executor(), std::move(pool));
  }
  void TearDown() override {
    if (fresh_) fresh_->close();
    FeedWorld::TearDown();
    fresh_.reset();
    cluster_.reset();
    fs::remove_all(directory_);
  }

  void dump_and_restore() {
    fs::path programs;
    for (const auto& version : fs::directory_iterator("/usr/lib/postgresql"))
      programs = std::max(programs, version.path() / "bin");
    const std::string command = fmt::format(
        "{0}/pg_dump --no-owner --no-acl '{1}' | {0}/psql -X -q -v ON_ERROR_STOP=1 '{2}' > "
        "/dev/null",
        programs.string(), conninfo(), cluster_->conninfo());
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  FeedPage read(pg::Pool& from, std::string cursor) {
    FeedQuery query;
    query.cursor = std::move(cursor);
    query.limit = kFeedPageMax;
    return expect(run(read_changes(from, workspace_, query)));
  }

  Task<void> write_to(pg::Pool& to, std::string email) {
    std::vector<model::OwnRow> rows(1);
    rows[0].values["email"] = email;
    model::OwnWrite how;
    auto lease = co_await to.acquire();
    co_await model::write_own(*lease, workspace_, *catalog_->find("customer"), std::move(rows),
                              std::move(how));
  }

  fs::path directory_;
  std::optional<pg::Cluster> cluster_;
  std::unique_ptr<pg::Pool> fresh_;
};

TEST_F(FeedRestoreTest, AnOldCursorGoesOnWithWhatIsChangedAfterTheRestore) {
  // The server that is left has come further than the new one will for a while.
  run(script(
      "do $$ begin for i in 1..3000 loop begin perform pg_current_xact_id(); insert into "
      "sluice.audit (workspace_id, actor, action, subject) values (0, '', '', ''); exception "
      "when division_by_zero then end; end loop; end $$"));
  own("a@x.com");
  own("b@x.com");
  const std::string cursor = read(pool(), "").cursor;
  dump_and_restore();
  if (HasFatalFailure()) return;
  run(write_to(*fresh_, "c@x.com"));
  EXPECT_EQ(read(*fresh_, cursor).changes.size(), 1U);
  EXPECT_EQ(read(*fresh_, "").changes.size(), 3U);
}

}  // namespace
}  // namespace sluice::feed
