#include "sync/step_pool.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <set>
#include <thread>

#include "base/check.hpp"
#include "base/fair_share.hpp"
#include "base/log.hpp"

namespace sluice::sync {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Between looks at a slow step. Each counts for so long, however late it comes.
constexpr milliseconds kLookGap{1000};
constexpr std::size_t kNamedMax = 3;
/// Times as long as a step may take: those before in the line are given up first.
constexpr int kStandsStill = 2;

std::int64_t seconds_of(milliseconds time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

}  // namespace

Error step_given_up(const StepOwner& owner, milliseconds after) {
  return Error(ErrorKind::internal, std::string(kStepGivenUp),
               fmt::format("its connector ({}) has not come back from one step for {} s ({})",
                           owner.connector, seconds_of(after), owner.what));
}

Error step_not_begun(const StepOwner& owner, milliseconds after) {
  return Error(
      ErrorKind::retry_later, std::string(kStepNotBegun),
      fmt::format("no thread was free for {} for {} s: other steps of this workspace's connectors "
                  "compute all the while",
                  owner.what, seconds_of(after)),
      "sluice errors names those that do not come to an end");
}

/// One step, shared by who waits and the thread that works. `work`, `surprise` and `took` are the
/// thread's while it has it; the rest belongs to the loop.
struct StepPool::Job {
  enum class At { line, thread, ended, refused };
  Job(const Executor& of, Step step, StepOwner whose, Patience how)
      : executor(of),
        work(std::move(step)),
        owner(std::move(whose)),
        patience(how),
        entered(steady_clock::now()),
        woken(of) {}
  Executor executor;
  Step work;
  StepOwner owner;
  Patience patience;
  At at = At::line;
  steady_clock::time_point entered, begun;
  std::atomic<steady_clock::rep> taken_up{0};  ///< by its thread; 0: not yet
  std::exception_ptr surprise;
  microseconds took{0};
  std::optional<std::list<SlowStep>::iterator> slow;
  asio::steady_timer woken;  ///< cancelled when `at` changes

  /// On a thread.
  void work_off() {
    const auto from = steady_clock::now();
    taken_up = from.time_since_epoch().count();
    try {
      work();
    } catch (...) {
      surprise = std::current_exception();
    }
    work = nullptr;
    took = std::chrono::duration_cast<microseconds>(steady_clock::now() - from);
  }
  void go(At to) {
    at = to;
    woken.cancel();
  }
};

struct StepPool::Threads {
  explicit Threads(std::size_t count) : pool(count) {}
  ~Threads() {
    pool.stop();
    pool.join();
    for (std::thread& thread : more) thread.join();
  }
  asio::thread_pool pool;
  std::vector<std::thread> more;  ///< in the place of those that slow steps keep
};

struct StepPool::State : std::enable_shared_from_this<StepPool::State> {
  State(std::size_t count, milliseconds warn, milliseconds give_up)
      : share(count), warn_after(warn), give_up_after(give_up) {
    stats.threads = count;
  }

  /// Slow steps of one workspace, by connector.
  struct OfWorkspace {
    std::map<std::string_view, std::size_t> by_connector;
    void add(const SlowStep& one) { ++by_connector[one.owner.connector]; }
    [[nodiscard]] std::size_t of(std::string_view connector) const {
      const auto found = by_connector.find(connector);
      return found == by_connector.end() ? 0 : found->second;
    }
    /// As they count against the workspace.
    [[nodiscard]] std::size_t counted() const {
      std::size_t all = 0;
      for (const auto& [connector, steps] : by_connector)
        all += std::min(steps, kStepsLostOfConnectorMax);
      return all;
    }
    [[nodiscard]] std::size_t all() const {
      std::size_t all = 0;
      for (const auto& [connector, steps] : by_connector) all += steps;
      return all;
    }
  };
  /// What slow steps of it keep besides its share.
  [[nodiscard]] OfWorkspace kept_by(WorkspaceId workspace) const {
    OfWorkspace kept;
    for (const SlowStep& one : slow)
      if (one.replaced && one.owner.workspace == workspace) kept.add(one);
    return kept;
  }
  [[nodiscard]] OfWorkspace lost_by(WorkspaceId workspace) const {
    OfWorkspace lost;
    for (const SlowStep& one : slow)
      if (one.given_up && one.owner.workspace == workspace) lost.add(one);
    return lost;
  }
  [[nodiscard]] bool is_full() const { return replaced >= kStepThreadsMoreMax; }
  /// Every connector of the workspace.
  [[nodiscard]] bool refuses_all_of(const OfWorkspace& lost) const {
    return lost.counted() >= kStepsLostOfWorkspaceMax || (lost.all() > 0 && is_full());
  }
  [[nodiscard]] bool refuses(const ConnectorOf& whose) const {
    if (slow.empty()) return false;
    const OfWorkspace lost = lost_by(whose.workspace);
    return refuses_all_of(lost) || lost.of(whose.connector) >= kStepsLostOfConnectorMax;
  }
  /// No more at once than can be replaced when none of them comes back.
  [[nodiscard]] bool may_begin(const ConnectorOf& whose) const {
    if (!share.may_take(whose.workspace)) return false;
    if (slow.empty()) return true;
    if (refuses(whose)) return false;
    const OfWorkspace kept = kept_by(whose.workspace);
    const auto fits = [](std::size_t of_them, std::size_t busy, std::size_t most) {
      return of_them == 0 || of_them + busy < most;
    };
    const auto here = on_threads.find(whose);
    return fits(kept.counted(), share.of(whose.workspace), kStepsLostOfWorkspaceMax) &&
           fits(kept.of(whose.connector), here == on_threads.end() ? 0 : here->second,
                kStepsLostOfConnectorMax);
  }
  [[nodiscard]] Failure refusal(const ConnectorOf& whose) const;

