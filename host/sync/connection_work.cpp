#include "sync/connection_work.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "model/catalog_version.hpp"
#include "pg/fenced.hpp"
#include "sync/bury.hpp"
#include "sync/connection_state.hpp"
#include "sync/host_trouble.hpp"
#include "sync/send_scope.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {
namespace {

using contract::FailureClass;
using nlohmann::json;

constexpr std::int64_t kPauseSecondsMax = 3600;
constexpr int kPageAttemptsMax = 5;
constexpr std::string_view kRefetchKey = "refetch/";  // no name of a stream
constexpr std::string_view kAccountKey = "account/";
constexpr std::int64_t kHoldBackMsMin = 1000;
constexpr std::int64_t kRestartsMax = 3;  ///< of a stream whose checkpoint is refused, in a row
constexpr std::string_view kRejected = "CHECKPOINT_REJECTED";
constexpr std::string_view kAuth = "AUTH";

// … and which of the contents $3 (hex) are to run no more.
const pg::Statement kState{"work_state", R"(
  select c.state, coalesce((select string_agg(code.sha256, ' ') from unnest($3::text[]) as code (sha256)
                            cross join lateral (select from sluice.connector_hold h
                                                where h.sha256 = decode(code.sha256, 'hex') offset 0) held), '')
  from sluice.connection c where c.workspace_id = $1 and c.connection_id = $2)"};

const pg::Statement kStreams{"work_streams", R"(
  select stream, mode, coalesce(encode(checkpoint, 'hex'), ''), checkpoint_format, snapshot_done,
         interval_seconds, consecutive_failures,
         coalesce(next_run_at <= now(), false) as due, enumeration, reconcile, coalesce(error_class, ''),
         coalesce(extract(epoch from next_run_at - now()) * 1000, 0)::bigint, reason, reading,
         last_full_records > 0, trust_vendor
  from sluice.stream where workspace_id = $1 and connection_id = $2 and enabled
  order by (mode = 'snapshot'), (mode <> 'changes'), stream)"};

// Whoever has the lease knows that nobody else is at work: runs of an earlier epoch have nobody any
// more, whatever they were for. Runs of epoch 0 need no lease.
const pg::Statement kLostRuns{"work_lost_runs", R"(
  update sluice.sync_run set finished_at = now(), outcome = 'lost'
  where workspace_id = $1 and connection_id = $2 and finished_at is null and epoch > 0 and epoch < $3)"};

const pg::Statement kDueReconcile{"work_due_reconcile", R"(
  select reconcile, enumeration from sluice.stream
  where workspace_id = $1 and connection_id = $2 and stream = $3 and reconcile in ('due', 'confirmed'))"};

const pg::Statement kStartRun{"work_start_run", R"(
  insert into sluice.sync_run (workspace_id, connection_id, stream, kind, epoch)
  values ($1, $2, $3, $4, $5) returning run_id)"};

const pg::Statement kEndRun{"work_end_run", R"(
  update sluice.sync_run set finished_at = now(), outcome = $3, error = $4,
         requests = requests + $5, bytes = bytes + $6
  where workspace_id = $1 and run_id = $2)"};

const pg::Statement kForgetRefetch{"work_forget_refetch", R"(
  with pauses as (delete from sluice.refetch_pause where workspace_id = $1 and connection_id = $2)
  delete from sluice.refetch where workspace_id = $1 and connection_id = $2)"};

// All that turning a connection off needs, so that no file of the connector has to be here.
const pg::Statement kTurnedOff{"work_turned_off", R"(
  select c.name, c.state, v.manifest::text
  from sluice.connection c
  join sluice.installation i on i.workspace_id = c.workspace_id and i.connector = c.connector
  join sluice.connector_version v on v.connector = i.connector and v.sha256 = i.sha256
  where c.workspace_id = $1 and c.connection_id = $2)"};

pg::Call call(const pg::Statement& statement, pg::Params params) {
  pg::Call made;
  made.statement = &statement;
  made.params = std::move(params);
  return made;
}

/// A doubling pause of 2, 4, 8 … seconds, an hour at most, of which the dice give the second half.
/// AUTH and PERMISSION wait longer, since only a person can mend them; a new secret starts the
/// stream at once.
std::int64_t pause_ms(FailureClass failure, std::int64_t retry_after_ms, std::int64_t failures,
                      Entropy& entropy) {
  if (failure == FailureClass::rate_limited && retry_after_ms > 0)
    return std::min(retry_after_ms, kPauseSecondsMax * 1000);  // no vendor's word counts for longer
  const bool needs_person = failure == FailureClass::auth || failure == FailureClass::permission ||
                            failure == FailureClass::config ||
                            failure == FailureClass::upstream_permanent;
  const std::int64_t least = needs_person ? 300 : 2;
  const std::int64_t seconds =
      std::min(kPauseSecondsMax, least << std::min<std::int64_t>(failures, 11));
  return seconds * 500 + entropy.below(static_cast<std::uint32_t>(seconds * 500 + 1));
}

/// A secret that is not opened waits for a person, who enters it again.
bool is_closed(const Error& error) {
  return error.code.starts_with("vault.secret.") || error.code.starts_with("vault.data_key.");
}

/// What ended a run that the connector did not end itself.
contract::ConnectorFailure failure_of(const Error& error) {
  contract::ConnectorFailure failure;
  // A checkpoint of a format that this version cannot read: begin again, as if the vendor had
  // refused it.
  failure.failure_class = error.kind == ErrorKind::cancelled ? FailureClass::cancelled
                          : error.code == "connector.checkpoint_format"
                              ? FailureClass::checkpoint_rejected
                          : is_closed(error) ? FailureClass::config
                                             : FailureClass::internal;
  failure.vendor_code = error.code;
  failure.message = error.describe();
  return failure;
}

/// Its code may not be run again by itself: it does not come back, or goes round in circles.
bool is_to_be_held(const contract::ConnectorFailure& failure) {
  return failure.vendor_code == kStepGivenUp || failure.vendor_code == "sync.no_progress";
}

bool is_cancelled(const SessionEnd& end) {
  return !end.done() && end.failure->failure_class == FailureClass::cancelled;
}

contract::SessionOwner owner_of(const LoadedConnection& connection, RunId run) {
  contract::SessionOwner owner;
  owner.workspace = connection.workspace;
  owner.connection = connection.id;
  owner.connection_name = connection.name;
  owner.run = run;
  return owner;
}

/// For people who look at a step that takes long.
std::string step_of(const contract::SessionArgs& args) {
  return args.operation == contract::Operation::fetch ? std::string("reading objects again")
                                                      : "stream " + args.stream;
}

void say_failed(const LoadedConnection& connection, const RefetchBatch& batch, RunId run,
                const contract::ConnectorFailure& failure) {
  log::warning("sync.refetch.failed", {{"connector", connection.connector},
                                       {"connection", connection.name},
                                       {"connection_id", connection.id.value},
                                       {"type", batch.type},
                                       {"run", run.value},
                                       {"ids", batch.ids.size()},
                                       {"class", contract::to_string(failure.failure_class)},
                                       {"message", failure.message}});
}

json error_json(const contract::ConnectorFailure& failure) {
  json error = json::object();
  error["class"] = contract::to_string(failure.failure_class);
  error["vendor_code"] = failure.vendor_code;
  error["message"] = failure.message;
  return error;
}

}  // namespace

