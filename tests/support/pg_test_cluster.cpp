#include "support/pg_test_cluster.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "pg/cluster.hpp"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMemoryBytesMin = 2ull << 30;

// The same for every program of a build tree; stable across programs, unlike std::hash.
std::string tree_name() {
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : std::string_view(SLUICE_BINARY_DIR))
    hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211ull;
  return fmt::format("sluice-tests-{:012x}-{}", hash & 0xFFFFFFFFFFFF, ::geteuid());
}

fs::path roomy_directory() {
  struct statvfs info = {};
  const bool room = ::statvfs("/dev/shm", &info) == 0 && ::access("/dev/shm", W_OK) == 0 &&
                    static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize >= kMemoryBytesMin;
  return room ? fs::path("/dev/shm") : fs::temp_directory_path();
}

// Locks and marks stay where they are even when there is no room in memory any more.
fs::path lock_directory() {
  const fs::path path = fs::temp_directory_path() / (tree_name() + ".locks");
  fs::create_directories(path);
  return path;
}

int open_lock(const std::string& name) {
  const fs::path path = lock_directory() / name;
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) throw std::runtime_error("cannot open " + path.string());
  return descriptor;
}

void lock(int descriptor, int how) {
  while (::flock(descriptor, how) != 0) {
    if (errno != EINTR) throw std::runtime_error("cannot lock the test cluster");
  }
}

fs::path kept_mark() { return lock_directory() / "kept"; }
fs::path place_mark() { return lock_directory() / "place"; }

pg::ClusterOptions options_in(const fs::path& directory) {
  pg::ClusterOptions options;
  options.directory = directory / "data";
  options.socket_directory = directory / "s";
  options.superuser = "postgres";
  options.database = "postgres";
  options.settings = {"max_connections = 300", "shared_buffers = 128MB", "max_wal_size = 1GB",
                      "autovacuum_naptime = 10s"};
  return options;
}

std::string conninfo_in(const fs::path& directory) {
  return fmt::format("host={} port=5432 user=postgres", (directory / "s").string());
}

bool answers(const std::string& conninfo) {
  return PQping((conninfo + " dbname=postgres connect_timeout=5").c_str()) == PQPING_OK;
}

pg::Cluster start_or_adopt(const fs::path& directory) {
  fs::create_directories(directory);
  fs::permissions(directory, fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
  auto cluster = pg::Cluster::start(options_in(directory));
  if (!cluster) throw std::runtime_error("no test database: " + cluster.error().describe());
  return std::move(*cluster);
}

void stop_and_remove(const fs::path& directory) {
  if (fs::exists(directory / "data" / "postmaster.pid")) start_or_adopt(directory).stop();
  fs::remove_all(directory);
  fs::remove(place_mark());
}

const char* outside_server() { return std::getenv("SLUICE_TEST_PG"); }

}  // namespace

fs::path TestCluster::directory() {
  std::ifstream mark(place_mark());
  std::string placed;
  if (std::getline(mark, placed)) return placed;
  const fs::path chosen = roomy_directory() / tree_name();
  std::ofstream(place_mark()) << chosen.string() << '\n';
  return chosen;
}

TestCluster::Guard::Guard(const std::string& name) : descriptor_(open_lock(name)) {
  lock(descriptor_, LOCK_EX);
}

TestCluster::Guard::~Guard() { ::close(descriptor_); }

TestCluster::TestCluster() {
  if (outside_server()) {
    conninfo_ = outside_server();
    return;
  }
  const Guard guard("guard");
  users_ = open_lock("users");
  lock(users_, LOCK_SH);
  const fs::path place = directory();
  conninfo_ = conninfo_in(place);
  if (!answers(conninfo_)) start_or_adopt(place).leave_running();
}

TestCluster::~TestCluster() {
  if (users_ < 0) return;
  try {
    const Guard guard("guard");
    const bool last = ::flock(users_, LOCK_EX | LOCK_NB) == 0;
    if (last && !fs::exists(kept_mark())) stop_and_remove(directory());
  } catch (const std::exception& error) {
    fmt::print(stderr, "the test database was left behind: {}\n", error.what());
  }
  ::close(users_);
}

void TestCluster::keep() {
  if (outside_server()) return;
  { std::ofstream mark(kept_mark()); }
  const TestCluster started;
}

void TestCluster::release() {
  if (outside_server()) return;
  fs::remove(kept_mark());
  const Guard guard("guard");
  const int users = open_lock("users");
  if (::flock(users, LOCK_EX | LOCK_NB) == 0) stop_and_remove(directory());
  ::close(users);
}

}  // namespace sluice::testing
