#include "sync/engine.hpp"

#include "base/log.hpp"
#include "base/task_group.hpp"
#include "sync/run.hpp"
#include "sync/send_scope.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::sync {
namespace {

using contract::FailureClass;
using nlohmann::json;

constexpr int kRefetchBatch = 50;          ///< ids a FETCH session gets
constexpr std::size_t kStreamsAtOnce = 4;  ///< of one connection
constexpr std::int64_t kPauseSecondsMax = 3600;
constexpr int kPageAttemptsMax = 5;

const pg::Statement kDueConnections{"engine_due", R"(
  select distinct s.workspace_id, s.connection_id
  from sluice.stream s join sluice.connection c using (workspace_id, connection_id)
  where s.enabled and s.next_run_at <= clock_timestamp()
    and c.state not in ('DISCONNECTING','DISCONNECTED')
  union
  select r.workspace_id, r.connection_id
  from sluice.connection r
  where r.state not in ('DISCONNECTING','DISCONNECTED')
    and exists (select 1 from sluice.refetch f
                where f.workspace_id = r.workspace_id and f.connection_id = r.connection_id
                  and f.not_before <= clock_timestamp())
  limit 1000)"};

const pg::Statement kLinkWork{"engine_link_work", R"(
  select w.workspace_id from sluice.workspace w
  where exists (select 1 from sluice.link_queue q where q.workspace_id = w.workspace_id))"};

const pg::Statement kDueStreams{"engine_due_streams", R"(
  select stream, mode, coalesce(encode(checkpoint, 'hex'), ''), checkpoint_format, snapshot_done,
         interval_seconds, consecutive_failures,
         coalesce(next_run_at <= clock_timestamp(), false) as due
  from sluice.stream where workspace_id = $1 and connection_id = $2 and enabled
  order by (mode <> 'changes'), stream)"};

const pg::Statement kStartRun{"engine_start_run", R"(
  with ended as (
    update sluice.sync_run set finished_at = now(), outcome = 'lost'
    where workspace_id = $1 and connection_id = $2 and stream = $3 and finished_at is null),
  marked as (
    update sluice.stream set state = 'running'
    where workspace_id = $1 and connection_id = $2 and stream = $3)
  insert into sluice.sync_run (workspace_id, connection_id, stream, kind, epoch)
  values ($1, $2, $3, $4, $5) returning run_id)"};

const pg::Statement kEndRun{"engine_end_run", R"(
  update sluice.sync_run set finished_at = now(), outcome = $3, error = $4,
         requests = requests + $5, bytes = bytes + $6
  where workspace_id = $1 and run_id = $2)"};

const pg::Statement kStreamDone{"engine_stream_done", R"(
  update sluice.stream set state = 'idle', reason = '', error_class = null, consecutive_failures = 0,
         last_run_id = $4, last_success_at = now(),
         next_run_at = case when mode = 'snapshot' then null
                            when interval_seconds > 0 then now() + interval_seconds * interval '1 second' end
  where workspace_id = $1 and connection_id = $2 and stream = $3)"};

const pg::Statement kStreamFailed{"engine_stream_failed", R"(
  update sluice.stream set state = $5, reason = $6, error_class = $7, last_run_id = $4,
         consecutive_failures = consecutive_failures + $9,
         next_run_at = now() + $8 * interval '1 millisecond'
  where workspace_id = $1 and connection_id = $2 and stream = $3)"};

// The events that were missed cannot be read again: everything is read again instead.
const pg::Statement kResnapshot{"engine_resnapshot", R"(
  update sluice.stream set checkpoint = null, checkpoint_format = 0, snapshot_done = false, next_run_at = now(),
         reason = case when stream = $3 then $4 else 'reads everything again: ' || $4 end
  where workspace_id = $1 and connection_id = $2 and enabled and (stream = $3 or mode = 'snapshot'))"};

const pg::Statement kRestartStream{"engine_restart_stream", R"(
  update sluice.stream set checkpoint = null, checkpoint_format = 0, snapshot_done = false, next_run_at = now(),
         reason = $4
  where workspace_id = $1 and connection_id = $2 and stream = $3)"};

const pg::Statement kDueRefetch{"engine_due_refetch", R"(
  select type, external_id, generation, attempts from sluice.refetch
  where workspace_id = $1 and connection_id = $2 and not_before <= clock_timestamp()
  order by (attempts > 0), type, external_id limit $3)"};

const pg::Statement kRefetchFailed{"engine_refetch_failed", R"(
  update sluice.refetch f set attempts = attempts + 1, reason = $5,
         not_before = now() + least(3600, 5 * power(2, least(attempts, 10))) * interval '1 second'
  from unnest($3::text[], $4::text[]) as ids (type, external_id)
  where f.workspace_id = $1 and f.connection_id = $2 and f.type = ids.type and f.external_id = ids.external_id)"};

const pg::Statement kConnectionState{"engine_connection_state", R"(
  update sluice.connection c set state = s.state, state_reason = s.reason
  from (select case when bool_or(error_class = 'AUTH') then 'FAILED'
                    when bool_or(state = 'failed' or consecutive_failures > 0) then 'DEGRADED'
                    when bool_or(mode = 'snapshot' and not snapshot_done) then 'SYNCING'
                    else 'HEALTHY' end as state,
               coalesce((array_agg(stream || ': ' || reason order by stream)
                         filter (where reason <> ''))[1], '') as reason
        from sluice.stream where workspace_id = $1 and connection_id = $2 and enabled) s
  where c.workspace_id = $1 and c.connection_id = $2 and c.state not in ('DISCONNECTING','DISCONNECTED')
    and (c.state, c.state_reason) is distinct from (s.state, s.reason))"};

std::string lease_name(ConnectionId connection) {
  return "connection/" + std::to_string(connection.value);
}

/// Full jitter over a doubling pause: 2, 4, 8 … seconds, an hour at most. AUTH and PERMISSION wait
/// longer, since only a person can mend them; a new secret starts the stream at once.
std::int64_t pause_ms(FailureClass failure, std::int64_t retry_after_ms, std::int64_t failures,
                      Entropy& entropy) {
  if (failure == FailureClass::rate_limited && retry_after_ms > 0) return retry_after_ms;
  const bool needs_person = failure == FailureClass::auth || failure == FailureClass::permission ||
                            failure == FailureClass::config ||
                            failure == FailureClass::upstream_permanent;
  const std::int64_t least = needs_person ? 300 : 2;
  const std::int64_t seconds =
      std::min(kPauseSecondsMax, least << std::min<std::int64_t>(failures, 11));
  return seconds * 500 + entropy.below(static_cast<std::uint32_t>(seconds * 500 + 1));
}

/// What ended a run that the connector did not end itself.
contract::ConnectorFailure failure_of(const Error& error) {
  contract::ConnectorFailure failure;
  // A checkpoint of a format that this version cannot read: begin again, as if the vendor had
  // refused it.
  failure.failure_class = error.kind == ErrorKind::cancelled ? FailureClass::cancelled
                          : error.code == "connector.checkpoint_format"
                              ? FailureClass::checkpoint_rejected
                              : FailureClass::internal;
  failure.vendor_code = error.code;
  failure.message = error.describe();
  return failure;
}

bool is_cancelled(const SessionEnd& end) {
  return !end.done() && end.failure->failure_class == FailureClass::cancelled;
}

json error_json(const contract::ConnectorFailure& failure) {
  json error = json::object();
  error["class"] = contract::to_string(failure.failure_class);
  error["vendor_code"] = failure.vendor_code;
  error["message"] = failure.message;
  return error;
}

}  // namespace

