#include "work/queue.hpp"

#include "base/exact_json.hpp"

namespace sluice::work {
namespace {

const pg::Statement kPut{"work_put", R"(
  insert into sluice.work (workspace_id, kind, subject, task, actor) values ($1, $2, $3, $4, $5)
  returning work_id)"};

const pg::Statement kShow{"work_show", R"(
  select work_id, kind, subject, state, items, attempts, coalesce(error::text, 'null'),
         (extract(epoch from created_at) * 1000000)::bigint, (extract(epoch from updated_at) * 1000000)::bigint
  from sluice.work
  where workspace_id = $1 and state = 'waiting' and (not task ? 'every_seconds' or attempts > 0)
  order by attempts = 0, kind, subject, work_id limit $2)"};

}  // namespace

Task<WorkId> put(pg::Transaction& transaction, WorkspaceId workspace, NewWork work) {
  pg::Params params(workspace, work.kind, work.subject, work.task, work.actor);
  const auto row = co_await transaction.query(kPut, std::move(params));
  co_return row.get<WorkId>(0, 0);
}

Task<std::vector<ShownWork>> list_open(pg::Pool& pool, WorkspaceId workspace) {
  const auto rows = co_await pool.query(kShow, pg::Params(workspace, kShownMax));
  std::vector<ShownWork> all;
  for (int row = 0; row < rows.rows(); ++row) {
    ShownWork& one = all.emplace_back();
    one.id = rows.get<WorkId>(row, 0);
    one.kind = rows.get<std::string>(row, 1);
    one.subject = rows.get<std::string>(row, 2);
    one.state = rows.get<std::string>(row, 3);
    one.items = rows.get<std::int64_t>(row, 4);
    one.attempts = rows.get<std::int64_t>(row, 5);
    one.error = stored_json(rows.text(row, 6));
    one.created_at = Micros(rows.get<std::int64_t>(row, 7));
    one.updated_at = Micros(rows.get<std::int64_t>(row, 8));
  }
  co_return all;
}

}  // namespace sluice::work
