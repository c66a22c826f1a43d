// Sync runs: what each did, how long it took, how it ended.
#include "api/api.hpp"
#include "base/exact_json.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::int64_t kRunsPage = 50;
constexpr std::int64_t kRunsPageMax = 1000;
/// A page with a filter looks at so many runs and then says where it got to, so that no question
/// reads the whole history.
constexpr std::int64_t kRunsExaminedMax = 5000;

constexpr std::string_view kRunColumns = R"(
  r.run_id, c.name, r.stream, r.kind,
  coalesce(r.outcome, case when r.kind = 'import' and r.beat_at < now() - interval '10 minutes' then 'lost'
    else 'running' end),
  (extract(epoch from r.started_at) * 1000000)::bigint,
  (extract(epoch from r.finished_at) * 1000000)::bigint,
  (extract(epoch from coalesce(r.finished_at, clock_timestamp()) - r.started_at) * 1000)::bigint,
  r.error::text, r.pages, r.requests, r.bytes, r.records, r.inserted, r.updated, r.unchanged, r.deleted,
  r.quarantined, r.notices, r.older, r.actor, r.file, r.file_bytes, r.looked_up, r.found_gone, r.file_line)";
constexpr int kRunColumnCount = 26;

/// `examined` is a select of sync_run rows; $2 before, $3 how many to examine, $4 limit, $5 only
/// failed, $6 stream, $7 only those that did something, $8 the connection.
std::string paged(std::string_view examined) {
  return fmt::format(R"(
  with examined as materialized ({})
  select {}, e.examined, e.oldest
  from (select count(*) as examined, min(run_id) as oldest from examined) e
  left join lateral (
    select * from examined x
    where (not $5 or x.outcome in ('failed', 'lost')) and ($6::text is null or x.stream = $6)
      and (not $7 or x.outcome is distinct from 'done'
           or x.inserted + x.updated + x.deleted + x.quarantined + x.found_gone > 0)
    order by x.run_id desc limit $4) r on true
  left join sluice.connection c on c.workspace_id = r.workspace_id and c.connection_id = r.connection_id
  order by r.run_id desc)",
                     examined, kRunColumns);
}