struct Engine::StreamRow {
  std::string name;
  std::string mode;
  std::string checkpoint;
  std::uint32_t checkpoint_format = 0;
  bool snapshot_done = false;
  std::int64_t interval_seconds = 0;
  std::int64_t failures = 0;
  bool due = false;
};

namespace {

/// Writes a page, again when the server asks for that (deadlock, serialization failure): nothing of
/// it is stored then.
Task<ingest::PageCounts> write_page(ingest::Writer& writer, Entropy& entropy,
                                    const ingest::PageContext& context, const contract::Page& page,
                                    ingest::PageEffects effects) {
  for (int attempt = 1;; ++attempt) {
    try {
      co_return co_await writer.write(context, page, effects);
    } catch (const Failure& failure) {
      if (failure.error().kind != ErrorKind::retry_later || attempt == kPageAttemptsMax) throw;
      log::warning("sync.page_again", {{"attempt", attempt}, {"error", failure.what()}});
    }
    asio::steady_timer pause(co_await asio::this_coro::executor);
    pause.expires_after(std::chrono::milliseconds(10 * attempt + entropy.below(50)));
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace

/// Pages of a stream's run.
class Engine::StreamSink final : public PageSink {
 public:
  StreamSink(Engine& engine, ingest::PageContext context, bool is_snapshot)
      : engine_(engine), context_(std::move(context)), is_snapshot_(is_snapshot) {}

  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool last) override {
    effects.snapshot_done = is_snapshot_ && last;
    // A small answer from the cache of this host; a fresh one when another run changed the
    // catalogue.
    context_.catalog = co_await engine_.services_.catalogs.get(context_.workspace);
    const ingest::PageCounts counts = co_await write_page(
        engine_.services_.writer, engine_.services_.entropy, context_, page, std::move(effects));
    ++engine_.stats_.pages;
    engine_.stats_.records += counts.records;
    if (counts.inserted + counts.updated + counts.deleted + counts.notices > 0) engine_.kick();
    co_return counts;
  }

 private:
  Engine& engine_;
  ingest::PageContext context_;
  bool is_snapshot_;
};

/// Pages of a FETCH: the last one also takes the ids that it answers off the list.
class Engine::RefetchSink final : public PageSink {
 public:
  RefetchSink(Engine& engine, ingest::PageContext context,
              std::vector<ingest::PageEffects::Answered> answered)
      : engine_(engine), context_(std::move(context)), answered_(std::move(answered)) {}

  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool last) override {
    if (last) effects.answered = answered_;
    context_.catalog = co_await engine_.services_.catalogs.get(context_.workspace);
    const ingest::PageCounts counts = co_await write_page(
        engine_.services_.writer, engine_.services_.entropy, context_, page, std::move(effects));
    ++engine_.stats_.pages;
    engine_.stats_.records += counts.records;
    if (counts.inserted + counts.updated + counts.deleted > 0) engine_.kick();
    co_return counts;
  }

 private:
  Engine& engine_;
  ingest::PageContext context_;
  std::vector<ingest::PageEffects::Answered> answered_;
};

Engine::Engine(Services services, Connections& connections, EngineOptions options)
    : services_(services),
      connections_(connections),
      options_(options),
      wake_(services.pool.executor()) {
  pg::Uuid holder;
  services_.entropy.fill(holder.bytes);
  leases_ = std::make_unique<Leases>(services_.pool, services_.clock, options_.lease, holder);
}

Engine::~Engine() = default;

void Engine::kick() { wake_.cancel(); }

void Engine::stop() {
  stopping_ = true;
  kick();
}

void Engine::spawn(std::string key, Task<void> task) {
  active_.insert(key);
  asio::co_spawn(services_.pool.executor(), std::move(task),
                 [this, key = std::move(key)](std::exception_ptr surprise) {
                   active_.erase(key);
                   kick();
                   if (!surprise) return;
                   try {
                     std::rethrow_exception(surprise);
                   } catch (const std::exception& error) {
                     log::error("engine.work_failed", {{"work", key}, {"error", error.what()}});
                   }
                 });
}

Task<void> Engine::run() {
  asio::cancellation_signal end_renewal;
  asio::co_spawn(services_.pool.executor(), leases_->keep_renewing(),
                 asio::bind_cancellation_slot(end_renewal.slot(), asio::detached));
  while (!stopping_) {
    try {
      co_await look_for_work();
    } catch (const std::exception& error) {
      log::warning("engine.look_failed", {{"error", error.what()}});
    }
    wake_.expires_after(options_.poll);
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  while (!active_.empty()) {  // each ends after its page; spawn()'s handler kicks
    wake_.expires_after(options_.poll);
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  end_renewal.emit(asio::cancellation_type::terminal);
}

Task<void> Engine::look_for_work() {
  const auto linking = co_await services_.pool.query(kLinkWork);
  for (int row = 0; row < linking.rows(); ++row) {
    const auto workspace = linking.get<WorkspaceId>(row, 0);
    std::string key = "link/" + std::to_string(workspace.value);
    if (!active_.contains(key)) spawn(std::move(key), link(workspace));
  }
  const auto due = co_await services_.pool.query(kDueConnections);
  for (int row = 0; row < due.rows() && connections_active_ < options_.runs_max; ++row) {
    const auto workspace = due.get<WorkspaceId>(row, 0);
    const auto connection = due.get<ConnectionId>(row, 1);
    std::string key = lease_name(connection);
    if (active_.contains(key)) continue;
    ++connections_active_;
    spawn(std::move(key), work(workspace, connection));
  }
  stats_.working = connections_active_;
}

Task<void> Engine::work(WorkspaceId workspace, ConnectionId connection) {
  struct Count {
    std::size_t& active;
    ~Count() { --active; }
  } count{connections_active_};
  std::optional<LeaseGrant> lease = co_await leases_->acquire(workspace, lease_name(connection));
  if (!lease) co_return;  // another host works on it
  std::exception_ptr surprise;
  try {
    co_await work_under(*lease, connection);
  } catch (...) {
    surprise = std::current_exception();
  }
  co_await leases_->release(*lease);
  if (surprise) std::rethrow_exception(surprise);
}

Task<void> Engine::work_under(LeaseGrant lease, ConnectionId id) {
  Result<LoadedConnection> loaded = co_await connections_.load(lease.workspace, id);
  if (!loaded) {
    log::warning("engine.connection_unusable",
                 {{"connection", id.value}, {"error", loaded.error().describe()}});
    co_return;
  }
  // A change stream's first checkpoint must be older than any snapshot, or what changes in between
  // is lost.
  if (co_await run_unmarked_changes(*loaded, lease)) {
    Lanes lanes;
    TaskGroup group(services_.pool.executor());
    group.spawn(read_lane(*loaded, lease, lanes));
    group.spawn(change_lane(*loaded, lease, lanes));
    co_await group.wait();
  }
  co_await update_connection_state(lease.workspace, id);
}

bool Engine::may_go_on(const LeaseGrant& lease) const { return !stopping_ && leases_->held(lease); }

Task<bool> Engine::run_unmarked_changes(const LoadedConnection& connection,
                                        const LeaseGrant& lease) {
  bool all_marked = true;
  std::vector<StreamRow> streams = co_await due_streams(connection.workspace, connection.id);
  for (StreamRow& stream : streams) {
    if (stream.mode != "changes" || !stream.checkpoint.empty()) continue;
    if (stream.due && may_go_on(lease)) {
      const std::string name = stream.name;
      co_await run_stream(connection, lease, std::move(stream));
      const std::vector<StreamRow> after =
          co_await due_streams(connection.workspace, connection.id);
      for (const StreamRow& row : after) {
        if (row.name == name && row.checkpoint.empty()) all_marked = false;
      }
    } else {
      all_marked = false;
    }
  }
  co_return all_marked;
}

Task<void> Engine::read_lane(const LoadedConnection& connection, const LeaseGrant& lease,
                             Lanes& lanes) {
  struct Ended {  // also when this lane fails: the other one ends with it
    Lanes& lanes;
    ~Ended() {
      lanes.reading = false;
      if (lanes.wake != nullptr) lanes.wake->cancel();
    }
  } ended{lanes};
  TaskGroup group(services_.pool.executor());
  std::vector<StreamRow> streams = co_await due_streams(connection.workspace, connection.id);
  for (StreamRow& stream : streams) {
    if (!stream.due || stream.mode == "changes" || !may_go_on(lease)) continue;
    group.spawn(run_stream(connection, lease, std::move(stream)));
    co_await group.wait(kStreamsAtOnce - 1);
  }
  co_await update_connection_state(connection.workspace, connection.id);
  co_await group.wait();
}

Task<void> Engine::change_lane(const LoadedConnection& connection, const LeaseGrant& lease,
                               Lanes& lanes) {
  asio::steady_timer wake(services_.pool.executor());
  struct Waking {
    Lanes& lanes;
    ~Waking() { lanes.wake = nullptr; }
  } waking{lanes};
  lanes.wake = &wake;
  while (may_go_on(lease)) {
    const bool last_round = !lanes.reading;
    std::vector<StreamRow> streams = co_await due_streams(connection.workspace, connection.id);
    for (StreamRow& stream : streams) {
      if (!stream.due || stream.mode != "changes" || !may_go_on(lease)) continue;
      co_await run_stream(connection, lease, std::move(stream));
    }
    while (may_go_on(lease)) {
      if (!co_await refetch(connection, lease)) break;
    }
    if (last_round) break;
    if (!lanes.reading) continue;
    wake.expires_after(options_.poll);
    boost::system::error_code ignored;
    co_await wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

Task<std::vector<Engine::StreamRow>> Engine::due_streams(WorkspaceId workspace,
                                                         ConnectionId connection) {
  const auto rows = co_await services_.pool.query(kDueStreams, pg::Params(workspace, connection));
  std::vector<StreamRow> streams;
  for (int row = 0; row < rows.rows(); ++row) {
    StreamRow stream;
    stream.name = rows.get<std::string>(row, 0);
    stream.mode = rows.get<std::string>(row, 1);
    const std::optional<Bytes> checkpoint = from_hex(rows.text(row, 2));
    stream.checkpoint = std::string(as_text(*checkpoint));
    stream.checkpoint_format = static_cast<std::uint32_t>(rows.get<std::int64_t>(row, 3));
    stream.snapshot_done = rows.get<bool>(row, 4);
    stream.interval_seconds = rows.get<std::int64_t>(row, 5);
    stream.failures = rows.get<std::int64_t>(row, 6);
    stream.due = rows.get<bool>(row, 7);
    streams.push_back(std::move(stream));
  }
  co_return streams;
}

Task<RunId> Engine::begin_run(const LoadedConnection& connection, const LeaseGrant& lease,
                              std::string stream, std::string kind) {
  pg::Params start(connection.workspace, connection.id, stream, kind, lease.epoch);
  const auto started = co_await services_.pool.query(kStartRun, std::move(start));
  co_return started.get<RunId>(0, 0);
}

Task<void> Engine::end_run(const LoadedConnection& connection, RunId run, const SessionEnd& end) {
  stats_.requests += end.requests;
  const char* outcome = end.done() ? "done" : is_cancelled(end) ? "cancelled" : "failed";
  pg::Params ended(connection.workspace, run, outcome);
  ended.add(end.done() ? json(nullptr) : error_json(*end.failure)).add(end.requests).add(end.bytes);
  co_await services_.pool.query(kEndRun, std::move(ended));
}

ingest::PageContext Engine::page_context(const LoadedConnection& connection,
                                         const LeaseGrant& lease, RunId run, std::string stream) {
  ingest::PageContext context;
  context.workspace = connection.workspace;
  context.connection = connection.id;
  context.run = run;
  context.stream = std::move(stream);
  context.lease_name = lease.name;
  context.epoch = lease.epoch;
  context.manifest = &connection.manifest();
  return context;
}

Task<SessionEnd> Engine::drive(const LoadedConnection& connection, const LeaseGrant& lease,
                               const contract::SessionArgs& args, PageSink& sink) {
  SessionEnd end;
  auto session = connection.code->open(args);
  if (!session) {
    end.failure = failure_of(session.error());
    co_return end;
  }
  SendScope send(services_.vault, services_.budgets.of(connection), connection);
  SessionRun run{.session = **session,
                 .client = services_.client,
                 .send = send.context(),
                 .sink = &sink,
                 .clock = services_.clock,
                 .entropy = services_.entropy,
                 .checkpoint_format = connection.manifest().checkpoint_writes,
                 .stopping = [this, &lease] { return !may_go_on(lease); }};
  try {
    end = co_await run_session(std::move(run));
  } catch (const Failure& surprise) {
    end.failure = failure_of(surprise.error());
  }
  co_return end;
}

Task<void> Engine::run_stream(const LoadedConnection& connection, const LeaseGrant& lease,
                              StreamRow stream) {
  const bool is_snapshot = stream.mode == "snapshot";
  const RunId run =
      co_await begin_run(connection, lease, stream.name, is_snapshot ? "full" : "incremental");
  log::info("sync.run.started",
            {{"connection", connection.name}, {"stream", stream.name}, {"run", run.value}});
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.config_json = connection.config.dump();
  args.stream = stream.name;
  args.checkpoint = stream.checkpoint;
  args.checkpoint_format = stream.checkpoint_format;
  StreamSink sink(*this, page_context(connection, lease, run, stream.name), is_snapshot);
  const SessionEnd end = co_await drive(connection, lease, args, sink);
  co_await finish_stream(connection, stream, run, end);
}

Task<void> Engine::finish_stream(const LoadedConnection& connection, const StreamRow& stream,
                                 RunId run, const SessionEnd& end) {
  const auto key = [&] { return pg::Params(connection.workspace, connection.id, stream.name); };
  co_await end_run(connection, run, end);
  const bool cancelled = is_cancelled(end);
  if (end.done()) {
    ++stats_.runs_done;
    co_await services_.pool.query(kStreamDone, key().add(run));
    log::info("sync.run.done", {{"connection", connection.name},
                                {"stream", stream.name},
                                {"run", run.value},
                                {"records", end.counts.records}});
    co_return;
  }
  ++stats_.runs_failed;
  const contract::ConnectorFailure& failure = *end.failure;
  log::warning("sync.run.failed", {{"connection", connection.name},
                                   {"stream", stream.name},
                                   {"run", run.value},
                                   {"class", contract::to_string(failure.failure_class)},
                                   {"message", failure.message}});
  if (failure.failure_class == FailureClass::checkpoint_rejected && stream.failures < 3) {
    co_await services_.pool.query(stream.mode == "changes" ? kResnapshot : kRestartStream,
                                  key().add(failure.message));
    co_return;
  }
  const std::int64_t pause = cancelled ? 0
                                       : pause_ms(failure.failure_class, failure.retry_after_ms,
                                                  stream.failures, services_.entropy);
  pg::Params failed = key();
  failed.add(run).add(cancelled ? "waiting" : "failed").add(cancelled ? "" : failure.message);
  // A run that we ended ourselves is no failure of the stream.
  failed.add(contract::to_string(failure.failure_class))
      .add(pause)
      .add(std::int64_t{cancelled ? 0 : 1});
  co_await services_.pool.query(kStreamFailed, std::move(failed));
}

Task<bool> Engine::refetch(const LoadedConnection& connection, const LeaseGrant& lease) {
  pg::Params due_params(connection.workspace, connection.id, std::int64_t{kRefetchBatch});
  const auto due = co_await services_.pool.query(kDueRefetch, std::move(due_params));
  if (due.empty() || !leases_->held(lease)) co_return false;
  const contract::Manifest& manifest = connection.manifest();
  // One session a type; the rows come in order of type.
  const std::string type = due.get<std::string>(0, 0);
  const auto type_index = manifest.type_index(type);
  contract::SessionArgs args;
  args.operation = contract::Operation::fetch;
  args.config_json = connection.config.dump();
  args.type = type_index.value_or(0);
  std::vector<ingest::PageEffects::Answered> answered;
  // What failed before goes alone, so that one bad object does not hold up its neighbours for ever.
  const bool alone = due.get<std::int64_t>(0, 3) > 0;
  for (int row = 0; row < due.rows() && due.text(row, 0) == type && !(alone && row > 0); ++row) {
    if (!alone && due.get<std::int64_t>(row, 3) > 0) break;
    ingest::PageEffects::Answered one;
    one.type = type;
    one.external_id = due.get<std::string>(row, 1);
    one.generation = due.get<std::int64_t>(row, 2);
    args.ids.push_back(one.external_id);
    answered.push_back(std::move(one));
  }
  const RunId run = co_await begin_run(connection, lease, "", "refetch");
  SessionEnd end;
  if (type_index) {
    RefetchSink sink(*this, page_context(connection, lease, run, ""), answered);
    end = co_await drive(connection, lease, args, sink);
  } else {
    end.failure.emplace();
    end.failure->message = "this version of the connector has no entity type '" + type + "'";
  }
  co_await end_run(connection, run, end);
  if (end.done()) co_return true;
  if (is_cancelled(end)) co_return false;  // ours to stop; the ids are as due as before
  log::warning(
      "sync.refetch.failed",
      {{"connection", connection.name}, {"type", type}, {"message", end.failure->message}});
  pg::Array types(pg::Oid::text);
  pg::Array ids(pg::Oid::text);
  for (const auto& one : answered) {
    types.add(std::string_view(one.type));
    ids.add(std::string_view(one.external_id));
  }
  pg::Params failed(connection.workspace, connection.id, std::move(types), std::move(ids),
                    end.failure->message);
  co_await services_.pool.query(kRefetchFailed, std::move(failed));
  co_return true;
}

Task<void> Engine::update_connection_state(WorkspaceId workspace, ConnectionId connection) {
  co_await services_.pool.query(kConnectionState, pg::Params(workspace, connection));
}

Task<void> Engine::link(WorkspaceId workspace) {
  std::optional<LeaseGrant> lease = co_await leases_->acquire(workspace, "link");
  if (!lease) co_return;
  std::exception_ptr surprise;
  try {
    bool more = true;
    while (more && !stopping_ && leases_->held(*lease)) {
      model::CatalogPtr catalog = co_await services_.catalogs.get(workspace);
      link::LeaseProof proof;
      proof.name = lease->name;
      proof.epoch = lease->epoch;
      const link::ResolveCounts counts =
          co_await services_.resolver.run_once(workspace, std::move(catalog), std::move(proof));
      stats_.links_resolved += counts.pairs;
      more = counts.queue_rows > 0;
    }
  } catch (...) {
    surprise = std::current_exception();
  }
  co_await leases_->release(*lease);
  if (surprise) std::rethrow_exception(surprise);
}

}  // namespace sluice::sync