  void enter(const std::shared_ptr<Job>& job) {
    const WorkspaceId workspace = job->owner.workspace;
    if (!lines.contains(workspace)) turns.push_back(workspace);
    Lines& of_workspace = lines[workspace];
    const std::string& connector = job->owner.connector;
    if (!of_workspace.by_connector.contains(connector)) of_workspace.turns.push_back(connector);
    Line& line = of_workspace.by_connector[connector];
    if (line.jobs.empty()) line.moved = job->entered;
    line.jobs.push_back(job);
    serve();
  }
  /// Who stands in the line goes.
  void leave(const std::shared_ptr<Job>& job) {
    if (job->at != Job::At::line) return;
    const ConnectorOf whose = job->owner.whose();
    lines[whose.workspace].by_connector[whose.connector].jobs.remove(job);
    drop_if_empty(whose);
  }
  void drop_if_empty(const ConnectorOf& whose) {
    const auto of_workspace = lines.find(whose.workspace);
    if (of_workspace == lines.end()) return;
    Lines& all = of_workspace->second;
    const auto line = all.by_connector.find(whose.connector);
    if (line == all.by_connector.end() || !line->second.jobs.empty()) return;
    all.by_connector.erase(line);
    all.turns.remove(whose.connector);
    if (!all.by_connector.empty()) return;
    lines.erase(of_workspace);
    turns.remove(whose.workspace);
  }
  /// Whose turn it is, and who may, begins.
  void serve() {
    std::size_t passed = 0;  // in a row
    while (threads != nullptr && share.free() > 0 && passed < turns.size()) {
      const WorkspaceId workspace = turns.front();
      turns.splice(turns.end(), turns, turns.begin());
      const std::shared_ptr<Job> job = next_of(workspace);
      if (job == nullptr) {
        ++passed;
        continue;
      }
      passed = 0;
      begin(job);
    }
  }
  /// Of the workspace's connector whose turn it is, of those that may begin; nullptr when none may.
  std::shared_ptr<Job> next_of(WorkspaceId workspace) {
    Lines& all = lines[workspace];
    for (auto turn = all.turns.begin(); turn != all.turns.end(); ++turn) {
      const ConnectorOf whose{workspace, *turn};
      if (!may_begin(whose)) continue;
      all.turns.splice(all.turns.end(), all.turns, turn);
      Line& line = all.by_connector[whose.connector];
      std::shared_ptr<Job> job = line.jobs.front();
      line.jobs.pop_front();
      line.moved = steady_clock::now();
      drop_if_empty(whose);
      return job;
    }
    return nullptr;
  }
  void give_back(const StepOwner& owner) {
    share.give_back(owner.workspace);
    const auto here = on_threads.find(owner.whose());
    if (--here->second == 0) on_threads.erase(here);
  }
  void begin(const std::shared_ptr<Job>& job) {
    share.take(job->owner.workspace);
    ++on_threads[job->owner.whose()];
    job->begun = steady_clock::now();
    job->go(Job::At::thread);
    asio::post(threads->pool, [state = shared_from_this(), job] {
      job->work_off();
      asio::post(job->executor, [state, job] { state->ended(*job); });
    });
  }
  /// Also of one that was given up.
  void ended(Job& job) {
    const bool was_replaced = job.slow && (*job.slow)->replaced;
    if (was_replaced) {
      --replaced;
    } else {
      give_back(job.owner);
    }
    if (job.slow) slow.erase(*job.slow);
    job.slow.reset();
    job.go(Job::At::ended);
    replace_threads();
    serve();
  }
  /// It goes on, and keeps its thread.
  void is_slow(Job& job) {
    job.slow = slow.emplace(slow.end());
    (*job.slow)->owner = job.owner;
    (*job.slow)->begun = job.begun;
    ++stats.slow;
    log::warning("connector.step_slow", {{"milliseconds", warn_after.count()},
                                         {"connector", job.owner.connector},
                                         {"workspace", job.owner.workspace.value},
                                         {"connection", job.owner.connection_name},
                                         {"connection_id", job.owner.connection.value},
                                         {"stream", job.owner.stream},
                                         {"run", job.owner.run.value},
                                         {"what", job.owner.what}});
    replace_threads();
    serve();
  }
  void replace_threads() {
    for (SlowStep& one : slow) {
      if (threads == nullptr || is_full()) return;
      if (one.replaced) continue;
      one.replaced = true;
      ++replaced;
      give_back(one.owner);
      if (threads->more.size() >= replaced) continue;
      threads->more.emplace_back([&pool = threads->pool] { pool.attach(); });
      ++stats.threads;
    }
  }
  /// Nobody waits for it any more. Those in a line that gets no more threads are told.
  void is_lost(Job& job) {
    const ConnectorOf whose = job.owner.whose();
    const bool was_refused = refuses(whose);
    (*job.slow)->given_up = true;
    ++stats.given_up;
    log::error("connector.step_given_up", {{"connector", job.owner.connector},
                                           {"workspace", whose.workspace.value},
                                           {"connection", job.owner.connection_name},
                                           {"connection_id", job.owner.connection.value},
                                           {"stream", job.owner.stream},
                                           {"run", job.owner.run.value},
                                           {"what", job.owner.what}});
    if (!was_refused && refuses(whose)) {
      const OfWorkspace lost = lost_by(whose.workspace);
      const bool all = refuses_all_of(lost);
      log::error("connector.threads_lost",
                 {{"workspace", whose.workspace.value},
                  {"lost", all ? lost.all() : lost.of(whose.connector)},
                  {"connectors", all ? connectors_of(whose.workspace) : whose.connector}});
    }
    std::vector<ConnectorOf> emptied;
    for (auto& [workspace, of_workspace] : lines) {
      for (auto& [connector, line] : of_workspace.by_connector) {
        const ConnectorOf refused{workspace, connector};
        if (!refuses(refused)) continue;
        std::erase_if(line.jobs, [](const std::shared_ptr<Job>& one) {
          if (one->patience == Patience::behind) return false;
          one->go(Job::At::refused);
          return true;
        });
        emptied.push_back(refused);
      }
    }
    for (const ConnectorOf& refused : emptied) drop_if_empty(refused);
  }
  [[nodiscard]] std::string connectors_of(WorkspaceId workspace) const {
    std::set<std::string> names;
    for (const SlowStep& one : slow) {
      if (one.given_up && one.owner.workspace == workspace) names.insert(one.owner.connector);
    }
    return fmt::format("{}", fmt::join(names, ", "));
  }