struct ConnectionWork::StreamRow {
  std::string name;
  std::string mode;
  std::string checkpoint;
  std::uint32_t checkpoint_format = 0;
  bool snapshot_done = false;
  std::int64_t interval_seconds = 0;
  std::int64_t failures = 0;
  bool due = false;
  std::int64_t enumeration = 0;
  ReconcileState reconcile = ReconcileState::none;
  std::string error_class;
  std::int64_t due_in_ms = 0;
  std::string reason;
  std::int64_t reading = 0;
  bool was_read = false;       ///< a snapshot, to its end, once at least
  bool trusts_vendor = false;  ///< see ingest::PageEffects::trust_vendor

  [[nodiscard]] bool is_changes() const { return mode == "changes"; }
  [[nodiscard]] bool is_snapshot() const { return mode == "snapshot"; }
  [[nodiscard]] bool is_marked() const { return !checkpoint.empty(); }
  [[nodiscard]] bool wants_reconcile() const {
    return reconcile == ReconcileState::due || reconcile == ReconcileState::confirmed;
  }
};

namespace {

/// Writes a page, again when the server asks for that (deadlock, serialization failure) and when
/// the catalogue is another one by now: nothing of it is stored then.
Task<ingest::PageCounts> write_page(const Services& services, ingest::PageContext& context,
                                    const contract::Page& page, ingest::PageEffects effects) {
  Entropy& entropy = services.entropy;
  for (int attempt = 1;; ++attempt) {
    bool old_catalog = false;
    try {
      co_return co_await services.writer.write(context, page, effects);
    } catch (const Failure& failure) {
      old_catalog = model::is_catalog_changed(failure);
      const int attempts_max = old_catalog ? model::kCatalogAttemptsMax : kPageAttemptsMax;
      if (failure.error().kind != ErrorKind::retry_later || attempt >= attempts_max) throw;
      log::warning("sync.page_again", {{"attempt", attempt}, {"error", failure.what()}});
    }
    if (old_catalog) {
      context.catalog = co_await services.catalogs.renewed(context.workspace);
      continue;
    }
    asio::steady_timer pause(co_await asio::this_coro::executor);
    pause.expires_after(std::chrono::milliseconds(10 * attempt + entropy.below(50)));
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace

/// Where the pages of a run go. The last page of a FETCH also takes the ids of which something was
/// said off the list; the last one of a snapshot completes it.
class ConnectionWork::RunSink final : public PageSink {
 public:
  RunSink(ConnectionWork& work, ingest::PageContext context)
      : work_(work), context_(std::move(context)) {}

  bool completes_snapshot = false;
  bool keeps_reason = false;
  std::string first_mark;  ///< of a change stream without a checkpoint: why the rest is read again
  std::int64_t enumeration = 0;
  bool trusts_vendor = false;
  std::optional<std::int64_t> reading;
  std::vector<ingest::PageEffects::Answered> asked;  ///< of a FETCH
  ingest::Wishes wishes;                             ///< why they are; their type
  bool superseded = false;  ///< the stream is to be read from its start: end

  [[nodiscard]] ingest::PageCheck check() const override {
    return work_.services_.writer.check(context_);
  }

  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool last) override {
    effects.snapshot_done = completes_snapshot && last;
    effects.last = last;
    effects.keeps_reason = keeps_reason;
    if (effects.checkpoint) effects.snapshots_again = std::exchange(first_mark, {});
    effects.reading = reading;
    if (effects.unframed) enumeration = 0;
    effects.enumeration = enumeration;
    effects.trust_vendor = trusts_vendor;
    if (!asked.empty()) listen(page);
    if (!asked.empty()) effects.wishes = &wishes;
    if (last) effects.answered = answered();
    // A small answer from the cache of this host; a fresh one when another run changed the
    // catalogue.
    context_.catalog = co_await work_.services_.catalogs.get(context_.workspace);
    const ingest::PageCounts counts =
        co_await write_page(work_.services_, context_, page, std::move(effects));
    ++work_.stats_.pages;
    work_.stats_.records += counts.records;
    work_.stats_.stored += counts;
    superseded |= counts.superseded;
    if (counts.inserted + counts.updated + counts.deleted > 0) work_.stored_();
    if (counts.notices > 0) work_.wake();
    co_return counts;
  }
  /// Of those that were asked for.
  [[nodiscard]] std::vector<ingest::PageEffects::Answered> answered() const {
    std::vector<ingest::PageEffects::Answered> all;
    for (const ingest::PageEffects::Answered& one : asked)
      if (said_.contains(one.external_id)) all.push_back(one);
    return all;
  }

 private:
  void listen(const contract::Page& page) {
    const auto add = [this](const auto& said) {
      if (said.type == wishes.type) said_.emplace(said.external_id);
    };
    std::ranges::for_each(page.records, add);
    std::ranges::for_each(page.rejected, add);
    std::ranges::for_each(page.notices, add);
  }

  ConnectionWork& work_;
  ingest::PageContext context_;
  std::set<std::string, std::less<>> said_;  ///< ids of a FETCH
};

ConnectionWork::ConnectionWork(const Services& services, Connections& connections, Leases& leases,
                               EngineStats& stats, WorkOptions options, LeaseGrant lease,
                               ConnectionId id, ConnectionSlots& slots,
                               std::function<bool()> stopping, std::function<void()> stored)
    : services_(services),
      connections_(connections),
      leases_(leases),
      stats_(stats),
      options_(options),
      lease_(std::move(lease)),
      id_(id),
      slots_(slots),
      stopping_(std::move(stopping)),
      stored_(std::move(stored)),
      refetch_lane_(
          services.pool, services.entropy, lease_.workspace, id,
          [this](RefetchBatch batch) { return read_again(std::move(batch)); },
          [this](const pg::Statement& statement, pg::Params params) {
            return write(statement, std::move(params));
          },
          [this] { return may_go_on(); }),
      group_(services.pool.executor()),
      wake_(services.pool.executor()) {}

void ConnectionWork::wake() { wake_.cancel(); }

bool ConnectionWork::may_go_on() const {
  return !stopping_() && !draining_ && !surprise_ && leases_.held(lease_);
}

Task<void> ConnectionWork::guarded(std::string key, Lane lane, Task<void> task) {
  try {
    co_await std::move(task);
  } catch (...) {
    surprised(std::current_exception());
  }
  running_.erase(key);
  reading_.erase(key);
  slots_.at_work(lane).end();
  wake();
}

void ConnectionWork::start(std::string key, Lane lane, Task<void> task) {
  started_anything_ = true;
  running_.insert(key);
  slots_.at_work(lane).begin();
  group_.spawn(guarded(std::move(key), lane, std::move(task)));
}

Task<void> ConnectionWork::run() {
  try {
    std::vector<pg::Call> left_behind;
    left_behind.push_back(call(kLostRuns, pg::Params(lease_.workspace, id_, lease_.epoch)));
    left_behind.push_back(stream_state::let_go(lease_.workspace, id_));
    co_await pg::write_fenced(services_.pool, lease_, std::move(left_behind));
    co_await schedule();
  } catch (...) {
    surprised(std::current_exception());
  }
  co_await wait_for_all();
  if (leases_.is_lost(lease_)) {  // whoever has it now says what comes next
    ++stats_.leases_lost;
    co_return;
  }
  try {
    if (!surprise_ && draining_ && !stopping_() && leases_.held(lease_)) co_await disconnect();
    if (!surprise_ && !draining_) co_await update_connection_state();
  } catch (...) {
    surprised(std::current_exception());
  }
  if (surprise_ && !leases_.is_lost(lease_)) std::rethrow_exception(surprise_);
}

/// The first one ends the work; a lost lease ends it whatever came before.
void ConnectionWork::surprised(std::exception_ptr surprise) {
  if (!surprise_) surprise_ = surprise;
  try {
    std::rethrow_exception(surprise);
  } catch (const Failure& failure) {
    if (pg::is_lease_lost(failure.error())) leases_.lost(lease_);
  } catch (...) {
    // Said by whoever waits for the work.
  }
}

Task<pg::QueryResult> ConnectionWork::write(pg::Call made) {
  return pg::write_fenced(services_.pool, lease_, std::move(made));
}

Task<pg::QueryResult> ConnectionWork::write(const pg::Statement& statement, pg::Params params) {
  return pg::write_fenced(services_.pool, lease_, call(statement, std::move(params)));
}

StreamKey ConnectionWork::key_of(const std::string& stream) const {
  StreamKey key;
  key.workspace = lease_.workspace;
  key.connection = id_;
  key.stream = stream;
  return key;
}

Task<void> ConnectionWork::wait_for_all() {
  // Another holder is at work already: what we have begun has nobody to wait for it.
  if (leases_.is_lost(lease_)) group_.cancel();
  asio::steady_timer grace(services_.pool.executor(), options_.end_grace);
  // The timer's message may already be on its way when we are gone.
  const auto here = std::make_shared<ConnectionWork*>(this);
  struct Gone {
    ConnectionWork*& here;
    ~Gone() { here = nullptr; }
  } gone{*here};
  grace.async_wait([here](boost::system::error_code ended) {
    if (!ended && *here != nullptr) (*here)->group_.cancel();
  });
  co_await group_.wait();
}

Task<void> ConnectionWork::schedule() {
  bool announced = false;
  while (may_go_on()) {
    pg::Params asked(lease_.workspace, id_, codes_at_work());
    const auto state = co_await services_.pool.query(kState, std::move(asked));
    if (state.empty()) co_return;
    heed_held(state.text(0, 1));
    const auto now = connection_state_of(state.text(0, 0));
    if (now && is_off(*now)) {
      draining_ = true;  // sessions see it at their next step's boundary
      co_return;
    }
    const bool refetch_due = co_await refetch_lane_.is_due();
    const std::vector<StreamRow> streams = co_await read_streams();
    enabled_.clear();
    for (const StreamRow& stream : streams) enabled_.insert(stream.name);
    co_await start_due(streams, refetch_due);
    slots_.looked();
    if (running_.empty()) co_return;  // nothing is due
    if (!announced && !reading_.empty()) {
      announced = true;
      co_await update_connection_state();
    }
    if (running_.empty()) continue;  // it ended while we said so
    wake_.expires_after(options_.poll);
    boost::system::error_code woken;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

/// Two at most: a session ends with the code that it began with.
pg::Array ConnectionWork::codes_at_work() const {
  pg::Array codes(pg::Oid::text);
  for (const auto& [sha256, code] : codes_) codes.add(std::string_view(sha256));
  return codes;
}

void ConnectionWork::heed_held(std::string_view held) {
  for (auto& [sha256, code] : codes_) code.held = held.find(sha256) != std::string_view::npos;
}

bool ConnectionWork::key_was_refused(const std::vector<StreamRow>& streams, bool refetch_due) {
  return std::any_of(streams.begin(), streams.end(), [&](const StreamRow& stream) {
    return (stream.due || refetch_due) && stream.error_class == kAuth;
  });
}

/// What was read before must not be compared with what another account has.
bool ConnectionWork::account_in_doubt(const std::vector<StreamRow>& streams,
                                      bool refetch_due) const {
  return !account_confirmed_ &&
         (key_was_refused(streams, refetch_due) ||
          std::any_of(streams.begin(), streams.end(), [](const StreamRow& stream) {
            return stream.due && stream.was_read && (stream.snapshot_done || !stream.is_marked());
          }));
}

Task<void> ConnectionWork::confirm_account() {
  const Result<LoadedConnection> connection = co_await connections_.load(lease_.workspace, id_);
  if (!connection) throw Failure(connection.error());
  std::function<bool()> stopping = [this] { return !may_go_on(); };
  const std::optional<Error> refused =
      co_await connections_.confirm_account(*connection, std::move(stopping));
  account_confirmed_ = !refused;
  if (!refused) co_return;
  pg::Call parked = refused->code == kStepGivenUp
                        ? stream_state::hold_all(lease_.workspace, id_, refused->message)
                        : stream_state::park(lease_.workspace, id_, refused->describe());
  co_await write(std::move(parked));
}

Task<void> ConnectionWork::start_due(const std::vector<StreamRow>& streams, bool refetch_due) {
  const bool in_doubt = account_in_doubt(streams, refetch_due);
  if (in_doubt && !running_.contains(std::string(kAccountKey)) && slots_.may_begin(Lane::changes)) {
    start(std::string(kAccountKey), Lane::changes, confirm_account());
  }
  if (in_doubt && key_was_refused(streams, refetch_due)) co_return;
  // The check may hang at the vendor; new changes need not wait for it.
  for (const StreamRow& stream : streams) {
    if (!stream.is_changes() || !stream.due || running_.contains(stream.name)) continue;
    if (!slots_.may_begin(Lane::changes)) break;
    start(stream.name, Lane::changes, run_stream(stream));
  }
  if (in_doubt) co_return;
  if (refetch_due && !running_.contains(std::string(kRefetchKey)) &&
      slots_.may_begin(Lane::changes))
    start(std::string(kRefetchKey), Lane::changes, refetch_lane_.run());
  for (const StreamRow& stream : streams) {
    const std::string key = "reconcile/" + stream.name;
    if (!stream.wants_reconcile() || running_.contains(key) || running_.contains(stream.name))
      continue;
    if (!slots_.may_begin(Lane::loads)) break;
    start(key, Lane::loads, reconcile_stream(stream));
  }
  // A change stream's first checkpoint must be older than any snapshot, or what changes in between
  // is lost.
  if (!co_await changes_are_marked(streams)) co_return;
  for (const StreamRow& stream : streams) {
    if (stream.is_changes() || !stream.due || running_.contains(stream.name)) continue;
    if (running_.contains("reconcile/" + stream.name)) continue;
    if (reading_.size() >= options_.streams_at_once || !slots_.may_begin(Lane::loads)) break;
    reading_.insert(stream.name);
    start(stream.name, Lane::loads, run_stream(stream));
  }
}

Task<bool> ConnectionWork::changes_are_marked(const std::vector<StreamRow>& streams) {
  for (const StreamRow& stream : streams) {
    if (!stream.is_changes() || stream.is_marked()) continue;
    // A key that may not read changes is not to keep the rest from being read. The day it may,
    // everything is read again (RunSink::first_mark).
    const bool not_allowed =
        stream.error_class == "PERMISSION" || stream.error_class == "UPSTREAM_PERMANENT";
    if (not_allowed && !running_.contains(stream.name)) continue;
    if (!stream.due && !running_.contains(stream.name)) {
      const bool waits = std::any_of(streams.begin(), streams.end(), [](const StreamRow& other) {
        return !other.is_changes() && other.due;
      });
      if (waits) {
        const std::string why = fmt::format("waits for the stream {} to begin: {}", stream.name,
                                            stream.reason.empty() ? "not read yet" : stream.reason);
        co_await write(stream_state::hold_back(lease_.workspace, id_,
                                               std::max(stream.due_in_ms, kHoldBackMsMin), why));
      }
    }
    co_return false;
  }
  co_return true;
}

Task<std::vector<ConnectionWork::StreamRow>> ConnectionWork::read_streams() {
  const auto rows = co_await services_.pool.query(kStreams, pg::Params(lease_.workspace, id_));
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
    stream.enumeration = rows.get<std::int64_t>(row, 8);
    stream.reconcile = reconcile_state_of(rows.text(row, 9)).value_or(ReconcileState::none);
    stream.error_class = rows.get<std::string>(row, 10);
    stream.due_in_ms = rows.get<std::int64_t>(row, 11);
    stream.reason = rows.get<std::string>(row, 12);
    stream.reading = rows.get<std::int64_t>(row, 13);
    stream.was_read = rows.get<bool>(row, 14);
    stream.trusts_vendor = rows.get<bool>(row, 15);
    streams.push_back(std::move(stream));
  }
  co_return streams;
}

Task<RunId> ConnectionWork::begin_run(std::string stream, std::string kind) {
  pg::Params begin(lease_.workspace, id_, stream, kind, lease_.epoch);
  const auto started = co_await write(kStartRun, std::move(begin));
  co_return started.get<RunId>(0, 0);
}

Task<void> ConnectionWork::end_run(RunId run, const SessionEnd& end) {
  stats_.requests += end.requests;
  const char* outcome = end.done() ? "done" : is_cancelled(end) ? "cancelled" : "failed";
  pg::Params ended(lease_.workspace, run, outcome);
  ended.add(end.done() ? json(nullptr) : error_json(*end.failure)).add(end.requests).add(end.bytes);
  co_await write(kEndRun, std::move(ended));
}

Store ConnectionWork::store() const {
  return Store{services_.pool, services_.clock, services_.catalogs, services_.writer};
}

ingest::PageContext ConnectionWork::page_context(const LoadedConnection& connection, RunId run,
                                                 std::string stream) const {
  return page_context(connection.manifest(), run, std::move(stream));
}

ingest::PageContext ConnectionWork::page_context(const contract::Manifest& manifest, RunId run,
                                                 std::string stream) const {
  ingest::PageContext context;
  context.workspace = lease_.workspace;
  context.connection = id_;
  context.run = run;
  context.stream = std::move(stream);
  context.lease_name = lease_.name;
  context.epoch = lease_.epoch;
  context.manifest = &manifest;
  return context;
}

Task<SessionEnd> ConnectionWork::drive(const LoadedConnection& connection,
                                       const contract::SessionArgs& args, RunSink& sink,
                                       Lane lane) {
  SessionEnd end;
  SendOptions options;
  options.priority = lane == Lane::changes ? fetch::Priority::change : fetch::Priority::snapshot;
  options.what = step_of(args);
  options.at_work = &slots_.at_work(lane);
  SendScope send(services_.vault, services_.budgets, connection, std::move(options));
  StepOwner owner = step_owner(connection, args, step_of(args));
  struct Counted {
    std::map<std::string, CodeAtWork>& all;
    std::map<std::string, CodeAtWork>::iterator code;
    Counted(std::map<std::string, CodeAtWork>& codes, const std::string& sha256)
        : all(codes), code(codes.try_emplace(sha256).first) {
      ++code->second.sessions;
    }
    ~Counted() {
      if (--code->second.sessions == 0) all.erase(code);
    }
  } counted(codes_, connection.code->sha256());
  const bool& is_held = counted.code->second.held;
  try {
    auto session = co_await open_session(services_.steps, connection.code, args, owner);
    if (!session) {
      end.failure = failure_of(session.error());
      co_return end;
    }
    SessionRun run{.session = std::move(*session),
                   .client = services_.client,
                   .send = send.context(),
                   .sink = &sink,
                   .clock = services_.clock,
                   .entropy = services_.entropy,
                   .checkpoint_format = connection.manifest().checkpoint_writes,
                   .is_snapshot = sink.completes_snapshot,
                   .stopping =
                       [this, &sink, &args, &is_held] {
                         const bool paused =
                             !args.stream.empty() && !enabled_.contains(args.stream);
                         return is_held || paused || sink.superseded || !may_go_on();
                       },
                   .steps = &services_.steps,
                   .owner = std::move(owner),
                   .pages = &services_.pages,
                   .at_work = &slots_.at_work(lane)};
    end = co_await run_session(std::move(run));
    send.heed(end);
  } catch (const Failure& surprise) {
    if (pg::is_lease_lost(surprise.error())) throw;  // ends the work
    end.failure = failure_of(surprise.error());
  } catch (const boost::system::system_error& given_up) {
    if (given_up.code() != asio::error::operation_aborted) throw;
    end.failure.emplace();
    end.failure->failure_class = FailureClass::cancelled;
  }
  if (end.failure && end.failure->vendor_code == kStepGivenUp) {
    if (const std::optional<Error> why = connections_.loader().stands()) {
      end.failure->vendor_code = why->code;  // this host's trouble, and not this connector's
      end.failure->message = why->message;
    }
  }
  co_return end;
}

Task<bool> ConnectionWork::take(StreamRow& stream) {
  const auto taken = co_await write(stream_state::take(key_of(stream.name)));
  if (taken.empty()) co_return false;
  std::vector<StreamRow> streams = co_await read_streams();
  const auto now = std::find_if(streams.begin(), streams.end(),
                                [&](const StreamRow& other) { return other.name == stream.name; });
  if (now == streams.end()) co_return false;
  stream = std::move(*now);
  co_return true;
}

Task<void> ConnectionWork::run_stream(StreamRow stream) {
  // Loaded for each run: a new version of the connector or a new configuration is used by the next
  // session. What cannot be loaded here is this host's trouble, and nothing is said of the stream.
  Result<LoadedConnection> connection = co_await connections_.load(lease_.workspace, id_);
  if (!connection) throw Failure(connection.error());
  if (!may_go_on() || !co_await take(stream)) co_return;
  if (stream.is_snapshot() && (stream.snapshot_done || !stream.is_marked())) {
    const BegunEnumeration begun =
        co_await begin_enumeration(store(), lease_, id_, connection->manifest(), stream.name);
    stream.enumeration = begun.number;
    stream.reading = begun.reading;
    stream.reconcile = begun.recording ? ReconcileState::recording : ReconcileState::none;
    stream.trusts_vendor = begun.trusts_vendor;
    stream.checkpoint.clear();
    stream.checkpoint_format = 0;
  }
  const RunId run = co_await begin_run(stream.name, stream.is_snapshot() ? "full" : "incremental");
  log::info("sync.run.started", {{"connector", connection->connector},
                                 {"connection", connection->name},
                                 {"connection_id", id_.value},
                                 {"stream", stream.name},
                                 {"run", run.value}});
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.config_json = write_json(connection->config);
  args.stream = stream.name;
  args.checkpoint = stream.checkpoint;
  args.checkpoint_format = stream.checkpoint_format;
  args.owner = owner_of(*connection, run);
  RunSink sink(*this, page_context(*connection, run, stream.name));
  sink.completes_snapshot = stream.is_snapshot();
  sink.enumeration = stream.reconcile == ReconcileState::recording ? stream.enumeration : 0;
  sink.reading = stream.reading;
  sink.trusts_vendor = stream.trusts_vendor && stream.is_snapshot();
  if (stream.is_changes() && !stream.is_marked()) {
    sink.first_mark = fmt::format(
        "reads everything again: changes are followed only since the stream {} could be read",
        stream.name);
  }
  // A vendor that refuses each new checkpoint, too, must not have everything read for ever.
  sink.keeps_reason = stream.is_changes() && !stream.is_marked() && stream.error_class == kRejected;
  const Lane lane = stream.is_changes() ? Lane::changes : Lane::loads;
  const SessionEnd end = co_await drive(*connection, args, sink, lane);
  if (sink.superseded) {
    co_await leave_superseded(*connection, stream, run, end);
  } else if (const std::optional<Error> own = host_trouble(end)) {
    co_await step_back(stream, run, end);
    throw Failure(*own);
  } else {
    co_await finish_stream(*connection, stream, run, end);
  }
}

/// The stream is as due as before, for a host that is well.
Task<void> ConnectionWork::step_back(const StreamRow& stream, RunId run, SessionEnd end) {
  end.failure->failure_class = FailureClass::cancelled;
  co_await end_run(run, end);
  stream_state::Failing failing;
  failing.run = run;
  failing.ours = true;
  failing.error_class = contract::to_string(FailureClass::cancelled);
  co_await write(stream_state::fail(key_of(stream.name), failing));
}

Task<void> ConnectionWork::leave_superseded(const LoadedConnection& connection,
                                            const StreamRow& stream, RunId run, SessionEnd end) {
  if (!leases_.held(lease_)) co_return;
  end.failure.emplace();
  end.failure->failure_class = FailureClass::cancelled;
  end.failure->message = "the stream is to be read again from its start";
  co_await end_run(run, end);
  co_await write(stream_state::supersede(key_of(stream.name), run));
  log::info("sync.run.superseded", {{"connector", connection.connector},
                                    {"connection", connection.name},
                                    {"connection_id", id_.value},
                                    {"stream", stream.name},
                                    {"run", run.value}});
}

Task<void> ConnectionWork::finish_stream(const LoadedConnection& connection,
                                         const StreamRow& stream, RunId run,
                                         const SessionEnd& end) {
  // Another host goes on, and says what becomes of the stream.
  if (!leases_.held(lease_)) co_return;
  if (end.unframed) {
    log::warning("sync.run.unframed",
                 {{"connection_id", id_.value}, {"stream", stream.name}, {"run", run.value}});
  }
  if (end.done()) {  // its last page said so in its own transaction
    ++stats_.runs_done;
    log::info("sync.run.done", {{"connector", connection.connector},
                                {"connection", connection.name},
                                {"connection_id", id_.value},
                                {"stream", stream.name},
                                {"run", run.value},
                                {"records", end.counts.records}});
    co_return;
  }
  co_await end_run(run, end);
  const bool cancelled = is_cancelled(end);
  const contract::ConnectorFailure& failure = *end.failure;
  ++stats_.failures[std::string(contract::to_string(failure.failure_class))];
  if (!cancelled) ++stats_.runs_failed;
  log::warning("sync.run.failed", {{"connector", connection.connector},
                                   {"connection", connection.name},
                                   {"connection_id", id_.value},
                                   {"stream", stream.name},
                                   {"run", run.value},
                                   {"class", contract::to_string(failure.failure_class)},
                                   {"message", failure.message}});
  if (is_to_be_held(failure)) {
    const auto held = co_await write(stream_state::hold(key_of(stream.name), run, failure.message));
    if (held.affected() > 0) co_return;  // else an admin has paused it meanwhile
  }
  // Failures of another kind before it, of a vendor that was away for weeks, do not count.
  const std::int64_t restarts = stream.error_class == kRejected ? stream.failures : 0;
  if (failure.failure_class == FailureClass::checkpoint_rejected && restarts < kRestartsMax) {
    const StreamKey key = key_of(stream.name);
    pg::Call again = stream.is_changes() ? stream_state::restart_all(key, failure.message)
                                         : stream_state::restart(key, failure.message);
    co_await write(std::move(again));
    co_return;
  }
  stream_state::Failing failing;
  failing.run = run;
  failing.ours = cancelled;
  if (!cancelled) failing.reason = failure.message;
  failing.error_class = contract::to_string(failure.failure_class);
  if (!cancelled) {
    failing.pause_ms =
        pause_ms(failure.failure_class, failure.retry_after_ms, stream.failures, services_.entropy);
  }
  co_await write(stream_state::fail(key_of(stream.name), failing));
}

Task<void> ConnectionWork::reconcile_stream(StreamRow stream) {
  // The list of streams may be older than a comparison that has ended; compared again, without its
  // ids, everything would be missing.
  pg::Params still(lease_.workspace, id_, stream.name);
  const auto due = co_await services_.pool.query(kDueReconcile, std::move(still));
  if (due.empty()) co_return;
  stream.reconcile = reconcile_state_of(due.text(0, 0)).value_or(ReconcileState::none);
  stream.enumeration = due.get<std::int64_t>(0, 1);
  Result<LoadedConnection> connection = co_await connections_.load(lease_.workspace, id_);
  if (!connection) throw Failure(connection.error());
  const RunId run = co_await begin_run("", "reconcile");
  Enumeration enumeration;
  enumeration.stream = stream.name;
  enumeration.number = stream.enumeration;
  enumeration.confirmed = stream.reconcile == ReconcileState::confirmed;
  const std::function<bool()> go_on = [this] { return may_go_on(); };
  const ReconcileOutcome outcome =
      co_await reconcile(store(), page_context(*connection, run, ""), std::move(enumeration),
                         options_.reconcile, go_on);
  SessionEnd end;
  if (outcome.blocked) {
    end.failure.emplace();
    end.failure->failure_class = FailureClass::bad_data;
    end.failure->vendor_code = "reconcile.blocked";
    end.failure->message = outcome.reason;
  } else if (!outcome.finished) {
    end.failure.emplace();
    end.failure->failure_class = FailureClass::cancelled;
    end.failure->message = "told to end before all was compared; it goes on later";
  }
  co_await end_run(run, end);
  if (!outcome.finished) co_return;
  log::info("sync.reconciled", {{"connection", connection->name},
                                {"stream", stream.name},
                                {"blocked", outcome.blocked},
                                {"looked_up", outcome.looked_up},
                                {"deleted", outcome.deleted}});
  if (outcome.deleted > 0) stored_();
  co_await update_connection_state();
}

Task<SessionEnd> ConnectionWork::read_again(RefetchBatch batch) {
  Result<LoadedConnection> connection = co_await connections_.load(lease_.workspace, id_);
  if (!connection) throw Failure(connection.error());
  const auto type_index = connection->manifest().type_index(batch.type);
  contract::SessionArgs args;
  args.operation = contract::Operation::fetch;
  args.config_json = write_json(connection->config);
  args.type = type_index.value_or(0);
  std::vector<ingest::PageEffects::Answered> asked;
  for (const RefetchId& id : batch.ids) {
    ingest::PageEffects::Answered& one = asked.emplace_back();
    one.type = batch.type;
    one.external_id = id.external_id;
    one.generation = id.generation;
    args.ids.push_back(id.external_id);
  }
  const RunId run = co_await begin_run("", "refetch");
  SessionEnd end;
  args.owner = owner_of(*connection, run);
  if (type_index) {
    RunSink sink(*this, page_context(*connection, run, ""));
    sink.asked = std::move(asked);
    sink.wishes.type = args.type;
    for (const RefetchId& id : batch.ids) {
      ingest::Wish& wish = sink.wishes.by_id[id.external_id];
      wish.noticed_at = id.observed_at;
      wish.for_run = id.for_run;
    }
    end = co_await drive(*connection, args, sink, Lane::changes);
    end.left_some_out = sink.answered().size() < sink.asked.size();
    if (!end.done() && !is_cancelled(end)) say_failed(*connection, batch, run, *end.failure);
  } else {
    end.failure.emplace();
    end.failure->message = "this version of the connector has no entity type '" + batch.type + "'";
  }
  if (end.done()) co_return end;  // its last page said so in its own transaction
  co_await end_run(run, end);
  if (const std::optional<Error> own = host_trouble(end)) throw Failure(*own);  // not the ids'
  if (is_to_be_held(*end.failure)) {
    co_await write(
        stream_state::hold_refetch(lease_.workspace, id_, batch.type, end.failure->message));
    end.failure->failure_class = FailureClass::cancelled;  // no matter of single ids
  }
  co_return end;
}

Task<void> ConnectionWork::disconnect() {
  const auto row = co_await services_.pool.query(kTurnedOff, pg::Params(lease_.workspace, id_));
  if (row.empty()) co_return;
  const auto manifest = contract::parse_manifest(row.text(0, 2), contract::Admission::before);
  if (!manifest) throw Failure(manifest.error());
  if (connection_state_of(row.text(0, 1)) == ConnectionState::disconnecting) {
    const RunId run = co_await begin_run("", "disconnect");
    const ingest::PageContext context = page_context(*manifest, run, "");
    const std::function<bool()> go_on = [this] { return !stopping_() && leases_.held(lease_); };
    if (!co_await bury_everything(store(), context, go_on)) co_return;
    co_await end_run(run, SessionEnd());
    stored_();
  }
  co_await turn_off();
  log::info("sync.disconnected", {{"connection", row.get<std::string>(0, 0)}});
}

/// Unless it was turned on again meanwhile.
Task<void> ConnectionWork::turn_off() {
  auto connection = co_await services_.pool.acquire();
  pg::Fenced fenced(*connection, lease_);
  const auto gone = co_await fenced.query(connection_state::disconnected(lease_.workspace, id_));
  if (gone.empty()) {
    co_await fenced.rollback();
    co_return;
  }
  co_await fenced.query(stream_state::switch_off(lease_.workspace, id_));
  co_await fenced.query(kForgetRefetch, pg::Params(lease_.workspace, id_));
  co_await fenced.commit();
}

Task<void> ConnectionWork::update_connection_state() {
  co_await write(connection_state::refresh(lease_.workspace, id_));
}

}  // namespace sluice::sync
