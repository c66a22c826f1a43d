#include "sync/import_run.hpp"

#include <fmt/format.h>

namespace sluice::sync {
namespace {

const pg::Statement kBegin{"import_begin", R"(
  insert into sluice.sync_run (workspace_id, connection_id, stream, kind, actor, file, file_bytes, beat_at)
  values ($1, null, $2, 'import', $3, $4, $5, now()) returning run_id)"};

// What is said beside the transactions may come late.
const pg::Statement kSoFar{"import_so_far", R"(
  update sluice.sync_run set records = greatest(records, $3), inserted = greatest(inserted, $4),
    updated = greatest(updated, $5), unchanged = greatest(unchanged, $6),
    quarantined = greatest(quarantined, $7), bytes = greatest(bytes, $8),
    file_line = greatest(file_line, nullif($9::bigint, 0)), beat_at = now()
  where workspace_id = $1 and run_id = $2)"};

// Where the answer to a commit was lost, the run knows more than who ends it.
const pg::Statement kEnd{"import_end", R"(
  update sluice.sync_run set records = greatest(records, $3), inserted = greatest(inserted, $4),
    updated = greatest(updated, $5), unchanged = greatest(unchanged, $6), quarantined = greatest(quarantined, $7),
    bytes = greatest(bytes, $8), file_line = greatest(file_line, nullif($9::bigint, 0)), beat_at = now(),
    finished_at = now(), outcome = $10, error = $11::jsonb
  where workspace_id = $1 and run_id = $2)"};

pg::Params counts(WorkspaceId workspace, RunId run, const model::ImportProgress& progress) {
  return pg::Params(workspace, run, progress.rows, progress.inserted, progress.updated,
                    progress.unchanged, progress.rejected, progress.bytes, progress.line);
}

}  // namespace

const pg::Statement kEndLostImports{"import_end_lost", R"(
  update sluice.sync_run set finished_at = now(), outcome = 'lost'
  where workspace_id = $1 and kind = 'import' and finished_at is null
    and beat_at < now() - $2 * interval '1 minute')"};

Task<RunId> begin_import(pg::Pool& pool, WorkspaceId workspace, const Actor& actor,
                         ImportFile file) {
  pg::Params params(workspace, file.type, actor.name(), file.name.substr(0, kImportFileNameMax),
                    file.bytes);
  const auto made = co_await pool.query(kBegin, std::move(params));
  co_return made.get<RunId>(0, 0);
}

pg::Call import_so_far(WorkspaceId workspace, RunId run, const model::ImportProgress& progress) {
  pg::Call call;
  call.statement = &kSoFar;
  call.params = counts(workspace, run, progress);
  return call;
}

Task<void> end_import(pg::Pool& pool, WorkspaceId workspace, RunId run,
                      const model::ImportProgress& progress, std::optional<Error> failure) {
  std::optional<nlohmann::json> why;
  if (failure) {
    why = nlohmann::json::object();
    (*why)["class"] = failure->code;
    (*why)["message"] = failure->message;
  }
  pg::Params params = counts(workspace, run, progress);
  params.add(failure ? "failed" : "done");
  if (why) {
    params.add(*why);
  } else {
    params.add(std::optional<std::string>());
  }
  co_await pool.query(kEnd, std::move(params));
}

}  // namespace sluice::sync
