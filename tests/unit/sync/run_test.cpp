#include "sync/run.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "unit/sync/loop.hpp"

namespace sluice::sync {
namespace {

using contract::FailureClass;
using contract::Input;
using contract::InputKind;
using contract::StepOutput;
using contract::StepResult;

class NoKey final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse, fetch::CredentialVersion) override {
    co_return fetch::Credential("x");
  }
};

/// Puts out page 1, 2, 3 … of one record each with the checkpoint "1", "2", … and ends with the
/// last. `during` runs inside each step, with its number.
class CountingSession final : public connector::Session {
 public:
  explicit CountingSession(int last) : last_(last) {}

  Result<StepOutput> step(const Input& input) override {
    EXPECT_FALSE(inside_.exchange(true)) << "two steps at once";
    const int number = ++steps_;
    if (during) during(number);
    StepOutput output = put_out(number, input);
    inside_ = false;
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }
  [[nodiscard]] int steps() const { return steps_; }

  std::function<void(int)> during;
  int fails_at = 0;
  std::size_t record_bytes = 1;

 private:
  StepOutput put_out(int number, const Input& input) const {
    StepOutput output;
    if (input.kind == InputKind::cancel) {
      output.result = StepResult::failed;
      output.failure.emplace();
      output.failure->failure_class = FailureClass::cancelled;
      return output;
    }
    contract::Record record;
    record.external_id = output.page.keep(std::string(record_bytes, 'x'));
    output.page.records.push_back(record);
    output.checkpoint = std::to_string(number);
    output.result = number == last_ ? StepResult::done : StepResult::more;
    if (number == fails_at) {
      output.result = StepResult::failed;
      output.failure.emplace();
      output.failure->message = "the vendor broke";
    }
    return output;
  }

  int last_;
  std::atomic<int> steps_{0};
  std::atomic<bool> inside_{false};
};

/// Keeps each page until it is let go, and remembers what was stored.
class GatedSink final : public PageSink {
 public:
  explicit GatedSink(Executor executor)
      : gate_(executor, std::chrono::steady_clock::time_point::max()) {}

  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool last) override {
    EXPECT_FALSE(writing) << "two pages at once";
    writing = true;
    struct Ends {
      bool& writing;
      ~Ends() { writing = false; }
    } ends{writing};
    ++begun;
    while (let_go < begun) {
      boost::system::error_code ignored;
      co_await gate_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) throw Failure(gave_up());
    }
    if (begun == fails_at) throw Failure(Error(ErrorKind::internal, "test.disk_full", "no room"));
    stored.push_back(*effects.checkpoint + (last ? " last" : ""));
    ingest::PageCounts counts;
    counts.records = static_cast<std::int64_t>(page.records.size());
    co_return counts;
  }
  void let(int pages) {
    let_go = pages;
    gate_.cancel();
  }

  int begun = 0, let_go = 0, fails_at = 0;
  bool writing = false;
  std::vector<std::string> stored;

 private:
  static Error gave_up() { return Error(ErrorKind::cancelled, "test.gave_up", "cancelled"); }
  asio::steady_timer gate_;
};

/// Asks the vendor for something in its first step; then waits for it, or fails without waiting.
class AskingSession final : public connector::Session {
 public:
  explicit AskingSession(bool waits) : waits_(waits) {}
  Result<StepOutput> step(const Input&) override {
    StepOutput output;
    if (++steps_ > 1) {
      output.result = StepResult::failed;
      output.failure.emplace();
      return output;
    }
    contract::Request request;
    request.target = "/v1/things";
    request.auth_slot = 0;
    output.requests.push_back(std::move(request));
    output.result = waits_ ? StepResult::wait : StepResult::more;
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }

 private:
  bool waits_;
  int steps_ = 0;
};

/// Its database is away, which it knows without waiting.
class LostKey final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse, fetch::CredentialVersion) override {
    throw Failure(Error(ErrorKind::reconnect, "test.away", "the database is away"));
    co_return fetch::Credential("x");
  }
};

