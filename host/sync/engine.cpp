#include "sync/engine.hpp"

#include "sync/secret_work.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"
#include "base/task_group.hpp"
#include "sync/send_scope.hpp"
#include "sync/step_pool.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

/// Pages kick once each; looking more often than this only costs.
constexpr std::chrono::milliseconds kLookGap{25};
constexpr std::int64_t kTroublePauseSecondsMax = 30;
constexpr std::chrono::milliseconds kAwayPauseMax{2000};  ///< between looks, while none succeeds
/// A host that stops waits so long for the batches of links under way, of however many keys.
constexpr std::chrono::milliseconds kLinkStopMax{1000};
constexpr const char* kLink = "link";    ///< lease of links
constexpr const char* kWork = "work";    ///< lease of durable work
constexpr const char* kBuild = "build";  ///< … of building an index

const pg::Statement kLinkWork{"engine_link_work", R"(
  with recursive queued as (
    (select workspace_id from sluice.link_queue order by workspace_id limit 1)
    union all
    select following.workspace_id from queued q cross join lateral (
      select l.workspace_id from sluice.link_queue l where l.workspace_id > q.workspace_id
      order by l.workspace_id limit 1) following)
  select workspace_id from queued limit 1000)"};

// Held leases, and kinds that only a newer host knows, are left out here, so that they cannot fill
// the limit. now(), as in due.cpp: what is due by the server's clock.
const pg::Statement kDurableWork{"engine_durable_work", R"(
  select distinct workspace_id, builds from (
    select w.workspace_id, w.kind = any ($2) as builds from sluice.work w
    left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = w.workspace_id
      and h.name = case when w.kind = any ($2) then 'build' else 'work' end and h.expires_at > now() offset 0) lease on true
    where w.state = 'waiting' and w.not_before <= now() and lease.held is null
      and (w.kind = any ($1) or w.kind = any ($2))
    order by w.not_before limit 1000) due)"};

const pg::Statement kNextDue{"engine_next_due", R"(
  select coalesce(extract(epoch from least(
    (select next_run_at from sluice.stream where enabled and mode = 'changes' and next_run_at is not null
     order by next_run_at limit 1),
    (select next_run_at from sluice.stream where enabled and mode <> 'changes' and next_run_at is not null
     order by next_run_at limit 1)) - now()) * 1000, 3600000)::bigint)"};

std::string connection_lease(ConnectionId connection) {
  return fmt::format("connection/{}", connection.value);
}

std::string key_of(WorkspaceId workspace, std::string_view name) {
  return fmt::format("{}/{}", workspace.value, name);
}

std::map<std::string, std::unique_ptr<work::Kind>> all_kinds(const Services& services,
                                                             const EngineOptions& options) {
  auto kinds = work_kinds(options.retention);
  kinds[kTidySecrets] = tidy_secrets_kind(services.vault);
  return kinds;
}

}  // namespace

Engine::Engine(Services services, Connections& connections, EngineOptions options)
    : services_(services),
      connections_(connections),
      options_(options),
      runner_(services.pool, all_kinds(services, options)),
      builder_(services.building, build_kinds()),
      links_(services.pool.executor()),
      builds_(services.pool.executor()),
      slots_(options.connections_max),
      due_(services.pool, services.clock, options.poll),
      wake_(services.pool.executor()) {
  pg::Uuid holder;
  services_.entropy.fill(holder.bytes);
  leases_ = std::make_unique<Leases>(services_.leases, services_.clock, options_.lease, holder);
  leases_->on_renewal([this] { return held(); });
  leases_->on_lost([this](WorkspaceId workspace, const std::string& name) {
    const auto active = active_.find(key_of(workspace, name));
    if (active != active_.end() && active->second.work != nullptr) active->second.work->wake();
  });
}

Engine::~Engine() = default;

void Engine::look_soon() {
  kicked_ = true;
  wake_.cancel();
}

void Engine::kick() {
  look_soon();
  for (auto& [key, active] : active_) {
    if (active.work != nullptr) active.work->wake();
  }
}

void Engine::stop() {
  stopping_ = true;
  builds_.cancel();  // they wait for others, for an hour maybe
  kick();
}

