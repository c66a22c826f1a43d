#include "sync/step_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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

/// Steps that do not come back until they are let go, at the latest when the test ends: before
/// the pool, which waits for them.
struct Door {
  std::mutex mutex;
  std::condition_variable opened;
  bool open = false;
  std::atomic<int> inside{0};
  void hold() {
    std::unique_lock lock(mutex);
    ++inside;
    opened.wait(lock, [this] { return open; });
    --inside;
  }
  void let_go() {
    const std::lock_guard lock(mutex);
    open = true;
    opened.notify_all();
  }
};
struct Opener {
  Door& door;
  ~Opener() { door.let_go(); }
};

using std::chrono::milliseconds;

class SharedStepPoolTest : public ::testing::Test {
 protected:
  /// A call, from its beginning to its outcome.
  struct Asked {
    sluice::testing::Loop::Outcome outcome;
    asio::cancellation_signal cancel;
    [[nodiscard]] std::string code() const {
      if (!outcome.ended) return "under way";
      if (!outcome.error) return "done";
      try {
        std::rethrow_exception(outcome.error);
      } catch (const Failure& failure) {
        return failure.error().code;
      } catch (const boost::system::system_error& error) {
        return error.code() == asio::error::operation_aborted ? "cancelled" : error.what();
      }
    }
    [[nodiscard]] std::string words() const {
      try {
        std::rethrow_exception(outcome.error);
      } catch (const std::exception& error) {
        return error.what();
      }
    }
  };

  static StepOwner owner(std::int64_t workspace, const std::string& connector = "acme") {
    StepOwner owner;
    owner.workspace = WorkspaceId(workspace);
    owner.connection = ConnectionId(workspace * 10);
    owner.connector = connector + std::to_string(workspace);
    owner.connection_name = "shop";
    owner.what = "stream coal";
    return owner;
  }

  enum class How { code, own };
  std::shared_ptr<Asked> ask(StepPool& pool, std::int64_t workspace, StepPool::Step step,
                             How how = How::code, const std::string& connector = "acme") {
    auto asked = std::make_shared<Asked>();
    StepOwner whose = owner(workspace, connector);
    Task<void> task = how == How::code ? pool.run_code(std::move(step), std::move(whose))
                                       : pool.run(std::move(step), std::move(whose));
    asio::co_spawn(loop_.executor(), std::move(task),
                   asio::bind_cancellation_slot(asked->cancel.slot(),
                                                [asked](const std::exception_ptr& error) {
                                                  asked->outcome.ended = true;
                                                  asked->outcome.error = error;
                                                }));
    return asked;
  }
  std::shared_ptr<Asked> hang(StepPool& pool, std::int64_t workspace,
                              const std::string& connector = "acme") {
    return ask(
        pool, workspace, [this] { door_.hold(); }, How::code, connector);
  }
  /// Until the connector gets no more threads there.
  void lose_all(StepPool& pool, std::int64_t workspace, const std::string& connector = "acme") {
    while (!pool.refusal_of(owner(workspace, connector).whose())) {
      const auto asked = hang(pool, workspace, connector);
      ASSERT_TRUE(loop_.until([&] { return asked->outcome.ended; }));
    }
  }

  sluice::testing::Loop loop_;
  Door door_;
};

TEST_F(SharedStepPoolTest, a_hundred_steps_that_do_not_return_do_not_keep_a_neighbour_waiting) {
  StepPool pool(4, std::chrono::seconds(5), std::chrono::seconds(60));
  const Opener opener{door_};
  std::vector<std::shared_ptr<Asked>> hundred;
  for (int i = 0; i < 100; ++i) hundred.push_back(hang(pool, 1));
  loop_.settle();
  const auto before = std::chrono::steady_clock::now();
  const auto neighbour = ask(pool, 2, [] {});
  ASSERT_TRUE(loop_.until([&] { return neighbour->outcome.ended; }));
  EXPECT_EQ(neighbour->code(), "done");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4))
      << "before any of them is even slow";
  EXPECT_EQ(pool.now().waiting, 97U);
  door_.let_go();
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(hundred, [](const auto& one) { return one->outcome.ended; });
  }));
}

