// Connections: make, check, sync, and how each of their streams is.
#include "api/api.hpp"

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

const pg::Statement kList{"api_connections", R"(
  select name, connector, state, state_reason, coalesce(vendor_account, ''), coalesce(account_name, ''), mode,
         egress::text, (extract(epoch from created_at) * 1000000)::bigint
  from sluice.connection where workspace_id = $1 and ($2::text is null or name = $2) order by name)"};

const pg::Statement kStreams{"api_streams", R"(
  select c.name, s.stream, s.mode, s.state, s.reason, coalesce(s.error_class, ''), s.snapshot_done, s.interval_seconds,
         s.records_total, s.vendor_total, s.consecutive_failures,
         (extract(epoch from s.next_run_at) * 1000000)::bigint,
         (extract(epoch from s.last_success_at) * 1000000)::bigint,
         r.records, r.pages, r.requests, r.quarantined,
         (extract(epoch from clock_timestamp() - r.started_at) * 1000)::bigint,
         (select count(*) from (select 1 from sluice.quarantine q where q.workspace_id = c.workspace_id
            and q.connection_id = c.connection_id and q.stream = s.stream limit 10000) q)
  from sluice.connection c join sluice.stream s using (workspace_id, connection_id)
  left join sluice.sync_run r on r.workspace_id = s.workspace_id and r.finished_at is null
    and r.connection_id = s.connection_id and r.stream = s.stream
  where c.workspace_id = $1 and ($2::text is null or c.name = $2)
  order by c.name, (s.mode <> 'changes'), s.stream)"};

const pg::Statement kPendingRefetch{"api_refetch", R"(
  select c.name, count(*), count(*) filter (where f.attempts > 0), coalesce(max(f.reason), '')
  from sluice.refetch f join sluice.connection c using (workspace_id, connection_id)
  where f.workspace_id = $1 group by c.name)"};

const pg::Statement kRuns{"api_runs", R"(
  select r.run_id, r.stream, r.kind, coalesce(r.outcome, 'running'), (extract(epoch from r.started_at) * 1000000)::bigint,
         (extract(epoch from r.finished_at) * 1000000)::bigint, r.pages, r.requests, r.bytes, r.records, r.inserted,
         r.updated, r.unchanged, r.deleted, r.quarantined, r.notices, r.error::text
  from sluice.sync_run r join sluice.connection c using (workspace_id, connection_id)
  where r.workspace_id = $1 and c.name = $2 and ($3::bigint is null or r.run_id < $3)
  order by r.run_id desc limit $4)"};

const pg::Statement kErrors{"api_errors", R"(
  select q.quarantine_id, c.name, q.stream, q.type, q.external_id, q.code, q.reason, q.times,
         (extract(epoch from q.last_seen_at) * 1000000)::bigint
  from sluice.quarantine q join sluice.connection c using (workspace_id, connection_id)
  where q.workspace_id = $1 and ($2::bigint is null or q.quarantine_id > $2)
  order by q.quarantine_id limit $3)"};

json time_or_null(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return nullptr;
  return to_rfc3339(Micros(rows.get<std::int64_t>(row, column)));
}

[[noreturn]] void no_connection(const Call& call) {
  throw Failure(Error(ErrorKind::not_found, "connection.unknown",
                      "there is no connection '" + call.part("name") + "'",
                      "sluice connection list"));
}

json check_json(const sync::CheckOutcome& outcome) {
  json document;
  document["account"] = {{"id", outcome.account_id}, {"name", outcome.account_name}};
  document["mode"] = outcome.mode;
  document["notes"] = outcome.notes;
  return document;
}

