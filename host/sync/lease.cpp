#include "sync/lease.hpp"

#include "base/bell.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "base/outage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace sluice::sync {
namespace {

const pg::Statement kEnsure{"lease_ensure", R"(
  with made as (
    insert into sluice.lease_epoch (workspace_id, name, epoch) values ($1, $2, 0) on conflict do nothing)
  insert into sluice.lease_hold (workspace_id, name, holder, expires_at)
  values ($1, $2, '00000000-0000-0000-0000-000000000000', '-infinity') on conflict do nothing)"};

const pg::Statement kLockExpired{"lease_lock_expired", R"(
  select 1 from sluice.lease_hold
  where workspace_id = $1 and name = $2 and expires_at < clock_timestamp() for update skip locked)"};

const pg::Statement kNextEpoch{"lease_next_epoch", R"(
  update sluice.lease_epoch set epoch = epoch + 1 where workspace_id = $1 and name = $2 returning epoch)"};

const pg::Statement kTake{"lease_take", R"(
  update sluice.lease_hold
  set holder = $3, expires_at = clock_timestamp() + $4 * interval '1 millisecond', waits = null
  where workspace_id = $1 and name = $2)"};

// A row that somebody locks is being taken, after its expiry: it is not waited for, since all
// others would wait with it.
const pg::Statement kRenew{"lease_renew", R"(
  with mine as (
    select h.workspace_id, h.name, asked.waits
    from unnest($1::bigint[], $2::text[], $5::bigint[], $6::jsonb[]) as asked (workspace_id, name, epoch, waits)
    cross join lateral (
      select l.workspace_id, l.name from sluice.lease_hold l
      where l.workspace_id = asked.workspace_id and l.name = asked.name and l.holder = $3
        and l.expires_at >= clock_timestamp()
        and exists (select 1 from sluice.lease_epoch e
                    where e.workspace_id = asked.workspace_id and e.name = asked.name and e.epoch = asked.epoch)
      offset 0 for update skip locked) h)
  update sluice.lease_hold h
  set expires_at = clock_timestamp() + $4 * interval '1 millisecond',
      waits = (select jsonb_object_agg(key, (extract(epoch from clock_timestamp()) * 1000)::bigint + value::bigint)
               from jsonb_each_text(mine.waits))
  from mine where h.workspace_id = mine.workspace_id and h.name = mine.name
  returning h.workspace_id, h.name)"};

const pg::Statement kRelease{"lease_release", R"(
  update sluice.lease_hold set expires_at = '-infinity'
  where workspace_id = $1 and name = $2 and holder = $3)"};

// So that a process that freezes here stands in nobody's way, and who waits here waits not for
// ever.
const pg::Statement kAcquireLimits{"lease_acquire_limits", R"(
  select pg_backend_pid(), set_config('lock_timeout', $1, true),
         set_config('idle_in_transaction_session_timeout', $2, true))"};

// Of backends that wait for a row: those of ours that they wait for, whose transactions began
// before.
const pg::Statement kEndFormerHolders{"lease_end_former_holders", R"(
  select other.pid, pg_terminate_backend(other.pid), left(other.query, 60)
  from unnest($1::int[]) as waiting (pid)
  join pg_stat_activity me on me.pid = waiting.pid
  cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking (pid)
  join pg_stat_activity other on other.pid = blocking.pid
  where other.datname = current_database() and other.usename = current_user
    and other.application_name like 'sluice%' and other.xact_start < me.xact_start
    and exists (select 1 from pg_locks l where l.pid = waiting.pid and not l.granted
                and l.locktype in ('transactionid', 'tuple')))"};

std::string as_json(const std::map<std::string, std::chrono::milliseconds>& waits) {
  auto document = nlohmann::json::object();
  for (const auto& [what, left] : waits) document[what] = left.count();
  return write_json(document);
}

constexpr std::size_t kAcquiresAtOnce = 2;
/// An acquire waits so long for a former holder's transaction, and is tried again by who wants it.
constexpr std::chrono::milliseconds kBlockedMax{1000};
constexpr std::chrono::milliseconds kBlockedLook{100};
constexpr std::string_view kLockTimeoutState = "55P03";

}  // namespace