/// Never has it, and knows whether somebody waits.
class SlowKey final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse, fetch::CredentialVersion) override {
    struct Waits {
      int& waiting;
      explicit Waits(int& w) : waiting(w) { ++waiting; }
      ~Waits() { --waiting; }
    } waits(waiting);
    asio::steady_timer never(co_await asio::this_coro::executor,
                             std::chrono::steady_clock::time_point::max());
    co_await never.async_wait(asio::use_awaitable);
    co_return fetch::Credential("x");
  }
  int waiting = 0;
};

class RunTest : public ::testing::Test {
 protected:
  SessionRun run_of(connector::Session& session, PageSink& sink) {
    return run_with(session, sink, send_);
  }
  SessionRun run_with(connector::Session& session, PageSink& sink, const fetch::SendContext& send) {
    return SessionRun{.session = std::shared_ptr<connector::Session>(&session, [](auto*) {}),
                      .client = client_,
                      .send = send,
                      .sink = &sink,
                      .clock = clock_,
                      .entropy = entropy_,
                      .checkpoint_format = 1,
                      .stopping = [this] { return stopping_; },
                      .steps = &steps_,
                      .pages = &pages_};
  }
  /// Against a client of the test's own; on the loop, without a bound.
  SessionRun scripted(fetch::Client& client, connector::Session& session, PageSink& sink) {
    return SessionRun{.session = std::shared_ptr<connector::Session>(&session, [](auto*) {}),
                      .client = client,
                      .send = send_,
                      .sink = &sink,
                      .clock = clock_,
                      .entropy = entropy_,
                      .checkpoint_format = 1,
                      .stopping = [] { return false; }};
  }
  static Task<void> drive(SessionRun run, SessionEnd& end) {
    end = co_await run_session(std::move(run));
  }
  /// What a request needs to get as far as its credential.
  void declare_vendor() {
    contract::Host host;
    host.name = "api";
    host.url = "https://api.example.com";
    hosts_.push_back(host);
    contract::AuthSlot slot;
    slot.name = "api_key";
    slot.secret = "api_key";
    auth_.push_back(slot);
  }
  void start(connector::Session& session, PageSink& sink) {
    loop_.spawn(drive(run_of(session, sink), end_), outcome_);
  }
  bool ended() {
    return loop_.until([this] { return outcome_.ended; });
  }
  /// Long enough for whatever is on its way to arrive; a few turns, for threads are in it.
  void idle() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
    loop_.until([end] { return std::chrono::steady_clock::now() > end; });
  }

  sluice::testing::Loop loop_;
  SystemClock clock_;
  SystemEntropy entropy_;
  fetch::TimerDelay delay_;
  fetch::Client client_{loop_.executor(), fetch::ClientOptions{}, clock_, entropy_, delay_};
  std::vector<contract::Host> hosts_;
  std::vector<contract::AuthSlot> auth_;
  nlohmann::json config_ = nlohmann::json::object();
  fetch::EgressAllowance allowance_;
  NoKey key_;
  fetch::Budget budget_{fetch::BudgetOptions{}, clock_, delay_};
  fetch::FetchStats stats_;
  fetch::SendContext send_{hosts_, auth_, config_, allowance_, key_, budget_, stats_};
  StepPool steps_{2};
  PageBudget pages_;
  bool stopping_ = false;
  SessionEnd end_;
  sluice::testing::Loop::Outcome outcome_;
};

TEST_F(RunTest, the_next_page_is_stepped_while_one_is_written_and_not_the_one_after) {
  CountingSession session(5);
  GatedSink sink(loop_.executor());
  start(session, sink);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 1 && session.steps() == 2; }));
  idle();
  EXPECT_EQ(session.steps(), 2);
  EXPECT_EQ(sink.begun, 1);
  EXPECT_EQ(pages_.stats().pages, 2U);
  sink.let(1);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 2 && session.steps() == 3; }));
  idle();
  EXPECT_EQ(session.steps(), 3);
  sink.let(5);
  ASSERT_TRUE(ended());
  EXPECT_EQ(outcome_.error, nullptr);
  EXPECT_TRUE(end_.done());
  EXPECT_EQ(end_.pages, 5);
  EXPECT_EQ(end_.counts.records, 5);
  EXPECT_EQ(sink.stored, (std::vector<std::string>{"1", "2", "3", "4", "5 last"}));
  EXPECT_EQ(pages_.stats().pages, 0U);
  EXPECT_EQ(pages_.stats().bytes, 0U);
}