TEST_F(SharedStepPoolTest, lines_are_served_in_turn_whoever_came_first) {
  StepPool pool(1);
  const Opener opener{door_};
  std::vector<int> order;
  std::mutex mutex;
  const auto note = [&](int whose) {
    return [&order, &mutex, whose] {
      const std::lock_guard lock(mutex);
      order.push_back(whose);
    };
  };
  const auto first = hang(pool, 9);
  std::vector<std::shared_ptr<Asked>> all;
  for (int i = 0; i < 3; ++i) all.push_back(ask(pool, 1, note(1)));
  for (int i = 0; i < 2; ++i) all.push_back(ask(pool, 2, note(2)));
  loop_.settle();
  door_.let_go();
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(all, [](const auto& one) { return one->outcome.ended; });
  }));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 1, 2, 1}));
}

TEST_F(SharedStepPoolTest,
       a_connector_loses_so_many_threads_and_no_more_and_is_told_whose_they_are) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  const Opener opener{door_};
  std::vector<std::shared_ptr<Asked>> hundred;
  for (int i = 0; i < 100; ++i) hundred.push_back(hang(pool, 1));
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(hundred, [](const auto& one) { return one->outcome.ended; });
  }));
  const auto with = [&](std::string_view code) {
    return std::ranges::count_if(hundred, [&](const auto& one) { return one->code() == code; });
  };
  EXPECT_EQ(with(kStepGivenUp), static_cast<std::ptrdiff_t>(kStepsLostOfConnectorMax));
  EXPECT_EQ(with(kStepsLost), 100 - static_cast<std::ptrdiff_t>(kStepsLostOfConnectorMax));
  EXPECT_EQ(door_.inside, static_cast<int>(kStepsLostOfConnectorMax));
  EXPECT_LE(pool.stats().threads, 4 + kStepsLostOfConnectorMax);
  EXPECT_EQ(pool.now().lost, kStepsLostOfConnectorMax);
  EXPECT_EQ(pool.now().at_bound, std::vector<ConnectorOf>{owner(1).whose()});
  EXPECT_EQ(pool.now().waiting, 0U);
  EXPECT_FALSE(pool.now().full || pool.now().none_left);
  // The next one hears it at once, of Sluice's own steps for it, too, and whose connector it is.
  for (const How how : {How::code, How::own}) {
    const auto next = ask(
        pool, 1, [] {}, how);
    loop_.settle();
    EXPECT_EQ(next->code(), kStepsLost);
    EXPECT_NE(next->words().find("acme1"), std::string::npos) << next->words();
  }
  const auto neighbour = ask(pool, 2, [] {});
  ASSERT_TRUE(loop_.until([&] { return neighbour->outcome.ended; }));
  EXPECT_EQ(neighbour->code(), "done");
}

TEST_F(SharedStepPoolTest, a_connector_that_lost_its_threads_leaves_the_workspaces_others_theirs) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  const Opener opener{door_};
  std::vector<std::shared_ptr<Asked>> many;
  for (int i = 0; i < 20; ++i) many.push_back(hang(pool, 1));
  const auto beside = ask(
      pool, 1, [] {}, How::code, "other");
  ASSERT_TRUE(loop_.until([&] { return beside->outcome.ended; }));
  EXPECT_EQ(beside->code(), "done") << "while they are slow";
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(many, [](const auto& one) { return one->outcome.ended; });
  }));
  pool.run_behind(
      loop_.executor(), [] {}, owner(1));  // stands first in its line, and stays
  const auto after = ask(
      pool, 1, [] {}, How::code, "other");
  ASSERT_TRUE(loop_.until([&] { return after->outcome.ended; }));
  EXPECT_EQ(after->code(), "done") << "when they are lost";
  EXPECT_FALSE(pool.refusal_of(owner(1, "other").whose()));
  EXPECT_TRUE(pool.has_place(owner(1, "other").whose()));
  EXPECT_EQ(pool.now().longest_wait, milliseconds(0)) << "what was left behind may have no turn";
}

