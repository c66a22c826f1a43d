#include "work/runner.hpp"

#include <fmt/format.h>

#include <boost/system/system_error.hpp>

#include "base/error_json.hpp"
#include "base/exact_json.hpp"
#include "base/failpoint.hpp"
#include "base/log.hpp"

namespace sluice::work {
namespace {

using nlohmann::json;

constexpr std::int64_t kDueMax = 20;  ///< of each kind, of one look
constexpr std::int64_t kPauseSecondsMax = 300;

// Some of each kind: many of one keep no other waiting.
const pg::Statement kDue{"work_due", R"(
  select due.work_id, k.kind, due.subject, due.task::text, due.progress::text, due.actor, due.superseded
  from unnest($2::text[]) k(kind) cross join lateral (
    select w.work_id, w.subject, w.task, w.progress, w.actor, exists (select 1 from sluice.work l
      where l.workspace_id = $1 and l.kind = k.kind and l.subject = w.subject and l.work_id > w.work_id
        and l.state = 'waiting') as superseded
    from sluice.work w
    where w.workspace_id = $1 and w.kind = k.kind and w.state = 'waiting' and w.not_before <= now()
    order by w.subject, w.work_id limit $3) due
  order by k.kind, due.subject, due.work_id)"};

const pg::Statement kLater{"work_later", R"(
  select max(work_id) from sluice.work
  where workspace_id = $1 and kind = $2 and subject = $3 and work_id > $4 and state = 'waiting')"};

const pg::Statement kGoOn{"work_go_on", R"(
  update sluice.work set progress = $3, items = items + $4, attempts = 0, error = null, updated_at = now()
  where workspace_id = $1 and work_id = $2 and state = 'waiting')"};

const pg::Statement kDone{"work_done", R"(
  update sluice.work set state = 'done', progress = $3, items = items + $4, attempts = 0, error = null,
         updated_at = now(), finished_at = now()
  where workspace_id = $1 and work_id = $2 and state = 'waiting')"};

const pg::Statement kAgain{"work_again", R"(
  update sluice.work set progress = '{}', items = items + $3, attempts = 0, error = null, updated_at = now(),
         not_before = now() + $4 * interval '1 second'
  where workspace_id = $1 and work_id = $2 and state = 'waiting')"};

const pg::Statement kFailed{"work_failed", R"(
  update sluice.work set attempts = attempts + 1, error = $3, updated_at = now(),
         not_before = now() + least($4, power(2, least(attempts, 10))) * interval '1 second'
  where workspace_id = $1 and work_id = $2 and state = 'waiting'
  returning attempts)"};

void add_progress(pg::Pipeline& pipeline, const Item& item, const Batch& batch) {
  if (batch.done && batch.again_in) {
    pg::Params params(item.workspace, item.id, batch.items,
                      static_cast<std::int64_t>(batch.again_in->count()));
    pipeline.add(kAgain, std::move(params));
    return;
  }
  pg::Params params(item.workspace, item.id, batch.progress, batch.items);
  pipeline.add(batch.done ? kDone : kGoOn, std::move(params));
}

}  // namespace

Runner::Runner(pg::Pool& pool, std::map<std::string, std::unique_ptr<Kind>> kinds)
    : pool_(pool), kinds_(std::move(kinds)) {}

pg::Array Runner::kinds() const {
  pg::Array known(pg::Oid::text);
  for (const auto& [name, kind] : kinds_) known.add(std::string_view(name));
  return known;
}

Task<bool> Runner::run_once(pg::LeaseProof proof, std::function<bool()> go_on) {
  const WorkspaceId workspace = proof.workspace;
  pg::Pool::Lease connection = co_await pool_.acquire();
  pg::Params params(workspace, kinds(), kDueMax);
  const auto rows = co_await connection->query(kDue, std::move(params));
  for (int row = 0; row < rows.rows() && go_on(); ++row) {
    Item item;
    item.workspace = workspace;
    item.id = rows.get<WorkId>(row, 0);
    item.kind = rows.get<std::string>(row, 1);
    item.subject = rows.get<std::string>(row, 2);
    item.task = stored_json(rows.text(row, 3));
    item.progress = stored_json(rows.text(row, 4));
    item.actor = rows.get<std::string>(row, 5);
    item.superseded = rows.get<bool>(row, 6);
    co_await take_turn(*connection, std::move(item), proof, go_on);
  }
  co_return !rows.empty();
}

Task<void> Runner::take_turn(pg::Connection& connection, Item item, pg::LeaseProof proof,
                             std::function<bool()> go_on) {
  Kind& kind = *kinds_.at(item.kind);
  const auto until = std::chrono::steady_clock::now() + kTurn;
  std::optional<Error> trouble;
  try {
    bool more = true;
    while (more && go_on()) {
      more = co_await one_batch(connection, kind, item, proof);
      if (std::chrono::steady_clock::now() >= until) break;
    }
  } catch (const Failure& failure) {
    if (pg::is_lease_lost(failure.error()) || !connection.usable()) throw;
    trouble = failure.error();
  } catch (const boost::system::system_error&) {
    throw;  // told to end
  } catch (const std::exception& surprise) {
    trouble = Error(ErrorKind::internal, "work.surprise", surprise.what());
  }
  if (!trouble) co_return;
  if (connection.in_transaction()) co_await connection.query("rollback");
  co_await failed(connection, item, std::move(*trouble), std::move(proof));
}

Task<bool> Runner::one_batch(pg::Connection& connection, Kind& kind, Item& item,
                             const pg::LeaseProof& proof) {
  for (int refusal = 1;; ++refusal) {
    bool again = false;
    try {
      if (!item.superseded) co_await kind.before(connection, item);
      pg::Fenced fenced(connection, proof);
      pg::Params same(item.workspace, item.kind, item.subject, item.id);
      const auto later = co_await fenced.query(kLater, std::move(same));
      Batch batch;
      if (!later.is_null(0, 0)) {
        batch.done = true;
        batch.progress["superseded_by"] = later.get<std::int64_t>(0, 0);
      } else {
        batch = co_await kind.batch(connection, fenced, item);
      }
      SLUICE_FAILPOINT("work.before_commit");
      pg::Pipeline tail;
      add_progress(tail, item, batch);
      tail.append(std::move(batch.guards));
      tail.append(std::move(batch.last));
      co_await fenced.commit(std::move(tail));
      SLUICE_FAILPOINT("work.after_commit");
      item.progress = batch.progress;
      if (batch.done && !batch.again_in)
        log::info("work.done", {{"workspace", item.workspace.value},
                                {"work", item.id.value},
                                {"kind", item.kind},
                                {"subject", item.subject}});
      co_return !batch.done;
    } catch (const pg::QueryError& error) {
      again = connection.usable() && refusal < kRefusalsMax && kind.refused(error.sqlstate());
      if (!again) throw;
    }
    if (connection.in_transaction()) co_await connection.query("rollback");
  }
}

Task<void> Runner::failed(pg::Connection& connection, const Item& item, Error error,
                          pg::LeaseProof proof) {
  pg::Fenced fenced(connection, std::move(proof));
  pg::Params params(item.workspace, item.id, error_json(error), kPauseSecondsMax);
  const auto set = co_await fenced.query(kFailed, std::move(params));
  co_await fenced.commit();
  log::warning("work.failed", {{"workspace", item.workspace.value},
                               {"work", item.id.value},
                               {"kind", item.kind},
                               {"subject", item.subject},
                               {"error", error.describe()},
                               {"attempts", set.empty() ? 0 : set.get<std::int64_t>(0, 0)}});
}

}  // namespace sluice::work
