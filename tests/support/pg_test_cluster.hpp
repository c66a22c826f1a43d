// One PostgreSQL server per build tree, shared by all test programs that run at the same time.
#pragma once

#include <filesystem>
#include <string>

namespace sluice::testing {

/// While one of these lives, the server is there. The last user stops it and removes its files,
/// unless `pg_test_cluster start` asked to keep it (ctest does, so that each program need not start
/// its own). It lies in memory (/dev/shm) where there is room, with every durability setting on.
/// With SLUICE_TEST_PG set (a connection string of a superuser), that server is used instead.
class TestCluster {
 public:
  /// Starts the server if it is absent. Throws std::runtime_error saying why it cannot.
  TestCluster();
  ~TestCluster();
  TestCluster(const TestCluster&) = delete;
  TestCluster& operator=(const TestCluster&) = delete;

  /// For libpq: superuser, database "postgres"; without a dbname when one is to be appended.
  [[nodiscard]] const std::string& conninfo() const { return conninfo_; }
  [[nodiscard]] static std::filesystem::path directory();
  /// Exclusive use of something, across processes, until destroyed.
  class Guard {
   public:
    explicit Guard(const std::string& name);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    int descriptor_;
  };

  /// `pg_test_cluster start`: start it and leave it running; stop: undo that.
  static void keep();
  static void release();

 private:
  std::string conninfo_;
  int users_ = -1;  ///< shared lock: somebody uses it
};

}  // namespace sluice::testing