TEST_F(RunTest, the_last_page_is_stored_before_the_session_ends) {
  CountingSession session(2);
  GatedSink sink(loop_.executor());
  start(session, sink);
  sink.let(1);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 2; }));
  idle();
  EXPECT_FALSE(outcome_.ended);
  sink.let(2);
  ASSERT_TRUE(ended());
  EXPECT_EQ(sink.stored.back(), "2 last");
}

TEST_F(RunTest, a_failed_write_takes_the_page_that_was_stepped_ahead_with_it) {
  CountingSession session(5);
  GatedSink sink(loop_.executor());
  sink.fails_at = 2;
  start(session, sink);
  sink.let(1);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 2 && session.steps() == 3; }));
  sink.let(5);
  ASSERT_TRUE(ended());
  ASSERT_NE(outcome_.error, nullptr);
  EXPECT_THROW(std::rethrow_exception(outcome_.error), Failure);
  EXPECT_EQ(sink.stored, std::vector<std::string>{"1"});
  EXPECT_EQ(session.steps(), 3);
  EXPECT_EQ(pages_.stats().pages, 0U);
}

TEST_F(RunTest, a_failed_step_is_discarded_whole_and_the_page_before_it_stored) {
  CountingSession session(5);
  session.fails_at = 3;
  GatedSink sink(loop_.executor());
  start(session, sink);
  sink.let(1);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 2 && session.steps() == 3; }));
  idle();
  EXPECT_FALSE(outcome_.ended);
  sink.let(2);
  ASSERT_TRUE(ended());
  EXPECT_EQ(outcome_.error, nullptr);
  ASSERT_FALSE(end_.done());
  EXPECT_EQ(end_.failure->message, "the vendor broke");
  EXPECT_EQ(sink.stored, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(end_.pages, 2);
}

TEST_F(RunTest, a_stop_ends_the_session_at_a_step_with_the_page_under_way_stored) {
  CountingSession session(50);
  GatedSink sink(loop_.executor());
  start(session, sink);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 1 && session.steps() == 2; }));
  stopping_ = true;
  sink.let(50);
  ASSERT_TRUE(ended());
  ASSERT_FALSE(end_.done());
  EXPECT_EQ(end_.failure->failure_class, FailureClass::cancelled);
  EXPECT_EQ(sink.stored, (std::vector<std::string>{"1", "2"}));
}

TEST_F(RunTest, a_cancelled_caller_leaves_no_step_and_no_write_under_way) {
  CountingSession session(50);
  std::atomic<bool> enough{false};
  session.during = [&enough](int number) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (number == 2 && !enough && std::chrono::steady_clock::now() < end) {
    }
  };
  GatedSink sink(loop_.executor());
  asio::cancellation_signal cancel;
  bool over = false;
  asio::co_spawn(loop_.executor(), drive(run_of(session, sink), end_),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr error) {
                   over = true;
                   EXPECT_NE(error, nullptr);
                 }));
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 1 && session.steps() == 2; }));
  cancel.emit(asio::cancellation_type::terminal);
  idle();
  EXPECT_FALSE(over);  // the step goes on, and with it the session
  enough = true;
  ASSERT_TRUE(loop_.until([&over] { return over; }));
  EXPECT_FALSE(sink.writing);
  EXPECT_TRUE(sink.stored.empty());
  EXPECT_EQ(pages_.stats().pages, 0U);
}

/// Opens sessions when it is let, which note on which thread they are closed.
class GatedCode final : public connector::ConnectorCode {
 public:
  class Closing final : public connector::Session {
   public:
    explicit Closing(std::atomic<std::thread::id>& where) : where_(where) {}
    ~Closing() override { where_ = std::this_thread::get_id(); }
    Result<contract::StepOutput> step(const contract::Input&) override {
      return contract::StepOutput();
    }
    [[nodiscard]] bool ended() const override { return false; }