TEST_F(SharedStepPoolTest, a_workspace_loses_so_many_threads_over_all_its_connectors) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  const Opener opener{door_};
  const std::string names[] = {"a", "b", "c", "d"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(pool.refusal_of(owner(1, "good").whose()));
    lose_all(pool, 1, names[i]);
    EXPECT_EQ(pool.now().lost, (i + 1) * kStepsLostOfConnectorMax);
  }
  EXPECT_EQ(pool.now().lost, kStepsLostOfWorkspaceMax);
  const auto good = ask(
      pool, 1, [] {}, How::code, "good");
  loop_.settle();
  EXPECT_EQ(good->code(), kStepsLost);
  for (const char* name : {"a1", "b1", "c1"})
    EXPECT_NE(good->words().find(name), std::string::npos) << good->words();
  EXPECT_EQ(pool.now().at_bound.size(), 3U);
  EXPECT_EQ(pool.now().workspaces_at_bound(), 1U);
  const auto neighbour = ask(pool, 2, [] {});
  ASSERT_TRUE(loop_.until([&] { return neighbour->outcome.ended; }));
  EXPECT_EQ(neighbour->code(), "done");
}

/// Before any of them is slow, a connector has its workspace's whole share.
TEST_F(SharedStepPoolTest, a_connector_that_lost_more_at_once_counts_as_one_for_its_workspace) {
  StepPool pool(16, milliseconds(50), milliseconds(60));
  const Opener opener{door_};
  std::vector<std::shared_ptr<Asked>> many;
  for (int i = 0; i < 20; ++i) many.push_back(hang(pool, 1));
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(many, [](const auto& one) { return one->outcome.ended; });
  }));
  EXPECT_GE(pool.now().lost, kStepsLostOfWorkspaceMax);
  const auto other = ask(
      pool, 1, [] {}, How::code, "other");
  ASSERT_TRUE(loop_.until([&] { return other->outcome.ended; }));
  EXPECT_EQ(other->code(), "done");
}

TEST_F(SharedStepPoolTest, one_that_comes_back_after_all_gives_its_place_back) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  Door own;
  const Opener opener{door_}, opener_of_own{own};
  const auto one = ask(pool, 1, [&own] { own.hold(); });
  ASSERT_TRUE(loop_.until([&] { return one->outcome.ended; }));
  lose_all(pool, 1);
  EXPECT_EQ(pool.now().lost, kStepsLostOfConnectorMax);
  own.let_go();
  ASSERT_TRUE(loop_.until([&] { return pool.now().lost == kStepsLostOfConnectorMax - 1; }));
  EXPECT_FALSE(pool.refusal_of(owner(1).whose()));
  const auto next = ask(pool, 1, [] {});
  ASSERT_TRUE(loop_.until([&] { return next->outcome.ended; }));
  EXPECT_EQ(next->code(), "done");
  door_.let_go();
  EXPECT_TRUE(loop_.until([&] { return pool.slow_now().empty(); }));
  EXPECT_EQ(pool.lost_of(ConnectionId(10)), 0U);
}