Task<json> connections_json(Call& call, std::optional<std::string> name) {
  const auto rows = co_await call.services.pool.query(kList, pg::Params(call.workspace, name));
  const auto streams =
      co_await call.services.pool.query(kStreams, pg::Params(call.workspace, name));
  const auto refetch =
      co_await call.services.pool.query(kPendingRefetch, pg::Params(call.workspace));
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    json one;
    one["name"] = rows.get<std::string>(row, 0);
    one["connector"] = rows.get<std::string>(row, 1);
    one["state"] = rows.get<std::string>(row, 2);
    one["reason"] = rows.get<std::string>(row, 3);
    one["account"] = {{"id", rows.get<std::string>(row, 4)},
                      {"name", rows.get<std::string>(row, 5)}};
    one["mode"] = rows.get<std::string>(row, 6);
    if (rows.text(row, 7) != "{}") one["egress"] = json::parse(rows.text(row, 7));
    one["created_at"] = time_or_null(rows, row, 8);
    one["refetch"] = {{"waiting", 0}, {"failing", 0}, {"reason", ""}};
    for (int at = 0; at < refetch.rows(); ++at) {
      if (refetch.text(at, 0) != rows.text(row, 0)) continue;
      one["refetch"] = {{"waiting", refetch.get<std::int64_t>(at, 1)},
                        {"failing", refetch.get<std::int64_t>(at, 2)},
                        {"reason", refetch.get<std::string>(at, 3)}};
    }
    one["streams"] = json::array();
    for (int at = 0; at < streams.rows(); ++at) {
      if (streams.text(at, 0) != rows.text(row, 0)) continue;
      json stream;
      stream["name"] = streams.get<std::string>(at, 1);
      stream["mode"] = streams.get<std::string>(at, 2);
      stream["state"] = streams.get<std::string>(at, 3);
      stream["reason"] = streams.get<std::string>(at, 4);
      stream["error_class"] = streams.get<std::string>(at, 5);
      stream["snapshot_done"] = streams.get<bool>(at, 6);
      stream["interval_seconds"] = streams.get<std::int64_t>(at, 7);
      stream["records_total"] = streams.get<std::int64_t>(at, 8);
      stream["vendor_total"] = streams.get<std::int64_t>(at, 9);
      stream["consecutive_failures"] = streams.get<std::int64_t>(at, 10);
      stream["next_run_at"] = time_or_null(streams, at, 11);
      stream["last_success_at"] = time_or_null(streams, at, 12);
      stream["quarantined"] = streams.get<std::int64_t>(at, 18);
      stream["run"] = nullptr;
      if (!streams.is_null(at, 13)) {
        stream["run"] = {{"records", streams.get<std::int64_t>(at, 13)},
                         {"pages", streams.get<std::int64_t>(at, 14)},
                         {"requests", streams.get<std::int64_t>(at, 15)},
                         {"quarantined", streams.get<std::int64_t>(at, 16)},
                         {"running_ms", streams.get<std::int64_t>(at, 17)}};
      }
      one["streams"].push_back(std::move(stream));
    }
    all.push_back(std::move(one));
  }
  co_return all;
}

Task<HttpResponse> list(Call& call) {
  json all = co_await connections_json(call, std::nullopt);
  json document;
  document["connections"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  const json found = co_await connections_json(call, call.part("name"));
  if (found.empty()) no_connection(call);
  co_return HttpResponse::json(found[0]);
}

Task<HttpResponse> create(Call& call) {
  json body = co_await call.body();
  only_fields(body, {"connector", "name", "config", "egress", "intervals", "secrets"});
  sync::NewConnection wanted;
  wanted.connector = required_text(body, "connector");
  wanted.name = required_text(body, "name");
  for (const char* member : {"config", "egress", "intervals", "secrets"}) {
    if (body.contains(member) && !body[member].is_object()) {
      bad_request("request.bad_field", std::string(member) + " must be an object");
    }
  }
  if (body.contains("config")) wanted.config = body["config"];
  if (body.contains("egress")) wanted.egress = body["egress"];
  if (body.contains("intervals")) {
    for (const auto& [stream, seconds] : body["intervals"].items()) {
      wanted.intervals.emplace(stream, whole_number(seconds, "intervals." + stream));
    }
  }
  if (body.contains("secrets")) {
    for (auto& [name, value] : body["secrets"].items()) {
      if (!value.is_string())
        bad_request("request.bad_field", "secrets." + name + " must be a string");
      wanted.secrets.emplace(name, vault::Secret::take(std::move(value.get_ref<std::string&>())));
    }
  }
  const std::string name = wanted.name;
  const sync::CheckOutcome outcome =
      expect(co_await call.services.connections.create(call.workspace, std::move(wanted)));
  json document = check_json(outcome);
  document["name"] = name;
  co_return HttpResponse::json(document, 201);
}

Task<HttpResponse> check(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {});
  co_return HttpResponse::json(check_json(
      expect(co_await call.services.connections.check(call.workspace, call.part("name")))));
}