   private:
    std::atomic<std::thread::id>& where_;
  };
  [[nodiscard]] const contract::Manifest& manifest() const override { return manifest_; }
  [[nodiscard]] const std::string& sha256() const override { return sha256_; }
  Result<std::unique_ptr<connector::Session>> open(const contract::SessionArgs&) const override {
    opening = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!let && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    return std::make_unique<Closing>(closed_on);
  }
  mutable std::atomic<bool> opening{false}, let{false};
  mutable std::atomic<std::thread::id> closed_on{std::thread::id()};

 private:
  contract::Manifest manifest_;
  std::string sha256_;
};

TEST_F(RunTest, a_session_that_was_opened_for_a_cancelled_caller_is_closed_on_a_thread) {
  CountingSession unused(1);
  GatedSink sink(loop_.executor());
  const auto code = std::make_shared<GatedCode>();
  const auto open_and_run = [](StepPool& steps, std::shared_ptr<GatedCode> opened,
                               SessionRun run) -> Task<void> {
    const contract::SessionArgs args;
    auto session = co_await open_session(steps, std::move(opened), args, run.owner);
    run.session = std::move(*session);
    (void)co_await run_session(std::move(run));
  };
  asio::cancellation_signal cancel;
  bool over = false;
  asio::co_spawn(loop_.executor(), open_and_run(steps_, code, run_of(unused, sink)),
                 asio::bind_cancellation_slot(cancel.slot(),
                                              [&over](const std::exception_ptr&) { over = true; }));
  ASSERT_TRUE(loop_.until([&] { return code->opening.load(); }));
  cancel.emit(asio::cancellation_type::terminal);
  code->let = true;
  ASSERT_TRUE(loop_.until([&] { return over && code->closed_on.load() != std::thread::id(); }));
  EXPECT_NE(code->closed_on.load(), std::this_thread::get_id());
}

TEST_F(RunTest, a_request_that_fails_before_it_waits_for_anything_is_the_sessions_failure) {
  declare_vendor();
  LostKey lost;
  const fetch::SendContext send{hosts_, auth_, config_, allowance_, lost, budget_, stats_};
  GatedSink sink(loop_.executor());
  for (int round = 0; round < 20; ++round) {
    AskingSession session(true);
    SessionRun run = run_with(session, sink, send);
    sluice::testing::Loop::Outcome outcome;
    loop_.spawn(drive(std::move(run), end_), outcome);
    ASSERT_TRUE(loop_.until([&] { return outcome.ended; }));
    EXPECT_NE(outcome.error, nullptr);
    idle();
  }
}

TEST_F(RunTest, a_session_that_ends_takes_the_requests_with_it_that_nobody_waits_for) {
  declare_vendor();
  SlowKey slow;
  const fetch::SendContext send{hosts_, auth_, config_, allowance_, slow, budget_, stats_};
  GatedSink sink(loop_.executor());
  AskingSession session(false);
  SessionRun run = run_with(session, sink, send);
  bool over = false;
  int waiting_at_the_end = -1;
  asio::co_spawn(loop_.executor(), drive(std::move(run), end_), [&](std::exception_ptr) {
    waiting_at_the_end = slow.waiting;
    over = true;
  });
  ASSERT_TRUE(loop_.until([&over] { return over; }));
  EXPECT_FALSE(end_.done());
  EXPECT_EQ(waiting_at_the_end, 0);
}