std::vector<Trouble> Engine::troubles() const {
  std::vector<Trouble> all;
  for (const auto& [key, trouble] : troubles_) all.push_back(trouble);
  for (const SlowStep& slow : services_.steps.slow_now()) {
    Trouble& trouble = all.emplace_back();
    trouble.workspace = slow.owner.workspace;
    trouble.connection = slow.owner.connection;
    trouble.work = slow.owner.connection.has_value() ? connection_lease(slow.owner.connection)
                                                     : "connector/" + slow.owner.connector;
    const auto since = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::steady_clock::now() - slow.begun);
    trouble.message = fmt::format(
        "the connector has been computing for {} s in one step ({}), and that is not waiting for "
        "its vendor",
        since.count(), slow.owner.what);
    trouble.action =
        slow.given_up ? "what it was for is held, and other connections go on; it keeps a thread "
                        "until the host is started again; report it to the connector's author, "
                        "or install the version before"
                      : "other connections go on; when it does not end, it is given up and what "
                        "it is for is held; report it to the connector's author, or install the "
                        "version before";
  }
  std::set<std::pair<WorkspaceId, std::string>> said;  // one for all connectors of a workspace
  for (const ConnectorOf& whose : services_.steps.now().at_bound) {
    const std::optional<Error> refusal = services_.steps.refusal_of(whose);
    if (!refusal || !said.emplace(whose.workspace, refusal->message).second) continue;
    Trouble& trouble = all.emplace_back();
    trouble.workspace = whose.workspace;
    trouble.work = "threads";
    trouble.code = refusal->code;
    trouble.message = refusal->message;
    trouble.action = refusal->hint;
  }
  add_hung(all);
  return all;
}

/// What waits for its vendor's rate.
Leases::Waits Engine::held() const {
  Leases::Waits waits;
  for (const fetch::HeldRequest& one : services_.budgets.held()) {
    const std::pair lease(one.asker.workspace, connection_lease(one.asker.connection));
    waits[lease].emplace(one.asker.what, one.left);
  }
  return waits;
}

void Engine::add_hung(std::vector<Trouble>& all) const {
  struct Hung {
    std::string what;
    std::chrono::milliseconds since{0};
  };
  std::map<std::pair<WorkspaceId, ConnectionId>, Hung> hung;
  for (const fetch::HungRequest& request : services_.budgets.hung()) {
    Hung& one = hung[std::pair(request.asker.workspace, request.asker.connection)];
    if (!one.what.empty()) one.what += ", ";
    one.what += request.asker.what;
    one.since = std::max(one.since, request.since);
  }
  for (const auto& [whose, one] : hung) {
    Trouble& trouble = all.emplace_back();
    trouble.workspace = whose.first;
    trouble.connection = whose.second;
    trouble.work = connection_lease(whose.second);
    trouble.message = fmt::format("held up by the vendor, which has not answered for {} s: {}",
                                  one.since.count() / 1000, one.what);
    trouble.action =
        "what else is to be read goes on; what hangs is given up after a while and asked for again";
  }
}

bool Engine::may_start(const std::string& key) const {
  if (active_.contains(key)) return false;
  const auto trouble = troubles_.find(key);
  return trouble == troubles_.end() || trouble->second.next_try <= services_.clock.steady();
}

void Engine::ended(const std::string& key, std::exception_ptr surprise) {
  const Active was = active_.at(key);
  active_.erase(key);
  if (!surprise) {
    troubles_.erase(key);
    // Not after work that another host has: its row stays due here, and would be tried for ever.
    if (was.did_something) look_soon();
    return;
  }
  Trouble& trouble = troubles_[key];
  trouble.workspace = was.workspace;
  trouble.work = was.name;
  trouble.connection = was.connection;
  try {
    std::rethrow_exception(surprise);
  } catch (const std::exception& error) {
    trouble.message = error.what();
  }
  // Work that went well for longer than it had waited meets a trouble of its own.
  const auto now = services_.clock.steady();
  if (now - was.began > trouble.pause) trouble.failures = 0;
  ++trouble.failures;
  const std::int64_t seconds = std::min(
      kTroublePauseSecondsMax, std::int64_t{1} << std::min<std::int64_t>(trouble.failures, 6));
  const std::int64_t pause_ms =
      seconds * 500 + services_.entropy.below(static_cast<std::uint32_t>(seconds * 500));
  trouble.pause = std::chrono::milliseconds(pause_ms);
  trouble.next_try = now + trouble.pause;
  log::error("engine.work_failed", {{"workspace", was.workspace.value},
                                    {"work", was.name},
                                    {"error", trouble.message},
                                    {"failures", trouble.failures},
                                    {"next_try_ms", pause_ms}});
}

std::string Engine::begin(WorkspaceId workspace, std::string name, ConnectionId connection) {
  std::string key = key_of(workspace, name);
  Active active;
  active.workspace = workspace;
  active.name = std::move(name);
  active.connection = connection;
  active.began = services_.clock.steady();
  active_.emplace(key, std::move(active));
  return key;
}

