#include "sync/run.hpp"

#include "base/failpoint.hpp"
#include "base/log.hpp"
#include "base/task_group.hpp"
#include "sync/host_trouble.hpp"
#include "sync/services.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <deque>

namespace sluice::sync {
namespace {

using contract::ConnectorFailure;
using contract::FailureClass;
using contract::InputKind;
using contract::StepResult;

constexpr std::int64_t kSleepLookMs = 500;

/// One request under way. Shared by the session that waits and the coroutine that fetches.
struct Slot {
  explicit Slot(const Executor& executor)
      : ready(executor, asio::steady_timer::time_point::max()) {}
  contract::Response response;
  std::int64_t sent_at_ms = 0;
  std::exception_ptr surprise;
  bool finished = false;
  PageBudget::Grant room;    ///< of the answer, until a step has seen it
  asio::steady_timer ready;  ///< cancelled when finished
};

/// `ahead`: the session will ask for other answers first, so that this one is kept meanwhile.
Task<void> fetch_into(std::shared_ptr<Slot> slot, fetch::Client& client,
                      const fetch::SendContext& context, contract::Request request,
                      PageBudget* pages, bool ahead) {
  const std::uint64_t id = request.id;
  try {
    if (ahead && pages != nullptr) co_await pages->room();
    Result<contract::Response> response = co_await client.send(std::move(request), context);
    if (response) {
      if (pages != nullptr) slot->room = pages->keep(response->body.size());
      slot->response = std::move(*response);
    } else {
      slot->surprise = std::make_exception_ptr(Failure(std::move(response.error())));
    }
  } catch (...) {
    slot->surprise = std::current_exception();
  }
  slot->response.request_id = id;
  slot->finished = true;
  slot->ready.cancel();
}

/// When the vendor was asked for what is being emitted: the earliest request whose answer a step
/// has seen since something was last emitted; of a snapshot, since the run began. It stands in for
/// the version of objects that have none (docs/decisions/0002).
class ObservedAt {
 public:
  explicit ObservedAt(bool as_of_the_first) : as_of_the_first_(as_of_the_first) {}
  void answered(std::int64_t sent_at_ms) {
    value_ms_ = fresh_ ? sent_at_ms : std::min(value_ms_, sent_at_ms);
    fresh_ = false;
  }
  // Kept for further steps that emit from the same answer.
  void emitted() { fresh_ = !as_of_the_first_; }
  [[nodiscard]] std::int64_t value_ms() const { return value_ms_; }

 private:
  bool as_of_the_first_;
  std::int64_t value_ms_ = 0;
  bool fresh_ = true;
};

/// The requests of one session, answered in the order in which they were asked for, so that a run
/// can be repeated. give_up() before it is destroyed: requests use the context to their end.
class Outstanding {
 public:
  Outstanding(Executor executor, fetch::Client& client, const fetch::SendContext& context,
              PageBudget* pages)
      : executor_(executor),
        client_(client),
        context_(context),
        pages_(pages),
        fetching_(std::move(executor)) {}
  Outstanding(const Outstanding&) = delete;
  Outstanding& operator=(const Outstanding&) = delete;

  void start(contract::Request request, std::int64_t now_ms) {
    auto slot = std::make_shared<Slot>(executor_);
    slot->sent_at_ms = now_ms;
    const bool ahead = !slots_.empty();
    slots_.push_back(slot);
    fetching_.spawn(
        fetch_into(std::move(slot), client_, context_, std::move(request), pages_, ahead));
  }

  /// Cancels what is under way and waits until it has ended.
  Task<void> give_up() {
    fetching_.cancel();
    co_await fetching_.wait();
  }

  struct Answer {
    Answer() = default;
    contract::Response response;
    std::int64_t sent_at_ms = 0;
    PageBudget::Grant room;
  };