TEST_F(RunTest, pages_in_flight_stay_within_the_bound_over_all_sessions) {
  pages_ = PageBudget(100'000);
  constexpr int kSessions = 8;
  std::vector<std::unique_ptr<CountingSession>> sessions;
  std::vector<std::unique_ptr<GatedSink>> sinks;
  std::vector<SessionEnd> ends(kSessions);
  std::vector<sluice::testing::Loop::Outcome> outcomes(kSessions);
  for (std::size_t i = 0; i < kSessions; ++i) {
    sessions.push_back(std::make_unique<CountingSession>(20));
    sessions.back()->record_bytes = 40'000;  // two fit
    sinks.push_back(std::make_unique<GatedSink>(loop_.executor()));
    sinks.back()->let(20);
    loop_.spawn(drive(run_of(*sessions[i], *sinks[i]), ends[i]), outcomes[i]);
  }
  ASSERT_TRUE(loop_.until([&] {
    return std::ranges::all_of(outcomes, [](const auto& outcome) { return outcome.ended; });
  }));
  for (const SessionEnd& end : ends) EXPECT_EQ(end.pages, 20);
  // A session's first page is not expected, so each may go over by one.
  EXPECT_LE(pages_.stats().bytes_peak, 100'000U + kSessions * 41'000U);
  EXPECT_GT(pages_.stats().waits, 20);
  EXPECT_EQ(pages_.stats().bytes, 0U);
}

/// Sleeps for an hour, and ends when it is told to.
class SleepingSession final : public connector::Session {
 public:
  Result<StepOutput> step(const Input& input) override {
    StepOutput output;
    output.result = StepResult::sleep;
    output.wake_at_ms = input.now_ms + 3'600'000;
    if (input.kind == InputKind::cancel) {
      output.result = StepResult::failed;
      output.failure.emplace();
      output.failure->failure_class = FailureClass::cancelled;
    }
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }
};

class Meter final : public AtWork {
 public:
  void begin() override { ++busy; }
  void end() override { --busy; }
  int busy = 1;  ///< by whoever runs the session
};

TEST_F(RunTest, a_session_that_sleeps_is_not_at_work_and_ends_soon_when_it_is_stopped) {
  SleepingSession session;
  GatedSink sink(loop_.executor());
  Meter meter;
  SessionRun run = run_of(session, sink);
  run.at_work = &meter;
  loop_.spawn(drive(std::move(run), end_), outcome_);
  ASSERT_TRUE(loop_.until([&] { return meter.busy == 0; }));
  stopping_ = true;
  ASSERT_TRUE(ended());
  EXPECT_EQ(meter.busy, 1);
  ASSERT_FALSE(end_.done());
  EXPECT_EQ(end_.failure->failure_class, FailureClass::cancelled);
}

TEST_F(RunTest, a_page_that_is_being_stored_is_work) {
  CountingSession counting(1);
  GatedSink sink(loop_.executor());
  Meter meter;
  SessionRun run = run_of(counting, sink);
  run.at_work = &meter;
  loop_.spawn(drive(std::move(run), end_), outcome_);
  ASSERT_TRUE(loop_.until([&] { return sink.begun == 1; }));
  EXPECT_EQ(meter.busy, 2);
  sink.let(1);
  ASSERT_TRUE(ended());
  EXPECT_EQ(meter.busy, 1);
}

/// Vendors' answers without a vendor: the next one each time.
class ScriptedTransport final : public fetch::Transport {
 public:
  explicit ScriptedTransport(std::vector<fetch::RawResponse>& answers) : answers_(answers) {}
  Task<Result<fetch::RawResponse>> perform(fetch::RawRequest) override {
    fetch::RawResponse response = std::move(answers_.at(next_++));
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // so that no two are sent at once
    co_return response;
  }
  [[nodiscard]] std::size_t in_flight() const override { return 0; }

 private:
  std::vector<fetch::RawResponse>& answers_;
  std::size_t next_ = 0;
};

/// Of each answer: a record that lives, one that is gone, and a complete set.
class DeletingSession final : public connector::Session {
 public:
  explicit DeletingSession(int answers) : left_(answers) {}
  Result<StepOutput> step(const Input& input) override {
    StepOutput output;
    if (input.kind == InputKind::response) {
      contract::Record record;
      record.external_id = output.page.keep("lives");
      output.page.records.push_back(record);
      record.external_id = output.page.keep("gone");
      record.deleted = true;
      output.page.records.push_back(record);
      output.page.sets.emplace_back();
      output.checkpoint = "x";
      --left_;
    }
    output.result = left_ > 0 ? StepResult::wait : StepResult::done;
    if (left_ > 0) {
      contract::Request request;
      request.target = "/v1/things";
      output.requests.push_back(std::move(request));
    }
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }

 private:
  int left_;
};

/// "2 records 1 sets unframed", a page each.
class ListingSink final : public PageSink {
 public:
  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool) override {
    stored.push_back(std::to_string(page.records.size()) + " records " +
                     std::to_string(page.sets.size()) + " sets" +
                     (effects.unframed ? " unframed" : ""));
    observed.push_back(effects.observed_version);
    co_return ingest::PageCounts();
  }
  std::vector<std::string> stored;
  std::vector<std::int64_t> observed;
};

