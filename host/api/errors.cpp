// Everything that is not well in a workspace, in one list; and the answer to a blocked reconcile.
#include "api/status.hpp"
#include "api/words.hpp"
#include "feed/views.hpp"

#include <fmt/format.h>

#include <array>
#include <set>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::size_t kProblemsMax = 1000;  ///< in one answer; "truncated" says that there are more
constexpr std::int64_t kExaminedMax = 10'000;  ///< rows of a connection that are summed up
constexpr std::int64_t kRefetchTroubleAttempts = 3;
constexpr std::int64_t kSampleIds = 5;

const pg::Statement kQuarantine{"api_errors_quarantine", R"(
  select c.name, q.type, q.code, count(*), (array_agg(q.reason order by q.last_seen_at desc))[1],
         (extract(epoch from max(q.last_seen_at)) * 1000000)::bigint,
         (count(*) >= $2) as at_least
  from sluice.connection c cross join lateral (
    select * from sluice.quarantine n
    where n.workspace_id = c.workspace_id and n.connection_id = c.connection_id limit $2) q
  where c.workspace_id = $1
  group by c.name, q.type, q.code order by c.name, count(*) desc, q.type, q.code limit $3)"};

// What failed often waits longest: from the end of the index, where the late ones are.
const pg::Statement kRefetch{"api_errors_refetch", R"(
  select c.name, c.connector || '.' || f.type, f.reason, count(*), max(f.attempts),
         (array_agg(f.external_id order by f.attempts desc))[1:$4],
         (extract(epoch from min(f.not_before)) * 1000000)::bigint
  from sluice.connection c cross join lateral (
    select * from sluice.refetch n
    where n.workspace_id = c.workspace_id and n.connection_id = c.connection_id
    order by n.not_before desc limit $2) f
  where c.workspace_id = $1 and f.attempts >= $5
  group by c.name, c.connector, f.type, f.reason order by c.name, count(*) desc limit $3)"};