  Task<Answer> next() {
    const std::shared_ptr<Slot> slot = slots_.front();
    while (!slot->finished) {
      boost::system::error_code ignored;
      co_await slot->ready.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    slots_.pop_front();
    if (slot->surprise) std::rethrow_exception(slot->surprise);
    Answer answer;
    answer.response = std::move(slot->response);
    answer.sent_at_ms = slot->sent_at_ms;
    answer.room = std::move(slot->room);
    co_return answer;
  }

 private:
  Executor executor_;
  fetch::Client& client_;
  const fetch::SendContext& context_;
  PageBudget* pages_;
  std::deque<std::shared_ptr<Slot>> slots_;
  TaskGroup fetching_;
};

ConnectorFailure internal_failure(const Error& error) {
  ConnectorFailure failure;
  failure.failure_class = FailureClass::internal;
  failure.vendor_code = error.code;
  failure.message = error.describe();
  return failure;
}

void log_lines(const std::vector<contract::LogLine>& lines, const StepOwner& owner) {
  for (const contract::LogLine& line : lines) {
    const auto level = line.level >= 4   ? log::Level::error
                       : line.level == 3 ? log::Level::warning
                       : line.level == 2 ? log::Level::info
                                         : log::Level::debug;
    log::write(level, "connector.says",
               {{"connector", owner.connector},
                {"connection", owner.connection_name},
                {"connection_id", owner.connection.value},
                {"stream", owner.stream},
                {"run", owner.run.value},
                {"what", owner.what},
                {"message", line.message}});
  }
}

bool has_effect(const contract::StepOutput& output) {
  return !output.page.empty() || !output.page.rejected.empty() || output.checkpoint.has_value();
}

/// Less when `stopping`: who ends a session need not wait for as long as its connector sleeps.
Task<void> pause_until(const Clock& clock, std::int64_t wake_at_ms,
                       const std::function<bool()>& stopping) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (;;) {
    const std::int64_t left_ms = wake_at_ms - clock.now().count() / 1000;
    if (left_ms <= 0 || (stopping && stopping())) co_return;
    timer.expires_after(std::chrono::milliseconds(std::min(left_ms, kSleepLookMs)));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// What a page takes, with its records' headers and values.
std::size_t memory_of(const contract::Page& page) {
  std::size_t bytes = page.byte_size() + page.records.size() * sizeof(contract::Record) +
                      page.notices.size() * sizeof(contract::Notice);
  for (const contract::Record& record : page.records)
    bytes += record.values.size_bytes() + record.named.size_bytes();
  for (const contract::CompleteSet& set : page.sets) bytes += set.ids.size_bytes();
  return bytes;
}

/// A page on its way to the store, shared by the session and the coroutine that writes it.
struct PageUnderWay {
  contract::Page page;
  ingest::PageEffects effects;
  bool last = false;
  PageBudget::Grant room;
  ingest::PageCounts counts;
};

Task<void> store_page(std::shared_ptr<PageUnderWay> under_way, PageSink& sink, AtWork* at_work) {
  const AtWork::Busy busy(at_work);
  under_way->counts =
      co_await sink.store(under_way->page, std::move(under_way->effects), under_way->last);
  under_way->effects.checked.reset();
  under_way->page = contract::Page();  // the session may wait long for its next answer
  under_way->room = PageBudget::Grant();
}

/// One session's drive. Lives in run_session's frame.
class Drive {
 public:
  Drive(const Executor& executor, SessionRun run)
      : executor_(executor),
        run_(std::move(run)),
        outstanding_(executor, run_.client, run_.send, run_.pages),
        observed_(run_.is_snapshot),
        writing_(executor) {}

  Task<void> to_the_end();
  /// Until the page under way is stored; throws what its write threw.
  Task<void> settle();
  /// The caller is cancelled: what is under way is given up, and nothing is waited for.
  void give_up() {
    gave_up_ = true;
    writing_.cancel();
  }
  Task<void> give_up_requests() { return outstanding_.give_up(); }
  [[nodiscard]] SessionEnd take_end() { return std::move(end_); }
  /// After everything else.
  Task<void> close();

 private:
  Task<Result<contract::StepOutput>> step();
  /// Takes out of the page what an answer that may have been cut does not prove.
  void doubt(contract::Page& page);
  Task<void> check(const contract::Page& page);
  [[nodiscard]] std::optional<Error> no_progress(const contract::StepOutput& output);
  void send_requests(contract::StepOutput& output);
  void hand_over(contract::StepOutput& output);
  [[nodiscard]] ConnectorFailure failure_of(contract::StepOutput& output) const;
  Task<void> next_input(const contract::StepOutput& output);
  Task<void> sleep(std::int64_t wake_at_ms);
  Task<Outstanding::Answer> wait_for_answer();

  Executor executor_;
  SessionRun run_;
  SessionEnd end_;
  Outstanding outstanding_;
  Outstanding::Answer answer_;
  ObservedAt observed_;
  contract::Input input_;
  std::shared_ptr<ingest::CheckedPage> checked_;  ///< of the page that the last step put out
  PageBudget::Grant room_;           ///< of the step under way, or of the page it put out
  std::size_t bytes_of_a_step_ = 0;  ///< the last one: what the next is expected to take
  int idle_steps_ = 0;
  bool cancelled_ = false;
  bool gave_up_ = false;
  bool list_in_doubt_ = false;  ///< an unframed answer that is no error
  TaskGroup writing_;           ///< of at most one page
  std::shared_ptr<PageUnderWay> under_way_;
};

Task<Result<contract::StepOutput>> Drive::step() {
  input_.now_ms = run_.clock.now().count() / 1000;
  run_.entropy.fill(input_.entropy);
  const bool has_body = input_.response != nullptr;
  if (run_.pages != nullptr) {
    const std::size_t body = has_body ? input_.response->body.size() : 0;
    room_ = co_await run_.pages->acquire(std::max(body, bytes_of_a_step_));
  }
  // Nothing of the run: a step that does not come back keeps what it has.
  struct Stepping {
    std::shared_ptr<connector::Session> session;
    contract::Input input;
    contract::Response response;
    Result<contract::StepOutput> stepped = contract::StepOutput();
  };
  const auto job = std::make_shared<Stepping>();
  job->session = run_.session;
  job->input = input_;
  if (has_body) {
    job->response = std::move(answer_.response);
    job->input.response = &job->response;
  }
  StepPool::Step work = [job] {
    job->stepped = job->session->step(job->input);
    job->response = contract::Response();  // borrowed for the step only
  };
  if (run_.steps != nullptr) {
    co_await run_.steps->run_code(std::move(work), run_.owner);
  } else {
    work();
  }
  Result<contract::StepOutput> stepped = std::move(job->stepped);
  if (has_body) answer_ = Outstanding::Answer();
  input_.response = nullptr;
  bytes_of_a_step_ = stepped ? memory_of(stepped->page) : 0;
  room_.resize(bytes_of_a_step_);
  co_return stepped;
}

void Drive::doubt(contract::Page& page) {
  if (!end_.unframed) return;
  page.sets.clear();
  if (run_.operation != contract::Operation::fetch || !list_in_doubt_) return;
  end_.not_believed += static_cast<std::int64_t>(
      std::erase_if(page.records, [](const contract::Record& record) { return record.deleted; }));
}

/// On a thread, while the next answer is on its way and the page before is written.
Task<void> Drive::check(const contract::Page& page) {
  checked_.reset();
  if (page.empty()) co_return;
  const ingest::PageCheck check = run_.sink->check();
  StepPool::Step work = [this, &page, &check] { checked_ = check(page); };
  if (run_.steps != nullptr) {
    co_await run_.steps->run(std::move(work), run_.owner);
  } else {
    work();
  }
}

std::optional<Error> Drive::no_progress(const contract::StepOutput& output) {
  idle_steps_ = output.requests.empty() && output.page.empty() ? idle_steps_ + 1 : 0;
  if (idle_steps_ <= kIdleStepsMax) return std::nullopt;
  return Error(ErrorKind::internal, "sync.no_progress",
               "the connector made 10000 steps without a request or a record",
               "This is a defect of the connector; report it with this code to its author");
}

void Drive::send_requests(contract::StepOutput& output) {
  for (contract::Request& request : output.requests)
    outstanding_.start(std::move(request), steady_ms(run_.clock));
  end_.requests += static_cast<std::int64_t>(output.requests.size());
}

/// To the writer, which is free.
void Drive::hand_over(contract::StepOutput& output) {
  under_way_ = std::make_shared<PageUnderWay>();
  ingest::PageEffects& effects = under_way_->effects;
  effects.checkpoint = std::move(output.checkpoint);
  effects.checkpoint_format = run_.checkpoint_format;
  effects.requests = std::exchange(end_.requests, 0);
  effects.bytes = std::exchange(end_.bytes, 0);
  effects.vendor_total = output.total;
  effects.observed_version = observed_.value_ms();
  effects.checked = std::move(checked_);
  effects.unframed = end_.unframed;
  if (!output.page.empty()) observed_.emitted();
  under_way_->page = std::move(output.page);
  under_way_->last = output.result == StepResult::done;
  under_way_->room = std::move(room_);
  writing_.spawn(store_page(under_way_, *run_.sink, run_.at_work));
}

Task<void> Drive::settle() {
  if (!under_way_) co_return;
  co_await writing_.wait();
  end_.counts += under_way_->counts;
  ++end_.pages;
  under_way_.reset();
}

Task<void> Drive::sleep(std::int64_t wake_at_ms) {
  const AtWork::Waits waits(run_.at_work);
  co_await pause_until(run_.clock, wake_at_ms, run_.stopping);
}

Task<Outstanding::Answer> Drive::wait_for_answer() {
  const AtWork::Waits waits(run_.at_work);
  co_return co_await outstanding_.next();
}

Task<void> Drive::next_input(const contract::StepOutput& output) {
  switch (output.result) {
    case StepResult::sleep:
      co_await settle();  // what is wrong with a page must not wait as long as the vendor does
      co_await sleep(output.wake_at_ms);
      input_.kind = InputKind::timer;
      break;
    case StepResult::wait:
      answer_ = co_await wait_for_answer();
      observed_.answered(answer_.sent_at_ms);
      end_.transport_error = answer_.response.transport_error;
      end_.unframed |= answer_.response.unframed;
      list_in_doubt_ |= answer_.response.unframed && answer_.response.status < 400;
      end_.bytes += static_cast<std::int64_t>(answer_.response.body.size());
      input_.kind = answer_.response.status == 0 ? InputKind::transport_error : InputKind::response;
      input_.response = &answer_.response;
      break;
    default:
      input_.kind = InputKind::resume;
      break;
  }
  if (cancelled_ || !run_.stopping || !run_.stopping()) co_return;
  cancelled_ = true;
  input_.kind = InputKind::cancel;
  input_.response = nullptr;
}

/// Waits for it where a thread is free. Who is cancelled, or has none, leaves it behind: it is
/// never closed on the loop, and nobody stands in a line for it.
Task<void> Drive::close() {
  StepPool::Step work = [session = std::move(run_.session)]() mutable { session.reset(); };
  if (run_.steps == nullptr) {
    work();
  } else if (gave_up_ || !run_.steps->has_place(run_.owner.whose())) {
    run_.steps->run_behind(executor_, std::move(work), run_.owner);
  } else {
    co_await run_.steps->run_code(std::move(work), run_.owner);
  }
}

/// That a run was stopped is the host's to say, and is followed by no pause: a connector that says
/// so of itself would be run again at once, for ever.
ConnectorFailure Drive::failure_of(contract::StepOutput& output) const {
  ConnectorFailure failure = output.failure ? std::move(*output.failure) : ConnectorFailure{};
  if (failure.failure_class != FailureClass::cancelled || cancelled_) return failure;
  failure.failure_class = FailureClass::internal;
  failure.message =
      "it ended as CANCELLED, which only answers the host's CANCEL: a defect of the connector. It "
      "said: " +
      failure.message;
  return failure;
}

Task<void> Drive::to_the_end() {
  for (;;) {
    Result<contract::StepOutput> stepped = co_await step();
    if (!stepped) {
      end_.failure = internal_failure(stepped.error());
      co_return;
    }
    contract::StepOutput& output = *stepped;
    log_lines(output.log, run_.owner);
    if (const std::optional<Error> defect = no_progress(output)) {
      end_.failure = internal_failure(*defect);
      co_return;
    }
    // A failed step is discarded as a whole: SLP-S05.
    const bool failed = output.result == StepResult::failed;
    const bool done = output.result == StepResult::done;
    if (!failed) send_requests(output);
    doubt(output.page);
    const bool stores = !failed && run_.sink != nullptr && (has_effect(output) || done);
    if (stores) co_await check(output.page);
    if (stores) co_await settle();
    SLUICE_FAILPOINT("sync.before_page");
    if (stores) hand_over(output);
    room_ = PageBudget::Grant();
    if (output.result_json) end_.result_json = std::move(output.result_json);
    if (failed) end_.failure = failure_of(output);
    if (failed || done) co_return;
    co_await next_input(output);
  }
}

}  // namespace

Task<Result<std::shared_ptr<connector::Session>>> open_session(
    StepPool& steps, std::shared_ptr<const connector::ConnectorCode> code,
    const contract::SessionArgs& args, StepOwner owner) {
  struct Opening {
    std::shared_ptr<const connector::ConnectorCode> code;
    contract::SessionArgs args;
    std::optional<Result<std::unique_ptr<connector::Session>>> opened;
  };
  const auto job = std::make_shared<Opening>();
  job->code = std::move(code);
  job->args = args;
  StepPool::Step work = [job] { job->opened = job->code->open(job->args); };
  co_await steps.run_code(std::move(work), std::move(owner));
  if (!*job->opened) co_return std::unexpected(std::move(job->opened->error()));
  std::shared_ptr<connector::Session> session = std::move(**job->opened);
  co_await asio::this_coro::throw_if_cancelled(false);  // dropped on its way, it would close here
  co_return session;
}

Task<SessionEnd> run_session(SessionRun run) {
  const Executor executor = co_await asio::this_coro::executor;
  Drive drive(executor, std::move(run));
  std::exception_ptr surprise;
  try {
    co_await asio::this_coro::throw_if_cancelled(true);  // see open_session()
    co_await drive.to_the_end();
  } catch (...) {
    surprise = std::current_exception();
  }
  // The page under way uses the caller's sink, so it ends before we do, also when we are cancelled.
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    drive.give_up();
    if (!surprise) {
      surprise =
          std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted));
    }
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  }
  // What was asked for and not waited for uses the caller's context.
  co_await drive.give_up_requests();
  try {
    co_await drive.settle();  // a failed write speaks before what came after it
  } catch (...) {
    surprise = std::current_exception();
  }
  try {
    co_await drive.close();
  } catch (...) {
    if (!surprise) surprise = std::current_exception();
  }
  if (surprise) std::rethrow_exception(surprise);
  SessionEnd end = drive.take_end();
  say_wrong_name(end);
  co_return end;
}

}  // namespace sluice::sync
