#include "base/bell.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <string>

#include "base/task_group.hpp"

namespace sluice {
namespace {

/// What became of one who waits at a bell.
struct Wait {
  std::string outcome = "waits";

  Task<void> at(asio::steady_timer& bell) {
    try {
      const bool early = co_await rung(bell);
      outcome = early ? "rung" : "its time came";
    } catch (const boost::system::system_error& error) {
      if (error.code() != asio::error::operation_aborted) throw;
      outcome = "cancelled";
    }
  }
};

class Bell : public ::testing::Test {
 protected:
  asio::io_context loop_;
  asio::steady_timer bell_{loop_, asio::steady_timer::time_point::max()};
  Wait wait_;
};

TEST_F(Bell, whoever_waits_is_told_whether_somebody_rang) {
  TaskGroup group(loop_.get_executor());
  group.spawn(wait_.at(bell_));
  loop_.poll();
  EXPECT_EQ(wait_.outcome, "waits");
  bell_.cancel();
  loop_.poll();
  EXPECT_EQ(wait_.outcome, "rung");
}

TEST_F(Bell, a_time_that_has_come_is_no_ring) {
  TaskGroup group(loop_.get_executor());
  bell_.expires_after(std::chrono::milliseconds(1));
  group.spawn(wait_.at(bell_));
  loop_.run();
  EXPECT_EQ(wait_.outcome, "its time came");
}

TEST_F(Bell, whoever_is_cancelled_hears_no_ring_not_even_in_the_same_moment) {
  TaskGroup group(loop_.get_executor());
  group.spawn(wait_.at(bell_));
  loop_.poll();
  asio::post(loop_, [&] {  // a group is cancelled on its loop
    bell_.cancel();
    group.cancel();
  });
  loop_.poll();
  EXPECT_EQ(wait_.outcome, "cancelled");
}

}  // namespace
}  // namespace sluice
