#include "sync/step_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <stdexcept>
#include <thread>

#include "connector/session.hpp"

#include "unit/sync/loop.hpp"

namespace sluice::sync {
namespace {

using contract::Input;
using contract::StepOutput;

/// A session that does what it is given.
class DoingSession final : public connector::Session {
 public:
  explicit DoingSession(std::function<void()> work) : work_(std::move(work)) {}
  Result<StepOutput> step(const Input& input) override {
    work_();
    StepOutput output;
    output.wake_at_ms = input.now_ms + 1;
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }

 private:
  std::function<void()> work_;
};

/// Burns a core until `flag`, or gives up after the deadline of a test.
void burn_until(const std::atomic<bool>& flag) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!flag.load() && std::chrono::steady_clock::now() < end) {
  }
}

class StepPoolTest : public ::testing::Test {
 protected:
  static Task<void> step_once(StepPool& pool, connector::Session& session, std::int64_t& answer) {
    Input input;
    input.now_ms = 41;
    StepPool::Step step = [&] { answer = session.step(input)->wake_at_ms; };
    co_await pool.run(std::move(step));
  }

  sluice::testing::Loop loop_;
  sluice::testing::Loop::Outcome outcome_, other_outcome_;
  std::int64_t answer_ = 0, other_answer_ = 0;
};

TEST_F(StepPoolTest, a_step_answers_from_another_thread_and_its_caller_goes_on_on_its_own) {
  StepPool pool(1);
  std::thread::id worked;
  DoingSession session([&worked] { worked = std::this_thread::get_id(); });
  loop_.spawn(step_once(pool, session, answer_), outcome_);
  ASSERT_TRUE(loop_.until([this] { return outcome_.ended; }));
  EXPECT_EQ(answer_, 42);
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(pool.stats().steps, 1);
  EXPECT_EQ(pool.stats().under_way, 0U);
  EXPECT_EQ(pool.stats().slow, 0);
}

TEST_F(StepPoolTest, a_connector_that_burns_its_core_holds_up_neither_the_loop_nor_another) {
  StepPool pool(2);
  std::atomic<bool> enough{false};
  DoingSession busy([&enough] { burn_until(enough); });
  DoingSession quick([] {});
  loop_.spawn(step_once(pool, busy, answer_), outcome_);
  loop_.spawn(step_once(pool, quick, other_answer_), other_outcome_);
  ASSERT_TRUE(loop_.until([this] { return other_outcome_.ended; }));
  EXPECT_FALSE(outcome_.ended);
  EXPECT_EQ(pool.stats().under_way, 1U);
  enough = true;
  ASSERT_TRUE(loop_.until([this] { return outcome_.ended; }));
}

TEST_F(StepPoolTest, connectors_that_burn_every_thread_are_named_and_do_not_hold_up_another) {
  StepPool pool(2, std::chrono::milliseconds(1));
  std::atomic<bool> enough{false};
  DoingSession busy([&enough] { burn_until(enough); });
  DoingSession quick([] {});
  const auto burn = [](StepPool& used, connector::Session& session, std::int64_t id) -> Task<void> {
    StepPool::Step step = [&session] { (void)session.step(Input()); };
    StepOwner owner;
    owner.connection = ConnectionId(id);
    owner.what = "stream coal";
    co_await used.run(std::move(step), std::move(owner));
  };
  loop_.spawn(burn(pool, busy, 1), outcome_);
  sluice::testing::Loop::Outcome second;
  loop_.spawn(burn(pool, busy, 2), second);
  loop_.spawn(step_once(pool, quick, answer_), other_outcome_);
  EXPECT_TRUE(loop_.until([this] { return other_outcome_.ended; })) << "no thread was left for it";
  EXPECT_FALSE(outcome_.ended || second.ended);
  const auto slow = pool.slow_now();
  EXPECT_GE(slow.size(), 1U);
  for (const SlowStep& one : slow) EXPECT_EQ(one.owner.what, "stream coal");
  EXPECT_LE(pool.stats().threads, 4U);
  enough = true;
  ASSERT_TRUE(loop_.until([&] { return outcome_.ended && second.ended; }));
  EXPECT_TRUE(pool.slow_now().empty());
}