  struct Line {
    std::list<std::shared_ptr<Job>> jobs;
    steady_clock::time_point moved;  ///< when one of it began, or it came to be
  };
  /// Of one workspace.
  struct Lines {
    std::map<std::string, Line> by_connector;
    std::list<std::string> turns;
  };
  FairShare share;  ///< of the threads, without those that slow steps keep
  milliseconds warn_after, give_up_after;
  Threads* threads = nullptr;  ///< nullptr when they are gone
  StepPoolStats stats;
  std::list<SlowStep> slow;                       ///< under way
  std::size_t replaced = 0;                       ///< of them
  std::map<ConnectorOf, std::size_t> on_threads;  ///< as `share` counts
  std::map<WorkspaceId, Lines> lines;
  std::list<WorkspaceId> turns;  ///< of the lines
};

Failure StepPool::State::refusal(const ConnectorOf& whose) const {
  const OfWorkspace lost = lost_by(whose.workspace);
  const bool all = refuses_all_of(lost);
  std::set<std::string> steps;
  for (const SlowStep& one : slow) {
    if (!one.given_up || one.owner.workspace != whose.workspace || steps.size() == kNamedMax)
      continue;
    if (!all && one.owner.connector != whose.connector) continue;
    steps.insert(fmt::format("{}: {} of {}", one.owner.connector, one.owner.what,
                             one.owner.connection_name));
  }
  const std::string connectors = all ? connectors_of(whose.workspace) : whose.connector;
  std::string message;
  if (all) {
    const bool host = lost.counted() < kStepsLostOfWorkspaceMax;
    message = fmt::format(
        "{} steps of this workspace's connectors ({}) have not come back and keep a thread of this "
        "host each{}: it gets no more",
        lost.all(), connectors, host ? ", and the host has none to replace them with" : "");
  } else {
    message = fmt::format(
        "{} steps of the connector {} have not come back and keep a thread of this host each: it "
        "gets no more in this workspace, and other connectors go on",
        lost.of(whose.connector), connectors);
  }
  return Failure(Error(
      ErrorKind::retry_later, std::string(kStepsLost), std::move(message),
      fmt::format("Install a version that mends it, or disable it (sluice connector disable {}), "
                  "and have the host started again: its threads are free then ({})",
                  connectors, fmt::join(steps, "; "))));
}

std::size_t StepPoolNow::workspaces_at_bound() const {
  std::set<WorkspaceId> workspaces;
  for (const ConnectorOf& one : at_bound) workspaces.insert(one.workspace);
  return workspaces.size();
}

std::size_t StepPool::default_threads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), kStepThreadsMin,
                                 kStepThreadsMax);
}