Leases::Leases(pg::Pool& pool, const Clock& clock, LeaseOptions options, pg::Uuid holder)
    : pool_(pool),
      clock_(clock),
      options_(options),
      holder_(holder),
      tick_(pool.executor()),
      turns_(pool.executor(), kAcquiresAtOnce) {}

void Leases::on_renewal(std::function<Waits()> waits) { waits_ = std::move(waits); }

void Leases::on_lost(std::function<void(WorkspaceId, const std::string&)> told) {
  told_ = std::move(told);
}

Task<std::optional<LeaseGrant>> Leases::acquire(WorkspaceId workspace, std::string name) {
  Key key(workspace, name);
  if (holds_.contains(key)) co_return std::nullopt;
  Turn turn(turns_);
  co_await turn.come();
  auto connection = co_await pool_.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const std::string blocked_max = fmt::format("{}ms", kBlockedMax.count());
  const std::string frozen_max = fmt::format("{}ms", options_.ttl.count());
  const auto limits =
      co_await transaction.query(kAcquireLimits, pg::Params(blocked_max, frozen_max));
  if (!co_await ensure_row(transaction, key)) co_return std::nullopt;  // the pool rolls back
  const auto expired = co_await transaction.query(kLockExpired, pg::Params(workspace, name));
  if (expired.empty()) {
    co_await transaction.rollback();
    co_return std::nullopt;
  }
  const std::optional<Epoch> epoch =
      co_await raise_epoch(transaction, key, limits.get<std::int32_t>(0, 0));
  if (!epoch) co_return std::nullopt;  // the pool rolls back
  const auto asked_at = clock_.steady();
  const auto ttl_ms = static_cast<std::int64_t>(options_.ttl.count());
  co_await transaction.query(kTake, pg::Params(workspace, name, holder_, ttl_ms));
  co_await transaction.commit();
  LeaseGrant grant;
  grant.workspace = workspace;
  grant.name = std::move(name);
  grant.epoch = *epoch;
  Hold hold;
  hold.epoch = grant.epoch;
  hold.renewed_at = asked_at;
  holds_.insert_or_assign(std::move(key), hold);
  co_return grant;
}

/// That there is a row to take. False when somebody who is no host has the table locked.
Task<bool> Leases::ensure_row(pg::Transaction& transaction, const Key& key) {
  bool blocked = false;
  try {
    co_await transaction.query(kEnsure, pg::Params(key.first, key.second));
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() != kLockTimeoutState) throw;
    blocked = true;
  }
  if (blocked)
    log::warning("lease.blocked", {{"workspace", key.first.value}, {"name", key.second}});
  co_return !blocked;
}

/// Waits for the former holder's open transactions, which keep_renewing ends meanwhile.
Task<std::optional<Epoch>> Leases::raise_epoch(pg::Transaction& transaction, const Key& key,
                                               int backend) {
  struct Blocked {
    std::multiset<int>& all;
    std::multiset<int>::iterator here;
    ~Blocked() { all.erase(here); }
  };
  if (blocked_.empty()) {
    look_at_ = std::chrono::steady_clock::now() + kBlockedLook;
    tick_.cancel();
  }
  Blocked blocked{blocked_, blocked_.insert(backend)};
  std::optional<Epoch> epoch;
  bool gave_up = false;
  try {
    const auto next = co_await transaction.query(kNextEpoch, pg::Params(key.first, key.second));
    epoch = next.get<Epoch>(0, 0);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() != kLockTimeoutState) throw;
    gave_up = true;
  }
  if (gave_up)
    log::warning("lease.blocked", {{"workspace", key.first.value}, {"name", key.second}});
  co_return epoch;
}

Task<void> Leases::release(LeaseGrant grant) {
  const Key key(grant.workspace, grant.name);
  const auto found = holds_.find(key);
  if (found == holds_.end() || found->second.epoch != grant.epoch) co_return;
  holds_.erase(found);
  co_await pool_.query(kRelease, pg::Params(grant.workspace, grant.name, holder_));
}

bool Leases::held(const LeaseGrant& grant) const {
  const auto found = holds_.find(Key(grant.workspace, grant.name));
  return found != holds_.end() && found->second.epoch == grant.epoch &&
         clock_.steady() - found->second.renewed_at < options_.ttl / 2;
}

