#include "sync/page_budget.hpp"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <deque>
#include <map>
#include <optional>

#include "unit/sync/loop.hpp"

namespace sluice::sync {
namespace {

class PageBudgetTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kMax = 100;

  Task<void> take(int who, std::size_t bytes) {
    PageBudget::Grant grant = co_await budget_->acquire(bytes);
    order_.push_back(who);
    grants_[who] = std::move(grant);
  }
  void ask(int who, std::size_t bytes) {
    loop_.spawn(take(who, bytes), outcomes_[who]);
    loop_.settle();
  }
  void give_back(int who) {
    grants_.erase(who);
    loop_.settle();
  }
  [[nodiscard]] bool has(int who) const { return grants_.contains(who); }

  sluice::testing::Loop loop_;
  std::optional<PageBudget> budget_{kMax};
  std::map<int, PageBudget::Grant> grants_;
  std::map<int, sluice::testing::Loop::Outcome> outcomes_;
  std::vector<int> order_;
};

TEST_F(PageBudgetTest, pages_go_while_their_bytes_fit_and_the_next_waits) {
  ask(1, 60);
  ask(2, 40);
  ask(3, 1);
  EXPECT_TRUE(has(1) && has(2));
  EXPECT_FALSE(has(3));
  PageBudgetStats stats = budget_->stats();
  EXPECT_EQ(stats.bytes, 100U);
  EXPECT_EQ(stats.pages, 2U);
  EXPECT_EQ(stats.waiting, 1U);
  EXPECT_EQ(stats.waits, 1);
  give_back(2);
  EXPECT_TRUE(has(3));
  stats = budget_->stats();
  EXPECT_EQ(stats.bytes, 61U);
  EXPECT_EQ(stats.waiting, 0U);
  EXPECT_EQ(stats.bytes_peak, 100U);
  EXPECT_EQ(stats.bytes_max, kMax);
}

TEST_F(PageBudgetTest, one_page_always_goes_however_large) {
  ask(1, 10 * kMax);
  EXPECT_TRUE(has(1));
  ask(2, 1);
  EXPECT_FALSE(has(2));
  give_back(1);
  EXPECT_TRUE(has(2));
}

TEST_F(PageBudgetTest, who_came_first_goes_first_also_when_others_would_fit) {
  ask(1, 80);
  ask(2, 50);  // waits
  ask(3, 10);  // would fit
  ask(4, 10);
  EXPECT_EQ(order_, std::vector<int>{1});
  give_back(1);
  EXPECT_EQ(order_, (std::vector<int>{1, 2, 3, 4}));
}

TEST_F(PageBudgetTest, sessions_that_always_want_more_get_their_turns_one_after_the_other) {
  ask(0, kMax);
  for (int who = 1; who <= 30; ++who) ask(who, kMax);  // ten rounds of three sessions
  for (int who = 0; who < 30; ++who) give_back(who);
  for (int i = 0; i <= 30; ++i) EXPECT_EQ(order_.at(static_cast<std::size_t>(i)), i);
  EXPECT_EQ(budget_->stats().bytes_peak, kMax);
}

TEST_F(PageBudgetTest, what_a_page_really_takes_counts_once_it_is_known) {
  ask(1, 90);
  ask(2, 50);
  EXPECT_FALSE(has(2));
  grants_[1].resize(20);
  loop_.settle();
  EXPECT_TRUE(has(2));
  grants_[1].resize(200);  // it is there already: nothing to wait for
  EXPECT_EQ(budget_->stats().bytes, 250U);
  EXPECT_EQ(budget_->stats().bytes_peak, 250U);
  ask(3, 1);
  EXPECT_FALSE(has(3));
}

TEST_F(PageBudgetTest, who_is_cancelled_leaves_the_queue_to_the_others) {
  asio::cancellation_signal cancel;
  ask(1, 80);
  bool aborted = false;
  asio::co_spawn(loop_.executor(), take(2, 90),
                 asio::bind_cancellation_slot(cancel.slot(), [&aborted](std::exception_ptr error) {
                   aborted = error != nullptr;
                 }));
  ask(3, 20);
  EXPECT_FALSE(has(3));
  cancel.emit(asio::cancellation_type::terminal);
  loop_.settle();
  EXPECT_TRUE(aborted);
  EXPECT_TRUE(has(3));
  EXPECT_FALSE(has(2));
  EXPECT_EQ(budget_->stats().bytes, 100U);
}

TEST_F(PageBudgetTest, grants_outlive_the_budget) {
  ask(1, 80);
  ask(2, 80);
  budget_.reset();
  give_back(1);
  EXPECT_TRUE(has(2));
  grants_.clear();
}

TEST_F(PageBudgetTest, a_moved_grant_is_given_back_once) {
  ask(1, 80);
  PageBudget::Grant moved = std::move(grants_[1]);
  grants_.clear();
  EXPECT_EQ(budget_->stats().pages, 1U);
  moved = PageBudget::Grant();
  EXPECT_EQ(budget_->stats().pages, 0U);
  EXPECT_EQ(budget_->stats().bytes, 0U);
}

TEST_F(PageBudgetTest, answers_that_wait_for_their_step_count_and_one_page_goes_all_the_same) {
  std::optional<PageBudget::Grant> answer(budget_->keep(500));
  EXPECT_EQ(budget_->stats().bytes, 500U);
  EXPECT_EQ(budget_->stats().pages, 0U);
  ask(1, 10);
  EXPECT_TRUE(has(1)) << "or nobody would ever make room";
  ask(2, 10);
  EXPECT_FALSE(has(2));
  answer.reset();
  loop_.settle();
  EXPECT_TRUE(has(2));
}

Task<void> wait_for_room(PageBudget& budget, bool& came) {
  co_await budget.room();
  came = true;
}

TEST_F(PageBudgetTest, nobody_asks_ahead_while_answers_fill_it) {
  std::optional<PageBudget::Grant> answer(budget_->keep(kMax));
  bool first = false;
  bool second = false;
  loop_.spawn(wait_for_room(*budget_, first), outcomes_[1]);
  loop_.spawn(wait_for_room(*budget_, second), outcomes_[2]);
  loop_.settle();
  EXPECT_FALSE(first || second);
  answer.reset();
  loop_.settle();
  EXPECT_TRUE(first && second);
}

}  // namespace
}  // namespace sluice::sync
