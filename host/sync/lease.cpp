#include "sync/lease.hpp"

#include "base/log.hpp"
#include "base/outage.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

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
  update sluice.lease_hold set holder = $3, expires_at = clock_timestamp() + $4 * interval '1 millisecond'
  where workspace_id = $1 and name = $2)"};

const pg::Statement kRenew{"lease_renew", R"(
  update sluice.lease_hold h set expires_at = clock_timestamp() + $4 * interval '1 millisecond'
  from unnest($1::bigint[], $2::text[]) as mine (workspace_id, name)
  where h.workspace_id = mine.workspace_id and h.name = mine.name and h.holder = $3
    and h.expires_at >= clock_timestamp()
  returning h.workspace_id, h.name)"};

const pg::Statement kRelease{"lease_release", R"(
  update sluice.lease_hold set expires_at = '-infinity'
  where workspace_id = $1 and name = $2 and holder = $3)"};

}  // namespace

Leases::Leases(pg::Pool& pool, const Clock& clock, LeaseOptions options, pg::Uuid holder)
    : pool_(pool), clock_(clock), options_(options), holder_(holder) {}

Task<std::optional<LeaseGrant>> Leases::acquire(WorkspaceId workspace, std::string name) {
  Key key(workspace, name);
  if (holds_.contains(key)) co_return std::nullopt;
  auto connection = co_await pool_.acquire();
  const auto asked_at = clock_.steady();
  co_await connection->query(kEnsure, pg::Params(workspace, name));
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto expired = co_await transaction.query(kLockExpired, pg::Params(workspace, name));
  if (expired.empty()) {
    co_await transaction.rollback();
    co_return std::nullopt;
  }
  const auto next = co_await transaction.query(kNextEpoch, pg::Params(workspace, name));
  const auto ttl_ms = static_cast<std::int64_t>(options_.ttl.count());
  co_await transaction.query(kTake, pg::Params(workspace, name, holder_, ttl_ms));
  co_await transaction.commit();
  LeaseGrant grant;
  grant.workspace = workspace;
  grant.name = std::move(name);
  grant.epoch = next.get<Epoch>(0, 0);
  Hold hold;
  hold.epoch = grant.epoch;
  hold.renewed_at = asked_at;
  holds_.insert_or_assign(std::move(key), hold);
  co_return grant;
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

Task<void> Leases::renew_all() {
  if (holds_.empty()) co_return;
  pg::Array workspaces(pg::Oid::int8);
  pg::Array names(pg::Oid::text);
  for (const auto& [key, hold] : holds_) {
    workspaces.add(key.first.value);
    names.add(std::string_view(key.second));
  }
  const auto asked_at = clock_.steady();
  const auto ttl_ms = static_cast<std::int64_t>(options_.ttl.count());
  pg::Params params(std::move(workspaces), std::move(names), holder_, ttl_ms);
  const auto renewed = co_await pool_.query(kRenew, std::move(params));
  for (int row = 0; row < renewed.rows(); ++row) {
    const auto found =
        holds_.find(Key(renewed.get<WorkspaceId>(row, 0), renewed.get<std::string>(row, 1)));
    if (found != holds_.end()) found->second.renewed_at = asked_at;
  }
  // What expired at the database is somebody else's now, whatever our own clock says.
  std::erase_if(holds_, [&](const auto& entry) {
    const bool lost = clock_.steady() - entry.second.renewed_at >= options_.ttl;
    if (lost)
      log::warning("lease.lost",
                   {{"workspace", entry.first.first.value}, {"name", entry.first.second}});
    return lost;
  });
}

Task<void> Leases::keep_renewing() {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  Outage away;
  for (;;) {
    timer.expires_after(options_.renew_every);
    co_await timer.async_wait(asio::use_awaitable);
    try {
      co_await renew_all();
      if (const auto over = away.succeeded(clock_.steady()))
        log::info("lease.renewed_again", {{"failures", over->failures}});
    } catch (const Failure& error) {
      if (away.failed(clock_.steady()))
        log::warning("lease.renew_failed",
                     {{"error", error.what()}, {"failures", away.failures()}});
    }
  }
}

}  // namespace sluice::sync