bool Leases::is_lost(const LeaseGrant& grant) const {
  const auto found = holds_.find(Key(grant.workspace, grant.name));
  return found == holds_.end() || found->second.epoch != grant.epoch;
}

void Leases::lost(const LeaseGrant& grant) {
  if (!is_lost(grant)) lose(Key(grant.workspace, grant.name), "a write was refused");
}

void Leases::lose(const Key& key, std::string_view how) {
  log::warning("lease.lost", {{"workspace", key.first.value}, {"name", key.second}, {"how", how}});
  const Key gone = key;
  holds_.erase(gone);
  if (told_) told_(gone.first, gone.second);
}

Task<void> Leases::renew_all() {
  if (holds_.empty()) co_return;
  pg::Array workspaces(pg::Oid::int8), names(pg::Oid::text), epochs(pg::Oid::int8),
      waiting(pg::Oid::jsonb);
  std::map<Key, Epoch> asked;
  Waits waits;
  if (waits_) waits = waits_();
  for (const auto& [key, hold] : holds_) {
    workspaces.add(key.first.value);
    names.add(std::string_view(key.second));
    epochs.add(hold.epoch.value);
    waiting.add(std::string_view(as_json(waits[key])));
    asked.emplace(key, hold.epoch);
  }
  const auto asked_at = clock_.steady();
  const auto ttl_ms = static_cast<std::int64_t>(options_.ttl.count());
  pg::Params params(std::move(workspaces), std::move(names), holder_, ttl_ms, std::move(epochs),
                    std::move(waiting));
  const auto renewed = co_await pool_.query(kRenew, std::move(params));
  for (int row = 0; row < renewed.rows(); ++row) {
    const Key key(renewed.get<WorkspaceId>(row, 0), renewed.get<std::string>(row, 1));
    const auto found = holds_.find(key);
    if (found != holds_.end() && found->second.epoch == asked[key])
      found->second.renewed_at = asked_at;
    asked.erase(key);
  }
  for (const auto& [key, epoch] : asked) {  // what did not come back
    const auto found = holds_.find(key);
    if (found != holds_.end() && found->second.epoch == epoch) lose(key, "not renewed");
  }
}

/// What expired at the database is somebody else's, also while it cannot be asked.
void Leases::forget_expired() {
  std::vector<Key> expired;
  for (const auto& [key, hold] : holds_) {
    if (clock_.steady() - hold.renewed_at >= options_.ttl) expired.push_back(key);
  }
  for (const Key& key : expired) lose(key, "expired");
}

Task<void> Leases::end_former_holders() {
  if (blocked_.empty()) co_return;
  pg::Array backends(pg::Oid::int4);
  for (const int backend : blocked_) backends.add(std::int32_t{backend});
  pg::Params params(std::move(backends));
  const auto ended = co_await pool_.query(kEndFormerHolders, std::move(params));
  for (int row = 0; row < ended.rows(); ++row) {
    log::warning("lease.former_holder_ended",
                 {{"backend", std::int64_t{ended.get<std::int32_t>(row, 0)}},
                  {"ended", ended.get<bool>(row, 1)},
                  {"statement", ended.get<std::string>(row, 2)}});
  }
}

Task<bool> Leases::wait_for_tick(std::chrono::steady_clock::time_point next_renewal) {
  tick_.expires_at(blocked_.empty() ? next_renewal : std::min(next_renewal, look_at_));
  const bool early = co_await rung(tick_);
  co_return !early;
}

Task<void> Leases::keep_renewing() {
  Outage away;
  auto next_renewal = std::chrono::steady_clock::now() + options_.renew_every;
  for (;;) {
    if (!co_await wait_for_tick(next_renewal)) continue;
    look_at_ = std::chrono::steady_clock::now() + kBlockedLook;
    try {
      co_await end_former_holders();
      if (std::chrono::steady_clock::now() >= next_renewal) {
        next_renewal = std::chrono::steady_clock::now() + options_.renew_every;
        co_await renew_all();
      }
      if (const auto over = away.succeeded(clock_.steady()))
        log::info("lease.renewed_again", {{"failures", over->failures}});
    } catch (const Failure& error) {
      if (away.failed(clock_.steady()))
        log::warning("lease.renew_failed",
                     {{"error", error.what()}, {"failures", away.failures()}});
    }
    forget_expired();
  }
}

}  // namespace sluice::sync