TEST_F(SharedStepPoolTest, all_workspaces_together_lose_so_many_and_who_lost_none_goes_on) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  const Opener opener{door_};
  constexpr std::int64_t kWorkspaces = kStepThreadsMoreMax / kStepsLostOfConnectorMax;
  for (std::int64_t workspace = 1; workspace <= kWorkspaces; ++workspace) lose_all(pool, workspace);
  EXPECT_TRUE(pool.now().full);
  EXPECT_FALSE(pool.now().none_left);
  EXPECT_EQ(pool.stats().threads, 4 + kStepThreadsMoreMax);
  const auto good = ask(pool, 50, [] {});
  ASSERT_TRUE(loop_.until([&] { return good->outcome.ended; }));
  EXPECT_EQ(good->code(), "done");
  // One more of each keeps a thread that is not replaced, and it gets no second.
  for (std::int64_t workspace = 51; workspace <= 54; ++workspace) {
    EXPECT_FALSE(pool.now().none_left);
    lose_all(pool, workspace);
    EXPECT_EQ(pool.lost_of(ConnectionId(workspace * 10)), 1U);
  }
  EXPECT_TRUE(pool.now().none_left);
  EXPECT_EQ(pool.stats().threads, 4 + kStepThreadsMoreMax) << "without end";
  door_.let_go();
  EXPECT_TRUE(loop_.until([&] { return pool.slow_now().empty(); }));
  EXPECT_FALSE(pool.now().full || pool.now().none_left);
}

TEST_F(SharedStepPoolTest, who_is_cancelled_in_the_line_leaves_it_and_its_step_never_begins) {
  StepPool pool(1);
  const Opener opener{door_};
  const auto first = hang(pool, 1);
  for (const How how : {How::code, How::own}) {
    std::atomic<bool> began{false};
    const auto waits = ask(
        pool, 1, [&began] { began = true; }, how);
    loop_.settle();
    EXPECT_EQ(pool.now().waiting, 1U);
    waits->cancel.emit(asio::cancellation_type::terminal);
    loop_.settle();
    EXPECT_EQ(waits->code(), "cancelled");
    EXPECT_EQ(pool.now().waiting, 0U);
    EXPECT_FALSE(began);
  }
  door_.let_go();
  ASSERT_TRUE(loop_.until([&] { return first->outcome.ended; }));
  EXPECT_EQ(pool.stats().steps, 1);
}

TEST_F(SharedStepPoolTest, who_waits_in_a_line_that_stands_still_hears_of_it) {
  StepPool pool(1, milliseconds(50), milliseconds(50));
  const Opener opener{door_};
  const auto first = ask(
      pool, 1, [this] { door_.hold(); }, How::own);
  std::vector<std::shared_ptr<Asked>> held;
  for (std::size_t i = 0; i + 1 < kStepsLostOfConnectorMax; ++i)
    held.push_back(ask(
        pool, 1, [this] { door_.hold(); }, How::own));
  ASSERT_TRUE(
      loop_.until([&] { return door_.inside == static_cast<int>(kStepsLostOfConnectorMax); }));
  const auto waits = ask(pool, 1, [] {});
  ASSERT_TRUE(loop_.until([&] { return waits->outcome.ended; }));
  EXPECT_EQ(waits->code(), kStepNotBegun);
  EXPECT_EQ(pool.now().waiting, 0U);
  door_.let_go();
  ASSERT_TRUE(loop_.until([&] { return first->outcome.ended; }));
}

TEST_F(SharedStepPoolTest,
       what_is_left_behind_waits_for_its_turn_also_of_who_gets_no_more_threads) {
  StepPool pool(4, milliseconds(1), milliseconds(20));
  const Opener opener{door_};
  lose_all(pool, 1);
  EXPECT_FALSE(pool.has_place(owner(1).whose()));
  EXPECT_TRUE(pool.has_place(owner(1, "other").whose()));
  EXPECT_TRUE(pool.has_place(owner(2).whose()));
  std::atomic<bool> closed{false};
  std::thread::id where;
  StepPool::Step close = [&] {
    where = std::this_thread::get_id();
    closed = true;
  };
  pool.run_behind(loop_.executor(), std::move(close), owner(1));
  loop_.settle();
  EXPECT_FALSE(closed);
  EXPECT_EQ(pool.now().waiting, 1U);
  door_.let_go();
  ASSERT_TRUE(loop_.until([&] { return closed.load() && pool.stats().under_way == 0; }));
  EXPECT_NE(where, std::this_thread::get_id());
}

}  // namespace
}  // namespace sluice::sync