const pg::Statement kOfWorkspace{"api_runs", paged(R"(
    select * from sluice.sync_run n
    where n.workspace_id = $1 and n.run_id < coalesce($2::bigint, 9223372036854775807)
    order by n.run_id desc limit $3)")};

// Each stream has its own range of the index; the newest of all of them are the newest.
const pg::Statement kOfConnection{"api_runs_of_connection", paged(R"(
    select n.* from (
        select s.stream from sluice.stream s where s.workspace_id = $1 and s.connection_id = $8
        union all select '') s
    cross join lateral (
      select * from sluice.sync_run o
      where o.workspace_id = $1 and o.connection_id = $8 and o.stream = s.stream
        and o.run_id < coalesce($2::bigint, 9223372036854775807) and ($6::text is null or s.stream = $6)
      order by o.run_id desc limit $3) n
    order by n.run_id desc limit $3)")};

const pg::Statement kOne{"api_run", fmt::format(R"(
  select {} from sluice.sync_run r
  left join sluice.connection c on c.workspace_id = r.workspace_id and c.connection_id = r.connection_id
  where r.workspace_id = $1 and r.run_id = $2)",
                                                kRunColumns)};

/// Its host is gone; `line` of the file is the last one that is done, 0: none.
std::string lost_import(std::int64_t line) {
  if (line == 0) return "its host ended before any row was stored; send the file again";
  return fmt::format(
      "its host ended in the middle: of the file everything up to line {} is done. Send it again; "
      "where the type has no unique attribute with --from-line {}, or these rows are there twice",
      line, line + 1);
}

/// How it ended and why, in words.
std::string cause(std::string_view outcome, const json& error, bool is_import, std::int64_t line) {
  if (outcome == "running") return "still running";
  if (outcome == "done") return is_import ? "stored to its end" : "read to its end";
  if (outcome == "lost" && is_import) return lost_import(line);
  if (outcome == "lost")
    return "it was broken off, when its host ended or lost its database; a later run went on from "
           "the "
           "last stored page";
  if (outcome == "cancelled") return "stopped by the host; a later run goes on from there";
  const std::string message = error.is_object() ? error.value("message", "") : "";
  const std::string failure_class = error.is_object() ? error.value("class", "") : "";
  if (message.empty()) return "failed without a word";
  return failure_class.empty() ? message : fmt::format("{}: {}", failure_class, message);
}

json run_json(const pg::QueryResult& rows, int row) {
  static constexpr std::array<const char*, 11> kCounts = {
      "pages",     "requests", "bytes",       "records", "inserted", "updated",
      "unchanged", "deleted",  "quarantined", "notices", "older"};
  json one;
  one["run"] = id_text(rows.get<RunId>(row, 0));
  const bool is_import = rows.is_null(row, 1);
  one["connection"] = is_import ? json(nullptr) : json(rows.get<std::string>(row, 1));
  one["stream"] = rows.get<std::string>(row, 2);
  one["kind"] = rows.get<std::string>(row, 3);
  one["outcome"] = rows.get<std::string>(row, 4);
  one["started_at"] = time_or_null(rows, row, 5);
  one["finished_at"] = time_or_null(rows, row, 6);
  one["duration_ms"] = rows.get<std::int64_t>(row, 7);
  const json error = rows.is_null(row, 8) ? json(nullptr) : stored_json(rows.text(row, 8));
  one["error"] = error;
  const std::int64_t line = rows.is_null(row, 25) ? 0 : rows.get<std::int64_t>(row, 25);
  one["cause"] = cause(rows.text(row, 4), error, is_import, line);
  if (is_import) {
    one["actor"] = rows.get<std::string>(row, 20);
    one["file"] = rows.get<std::string>(row, 21);
    one["file_bytes"] =
        rows.is_null(row, 22) ? json(nullptr) : json(rows.get<std::int64_t>(row, 22));
    one["file_line"] = line == 0 ? json(nullptr) : json(line);
  }
  if (one["kind"] == "reconcile") {
    one["looked_up"] = rows.get<std::int64_t>(row, 23);
    one["found_gone"] = rows.get<std::int64_t>(row, 24);
  }
  for (int i = 0; i < static_cast<int>(kCounts.size()); ++i)
    one[kCounts[static_cast<std::size_t>(i)]] = rows.get<std::int64_t>(row, 9 + i);
  return one;
}

Task<HttpResponse> page(Call& call, std::optional<ConnectionId> connection) {
  const std::int64_t limit = call.limit();
  const auto before = call.number("before");
  const bool only_failed = call.flag("failed");
  const std::optional<std::string> stream = call.http.parameter("stream");
  const bool busy = call.flag("did_something");
  const std::int64_t examine = only_failed || stream || busy ? kRunsExaminedMax : limit;
  pg::Params params(call.workspace, before, examine, limit, only_failed, stream);
  params.add(busy);
  if (connection) params.add(*connection);
  const auto rows = co_await call.services.pool.query(connection ? kOfConnection : kOfWorkspace,
                                                      std::move(params));
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    if (!rows.is_null(row, 0)) all.push_back(run_json(rows, row));
  }
  json document;
  document["next"] = nullptr;
  if (static_cast<std::int64_t>(all.size()) == limit) {
    document["next"] = all.back()["run"];
  } else if (rows.get<std::int64_t>(0, kRunColumnCount) == examine) {
    document["next"] = id_text(rows.get<RunId>(0, kRunColumnCount + 1));
  }
  document["runs"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> list(Call& call) { co_return co_await page(call, std::nullopt); }

Task<HttpResponse> list_of_connection(Call& call) {
  const ConnectionId connection = co_await connection_named(call, call.part("name"));
  co_return co_await page(call, connection);
}

Task<HttpResponse> show(Call& call) {
  const auto id = call.part_number("run");
  const auto no_run = [&] {
    return Failure(Error(ErrorKind::not_found, "run.unknown",
                         fmt::format("there is no run '{}'", call.part("run").substr(0, 100)),
                         "sluice runs"));
  };
  if (!id) throw no_run();
  const auto rows = co_await call.services.pool.query(kOne, pg::Params(call.workspace, *id));
  if (rows.empty()) throw no_run();
  co_return HttpResponse::json(run_json(rows, 0));
}

constexpr std::array kQuery = {limit_of(kRunsPage, kRunsPageMax),
                               Parameter{.name = "before",
                                         .says = "where to go on: the next of the page before",
                                         .kind = ParameterKind::id},
                               Parameter{.name = "stream", .says = "only of this stream"},
                               Parameter{.name = "failed",
                                         .says = "only those that failed or were lost",
                                         .kind = ParameterKind::flag},
                               Parameter{.name = "did_something",
                                         .says = "only those that stored, deleted or put aside "
                                                 "something, failed, or are under way",
                                         .kind = ParameterKind::flag}};

constexpr std::array<Route, 3> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/runs",
     .access = Access::reader,
     .operation = "listRuns",
     .summary = "Sync runs of all connections, newest first",
     .handler = list,
     .query = kQuery,
     .answer = "RunPage"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/runs/{run}",
     .access = Access::reader,
     .operation = "getRun",
     .summary = "One run with its counts and how it ended",
     .handler = show,
     .answer = "Run",
     .problems = "404 run.unknown"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/runs",
     .access = Access::reader,
     .operation = "listRunsOfConnection",
     .summary = "Sync runs of a connection, newest first",
     .handler = list_of_connection,
     .query = kQuery,
     .answer = "RunPage",
     .problems = "404 connection.unknown"},
}};

}  // namespace

std::span<const Route> run_routes() { return kRoutes; }

}  // namespace sluice::api
