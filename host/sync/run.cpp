#include "sync/run.hpp"

#include "base/failpoint.hpp"
#include "base/log.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
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

/// One request under way. Shared by the session that waits and the coroutine that fetches.
struct Slot {
  explicit Slot(const Executor& executor)
      : ready(executor, asio::steady_timer::time_point::max()) {}
  contract::Response response;
  std::int64_t sent_at_ms = 0;
  std::exception_ptr surprise;
  bool finished = false;
  asio::steady_timer ready;  ///< cancelled when finished
  asio::cancellation_signal cancel;
};

Task<void> fetch_into(std::shared_ptr<Slot> slot, fetch::Client& client,
                      const fetch::SendContext& context, contract::Request request) {
  const std::uint64_t id = request.id;
  try {
    Result<contract::Response> response = co_await client.send(std::move(request), context);
    if (response) {
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
/// has seen since something was last emitted. It stands in for the version of objects that have
/// none (docs/decisions/0002).
class ObservedAt {
 public:
  void answered(std::int64_t sent_at_ms) {
    value_ms_ = fresh_ ? sent_at_ms : std::min(value_ms_, sent_at_ms);
    fresh_ = false;
  }
  void emitted() { fresh_ = true; }  // kept for further steps that emit from the same answer
  [[nodiscard]] std::int64_t value_ms() const { return value_ms_; }

 private:
  std::int64_t value_ms_ = 0;
  bool fresh_ = true;
};

/// The requests of one session, answered in the order in which they were asked for, so that a run
/// can be repeated. Those still under way when it is destroyed are cancelled; they hold their slot
/// themselves.
class Outstanding {
 public:
  Outstanding(Executor executor, fetch::Client& client, const fetch::SendContext& context)
      : executor_(std::move(executor)), client_(client), context_(context) {}
  Outstanding(const Outstanding&) = delete;
  Outstanding& operator=(const Outstanding&) = delete;
  ~Outstanding() {
    for (const auto& slot : slots_) slot->cancel.emit(asio::cancellation_type::terminal);
  }

  void start(contract::Request request, std::int64_t now_ms) {
    auto slot = std::make_shared<Slot>(executor_);
    slot->sent_at_ms = now_ms;
    slots_.push_back(slot);
    asio::co_spawn(executor_, fetch_into(slot, client_, context_, std::move(request)),
                   asio::bind_cancellation_slot(slot->cancel.slot(), asio::detached));
  }

  [[nodiscard]] std::size_t size() const { return slots_.size(); }

  struct Answer {
    Answer() = default;
    contract::Response response;
    std::int64_t sent_at_ms = 0;
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
    co_return answer;
  }

 private:
  Executor executor_;
  fetch::Client& client_;
  const fetch::SendContext& context_;
  std::deque<std::shared_ptr<Slot>> slots_;
};

ConnectorFailure internal_failure(const Error& error) {
  ConnectorFailure failure;
  failure.failure_class = FailureClass::internal;
  failure.vendor_code = error.code;
  failure.message = error.describe();
  return failure;
}

void log_lines(const std::vector<contract::LogLine>& lines) {
  for (const contract::LogLine& line : lines) {
    const auto level = line.level >= 4   ? log::Level::error
                       : line.level == 3 ? log::Level::warning
                       : line.level == 2 ? log::Level::info
                                         : log::Level::debug;
    log::write(level, "connector.says", {{"message", line.message}});
  }
}

bool has_effect(const contract::StepOutput& output) {
  return !output.page.empty() || !output.page.rejected.empty() || output.checkpoint.has_value();
}

/// Milliseconds of the steady clock: an order of requests that a corrected wall clock cannot turn
/// round. Writers compare it within one epoch of a lease, so never across processes.
std::int64_t steady_ms(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock.steady().time_since_epoch())
      .count();
}

Task<void> pause_until(const Clock& clock, std::int64_t wake_at_ms) {
  const std::int64_t now_ms = clock.now().count() / 1000;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(std::chrono::milliseconds(std::max<std::int64_t>(0, wake_at_ms - now_ms)));
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace

Task<SessionEnd> run_session(SessionRun run) {
  SessionEnd end;
  Outstanding outstanding(co_await asio::this_coro::executor, run.client, run.send);
  Outstanding::Answer answer;
  ObservedAt observed;
  contract::Input input;
  bool cancelled = false;
  int idle_steps = 0;
  for (;;) {
    input.now_ms = run.clock.now().count() / 1000;
    run.entropy.fill(input.entropy);
    Result<contract::StepOutput> stepped = run.session.step(input);
    if (!stepped) {
      end.failure = internal_failure(stepped.error());
      co_return end;
    }
    contract::StepOutput& output = *stepped;
    log_lines(output.log);
    idle_steps = output.requests.empty() && output.page.empty() ? idle_steps + 1 : 0;
    if (outstanding.size() + output.requests.size() > kOutstandingMax ||
        idle_steps > kIdleStepsMax) {
      const bool many = idle_steps <= kIdleStepsMax;
      end.failure = internal_failure(
          Error(ErrorKind::internal, many ? "sync.too_many_requests" : "sync.no_progress",
                many ? "the connector asked for more than 16 requests at once"
                     : "the connector made 10000 steps without a request or a record",
                "This is a defect of the connector; report it with this code to its author"));
      co_return end;
    }
    // A failed step is discarded as a whole: SLP-S05.
    const bool failed = output.result == StepResult::failed;
    const bool done = output.result == StepResult::done;
    if (!failed) {
      for (contract::Request& request : output.requests)
        outstanding.start(std::move(request), steady_ms(run.clock));
      end.requests += static_cast<std::int64_t>(output.requests.size());
    }
    SLUICE_FAILPOINT("sync.before_page");
    if (!failed && run.sink != nullptr && (has_effect(output) || done)) {
      ingest::PageEffects effects;
      effects.checkpoint = std::move(output.checkpoint);
      effects.checkpoint_format = run.checkpoint_format;
      effects.requests = end.requests;
      effects.bytes = end.bytes;
      effects.vendor_total = output.total;
      effects.observed_version = observed.value_ms();
      end.requests = 0;
      end.bytes = 0;
      const ingest::PageCounts counts =
          co_await run.sink->store(output.page, std::move(effects), done);
      end.counts += counts;
      ++end.pages;
      if (!output.page.empty()) observed.emitted();
    }
    if (output.result_json) end.result_json = std::move(output.result_json);
    switch (output.result) {
      case StepResult::done:
        co_return end;
      case StepResult::failed:
        end.failure = output.failure ? std::move(*output.failure) : ConnectorFailure{};
        co_return end;
      case StepResult::more:
        input.kind = InputKind::resume;
        break;
      case StepResult::sleep:
        co_await pause_until(run.clock, output.wake_at_ms);
        input.kind = InputKind::timer;
        break;
      case StepResult::wait:
        answer = co_await outstanding.next();
        observed.answered(answer.sent_at_ms);
        end.bytes += static_cast<std::int64_t>(answer.response.body.size());
        input.kind = answer.response.status == 0 ? InputKind::transport_error : InputKind::response;
        break;
    }
    input.response = output.result == StepResult::wait ? &answer.response : nullptr;
    if (!cancelled && run.stopping && run.stopping()) {
      cancelled = true;
      input.kind = InputKind::cancel;
      input.response = nullptr;
    }
  }
}

}  // namespace sluice::sync
