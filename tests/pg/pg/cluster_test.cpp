// Private clusters of their own, started, killed and adopted for real.
#include "pg/cluster.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <fstream>

#include "pg/connection.hpp"
#include "pg/migrate.hpp"

namespace sluice::pg {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ClusterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // In memory where possible: these tests wait for nothing but initdb's writes.
    const fs::path place = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : fs::temp_directory_path();
    std::string name = (place / "sluice-cluster-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
    fs::permissions(root, fs::perms::owner_all | fs::perms::others_exec);
  }
  void TearDown() override { fs::remove_all(root); }

  ClusterOptions options() {
    ClusterOptions options;
    options.directory = root / "postgres";
    options.socket_directory = root / "run";
    options.settings = {"shared_buffers = 16MB"};
    return options;
  }
  static std::string ask(const std::string& conninfo, const std::string& sql) {
    asio::io_context io;
    std::string answer;
    std::exception_ptr failure;
    const auto work = [&](Executor executor) -> Task<void> {
      ConnectOptions connect;
      connect.conninfo = conninfo;
      connect.search_path = "public";
      const auto connection = co_await Connection::connect(executor, std::move(connect));
      const auto result = co_await connection->query(sql);
      if (result.rows() > 0) answer = result.text(0, 0);
    };
    asio::co_spawn(io, work(io.get_executor()), [&](std::exception_ptr error) { failure = error; });
    io.run();
    if (failure) std::rethrow_exception(failure);
    return answer;
  }
  static std::string unsafe(const std::string& conninfo) {
    asio::io_context io;
    std::exception_ptr failure;
    const auto work = [&](Executor executor) -> Task<void> {
      ConnectOptions connect;
      connect.conninfo = conninfo;
      const auto connection = co_await Connection::connect(executor, std::move(connect));
      co_await require_safe_settings(*connection);
    };
    asio::co_spawn(io, work(io.get_executor()), [&](std::exception_ptr error) { failure = error; });
    io.run();
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const Failure& error) {
      return error.what();
    }
    return "";
  }
  static bool alive(int pid) { return ::kill(pid, 0) == 0; }

  fs::path root;
};

TEST_F(ClusterTest, StartsConfiguredStopsAndKeepsItsData) {
  int pid = 0;
  {
    auto cluster = expect(Cluster::start(options()));
    pid = cluster.postmaster_pid();
    EXPECT_EQ(ask(cluster.conninfo(), "SELECT current_database() || ' ' || current_user"),
              "sluice sluice");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW listen_addresses"), "");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW data_checksums"), "on");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW fsync"), "on");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW shared_buffers"), "16MB");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW default_toast_compression"), "lz4");
    EXPECT_EQ(ask(cluster.conninfo(), "SHOW server_encoding"), "UTF8");
    EXPECT_EQ(
        ask(cluster.conninfo(), "SELECT datcollate FROM pg_database WHERE datname = 'sluice'"),
        "C.UTF-8");
    EXPECT_EQ(unsafe(cluster.conninfo()), "");
    ask(cluster.conninfo(), "CREATE TABLE kept AS SELECT 42 AS a");
    struct stat info = {};
    ASSERT_EQ(::stat((root / "run").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    if (::geteuid() == 0) {
      EXPECT_NE(info.st_uid, 0u);
    }
    cluster.stop();
    cluster.stop();
    EXPECT_FALSE(alive(pid));
  }
  const auto cluster = expect(Cluster::start(options()));
  EXPECT_EQ(ask(cluster.conninfo(), "SELECT a FROM kept"), "42");
}

TEST_F(ClusterTest, APostmasterOfAKilledHostIsAdopted) {
  int told[2] = {};
  ASSERT_EQ(::pipe(told), 0);
  const pid_t host = ::fork();
  if (host == 0) {
    auto cluster = Cluster::start(options());
    const int pid = cluster ? cluster->postmaster_pid() : -1;
    if (::write(told[1], &pid, sizeof(pid)) != sizeof(pid)) ::_exit(1);
    for (;;) ::pause();
  }
  int postmaster = 0;
  ASSERT_EQ(::read(told[0], &postmaster, sizeof(postmaster)),
            static_cast<ssize_t>(sizeof(postmaster)));
  ASSERT_GT(postmaster, 0);
  ::kill(host, SIGKILL);
  ::waitpid(host, nullptr, 0);
  EXPECT_TRUE(alive(postmaster)) << "the database dies with the host";

  auto cluster = expect(Cluster::start(options()));
  EXPECT_EQ(cluster.postmaster_pid(), postmaster);
  EXPECT_EQ(ask(cluster.conninfo(), "SELECT 1"), "1");
  cluster.stop();
  ::close(told[0]);
  ::close(told[1]);
}

TEST_F(ClusterTest, AKilledPostmasterIsNoProblem) {
  {
    auto cluster = expect(Cluster::start(options()));
    ask(cluster.conninfo(), "CREATE TABLE kept AS SELECT 42 AS a");
    ::kill(cluster.postmaster_pid(), SIGKILL);
  }
  ASSERT_TRUE(fs::exists(root / "postgres" / "postmaster.pid"));
  const auto cluster = expect(Cluster::start(options()));
  EXPECT_EQ(ask(cluster.conninfo(), "SELECT a FROM kept"), "42");
}