void Engine::spawn(WorkspaceId workspace, std::string name, Task<void> task,
                   ConnectionId connection) {
  std::string key = begin(workspace, std::move(name), connection);
  asio::co_spawn(
      services_.pool.executor(), std::move(task),
      [this, key = std::move(key)](std::exception_ptr surprise) { ended(key, surprise); });
}

Task<void> Engine::wait(std::chrono::milliseconds pause) {
  wake_.expires_after(pause);
  boost::system::error_code woken;
  co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
}

Task<std::chrono::milliseconds> Engine::pause_until_next_look() {
  if (!active_.empty() || !troubles_.empty()) co_return options_.poll;
  const auto next = co_await services_.pool.query(kNextDue);
  const std::chrono::milliseconds due(next.get<std::int64_t>(0, 0));
  co_return std::clamp(due, options_.poll, std::max(options_.poll, options_.idle_poll_max));
}

Task<void> Engine::run() {
  TaskGroup renewal(services_.pool.executor());
  renewal.spawn(leases_->keep_renewing());
  asio::steady_timer gap(services_.pool.executor());
  while (!stopping_) {
    kicked_ = false;
    std::chrono::milliseconds pause = options_.poll;
    try {
      co_await look_for_work();
      pause = co_await pause_until_next_look();
      looked();
    } catch (const std::exception& error) {
      pause = look_failed(error.what());
    }
    if (kicked_ && away_.failures() == 0) pause = kLookGap;  // while we looked
    co_await wait(pause);
    gap.expires_after(kLookGap);
    co_await gap.async_wait(asio::use_awaitable);
  }
  const auto links_until = services_.clock.steady() + kLinkStopMax;
  while (!active_.empty()) {  // each ends after its page
    if (services_.clock.steady() >= links_until) links_.cancel();
    co_await wait(options_.poll);
  }
  renewal.cancel();
  try {
    co_await renewal.wait();
  } catch (const boost::system::system_error&) {
    // Its way to end.
  }
}

void Engine::looked() {
  const auto over = away_.succeeded(services_.clock.steady());
  if (!over) return;
  log::info("engine.looks_again",
            {{"failures", over->failures}, {"away_ms", over->lasted.count()}});
}

std::chrono::milliseconds Engine::look_failed(const char* why) {
  const auto now = services_.clock.steady();
  if (away_.failed(now)) {
    log::warning(
        "engine.look_failed",
        {{"error", why}, {"failures", away_.failures()}, {"away_ms", away_.lasted(now).count()}});
  }
  const int doubled = static_cast<int>(std::min<std::int64_t>(away_.failures() - 1, 10));
  return std::max(options_.poll, std::min(kAwayPauseMax, options_.poll * (1 << doubled)));
}

Task<void> Engine::look_for_work() {
  const auto linking = co_await services_.pool.query(kLinkWork);
  for (int row = 0; row < linking.rows(); ++row) {
    const auto workspace = linking.get<WorkspaceId>(row, 0);
    if (!may_start(key_of(workspace, kLink))) continue;
    begin(workspace, kLink);
    links_.spawn(link(workspace));
  }
  pg::Params kinds(runner_.kinds(), builder_.kinds());
  const auto working = co_await services_.pool.query(kDurableWork, std::move(kinds));
  for (int row = 0; row < working.rows(); ++row) {
    const auto workspace = working.get<WorkspaceId>(row, 0);
    const bool builds = working.get<bool>(row, 1);
    if (builds && builds_.running() > 0) continue;
    if (!may_start(key_of(workspace, builds ? kBuild : kWork))) continue;
    if (builds) {
      begin(workspace, kBuild);
      builds_.spawn(build(workspace));
    } else {
      spawn(workspace, kWork, work(workspace, kWork, runner_));
    }
  }
  co_await start_due();
  stats_.working = slots_.leases().taken();
}

std::vector<ConnectionId> Engine::not_to_start() const {
  std::vector<ConnectionId> connections;
  for (const auto& [key, trouble] : troubles_) {
    if (trouble.connection.has_value() && !may_start(key))
      connections.push_back(trouble.connection);
  }
  return connections;
}

