// pg_test_cluster start | stop | conninfo: the tests' PostgreSQL server, by hand.
#include <fmt/format.h>

#include <string_view>

#include "support/pg_test_cluster.hpp"

int main(int argc, char** argv) try {
  const std::string_view word = argc == 2 ? argv[1] : "";
  if (word == "start") {
    sluice::testing::TestCluster::keep();
  } else if (word == "stop") {
    sluice::testing::TestCluster::release();
  } else if (word == "conninfo") {
    fmt::print("{} dbname=postgres\n", sluice::testing::TestCluster().conninfo());
  } else {
    fmt::print(stderr, "usage: pg_test_cluster start | stop | conninfo\n");
    return 2;
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "pg_test_cluster: {}\n", error.what());
  return 1;
}