StepPool::StepPool(std::size_t threads, milliseconds warn_after, milliseconds give_up_after)
    : state_(std::make_shared<State>(threads, warn_after, std::max(warn_after, give_up_after))),
      threads_(std::make_unique<Threads>(threads)) {
  state_->threads = threads_.get();
}

StepPool::~StepPool() { state_->threads = nullptr; }

const StepPoolStats& StepPool::stats() const { return state_->stats; }

std::vector<SlowStep> StepPool::slow_now() const {
  return {state_->slow.begin(), state_->slow.end()};
}

StepPoolNow StepPool::now() const {
  StepPoolNow now;
  std::set<ConnectorOf> at_bound;
  std::size_t in_others_place = 0;
  for (const SlowStep& one : state_->slow) {
    if (!one.given_up) continue;
    ++now.lost;
    if (!one.replaced) ++in_others_place;
    if (state_->refuses(one.owner.whose())) at_bound.insert(one.owner.whose());
  }
  now.at_bound.assign(at_bound.begin(), at_bound.end());
  now.full = state_->is_full();
  now.none_left = in_others_place >= state_->share.whole();
  for (const auto& [workspace, of_workspace] : state_->lines) {
    for (const auto& [connector, line] : of_workspace.by_connector) {
      now.waiting += line.jobs.size();
      if (state_->refuses(ConnectorOf{workspace, connector})) continue;
      const auto waits = steady_clock::now() - line.jobs.front()->entered;
      now.longest_wait =
          std::max(now.longest_wait, std::chrono::duration_cast<milliseconds>(waits));
    }
  }
  return now;
}

std::size_t StepPool::lost_of(ConnectionId connection) const {
  return static_cast<std::size_t>(std::ranges::count_if(state_->slow, [&](const SlowStep& one) {
    return one.given_up && one.owner.connection == connection;
  }));
}

Error StepPool::newest_lost_of(ConnectionId connection) const {
  const auto newest = std::find_if(
      state_->slow.rbegin(), state_->slow.rend(),
      [&](const SlowStep& one) { return one.given_up && one.owner.connection == connection; });
  SLUICE_INVARIANT(newest != state_->slow.rend());
  const auto since = steady_clock::now() - newest->begun;
  return step_given_up(newest->owner, std::chrono::duration_cast<milliseconds>(since));
}

std::optional<Error> StepPool::refusal_of(const ConnectorOf& whose) const {
  if (!state_->refuses(whose)) return std::nullopt;
  return state_->refusal(whose).error();
}

