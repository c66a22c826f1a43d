// The text format of Prometheus, and questions that are kept for a while.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <limits>

#include "api/metrics.hpp"

namespace sluice::api {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Exposition, is_families_with_help_type_and_samples) {
  Exposition out;
  out.counter("a_total", "What a is.");
  out.value(std::int64_t{3}, {{"class", "x"}, {"of", "y"}});
  out.value(std::uint64_t{18'446'744'073'709'551'615U});
  out.gauge("b", "Back\\slash\nand line.", 0.5);
  EXPECT_EQ(out.take(),
            "# HELP a_total What a is.\n# TYPE a_total counter\n"
            "a_total{class=\"x\",of=\"y\"} 3\na_total 18446744073709551615\n"
            "# HELP b Back\\\\slash\\nand line.\n# TYPE b gauge\nb 0.5\n");
}

TEST(Exposition, escapes_label_values) {
  Exposition out;
  out.gauge("b", "B.");
  out.value(std::int64_t{1}, {{"name", "a\"b\\c\nd"}});
  EXPECT_NE(out.take().find("b{name=\"a\\\"b\\\\c\\nd\"} 1\n"), std::string::npos);
}

TEST(Exposition, leaves_out_what_is_no_number) {
  Exposition out;
  out.gauge("b", "B.", std::numeric_limits<double>::infinity());
  EXPECT_EQ(out.take(), "# HELP b B.\n# TYPE b gauge\n");
}

/// Answers when it is told to.
struct Question {
  explicit Question(asio::io_context& loop) : bell(loop) {}
  Task<int> ask() {
    ++asked;
    if (slow) {
      bell.expires_at(asio::steady_timer::time_point::max());
      boost::system::error_code ignored;
      co_await bell.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (fails) throw std::runtime_error("no database");
    co_return answer;
  }
  asio::steady_timer bell;
  int asked = 0;
  int answer = 1;
  bool slow = false;
  bool fails = false;
};

class CachedTest : public ::testing::Test {
 protected:
  using Answer = Cached<int>::Answer;
  Answer get(std::chrono::steady_clock::duration age, std::chrono::steady_clock::duration wait) {
    const auto began = clock_.steady();
    auto future = asio::co_spawn(loop_, cached_.get(age, wait), asio::use_future);
    loop_.restart();
    while (future.wait_for(seconds(0)) != std::future_status::ready) loop_.run_one();
    took_ = clock_.steady() - began;
    return future.get();
  }
  std::chrono::steady_clock::duration took_{0};  ///< of the last get()
  asio::io_context loop_;
  SystemClock clock_;
  Question question_{loop_};
  Cached<int> cached_{loop_.get_executor(), clock_, [this] { return question_.ask(); }};
};

TEST_F(CachedTest, an_answer_is_kept_as_long_as_the_caller_likes) {
  EXPECT_EQ(*get(seconds(60), seconds(60)).value, 1);
  EXPECT_LT(took_, seconds(30)) << "it waits although the answer is there";
  question_.answer = 2;
  EXPECT_EQ(*get(seconds(60), seconds(5)).value, 1);
  EXPECT_EQ(question_.asked, 1);
  EXPECT_EQ(*get(seconds(0), seconds(5)).value, 2);
  EXPECT_EQ(question_.asked, 2);
}

TEST_F(CachedTest, a_failure_leaves_the_old_answer_and_says_why) {
  EXPECT_EQ(get(seconds(0), seconds(60)).failure, "");
  EXPECT_LT(took_, seconds(30));
  question_.fails = true;
  const Answer answer = get(seconds(0), seconds(5));
  EXPECT_EQ(*answer.value, 1);
  EXPECT_EQ(answer.failure, "no database");
}

TEST_F(CachedTest, nobody_waits_for_ever_and_one_question_is_under_way_at_a_time) {
  question_.slow = true;
  for (int i = 0; i < 3; ++i) {
    const Answer answer = get(seconds(0), milliseconds(20));
    EXPECT_EQ(answer.value, nullptr);
    EXPECT_EQ(answer.failure, "it does not answer");
  }
  EXPECT_EQ(question_.asked, 1);
  question_.slow = false;
  question_.bell.cancel();
  EXPECT_EQ(*get(seconds(60), seconds(5)).value, 1);
  EXPECT_EQ(question_.asked, 1);
}

}  // namespace
}  // namespace sluice::api