TEST_F(ClusterTest, AKilledPostmasterThatItsParentHasNotNoticedIsNoProblem) {
  int first = 0;
  {
    auto cluster = expect(Cluster::start(options()));
    ask(cluster.conninfo(), "CREATE TABLE kept AS SELECT 42 AS a");
    first = cluster.postmaster_pid();
    ::kill(first, SIGKILL);
    cluster.leave_running();  // and nobody asks for its exit code
  }
  ASSERT_TRUE(alive(first)) << "it was to be a zombie";
  {
    auto cluster = Cluster::start(options());
    ASSERT_TRUE(cluster) << cluster.error().describe();
    EXPECT_NE(cluster->postmaster_pid(), first);
    EXPECT_EQ(ask(cluster->conninfo(), "SELECT a FROM kept"), "42");
  }
  ::waitpid(first, nullptr, 0);
}

TEST_F(ClusterTest, AKilledPostmasterIsStartedAgainByItsHost) {
  auto cluster = expect(Cluster::start(options()));
  ask(cluster.conninfo(), "CREATE TABLE kept AS SELECT 42 AS a");
  const int first = cluster.postmaster_pid();
  EXPECT_TRUE(cluster.alive());
  ::kill(first, SIGKILL);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (cluster.alive() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_FALSE(cluster.alive());
  const Result<void> revived = cluster.revive();
  ASSERT_TRUE(revived) << revived.error().describe();
  EXPECT_TRUE(cluster.alive());
  EXPECT_NE(cluster.postmaster_pid(), first);
  EXPECT_EQ(ask(cluster.conninfo(), "SELECT a FROM kept"), "42");
  EXPECT_TRUE(cluster.revive());  // of one that is alive: nothing
  cluster.stop();
  EXPECT_FALSE(alive(first));
}

TEST_F(ClusterTest, AStalePidFileThatNamesAnotherProcessIsNoProblem) {
  expect(Cluster::start(options())).stop();
  std::ofstream(root / "postgres" / "postmaster.pid")
      << ::getpid() << '\n'
      << (root / "postgres").string() << "\n1\n5432\n"
      << (root / "run").string() << "\n\n0 0\n";
  if (::geteuid() != 0) GTEST_SKIP() << "postgres itself refuses a pid of its own user";
  auto cluster = Cluster::start(options());
  ASSERT_TRUE(cluster) << cluster.error().describe();
  EXPECT_NE(cluster->postmaster_pid(), ::getpid());
}

TEST_F(ClusterTest, AnUnfinishedInitdbIsMadeAnew) {
  fs::create_directories(root / "postgres.new" / "base");
  std::ofstream(root / "postgres.new" / "PG_VERSION") << "15\n";
  const auto cluster = expect(Cluster::start(options()));
  EXPECT_FALSE(fs::exists(root / "postgres.new"));
}

TEST_F(ClusterTest, ASecondHostIsKeptOut) {
  const auto cluster = expect(Cluster::start(options()));
  const auto second = Cluster::start(options());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "cluster.in_use");
  EXPECT_EQ(ask(cluster.conninfo(), "SELECT 1"), "1");
}

TEST_F(ClusterTest, ALongSocketPathIsRefused) {
  auto long_path = options();
  long_path.socket_directory = root / std::string(100, 'x');
  const auto cluster = Cluster::start(long_path);
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, "cluster.socket_path_too_long");
}

TEST_F(ClusterTest, MissingBinariesAreNamed) {
  auto without = options();
  without.binaries = root / "bin";
  const auto cluster = Cluster::start(without);
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, "cluster.no_binaries");
}

TEST_F(ClusterTest, DataOfAnotherVersionIsRefused) {
  fs::create_directories(root / "postgres");
  std::ofstream(root / "postgres" / "PG_VERSION") << "9\n";
  const auto cluster = Cluster::start(options());
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, "cluster.version_mismatch");
}

TEST_F(ClusterTest, AParentThatKeepsThePostgresUserOutIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::permissions(root, fs::perms::owner_all);
  const auto cluster = Cluster::start(options());
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, "cluster.not_traversable");
  EXPECT_THAT(cluster.error().message, HasSubstr(root.string()));
}

TEST_F(ClusterTest, AFolderThatIsNoClusterIsLeftAlone) {
  fs::create_directories(root / "postgres");
  std::ofstream(root / "postgres" / "somebody's file") << "x";
  const auto cluster = Cluster::start(options());
  ASSERT_FALSE(cluster);
  EXPECT_TRUE(fs::exists(root / "postgres" / "somebody's file"));
}

TEST_F(ClusterTest, ABadSettingSaysWhyAndWhereToRead) {
  auto bad = options();
  bad.settings = {"no_such_setting = 1"};
  const auto cluster = Cluster::start(bad);
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, "cluster.start_failed");
  EXPECT_THAT(cluster.error().message, HasSubstr("no_such_setting"));
  EXPECT_THAT(cluster.error().hint, HasSubstr("postgres.log"));
}

// G11: what require_safe_settings says of a server with each bad value.
TEST_F(ClusterTest, UnsafeServersAreRecognised) {
  for (const std::string name : {"fsync", "full_page_writes", "synchronous_commit"}) {
    auto bad = options();
    bad.settings.push_back(name + " = off");
    const auto cluster = expect(Cluster::start(bad));
    EXPECT_THAT(unsafe(cluster.conninfo()), HasSubstr(name + " is off and must be on"));
  }
}

}  // namespace
}  // namespace sluice::pg