const pg::Statement kConnectionName{"api_connection_name", R"(
  select name from sluice.connection where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kIsStream{"api_is_stream", R"(
  select 1 from sluice.stream
  where workspace_id = $1 and connection_id = $2 and stream = $3)"};

struct Problems {
  json all = json::array();
  bool truncated = false;

  void add(json problem) {
    if (all.size() >= kProblemsMax) {
      truncated = true;
    } else {
      all.push_back(std::move(problem));
    }
  }
};

json problem_of(std::string_view kind, const json& connection, const json& subject,
                std::string_view code, const json& what, const json& action) {
  json one;
  one["kind"] = kind;
  one["connection"] = connection;
  one["subject"] = subject;
  one["code"] = code;
  one["count"] = 1;
  one["what"] = what;
  one["action"] = action;
  return one;
}

void add_streams(Problems& problems, const json& connection) {
  static const std::set<std::string> kUnwell = {"failing", "needs_action", "blocked", "overdue"};
  bool any = false;
  for (const json& stream : connection["streams"]) {
    const std::string health = stream["health"];
    if (!kUnwell.contains(health)) continue;
    any = true;
    const std::string error_class = stream["error_class"];
    json one = problem_of("stream", connection["name"], stream["name"],
                          health == "blocked" || error_class.empty() ? health : error_class,
                          stream["summary"], stream["action"]);
    one["count"] = std::max<std::int64_t>(1, stream["consecutive_failures"].get<std::int64_t>());
    problems.add(std::move(one));
  }
  const std::string state = connection["state"];
  // DEGRADED only sums up the streams, and lags behind them: when none of them is unwell, it is
  // over.
  if (any || (state != "FAILED" && state != "STALE")) return;
  problems.add(problem_of(
      "connection", connection["name"], connection["name"], state, connection["reason"],
      "ask the vendor again: sluice connection check " + connection["name"].get<std::string>()));
}

Task<void> add_connections(Call& call, Problems& problems) {
  StatusQuery query;
  query.limit = kConnectionsPageMax;
  for (bool more = true; more && !problems.truncated;) {
    const json page = co_await statuses(call, query);
    for (const json& connection : page) add_streams(problems, connection);
    more = static_cast<std::int64_t>(page.size()) == query.limit;
    if (more) query.after = page.back()["name"].get<std::string>();
  }
}

Task<void> add_quarantine(Call& call, Problems& problems) {
  pg::Params params(call.workspace, kExaminedMax, static_cast<std::int64_t>(kProblemsMax));
  const auto rows = co_await call.services.pool.query(kQuarantine, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto connection = rows.get<std::string>(row, 0);
    const auto code = rows.get<std::string>(row, 2);
    const auto count = rows.get<std::int64_t>(row, 3);
    const bool at_least = rows.get<bool>(row, 6);
    json one = problem_of(
        "quarantine", connection, rows.get<std::string>(row, 1), code,
        fmt::format("{}{} records are not stored as they came; the last: {}",
                    at_least ? "at least " : "", number_in_words(count), rows.text(row, 4)),
        fmt::format("look: sluice quarantine list --connection {0} --code {1}; mended? sluice "
                    "quarantine replay --connection {0} --code {1}",
                    connection, code));
    one["count"] = count;
    one["last_seen_at"] = time_or_null(rows, row, 5);
    problems.add(std::move(one));
  }
}

Task<void> add_refetch(Call& call, Problems& problems) {
  pg::Params params(call.workspace, kExaminedMax, static_cast<std::int64_t>(kProblemsMax),
                    kSampleIds, kRefetchTroubleAttempts);
  const auto rows = co_await call.services.pool.query(kRefetch, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto count = rows.get<std::int64_t>(row, 3);
    const auto attempts = rows.get<std::int64_t>(row, 4);
    json one = problem_of(
        "refetch", rows.get<std::string>(row, 0), rows.get<std::string>(row, 1), "refetch.failed",
        fmt::format("{} changed objects could not be read again (up to {} attempts), for example "
                    "{}: {}",
                    number_in_words(count), number_in_words(attempts), rows.text(row, 5),
                    rows.text(row, 2)),
        "they are tried again by themselves, with growing pauses; the reason says what is wrong");
    one["count"] = count;
    one["attempts"] = attempts;
    one["next_at"] = time_or_null(rows, row, 6);
    problems.add(std::move(one));
  }
}

/// SQL views that are not what the catalogue says.
Task<void> add_views(Call& call, Problems& problems) {
  auto connection = co_await call.services.pool.acquire();
  const model::CatalogPtr catalog = co_await model::load_catalog(*connection, call.workspace);
  const auto stale = co_await feed::stale_views(*connection, *catalog);
  for (const feed::StaleView& one : stale) {
    problems.add(problem_of("view", "", one.name, one.error.code, one.error.message,
                            one.error.hint.empty() ? "sluice view refresh" : one.error.hint));
  }
}

/// What this host itself cannot do: the database's disk is full, a connector's file is missing.
Task<void> add_troubles(Call& call, Problems& problems) {
  constexpr std::string_view kConnection = "connection/";
  for (const sync::Trouble& trouble : call.services.engine.troubles()) {
    if (trouble.workspace != call.workspace) continue;
    std::string connection;
    if (trouble.work.starts_with(kConnection)) {
      const std::int64_t id = std::stoll(trouble.work.substr(kConnection.size()));
      const auto named =
          co_await call.services.pool.query(kConnectionName, pg::Params(call.workspace, id));
      if (!named.empty()) connection = named.get<std::string>(0, 0);
    }
    const bool hangs = trouble.failures == 0;
    json one = problem_of("work", connection, connection.empty() ? trouble.work : connection,
                          hangs ? "work.hangs" : "work.failed", trouble.message,
                          trouble.action.empty() ? "it is tried again by itself, with growing "
                                                   "pauses; the host's log says more"
                                                 : trouble.action);
    one["count"] = std::max<std::int64_t>(1, trouble.failures);
    problems.add(std::move(one));
  }
}

Task<HttpResponse> list(Call& call) {
  Problems problems;
  co_await add_troubles(call, problems);
  co_await add_connections(call, problems);
  co_await add_refetch(call, problems);
  co_await add_quarantine(call, problems);
  co_await add_views(call, problems);
  json document;
  document["ok"] = problems.all.empty();
  document["truncated"] = problems.truncated;
  document["errors"] = std::move(problems.all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> decide(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"confirm"});
  if (!body.contains("confirm") || !body["confirm"].is_boolean()) {
    bad_request("request.missing_field", "the body needs \"confirm\", true or false",
                "true deletes here what is missing at the vendor, false keeps it");
  }
  const bool confirm = body["confirm"];
  const ConnectionId connection = co_await connection_named(call, call.part("name"));
  const auto stream = co_await call.services.pool.query(
      kIsStream, pg::Params(call.workspace, connection, call.part("stream")));
  if (stream.empty()) {
    throw Failure(Error(ErrorKind::not_found, "stream.unknown",
                        fmt::format("connection '{}' has no stream '{}'", call.part("name"),
                                    call.part("stream").substr(0, 100)),
                        "sluice status " + call.part("name")));
  }
  expect(co_await call.services.connections.confirm_reconcile(
      call.workspace, call.part("name"), call.part("stream"), confirm, call.actor()));
  json document;
  document["stream"] = call.part("stream");
  document["confirm"] = confirm;
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 2> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/errors", Access::reader,
     "Everything that is not well: host, streams, connections, refetch, quarantine, SQL views; "
     "each "
     "with what "
     "to do",
     list},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/streams/{stream}/reconcile",
     Access::admin, "Decides {confirm} whether what is missing at the vendor is deleted here, too",
     decide},
}};

}  // namespace

std::span<const Route> error_routes() { return kRoutes; }

}  // namespace sluice::api