Task<void> Engine::start_due() {
  std::vector<DueConnection> due = co_await due_.look(not_to_start());
  const std::function<bool(WorkspaceId, WorkspaceId)> precedes = [this](WorkspaceId a,
                                                                        WorkspaceId b) {
    return slots_.leases().of(a) < slots_.leases().of(b);
  };
  for (const DueConnection& one : in_turn(std::move(due), precedes)) {
    const std::string name = connection_lease(one.connection);
    if (!may_start(key_of(one.workspace, name))) continue;
    const bool changes = one.changes && slots_.may_begin(one.workspace, Lane::changes);
    const bool loads = one.loads && slots_.may_begin(one.workspace, Lane::loads);
    if (!changes && !loads) continue;
    auto slots = std::make_unique<ConnectionSlots>(slots_, one.workspace);
    if (changes) slots->keep(Lane::changes);
    if (loads) slots->keep(Lane::loads);
    spawn(one.workspace, name, work(one.workspace, one.connection, std::move(slots)),
          one.connection);
  }
}

Task<void> Engine::work(WorkspaceId workspace, ConnectionId connection,
                        std::unique_ptr<ConnectionSlots> slots) {
  std::optional<LeaseGrant> lease =
      co_await leases_->acquire(workspace, connection_lease(connection));
  if (!lease) co_return;  // another host works on it
  std::exception_ptr surprise;
  try {
    ConnectionWork doing(
        services_, connections_, *leases_, stats_, options_.work, *lease, connection, *slots,
        [this] { return stopping_; }, [this] { look_soon(); });
    Active& active = active_.at(key_of(workspace, lease->name));
    active.work = &doing;
    struct Gone {
      Active& active;
      ~Gone() {
        active.did_something = active.work->started_anything();
        active.work = nullptr;
      }
    } gone{active};
    co_await doing.run();
  } catch (...) {
    surprise = std::current_exception();
  }
  co_await leases_->release(*lease);
  if (surprise) std::rethrow_exception(surprise);
}

Task<void> Engine::link(WorkspaceId workspace) {
  std::exception_ptr surprise;
  try {
    co_await link_all(workspace);
  } catch (...) {
    if (!stopping_) surprise = std::current_exception();
  }
  ended(key_of(workspace, kLink), surprise);
}

Task<void> Engine::link_all(WorkspaceId workspace) {
  std::optional<LeaseGrant> lease = co_await leases_->acquire(workspace, kLink);
  if (!lease) co_return;
  std::exception_ptr surprise;
  try {
    bool more = true;
    while (more && !stopping_ && leases_->held(*lease)) {
      const link::ResolveCounts counts =
          co_await link::resolve_some(services_.resolver, services_.catalogs, *lease);
      stats_.links_resolved += counts.pairs;
      more = counts.queue_rows > 0;
    }
  } catch (const Failure& failure) {
    if (pg::is_lease_lost(failure.error())) {
      leases_->lost(*lease);  // another host goes on with the queue
    } else {
      surprise = std::current_exception();
    }
  } catch (...) {
    surprise = std::current_exception();
  }
  // One that was given up may have a statement that still runs: its lease ends with its time.
  const auto given_up = co_await asio::this_coro::cancellation_state;
  if (given_up.cancelled() != asio::cancellation_type::none) co_return;
  co_await leases_->release(*lease);
  if (surprise) std::rethrow_exception(surprise);
}

Task<void> Engine::work(WorkspaceId workspace, std::string name, work::Runner& runner) {
  std::optional<LeaseGrant> lease = co_await leases_->acquire(workspace, std::move(name));
  if (!lease) co_return;
  std::exception_ptr surprise;
  try {
    const std::function<bool()> go_on = [this, &lease] {
      return !stopping_ && leases_->held(*lease);
    };
    bool more = true;
    while (more && go_on()) {
      more = co_await runner.run_once(*lease, go_on);
      look_soon();  // for the links that it made work for
    }
  } catch (const Failure& failure) {
    if (pg::is_lease_lost(failure.error())) {
      leases_->lost(*lease);  // another host goes on from the batch before
    } else {
      surprise = std::current_exception();
    }
  } catch (...) {
    surprise = std::current_exception();
  }
  if (stopping_ && lease->name == kBuild) co_return;  // ended in the middle: its time ends soon
  co_await leases_->release(*lease);
  if (surprise) std::rethrow_exception(surprise);
}

Task<void> Engine::build(WorkspaceId workspace) {
  std::exception_ptr surprise;
  std::string name = kBuild;
  try {
    co_await work(workspace, std::move(name), builder_);
  } catch (...) {
    if (!stopping_) surprise = std::current_exception();
  }
  ended(key_of(workspace, kBuild), surprise);
}

}  // namespace sluice::sync