TEST_F(StepPoolTest, a_slow_step_is_counted_once_while_it_goes_on) {
  StepPool pool(1, std::chrono::milliseconds(1));
  std::atomic<bool> enough{false};
  DoingSession busy([&enough] { burn_until(enough); });
  loop_.spawn(step_once(pool, busy, answer_), outcome_);
  ASSERT_TRUE(loop_.until([&pool] { return pool.stats().slow == 1; }));
  EXPECT_FALSE(outcome_.ended);
  enough = true;
  ASSERT_TRUE(loop_.until([this] { return outcome_.ended; }));
  EXPECT_EQ(pool.stats().slow, 1);
  EXPECT_GE(pool.stats().busy, std::chrono::milliseconds(1));
}

TEST_F(StepPoolTest, a_connectors_step_that_does_not_come_back_is_given_up_and_keeps_what_it_owns) {
  StepPool pool(1, std::chrono::milliseconds(1), std::chrono::milliseconds(20));
  struct Owned {
    std::atomic<bool> enough{false};
    std::atomic<bool>& gone;
    explicit Owned(std::atomic<bool>& g) : gone(g) {}
    ~Owned() { gone = true; }
  };
  std::atomic<bool> gone{false};
  auto owned = std::make_shared<Owned>(gone);
  std::atomic<bool>& enough = owned->enough;
  const auto call = [](StepPool& used, StepPool::Step step) -> Task<void> {
    StepOwner owner;
    owner.what = "stream coal";
    owner.connector = "acme";
    co_await used.run_code(std::move(step), std::move(owner));
  };
  StepPool::Step burn = [owned = std::move(owned)] { burn_until(owned->enough); };
  loop_.spawn(call(pool, std::move(burn)), outcome_);
  ASSERT_TRUE(loop_.until([this] { return outcome_.ended; }));
  try {
    std::rethrow_exception(outcome_.error);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, kStepGivenUp);
    EXPECT_NE(failure.error().message.find("stream coal"), std::string::npos);
  }
  ASSERT_EQ(pool.slow_now().size(), 1U);
  EXPECT_TRUE(pool.slow_now().front().given_up);
  EXPECT_EQ(pool.stats().given_up, 1);
  EXPECT_EQ(pool.stats().under_way, 0U);
  EXPECT_FALSE(gone) << "its thread works with it";
  DoingSession quick([] {});
  loop_.spawn(step_once(pool, quick, answer_), other_outcome_);
  EXPECT_TRUE(loop_.until([this] { return other_outcome_.ended; })) << "its thread is replaced";
  enough = true;
  EXPECT_TRUE(loop_.until([&] { return gone.load() && pool.slow_now().empty(); }));
}

TEST_F(StepPoolTest, what_a_step_throws_reaches_the_caller) {
  StepPool pool(1);
  DoingSession throwing([] { throw std::length_error("too long"); });
  loop_.spawn(step_once(pool, throwing, answer_), outcome_);
  ASSERT_TRUE(loop_.until([this] { return outcome_.ended; }));
  EXPECT_THROW(std::rethrow_exception(outcome_.error), std::length_error);
}

TEST_F(StepPoolTest, a_cancelled_caller_waits_for_its_step_and_hears_of_it_afterwards) {
  StepPool pool(1);
  std::atomic<bool> enough{false}, begun{false};
  DoingSession busy([&] {
    begun = true;
    burn_until(enough);
  });
  asio::cancellation_signal cancel;
  bool went_on = false, ended = false;
  std::exception_ptr error;
  const auto caller = [](StepPool& used, connector::Session& session, std::int64_t& answer,
                         bool& passed) -> Task<void> {
    co_await step_once(used, session, answer);
    passed = true;
    asio::steady_timer never(co_await asio::this_coro::executor,
                             std::chrono::steady_clock::time_point::max());
    co_await never.async_wait(asio::use_awaitable);
  };
  asio::co_spawn(loop_.executor(), caller(pool, busy, answer_, went_on),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e) {
                   ended = true;
                   error = e;
                 }));
  ASSERT_TRUE(loop_.until([&begun] { return begun.load(); }));
  cancel.emit(asio::cancellation_type::terminal);
  loop_.settle();
  EXPECT_FALSE(ended);  // the session is still in use
  enough = true;
  ASSERT_TRUE(loop_.until([&ended] { return ended; }));
  EXPECT_EQ(answer_, 42);
  EXPECT_TRUE(error != nullptr);
}

}  // namespace
}  // namespace sluice::sync
