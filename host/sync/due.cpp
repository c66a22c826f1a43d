#include "sync/due.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace sluice::sync {
namespace {

enum Branch : std::int64_t { kChanges, kLoads, kReconcile, kDisconnect };

// Each branch walks an index that holds only what is due, and looks up the lease of each row by its
// key. now(), not clock_timestamp(): a volatile bound is no index condition.
const pg::Statement kDueStreams{"due_streams", R"(
  (select 0::bigint as branch, s.workspace_id, s.connection_id from sluice.stream s
   left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = s.workspace_id
     and h.name = 'connection/' || s.connection_id and h.expires_at > now() offset 0) lease on true
   where s.enabled and s.mode = 'changes' and s.next_run_at <= now() and lease.held is null
     and s.connection_id <> all ($1) order by s.next_run_at limit $2)
  union all
  (select 1, s.workspace_id, s.connection_id from sluice.stream s
   left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = s.workspace_id
     and h.name = 'connection/' || s.connection_id and h.expires_at > now() offset 0) lease on true
   where s.enabled and s.mode <> 'changes' and s.next_run_at <= now() and lease.held is null
     and s.connection_id <> all ($1) order by s.next_run_at limit $2)
  union all
  (select 2, s.workspace_id, s.connection_id from sluice.stream s
   left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = s.workspace_id
     and h.name = 'connection/' || s.connection_id and h.expires_at > now() offset 0) lease on true
   where s.reconcile in ('due', 'confirmed') and lease.held is null
     and s.connection_id <> all ($1) order by s.workspace_id, s.connection_id limit $2)
  union all
  (select 3, c.workspace_id, c.connection_id from sluice.connection c
   left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = c.workspace_id
     and h.name = 'connection/' || c.connection_id and h.expires_at > now() offset 0) lease on true
   where c.state = 'DISCONNECTING' and lease.held is null
     and c.connection_id <> all ($1) order by c.workspace_id, c.connection_id limit $2))"};

// The oldest ids that are due, whosever, counted by connection: as many as the limit hide others.
const pg::Statement kDueRefetch{"due_refetch", R"(
  select f.workspace_id, f.connection_id, count(*), bool_or(lane.paused is null) and bool_and(lease.held is null)
  from (select workspace_id, connection_id, type from sluice.refetch
        where not_before <= now() order by not_before limit $1) f
  left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = f.workspace_id
    and h.name = 'connection/' || f.connection_id and h.expires_at > now() offset 0) lease on true
  left join lateral (select true as paused from sluice.refetch_pause p where p.workspace_id = f.workspace_id
    and p.connection_id = f.connection_id and p.type in ('', f.type) and p.until > now() limit 1 offset 0) lane on true
  group by f.workspace_id, f.connection_id)"};

// One probe a workspace that has streams, then the oldest of each.
const pg::Statement kDueByWorkspace{"due_by_workspace", R"(
  with recursive following as (
    (select workspace_id from sluice.stream order by workspace_id, connection_id, stream limit 1)
    union all
    select n.workspace_id from following w cross join lateral (
      select s.workspace_id from sluice.stream s where s.workspace_id > w.workspace_id
      order by s.workspace_id, s.connection_id, s.stream limit 1) n)
  select due.branch, w.workspace_id, due.connection_id from following w cross join lateral (
    (select 0::bigint as branch, s.connection_id from sluice.stream s
     left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = s.workspace_id
       and h.name = 'connection/' || s.connection_id and h.expires_at > now() offset 0) lease on true
     where s.workspace_id = w.workspace_id and s.enabled and s.mode = 'changes' and s.next_run_at <= now()
       and lease.held is null and s.connection_id <> all ($1) order by s.next_run_at limit $2)
    union all
    (select 1, s.connection_id from sluice.stream s
     left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = s.workspace_id
       and h.name = 'connection/' || s.connection_id and h.expires_at > now() offset 0) lease on true
     where s.workspace_id = w.workspace_id and s.enabled and s.mode <> 'changes' and s.next_run_at <= now()
       and lease.held is null and s.connection_id <> all ($1) order by s.next_run_at limit $2)) due)"};

