#include "sync/retention.hpp"

#include "sync/import_run.hpp"

#include <iterator>

namespace sluice::sync {
namespace {

using work::Batch;
using work::Item;

constexpr std::int64_t kEverySeconds = 3600;  ///< when the task does not say

/// Rows are named by where they are, within the transaction that looked: nobody changes them any
/// more. Ended and old, behind ($2, $3), and whether enough younger ones of its stream stay. Those
/// that do not go are passed over by the next batch: kRunsKept of a stream at most. Imports go by
/// their age alone.
const pg::Statement kOldRuns{"retention_old_runs", R"(
  select r.run_id, r.started_at, r.ctid::text,
         r.connection_id is null or r.run_id < (select n.run_id from sluice.sync_run n
                     where n.workspace_id = $1 and n.connection_id = r.connection_id and n.stream = r.stream
                     order by n.run_id desc offset $6 limit 1) is true
  from sluice.sync_run r
  where r.workspace_id = $1 and r.finished_at is not null
    and (r.started_at, r.run_id) > ($2, $3)
    and r.started_at < now() - $4 * interval '1 day'
  order by r.started_at, r.run_id limit $5)"};
const pg::Statement kForgetRuns{"retention_forget_runs", R"(
  delete from sluice.sync_run where ctid = any ($2::text[]::tid[]) and workspace_id = $1)"};

const pg::Statement kForgetAudit{"retention_forget_audit", R"(
  delete from sluice.audit where ctid = any (array(
    select ctid from sluice.audit where workspace_id = $1 and at < now() - $2 * interval '1 day'
    order by at, audit_id limit $3)))"};
const pg::Statement kForgetWork{"retention_forget_work", R"(
  delete from sluice.work where ctid = any (array(
    select ctid from sluice.work
    where workspace_id = $1 and state = 'done' and finished_at < now() - $2 * interval '1 day'
    order by finished_at, work_id limit $3)))"};

struct Table {
  const pg::Statement* forget;
  std::chrono::days Retention::*kept;
};
/// What goes by its age alone.
constexpr Table kTables[] = {{&kForgetAudit, &Retention::audit}, {&kForgetWork, &Retention::work}};

class ApplyRetention final : public work::Kind {
 public:
  explicit ApplyRetention(Retention kept) : kept_(kept) {}

  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    (void)connection;
    Batch batch;
    batch.progress = item.progress;
    const auto table = item.progress.value("table", std::size_t{0});
    if (!item.progress.value("runs_gone", false)) {
      co_await runs(fenced, item, batch);
    } else if (table < std::size(kTables)) {
      co_await rows(fenced, item, kTables[table], batch);
    } else {
      batch.done = true;
      batch.again_in =
          std::chrono::seconds(item.task.value("every_seconds", std::int64_t{kEverySeconds}));
    }
    co_return batch;
  }

 private:
  Task<void> runs(pg::Fenced& fenced, const Item& item, Batch& batch) const {
    const bool for_ever = kept_.runs.count() == 0;
    pg::Params silent(item.workspace, std::int64_t{kImportSilence.count()});
    co_await fenced.query(kEndLostImports, std::move(silent));
    if (!for_ever) batch.items = co_await forget_runs(fenced, item, batch);
    if (for_ever || batch.items < kForgottenAtOnce) batch.progress["runs_gone"] = true;
  }

  /// How many were looked at; the last of them is where the next batch begins.
  Task<std::int64_t> forget_runs(pg::Fenced& fenced, const Item& item, Batch& batch) const {
    pg::Params params(item.workspace, Micros(item.progress.value("after", std::int64_t{0})),
                      item.progress.value("run", std::int64_t{0}), std::int64_t{kept_.runs.count()},
                      std::int64_t{kForgottenAtOnce}, std::int64_t{kRunsKept - 1});
    const auto old = co_await fenced.query(kOldRuns, std::move(params));
    pg::Array doomed(pg::Oid::text);
    for (int row = 0; row < old.rows(); ++row)
      if (old.get<bool>(row, 3)) doomed.add(old.text(row, 2));
    if (old.empty()) co_return 0;
    batch.progress["after"] = old.get<Micros>(old.rows() - 1, 1).count();
    batch.progress["run"] = old.get<std::int64_t>(old.rows() - 1, 0);
    pg::Params those(item.workspace, std::move(doomed));
    co_await fenced.query(kForgetRuns, std::move(those));
    co_return old.rows();
  }

  Task<void> rows(pg::Fenced& fenced, const Item& item, const Table& table, Batch& batch) const {
    const std::int64_t days = (kept_.*table.kept).count();
    if (days > 0) {
      pg::Params params(item.workspace, days, std::int64_t{kForgottenAtOnce});
      const auto gone = co_await fenced.query(*table.forget, std::move(params));
      batch.items = gone.affected();
    }
    if (batch.items < kForgottenAtOnce)
      batch.progress["table"] = item.progress.value("table", std::size_t{0}) + 1;
  }

  Retention kept_;
};

}  // namespace

std::unique_ptr<work::Kind> retention_kind(Retention kept) {
  return std::make_unique<ApplyRetention>(kept);
}

}  // namespace sluice::sync
