#include "sync/refetch_work.hpp"

#include <algorithm>
#include <utility>

#include "base/log.hpp"

namespace sluice::sync {
namespace {

using contract::FailureClass;

constexpr std::int64_t kPauseMsFirst = 5'000;
constexpr std::int64_t kPauseMsMax = 600'000;
constexpr std::int64_t kPersonMs = 300'000;  ///< only a person can mend it
constexpr std::int64_t kAskedMsMax = 3'600'000;
constexpr std::int64_t kDoublingsMax = 8;

// One probe a type that is on the list, and one for each kind of due ids of it.
const pg::Statement kTypes{"refetch_types", R"(
  with recursive listed as (
    (select type from sluice.refetch where workspace_id = $1 and connection_id = $2
     order by type, external_id limit 1)
    union all
    select n.type from listed l cross join lateral (
      select f.type from sluice.refetch f
      where f.workspace_id = $1 and f.connection_id = $2 and f.type > l.type
      order by f.type, f.external_id limit 1) n)
  select l.type, fresh.due is not null, again.due is not null, coalesce(own.failures, 0), coalesce(lane.failures, 0)
  from listed l
  left join lateral (select true as due from sluice.refetch f
    where f.workspace_id = $1 and f.connection_id = $2 and f.type = l.type and f.attempts = 0
      and f.not_before <= now() order by f.not_before limit 1) fresh on true
  left join lateral (select true as due from sluice.refetch f
    where f.workspace_id = $1 and f.connection_id = $2 and f.type = l.type and f.attempts > 0
      and f.not_before <= now() order by f.not_before limit 1) again on true
  left join lateral (select p.failures, p.until from sluice.refetch_pause p
    where p.workspace_id = $1 and p.connection_id = $2 and p.type = l.type offset 0) own on true
  left join lateral (select p.failures, p.until from sluice.refetch_pause p
    where p.workspace_id = $1 and p.connection_id = $2 and p.type = '' offset 0) lane on true
  where (fresh.due or again.due) and coalesce(own.until <= now(), true) and coalesce(lane.until <= now(), true)
  order by l.type limit 1000)"};

const pg::Statement kFresh{"refetch_fresh", R"(
  select external_id, generation, observed_at, coalesce(for_run, 0) from sluice.refetch
  where workspace_id = $1 and connection_id = $2 and type = $3 and attempts = 0 and not_before <= now()
  order by not_before limit $4)"};

// The other end of them: ids that fail often lie together, and one end alone would not get past
// them.
const pg::Statement kFreshLast{"refetch_fresh_last", R"(
  select external_id, generation, observed_at, coalesce(for_run, 0) from sluice.refetch
  where workspace_id = $1 and connection_id = $2 and type = $3 and attempts = 0 and not_before <= now()
  order by not_before desc limit $4)"};

const pg::Statement kAgain{"refetch_again", R"(
  select external_id, generation, observed_at, coalesce(for_run, 0) from sluice.refetch
  where workspace_id = $1 and connection_id = $2 and type = $3 and attempts > 0 and not_before <= now()
  order by not_before limit $4)"};

// Where a notice came meanwhile, the try was of the state before it: the id stays as due as it is.
const pg::Statement kFailed{"refetch_failed", R"(
  update sluice.refetch set attempts = attempts + 1, reason = $5,
         not_before = now() + least(3600, 5 * power(2, least(attempts, 10))) * interval '1 second'
  where workspace_id = $1 and connection_id = $2 and type = $3 and external_id = any ($4::text[])
    and generation = ($6::bigint[])[array_position($4::text[], external_id::text)])"};

const pg::Statement kPause{"refetch_pause", R"(
  insert into sluice.refetch_pause as p (workspace_id, connection_id, type, until, error_class, reason)
  values ($1, $2, $3, now() + $4 * interval '1 millisecond', $5, $6)
  on conflict (workspace_id, connection_id, type) do update set failures = p.failures + 1,
    until = excluded.until, error_class = excluded.error_class, reason = excluded.reason
  where p.error_class <> 'HELD')"};

const pg::Statement kGoOn{"refetch_go_on", R"(
  delete from sluice.refetch_pause
  where workspace_id = $1 and connection_id = $2 and type in ('', $3) and error_class <> 'HELD')"};

/// What one object cannot be to blame for.
bool is_lane_wide(FailureClass failure) {
  return failure == FailureClass::rate_limited || failure == FailureClass::auth ||
         failure == FailureClass::config;
}

/// 5, 10, 20 … seconds, ten minutes at most, or what the vendor asked for, up to an hour; and up to
/// a quarter more, as the dice say.
std::int64_t pause_ms(std::int64_t failures, std::int64_t least_ms, Entropy& entropy) {
  const std::int64_t doubled =
      std::min(kPauseMsMax, kPauseMsFirst << std::min(failures, kDoublingsMax));
  const std::int64_t whole = std::max(doubled, std::min(least_ms, kAskedMsMax));
  return whole + entropy.below(static_cast<std::uint32_t>(whole / 4 + 1));
}

RefetchBatch part_of(const RefetchBatch& batch, std::size_t from, std::size_t to) {
  RefetchBatch part;
  part.type = batch.type;
  part.ids.assign(batch.ids.begin() + static_cast<std::ptrdiff_t>(from),
                  batch.ids.begin() + static_cast<std::ptrdiff_t>(to));
  return part;
}

void add_halves(std::deque<RefetchBatch>& parts, const RefetchBatch& batch) {
  const std::size_t middle = batch.ids.size() / 2;
  if (middle > 0) parts.push_back(part_of(batch, 0, middle));
  if (middle < batch.ids.size()) parts.push_back(part_of(batch, middle, batch.ids.size()));
}

}  // namespace

RefetchLane::RefetchLane(pg::Pool& pool, Entropy& entropy, WorkspaceId workspace,
                         ConnectionId connection, Fetch fetch, Write write,
                         std::function<bool()> go_on)
    : pool_(pool),
      entropy_(entropy),
      workspace_(workspace),
      connection_(connection),
      fetch_(std::move(fetch)),
      write_(std::move(write)),
      go_on_(std::move(go_on)) {}

Task<bool> RefetchLane::is_due() {
  const std::vector<DueType> due = co_await read_due();
  co_return !due.empty();
}

Task<std::vector<RefetchLane::DueType>> RefetchLane::read_due() {
  const auto rows = co_await pool_.query(kTypes, pg::Params(workspace_, connection_));
  std::vector<DueType> due;
  for (int row = 0; row < rows.rows(); ++row) {
    DueType& type = due.emplace_back();
    type.name = rows.get<std::string>(row, 0);
    type.fresh = rows.get<bool>(row, 1);
    type.again = rows.get<bool>(row, 2);
    type.failures = rows.get<std::int64_t>(row, 3);
    type.lane_failures = rows.get<std::int64_t>(row, 4);
  }
  co_return due;
}

Task<void> RefetchLane::run() {
  stopped_ = false;
  while (!stopped_ && go_on_()) {
    const std::vector<DueType> due = co_await read_due();
    if (due.empty()) co_return;
    const auto next = std::find_if(due.begin(), due.end(),
                                   [this](const DueType& one) { return one.name > last_type_; });
    DueType type = next == due.end() ? due.front() : *next;
    co_await serve(std::move(type));
  }
}

Task<void> RefetchLane::serve(DueType type) {
  const bool trial = suspect_ || type.failures > 0 || type.lane_failures > 0;
  const bool again = type.again && (!type.fresh || (last_was_fresh_ && !trial));
  last_type_ = type.name;
  last_was_fresh_ = !again;
  if (trial) from_the_end_ = (type.failures + type.lane_failures) % 2 == 1 ? kBatchesFromTheEnd : 0;
  const std::size_t limit = trial ? 1 : again ? again_size_ : kBatch;
  RefetchBatch batch = co_await read_batch(type, again, static_cast<std::int64_t>(limit));
  if (batch.ids.empty() || !go_on_()) co_return;
  if (again) {
    co_await serve_again(std::move(type), std::move(batch));
  } else {
    co_await serve_fresh(std::move(type), std::move(batch), trial);
  }
}

Task<RefetchBatch> RefetchLane::read_batch(const DueType& type, bool again, std::int64_t limit) {
  pg::Params params(workspace_, connection_, std::string_view(type.name), limit);
  const pg::Statement& statement = again ? kAgain : from_the_end_ > 0 ? kFreshLast : kFresh;
  const auto rows = co_await pool_.query(statement, std::move(params));
  RefetchBatch batch;
  batch.type = type.name;
  for (int row = 0; row < rows.rows(); ++row) {
    RefetchId& id = batch.ids.emplace_back();
    id.external_id = rows.get<std::string>(row, 0);
    id.generation = rows.get<std::int64_t>(row, 1);
    id.observed_at = rows.get<std::optional<Micros>>(row, 2);
    id.for_run = rows.get<RunId>(row, 3);
  }
  co_return batch;
}

Task<RefetchLane::Went> RefetchLane::attempt(const DueType& type, RefetchBatch batch) {
  const SessionEnd end = co_await fetch_(batch);
  if (end.done()) {
    in_a_row_ = 0;
    suspect_ = false;
    if (type.failures > 0 || type.lane_failures > 0) {
      pg::Params mended(workspace_, connection_, std::string_view(type.name));
      co_await write_(kGoOn, std::move(mended));
    }
    if (end.left_some_out) {
      failure_ = contract::ConnectorFailure();
      failure_.failure_class = FailureClass::bad_data;
      failure_.message =
          end.not_believed > 0
              ? "the vendor's answer may have been cut, since it says nowhere where it ends: what "
                "it lacks is not taken for deleted"
              : "the connector said nothing of it: FETCH answers each id with a record, or with a "
                "deletion";
      co_await blame(batch);  // of those that are still on the list
    }
    co_return Went::well;
  }
  failure_ = *end.failure;
  if (failure_.failure_class == FailureClass::cancelled) {
    stopped_ = true;  // ours to stop; the ids are as due as before
    co_return Went::cancelled;
  }
  if (!is_lane_wide(failure_.failure_class)) co_return Went::badly;
  const bool person = failure_.failure_class != FailureClass::rate_limited;
  const std::int64_t least_ms = person ? kPersonMs : failure_.retry_after_ms;
  std::string all_types;
  co_await write_pause(std::move(all_types), type.lane_failures, least_ms);
  co_return Went::lane_wide;
}

Task<void> RefetchLane::serve_fresh(DueType type, RefetchBatch batch, bool trial) {
  const Went went = co_await attempt(type, batch);
  // Where it went well it goes on, from that end, for so long that what came first does not starve.
  from_the_end_ = went == Went::badly ? 0 : std::max(0, from_the_end_ - 1);
  if (went != Went::badly) co_return;
  if (batch.ids.size() > 1) {
    co_await find_bad_ids(std::move(type), std::move(batch));
    co_return;
  }
  co_await blame(batch);
  if (trial || ++in_a_row_ >= kFailuresInARow) co_await pause(type);
}

// They are known to fail, and failed as expected; but a vendor that is down fails them all.
Task<void> RefetchLane::serve_again(DueType type, RefetchBatch batch) {
  const Went went = co_await attempt(type, batch);
  if (went == Went::well) again_size_ = std::min(kBatch, again_size_ * 2);
  if (went != Went::badly) co_return;
  again_size_ = 1;
  if (batch.ids.size() > 1) co_return;  // next time alone
  co_await blame(batch);
  const bool vendor = failure_.failure_class == FailureClass::upstream_transient;
  if (type.failures > 0 || (vendor && (suspect_ || ++in_a_row_ >= kFailuresInARow)))
    co_await pause(type);
}

Task<void> RefetchLane::find_bad_ids(DueType type, RefetchBatch batch) {
  bool any_went_well = false;
  for (const std::size_t at : {std::size_t{0}, batch.ids.size() - 1}) {
    if (!go_on_()) co_return;
    const RefetchBatch one = part_of(batch, at, at + 1);
    const Went went = co_await attempt(type, one);
    if (went == Went::lane_wide || went == Went::cancelled) co_return;
    any_went_well = went == Went::well;
    if (went == Went::badly) co_await blame(one);
    if (any_went_well) {
      RefetchBatch rest = part_of(batch, 1, batch.ids.size() - (at == 0 ? 0 : 1));
      std::deque<RefetchBatch> parts;
      add_halves(parts, rest);
      co_await halve(std::move(type), std::move(parts));
      co_return;
    }
  }
  co_await pause(type);
}

Task<void> RefetchLane::halve(DueType type, std::deque<RefetchBatch> parts) {
  int in_a_row = 0;
  while (!parts.empty() && go_on_()) {
    const RefetchBatch part = std::move(parts.front());
    parts.pop_front();
    const Went went = co_await attempt(type, part);
    if (went == Went::lane_wide || went == Went::cancelled) co_return;
    if (went == Went::well) {
      in_a_row = 0;
      continue;
    }
    if (part.ids.size() > 1) {
      add_halves(parts, part);
    } else {
      co_await blame(part);
    }
    if (++in_a_row < kPartsInARow) continue;
    co_await pause(type);
    co_return;
  }
}

Task<void> RefetchLane::blame(const RefetchBatch& batch) {
  pg::Array ids(pg::Oid::text);
  pg::Array generations(pg::Oid::int8);
  for (const RefetchId& one : batch.ids) {
    ids.add(std::string_view(one.external_id));
    generations.add(one.generation);
  }
  pg::Params failed(workspace_, connection_, std::string_view(batch.type), std::move(ids),
                    std::string_view(failure_.message));
  failed.add(std::move(generations));
  co_await write_(kFailed, std::move(failed));
}

Task<void> RefetchLane::pause(const DueType& type) {
  in_a_row_ = 0;
  const bool lane = suspect_ && failure_.failure_class == FailureClass::upstream_transient;
  suspect_ = true;
  std::string of;
  if (!lane) of = type.name;
  const std::int64_t failures = lane ? type.lane_failures : type.failures;
  co_await write_pause(std::move(of), failures, 0);
}

Task<void> RefetchLane::write_pause(std::string type, std::int64_t failures,
                                    std::int64_t least_ms) {
  const std::int64_t ms = pause_ms(failures, least_ms, entropy_);
  log::warning("sync.refetch.paused", {{"connection_id", connection_.value},
                                       {"type", type},
                                       {"pause_ms", ms},
                                       {"class", contract::to_string(failure_.failure_class)},
                                       {"message", failure_.message}});
  pg::Params params(workspace_, connection_, std::string_view(type), ms,
                    contract::to_string(failure_.failure_class),
                    std::string_view(failure_.message));
  co_await write_(kPause, std::move(params));
}

}  // namespace sluice::sync