// One probe a type of a connection that has any.
const pg::Statement kDueRefetchByType{"due_refetch_by_type", R"(
  with recursive following as (
    (select workspace_id, connection_id, type from sluice.refetch
     order by workspace_id, connection_id, type, external_id limit 1)
    union all
    select n.workspace_id, n.connection_id, n.type from following w cross join lateral (
      select f.workspace_id, f.connection_id, f.type from sluice.refetch f
      where (f.workspace_id, f.connection_id, f.type) > (w.workspace_id, w.connection_id, w.type)
      order by f.workspace_id, f.connection_id, f.type, f.external_id limit 1) n)
  select w.workspace_id, w.connection_id from following w
  left join lateral (select true as held from sluice.lease_hold h where h.workspace_id = w.workspace_id
    and h.name = 'connection/' || w.connection_id and h.expires_at > now() offset 0) lease on true
  left join lateral (select true as paused from sluice.refetch_pause p where p.workspace_id = w.workspace_id
    and p.connection_id = w.connection_id and p.type in ('', w.type) and p.until > now() limit 1 offset 0) lane on true
  cross join lateral (
    (select 1 from sluice.refetch f where f.workspace_id = w.workspace_id and f.connection_id = w.connection_id
       and f.type = w.type and f.attempts = 0 and f.not_before <= now() order by f.not_before limit 1)
    union all
    (select 1 from sluice.refetch f where f.workspace_id = w.workspace_id and f.connection_id = w.connection_id
       and f.type = w.type and f.attempts > 0 and f.not_before <= now() order by f.not_before limit 1)) due
  where lease.held is null and lane.paused is null)"};

/// Connections in the order in which they were first met, each once.
class Found {
 public:
  void add(WorkspaceId workspace, ConnectionId connection, bool changes) {
    const auto [place, is_new] = place_.emplace(std::pair(workspace, connection), all_.size());
    if (is_new) {
      DueConnection& made = all_.emplace_back();
      made.workspace = workspace;
      made.connection = connection;
    }
    DueConnection& one = all_[place->second];
    (changes ? one.changes : one.loads) = true;
  }
  [[nodiscard]] std::vector<DueConnection> take() { return std::move(all_); }

 private:
  std::map<std::pair<WorkspaceId, ConnectionId>, std::size_t> place_;
  std::vector<DueConnection> all_;
};

}  // namespace

Task<std::vector<DueConnection>> DueWork::look(std::vector<ConnectionId> skip) {
  pg::Array skipped(pg::Oid::int8);
  for (const ConnectionId connection : skip) skipped.add(connection.value);
  const auto left_out = [&skip](ConnectionId connection) {
    return std::find(skip.begin(), skip.end(), connection) != skip.end();
  };
  Found found;
  bool all = true;
  const auto streams = co_await pool_.query(kDueStreams, pg::Params(skipped, kStreamsMax));
  std::array<std::int64_t, 4> rows{};
  for (int row = 0; row < streams.rows(); ++row) {
    const auto branch = streams.get<std::int64_t>(row, 0);
    const bool changes = branch == kChanges || branch == kDisconnect;
    found.add(streams.get<WorkspaceId>(row, 1), streams.get<ConnectionId>(row, 2), changes);
    if (++rows.at(static_cast<std::size_t>(branch)) >= kStreamsMax) all = false;
  }
  const auto refetch = co_await pool_.query(kDueRefetch, pg::Params(kRefetchMax));
  std::int64_t ids = 0;
  for (int row = 0; row < refetch.rows(); ++row) {
    ids += refetch.get<std::int64_t>(row, 2);
    const auto connection = refetch.get<ConnectionId>(row, 1);
    if (!refetch.get<bool>(row, 3) || left_out(connection)) continue;
    found.add(refetch.get<WorkspaceId>(row, 0), connection, true);
  }
  const auto now = clock_.steady();
  if ((all && ids < kRefetchMax) || (probed_at_ != std::chrono::steady_clock::time_point::min() &&
                                     now - probed_at_ < again_after_))
    co_return found.take();
  probed_at_ = now;
  const auto probed = co_await pool_.query(kDueByWorkspace, pg::Params(skipped, kOfWorkspaceMax));
  for (int row = 0; row < probed.rows(); ++row) {
    found.add(probed.get<WorkspaceId>(row, 1), probed.get<ConnectionId>(row, 2),
              probed.get<std::int64_t>(row, 0) == kChanges);
  }
  const auto lanes = co_await pool_.query(kDueRefetchByType);
  for (int row = 0; row < lanes.rows(); ++row) {
    const auto connection = lanes.get<ConnectionId>(row, 1);
    if (!left_out(connection)) found.add(lanes.get<WorkspaceId>(row, 0), connection, true);
  }
  co_return found.take();
}

std::vector<DueConnection> in_turn(std::vector<DueConnection> due,
                                   const std::function<bool(WorkspaceId, WorkspaceId)>& precedes) {
  std::map<WorkspaceId, std::vector<DueConnection>> by_workspace;
  std::vector<WorkspaceId> order;
  for (const DueConnection& one : due) {
    std::vector<DueConnection>& of = by_workspace[one.workspace];
    if (of.empty()) order.push_back(one.workspace);
    of.push_back(one);
  }
  std::stable_sort(order.begin(), order.end(), precedes);
  std::vector<DueConnection> turns;
  turns.reserve(due.size());
  for (std::size_t round = 0; turns.size() < due.size(); ++round) {
    for (const WorkspaceId workspace : order) {
      const std::vector<DueConnection>& of = by_workspace[workspace];
      if (round < of.size()) turns.push_back(of[round]);
    }
  }
  return turns;
}

}  // namespace sluice::sync