bool StepPool::has_place(const ConnectorOf& whose) const {
  const auto lines = state_->lines.find(whose.workspace);
  if (lines != state_->lines.end() && lines->second.by_connector.contains(whose.connector))
    return false;
  return state_->may_begin(whose);
}

void StepPool::run_behind(const Executor& executor, Step step, StepOwner owner) {
  asio::co_spawn(executor, run(state_, std::move(step), std::move(owner), Patience::behind),
                 [](const std::exception_ptr&) {});  // what is to be said of it, run() has logged
}

Task<void> StepPool::wait_for_turn(std::shared_ptr<State> state, std::shared_ptr<Job> job) {
  struct Leaves {
    State& state;
    const std::shared_ptr<Job>& job;
    ~Leaves() { state.leave(job); }
  } leaves{*state, job};
  while (job->at == Job::At::line) {
    const auto asked = co_await asio::this_coro::cancellation_state;
    if (asked.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
    auto at_most = steady_clock::time_point::max();
    if (job->patience != Patience::behind) {
      const auto moved =
          state->lines[job->owner.workspace].by_connector[job->owner.connector].moved;
      const auto still = state->give_up_after * kStandsStill;
      at_most = std::max(job->entered, moved) + still;
      if (steady_clock::now() >= at_most) throw Failure(step_not_begun(job->owner, still));
    }
    job->woken.expires_at(at_most);
    boost::system::error_code ignored;
    co_await job->woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (job->at == Job::At::refused) throw state->refusal(job->owner.whose());
}

/// Returns when it has ended, or nobody is to wait for it any more.
Task<void> StepPool::wait_for_end(std::shared_ptr<State> state, std::shared_ptr<Job> job) {
  const auto gap = std::clamp((state->give_up_after - state->warn_after) / 4, milliseconds(1),
                              milliseconds(kLookGap));
  milliseconds looked_at_for = state->warn_after;
  while (job->at != Job::At::ended) {
    const bool watched = job->slow && job->patience != Patience::endless;
    const auto next = !job->slow ? job->begun + state->warn_after
                      : watched  ? steady_clock::now() + gap
                                 : steady_clock::time_point::max();
    job->woken.expires_at(next);
    boost::system::error_code ignored;
    co_await job->woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (job->at == Job::At::ended) co_return;
    const auto asked = co_await asio::this_coro::cancellation_state;
    if (watched && asked.cancelled() != asio::cancellation_type::none) co_return;
    if (steady_clock::now() < next) continue;
    if (!job->slow) {
      // A machine under load may take its time to wake the thread.
      const steady_clock::rep taken_up = job->taken_up;
      job->begun = taken_up == 0 ? steady_clock::now()
                                 : steady_clock::time_point(steady_clock::duration(taken_up));
      if (steady_clock::now() >= job->begun + state->warn_after) state->is_slow(*job);
      continue;
    }
    looked_at_for += gap;
    if (looked_at_for >= state->give_up_after) co_return;
  }
}

Task<void> StepPool::run(std::shared_ptr<State> state, Step step, StepOwner owner,
                         Patience patience) {
  const Executor executor = co_await asio::this_coro::executor;
  const auto job = std::make_shared<Job>(executor, std::move(step), std::move(owner), patience);
  if (patience != Patience::behind && state->refuses(job->owner.whose()))
    throw state->refusal(job->owner.whose());
  struct UnderWay {
    explicit UnderWay(StepPoolStats& s) : stats(s) { ++stats.under_way; }
    ~UnderWay() { --stats.under_way; }
    StepPoolStats& stats;
  };
  std::optional<UnderWay> under_way(state->stats);
  state->enter(job);
  // Who is cancelled waits all the same, but in the line, and for a connector that does not come
  // back.
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  std::exception_ptr left;
  try {
    co_await wait_for_turn(state, job);
    co_await wait_for_end(state, job);
  } catch (...) {
    left = std::current_exception();
  }
  const auto asked = co_await asio::this_coro::cancellation_state;
  const bool cancelled = asked.cancelled() != asio::cancellation_type::none;
  co_await asio::this_coro::throw_if_cancelled(throws);
  under_way.reset();
  if (left) std::rethrow_exception(left);
  if (job->at != Job::At::ended) {
    state->is_lost(*job);
    if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
    throw Failure(step_given_up(job->owner, state->give_up_after));
  }
  ++state->stats.steps;
  state->stats.busy += job->took;
  if (job->surprise) std::rethrow_exception(job->surprise);
}

}  // namespace sluice::sync
