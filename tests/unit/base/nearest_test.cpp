// What somebody meant.
#include "base/nearest.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice {
namespace {

TEST(EditDistance, counts_letters_added_taken_away_replaced_and_swapped) {
  EXPECT_EQ(edit_distance("status", "status"), 0u);
  EXPECT_EQ(edit_distance("statsu", "status"), 1u);
  EXPECT_EQ(edit_distance("stats", "status"), 1u);
  EXPECT_EQ(edit_distance("stattus", "status"), 1u);
  EXPECT_EQ(edit_distance("stabus", "status"), 1u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Nearest, is_what_is_like_it_and_nothing_where_nothing_is) {
  const std::vector<std::string> known = {"status", "errors", "sync", "runs", "run", "connection"};
  EXPECT_EQ(nearest("statsu", known), "status");
  EXPECT_EQ(nearest("conection", known), "connection");
  EXPECT_EQ(nearest("rnu", known), "run");
  EXPECT_EQ(nearest("snyc", known), "sync");
  EXPECT_EQ(nearest("xylophone", known), "");
  EXPECT_EQ(nearest("ab", known), "") << "two letters are like every short word";
  EXPECT_EQ(nearest("", known), "");
  EXPECT_EQ(nearest("conn", known), "connection") << "the beginning of one only";
  const std::vector<std::string> both = {"connection", "connector"};
  EXPECT_EQ(nearest("conn", both), "") << "the beginning of both";
  EXPECT_EQ(nearest("anything", {}), "");
}

TEST(Nearest, takes_what_is_long_without_reading_all_of_it) {
  const std::vector<std::string> known = {"status"};
  EXPECT_EQ(nearest(std::string(1 << 20, 'x'), known), "");
}

}  // namespace
}  // namespace sluice