Task<HttpResponse> set_secret(Call& call) {
  json body = co_await call.body();
  only_fields(body, {"value"});
  if (required_text(body, "value").size() > 65'536)
    bad_request("request.bad_field", "value is longer than 64 KiB");
  vault::Secret value = vault::Secret::take(std::move(body["value"].get_ref<std::string&>()));
  const sync::CheckOutcome outcome = expect(co_await call.services.connections.set_secret(
      call.workspace, call.part("name"), call.part("secret"), std::move(value)));
  co_return HttpResponse::json(check_json(outcome));
}

Task<HttpResponse> sync_now(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"streams", "full"});
  std::vector<std::string> streams;
  if (body.contains("streams")) {
    if (!body["streams"].is_array())
      bad_request("request.bad_field", "streams must be a list of names");
    for (const json& stream : body["streams"]) {
      if (!stream.is_string()) bad_request("request.bad_field", "streams must be a list of names");
      streams.push_back(stream.get<std::string>());
    }
  }
  if (body.contains("full") && !body["full"].is_boolean())
    bad_request("request.bad_field", "full must be true or false");
  const bool full = body.value("full", false);
  const auto asked = expect(co_await call.services.connections.request_sync(
      call.workspace, call.part("name"), std::move(streams), full));
  json document;
  document["streams"] = asked;
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> set_stream(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"interval_seconds"});
  if (!body.contains("interval_seconds")) {
    bad_request("request.missing_field", "the body needs \"interval_seconds\", a whole number");
  }
  const std::int64_t seconds = whole_number(body["interval_seconds"], "interval_seconds");
  expect(co_await call.services.connections.set_interval(call.workspace, call.part("name"),
                                                         call.part("stream"), seconds));
  co_return HttpResponse::json(body);
}

Task<HttpResponse> runs(Call& call) {
  const std::int64_t limit = call.limit(50, 1000);
  const auto before = call.number("before");
  const auto rows = co_await call.services.pool.query(
      kRuns, pg::Params(call.workspace, call.part("name"), before, limit));
  static constexpr std::array<const char*, 10> kCounts = {
      "pages",   "requests",  "bytes",   "records",     "inserted",
      "updated", "unchanged", "deleted", "quarantined", "notices"};
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    json one;
    one["run"] = rows.get<std::int64_t>(row, 0);
    one["stream"] = rows.get<std::string>(row, 1);
    one["kind"] = rows.get<std::string>(row, 2);
    one["outcome"] = rows.get<std::string>(row, 3);
    one["started_at"] = time_or_null(rows, row, 4);
    one["finished_at"] = time_or_null(rows, row, 5);
    for (int i = 0; i < 10; ++i)
      one[kCounts[static_cast<std::size_t>(i)]] = rows.get<std::int64_t>(row, 6 + i);
    one["error"] = rows.is_null(row, 16) ? json(nullptr) : json::parse(rows.text(row, 16));
    all.push_back(std::move(one));
  }
  if (all.empty()) {
    const auto known =
        co_await call.services.pool.query(kList, pg::Params(call.workspace, call.part("name")));
    if (known.empty()) no_connection(call);
  }
  json document;
  document["next"] = rows.rows() == limit ? all.back()["run"] : json(nullptr);
  document["runs"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> errors(Call& call) {
  const std::int64_t limit = call.limit(100, 1000);
  const auto after = call.number("after");
  const auto rows =
      co_await call.services.pool.query(kErrors, pg::Params(call.workspace, after, limit));
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    json one;
    one["id"] = rows.get<std::int64_t>(row, 0);
    one["connection"] = rows.get<std::string>(row, 1);
    one["stream"] = rows.get<std::string>(row, 2);
    one["type"] = rows.get<std::string>(row, 3);
    one["external_id"] = rows.get<std::string>(row, 4);
    one["code"] = rows.get<std::string>(row, 5);
    one["reason"] = rows.get<std::string>(row, 6);
    one["times"] = rows.get<std::int64_t>(row, 7);
    one["last_seen_at"] = time_or_null(rows, row, 8);
    all.push_back(std::move(one));
  }
  json document;
  document["next"] = rows.rows() == limit ? all.back()["id"] : json(nullptr);
  document["errors"] = std::move(all);
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 9> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/connections", Access::reader,
     "All connections with their streams", list},
    {"POST", "/v1/workspaces/{workspace}/connections", Access::admin,
     "Makes a connection {connector, name, config, secrets, intervals, egress} after checking it "
     "with the vendor",
     create},
    {"GET", "/v1/workspaces/{workspace}/connections/{name}", Access::reader,
     "One connection with its streams", show},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/check", Access::admin,
     "Asks the vendor again whether the key works", check},
    {"PUT", "/v1/workspaces/{workspace}/connections/{name}/secrets/{secret}", Access::admin,
     "A new value {value} of a secret; checked with the vendor", set_secret},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/sync", Access::admin,
     "Runs streams now {streams, full}; full reads everything again", sync_now},
    {"PATCH", "/v1/workspaces/{workspace}/connections/{name}/streams/{stream}", Access::admin,
     "Changes {interval_seconds}", set_stream},
    {"GET", "/v1/workspaces/{workspace}/connections/{name}/runs", Access::reader,
     "Sync runs, newest first; ?limit=&before=<next>", runs, "limit before"},
    {"GET", "/v1/workspaces/{workspace}/errors", Access::reader,
     "Records that could not be stored, and why; ?limit=&after=<next>", errors, "limit after"},
}};

}  // namespace

std::span<const Route> connection_routes() { return kRoutes; }

}  // namespace sluice::api