struct Doubt {
  contract::Operation operation;
  std::vector<int> statuses;  ///< below zero: unframed
  std::vector<std::string> stored;
  std::int64_t not_believed;
};

TEST_F(RunTest, an_answer_that_may_have_been_cut_proves_what_it_shows_and_nothing_else) {
  using enum contract::Operation;
  const std::string all = "2 records 1 sets";
  const std::string some = "2 records 0 sets unframed";
  const std::string few = "1 records 0 sets unframed";
  const std::vector<Doubt> doubts = {
      {read, {200, 200}, {all, all}, 0},    {read, {200, -200, 200}, {all, some, some}, 0},
      {read, {-404, 200}, {some, some}, 0}, {fetch, {200, -200, 200}, {all, few, few}, 2},
      {fetch, {-404}, {some}, 0},  // the status speaks for itself
  };
  contract::Host host;
  host.name = "api";
  host.url = "https://api.example.com";
  hosts_.push_back(host);
  for (const Doubt& doubt : doubts) {
    std::vector<fetch::RawResponse> answers;
    for (const int status : doubt.statuses) {
      answers.emplace_back().status = std::abs(status);
      answers.back().unframed = status < 0;
    }
    fetch::Client client(std::make_unique<ScriptedTransport>(answers), fetch::ClientOptions{},
                         clock_, entropy_, delay_);
    DeletingSession session(static_cast<int>(doubt.statuses.size()));
    ListingSink sink;
    SessionRun run = scripted(client, session, sink);
    run.operation = doubt.operation;
    outcome_ = {};
    loop_.spawn(drive(std::move(run), end_), outcome_);
    ASSERT_TRUE(ended());
    EXPECT_EQ(outcome_.error, nullptr);
    EXPECT_EQ(sink.stored, doubt.stored);
    EXPECT_EQ(end_.not_believed, doubt.not_believed);
  }
}

// A vendor freezes an export when it is asked for, and its parts are fetched later: by the moment
// of its own request each would bring back what went in between.
TEST_F(RunTest, all_of_a_snapshot_is_as_of_its_first_request) {
  contract::Host host;
  host.name = "api";
  host.url = "https://api.example.com";
  hosts_.push_back(host);
  for (const bool is_snapshot : {true, false}) {
    SCOPED_TRACE(is_snapshot);
    std::vector<fetch::RawResponse> answers(3);
    for (fetch::RawResponse& answer : answers) answer.status = 200;
    fetch::Client client(std::make_unique<ScriptedTransport>(answers), fetch::ClientOptions{},
                         clock_, entropy_, delay_);
    DeletingSession session(3);
    ListingSink sink;
    SessionRun run = scripted(client, session, sink);
    run.is_snapshot = is_snapshot;
    outcome_ = {};
    loop_.spawn(drive(std::move(run), end_), outcome_);
    ASSERT_TRUE(ended());
    ASSERT_EQ(sink.observed.size(), 3U);
    EXPECT_GT(sink.observed[0], 0);
    EXPECT_EQ(sink.observed[0] == sink.observed[2], is_snapshot);
    EXPECT_LE(sink.observed[0], sink.observed[1]);
    EXPECT_LE(sink.observed[1], sink.observed[2]);
  }
}

}  // namespace
}  // namespace sluice::sync
