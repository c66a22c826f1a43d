#include "sync/step_pool.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"

namespace sluice::sync {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

/// Between looks at a slow step. Each counts for so long, however late it comes.
constexpr std::chrono::milliseconds kLookGap{1000};

/// One step, shared by the coroutine that waits and the thread that works. `ended`, `woken` and
/// `came_back` belong to the loop; the rest is the thread's until its message has reached the loop.
struct Job {
  Job(const Executor& executor, StepPool::Step step) : work(std::move(step)), woken(executor) {}
  StepPool::Step work;
  std::atomic<steady_clock::rep> begun{0};  ///< 0: it waits for a thread
  std::exception_ptr surprise;
  microseconds took{0};
  bool ended = false;
  asio::steady_timer woken;         ///< cancelled when ended
  std::function<void()> came_back;  ///< of one that was given up
};

void work_off(Job& job) {
  const auto begun = steady_clock::now();
  job.begun = begun.time_since_epoch().count();
  try {
    job.work();
  } catch (...) {
    job.surprise = std::current_exception();
  }
  job.work = nullptr;
  job.took = std::chrono::duration_cast<microseconds>(steady_clock::now() - begun);
}

Failure given_up(const StepOwner& owner, std::chrono::milliseconds after) {
  return Failure(Error(
      ErrorKind::internal, std::string(kStepGivenUp),
      fmt::format("its connector ({}) has not come back from one step for {} s ({})",
                  owner.connector, std::chrono::duration_cast<std::chrono::seconds>(after).count(),
                  owner.what)));
}

}  // namespace

struct StepPool::Threads {
  explicit Threads(std::size_t count) : pool(count) {}
  ~Threads() {
    pool.stop();
    pool.join();
    for (std::thread& thread : more) thread.join();
  }
  asio::thread_pool pool;
  std::vector<std::thread> more;  ///< in the place of those that a slow step keeps
};

std::size_t StepPool::default_threads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), kStepThreadsMin,
                                 kStepThreadsMax);
}

StepPool::StepPool(std::size_t threads, std::chrono::milliseconds warn_after,
                   std::chrono::milliseconds give_up_after)
    : warn_after_(warn_after),
      give_up_after_(std::max(warn_after, give_up_after)),
      threads_(std::make_unique<Threads>(threads)),
      slow_(std::make_shared<std::list<SlowStep>>()) {
  stats_.threads = threads;
}

StepPool::~StepPool() = default;

void StepPool::replace_thread() {
  if (threads_->more.size() >= std::min(slow_->size(), kStepThreadsMoreMax)) return;
  threads_->more.emplace_back([&pool = threads_->pool] { pool.attach(); });
  ++stats_.threads;
}

Task<void> StepPool::run(Step step, StepOwner owner, Patience patience) {
  const Executor executor = co_await asio::this_coro::executor;
  const auto job = std::make_shared<Job>(executor, std::move(step));
  asio::post(threads_->pool, [job, executor] {
    work_off(*job);
    asio::post(executor, [job] {
      job->ended = true;
      job->woken.cancel();
      if (job->came_back) job->came_back();
    });
  });
  ++stats_.under_way;
  auto warn_at = steady_clock::now() + warn_after_;
  auto slow = slow_->end();
  std::chrono::milliseconds looked_at_for = warn_after_;
  const auto gap = std::clamp((give_up_after_ - warn_after_) / 4, std::chrono::milliseconds(1),
                              std::chrono::milliseconds(kLookGap));
  bool cancelled = false;
  // Who is cancelled waits all the same, but for a connector that does not come back.
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!job->ended) {
    const bool warned = slow != slow_->end();
    const auto look_at = steady_clock::now() + gap;
    const auto next = !warned                         ? warn_at
                      : patience == Patience::limited ? look_at
                                                      : steady_clock::time_point::max();
    job->woken.expires_at(next);
    boost::system::error_code ignored;
    co_await job->woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const auto state = co_await asio::this_coro::cancellation_state;
    cancelled = state.cancelled() != asio::cancellation_type::none;
    if (!job->ended && warned && cancelled && patience == Patience::limited) break;
    if (job->ended || steady_clock::now() < next) continue;
    if (warned) {
      looked_at_for += gap;
      if (looked_at_for >= give_up_after_) break;
      continue;
    }
    // A step that waits for a thread is not slow; others are.
    const steady_clock::time_point begun{steady_clock::duration(job->begun.load())};
    const bool waits = begun == steady_clock::time_point();
    warn_at = (waits ? steady_clock::now() : begun) + warn_after_;
    if (steady_clock::now() < warn_at) continue;
    slow = slow_->emplace(slow_->end());
    slow->owner = owner;
    slow->begun = begun;
    ++stats_.slow;
    log::warning("connector.step_slow", {{"milliseconds", warn_after_.count()},
                                         {"connector", owner.connector},
                                         {"workspace", owner.workspace.value},
                                         {"connection", owner.connection_name},
                                         {"connection_id", owner.connection.value},
                                         {"stream", owner.stream},
                                         {"run", owner.run.value},
                                         {"what", owner.what}});
    replace_thread();
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  --stats_.under_way;
  if (!job->ended) {
    slow->given_up = true;
    job->came_back = [all = slow_, slow] { all->erase(slow); };
    ++stats_.given_up;
    if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
    Failure failure = given_up(owner, give_up_after_);
    log::error("connector.step_given_up", {{"connector", owner.connector},
                                           {"workspace", owner.workspace.value},
                                           {"connection", owner.connection_name},
                                           {"connection_id", owner.connection.value},
                                           {"stream", owner.stream},
                                           {"run", owner.run.value},
                                           {"what", owner.what}});
    throw failure;
  }
  if (slow != slow_->end()) slow_->erase(slow);
  ++stats_.steps;
  stats_.busy += job->took;
  if (job->surprise) std::rethrow_exception(job->surprise);
}

}  // namespace sluice::sync
