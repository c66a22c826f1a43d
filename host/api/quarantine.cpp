// Records that could not be stored: looked at, tried again, dismissed.
#include "api/api.hpp"
#include "base/exact_json.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::int64_t kQuarantinePage = 100;
constexpr std::int64_t kQuarantinePageMax = 1000;
/// A page with a filter looks at so many rows and then says where it got to.
constexpr std::int64_t kQuarantineExaminedMax = 10'000;
/// Of one replay or dismissal of many; the answer says whether there are more.
constexpr std::int64_t kQuarantineManyMax = 10'000;

constexpr std::string_view kColumns = R"(
  q.quarantine_id, c.name, q.stream, q.type, q.external_id, q.code, q.reason, q.times,
  (extract(epoch from q.first_seen_at) * 1000000)::bigint,
  (extract(epoch from q.last_seen_at) * 1000000)::bigint, q.run_id)";

const pg::Statement kList{"api_quarantine", fmt::format(R"(
  with examined as materialized (
    select * from sluice.quarantine n
    where n.workspace_id = $1 and n.quarantine_id > coalesce($2::bigint, 0)
    order by n.quarantine_id limit $3)
  select {}, e.examined, e.newest
  from (select count(*) as examined, max(quarantine_id) as newest from examined) e
  left join lateral (
    select * from examined x
    where ($5::bigint is null or x.connection_id = $5) and ($6::text is null or x.type = $6)
      and ($7::text is null or x.code = $7)
    order by x.quarantine_id limit $4) q on true
  left join sluice.connection c on c.workspace_id = q.workspace_id and c.connection_id = q.connection_id
  order by q.quarantine_id)",
                                                        kColumns)};
constexpr int kColumnCount = 11;

const pg::Statement kOne{"api_quarantine_one", fmt::format(R"(
  select {}, q.record::text, c.connector, c.state
  from sluice.quarantine q join sluice.connection c using (workspace_id, connection_id)
  where q.workspace_id = $1 and q.quarantine_id = $2)",
                                                           kColumns)};

// As notices do it: a refetch that is under way does not answer for this one.
constexpr std::string_view kAskAgain = R"(
  , asked as (
    insert into sluice.refetch as r (workspace_id, connection_id, type, external_id, kind, reason)
    select distinct $1::bigint, w.connection_id, substr(w.type, length($2::text) + 2), w.external_id,
           'changed', 'replayed from quarantine'
    from wanted w
    on conflict (workspace_id, connection_id, type, external_id) do update
      set generation = r.generation + 1, attempts = 0, not_before = now(), reason = excluded.reason
    returning 1)
  select (select count(*) from wanted), (select count(*) from asked))";

const pg::Statement kReplayOne{"api_quarantine_replay", fmt::format(R"(
  with wanted as (
    select connection_id, type, external_id from sluice.quarantine
    where workspace_id = $1 and quarantine_id = $3 and external_id <> '')
  {})",
                                                                    kAskAgain)};

const pg::Statement kReplayMany{"api_quarantine_replay_many", fmt::format(R"(
  with wanted as (
    select connection_id, type, external_id from sluice.quarantine
    where workspace_id = $1 and connection_id = $3 and ($4::text is null or type = $4)
      and ($5::text is null or code = $5) and external_id <> '' and (type, external_id) > ($6, $7)
    order by type, external_id limit $8)
  , last as (select type, external_id from wanted order by type desc, external_id desc limit 1)
  {}, (select type from last), (select external_id from last))",
                                                                          kAskAgain)};

const pg::Statement kDismissOne{"api_quarantine_dismiss", R"(
  delete from sluice.quarantine where workspace_id = $1 and quarantine_id = $2
  returning type || ' ' || external_id, code)"};

const pg::Statement kDismissMany{"api_quarantine_dismiss_many", R"(
  delete from sluice.quarantine q where q.workspace_id = $1 and q.quarantine_id = any (array(
    select n.quarantine_id from sluice.quarantine n
    where n.workspace_id = $1 and n.connection_id = $2 and ($3::text is null or n.type = $3)
      and ($4::text is null or n.code = $4)
    limit $5))
  returning 1)"};

json row_json(const pg::QueryResult& rows, int row) {
  json one;
  one["id"] = id_text(rows.get<std::int64_t>(row, 0));
  one["connection"] = rows.get<std::string>(row, 1);
  one["stream"] = rows.get<std::string>(row, 2);
  one["type"] = rows.get<std::string>(row, 3);
  one["external_id"] = rows.get<std::string>(row, 4);
  one["code"] = rows.get<std::string>(row, 5);
  one["reason"] = rows.get<std::string>(row, 6);
  one["times"] = rows.get<std::int64_t>(row, 7);
  one["first_seen_at"] = time_or_null(rows, row, 8);
  one["last_seen_at"] = time_or_null(rows, row, 9);
  one["run"] = id_text(rows.get<RunId>(row, 10));
  return one;
}

Failure no_such_row(const Call& call) {
  return Failure(
      Error(ErrorKind::not_found, "quarantine.unknown",
            fmt::format("there is no quarantined record '{}'", call.part("id").substr(0, 100)),
            "sluice quarantine list"));
}

Task<HttpResponse> list(Call& call) {
  const std::int64_t limit = call.limit();
  const auto after = call.number("after");
  const auto type = call.http.parameter("type");
  const auto code = call.http.parameter("code");
  std::optional<std::int64_t> connection;
  if (const auto name = call.http.parameter("connection")) {
    const ConnectionId id = co_await connection_named(call, *name);
    connection = id.value;
  }
  const std::int64_t examine = connection || type || code ? kQuarantineExaminedMax : limit;
  pg::Params params(call.workspace, after, examine, limit, connection, type, code);
  const auto rows = co_await call.services.pool.query(kList, std::move(params));
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    if (!rows.is_null(row, 0)) all.push_back(row_json(rows, row));
  }
  json document;
  document["next"] = nullptr;
  if (static_cast<std::int64_t>(all.size()) == limit) {
    document["next"] = all.back()["id"];
  } else if (rows.get<std::int64_t>(0, kColumnCount) == examine) {
    document["next"] = id_text(rows.get<std::int64_t>(0, kColumnCount + 1));
  }
  document["quarantine"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  const auto id = call.part_number("id");
  if (!id) throw no_such_row(call);
  const auto rows = co_await call.services.pool.query(kOne, pg::Params(call.workspace, *id));
  if (rows.empty()) throw no_such_row(call);
  json one = row_json(rows, 0);
  // The record as the vendor sent it may hold anybody's personal data.
  const bool may_see = call.principal.role >= Role::admin;
  one["record_withheld"] = !may_see;
  one["record"] = nullptr;
  if (may_see && !rows.is_null(0, kColumnCount))
    one["record"] = ready_json(rows.text(0, kColumnCount));
  co_return HttpResponse::json(one);
}

/// What decides whether a replay can ask the vendor for single records. Failure:
/// quarantine.no_fetch.
Task<std::string> connector_that_fetches(Call& call, std::string connection) {
  const sync::LoadedConnection loaded =
      expect(co_await call.services.connections.load(call.workspace, connection));
  if (!loaded.manifest().supports("fetch")) {
    throw Failure(Error(ErrorKind::unsupported, "quarantine.no_fetch",
                        fmt::format("connector '{}' cannot read single records; the next full read "
                                    "tries them again",
                                    loaded.connector),
                        fmt::format("sluice sync {} --full", connection)));
  }
  if (loaded.state == "DISCONNECTED" || loaded.state == "DISCONNECTING") {
    throw Failure(Error(ErrorKind::conflict, "connection.disabled",
                        fmt::format("connection '{}' is disabled", connection),
                        "sluice connection enable " + connection));
  }
  co_return loaded.connector;
}

Task<HttpResponse> replay(Call& call) {
  const json body = co_await call.body();
  const auto id = call.part_number("id");
  if (!id) throw no_such_row(call);
  const auto rows = co_await call.services.pool.query(kOne, pg::Params(call.workspace, *id));
  if (rows.empty()) throw no_such_row(call);
  const json one = row_json(rows, 0);
  const std::string connector =
      co_await connector_that_fetches(call, one["connection"].get<std::string>());
  if (one["external_id"] == "") {
    throw Failure(Error(ErrorKind::unsupported, "quarantine.no_id",
                        "the record has no id to ask the vendor for; the next full read tries it "
                        "again",
                        "sluice sync " + one["connection"].get<std::string>() + " --full"));
  }
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query(kReplayOne, pg::Params(call.workspace, connector, *id));
  co_await audit(transaction, call, "quarantine.replay", call.part("id"), one);
  co_await transaction.commit();
  call.services.engine.kick();
  json document;
  document["asked"] = 1;
  co_return HttpResponse::json(document, 202);
}

struct Many {
  std::string connection;
  std::optional<std::string> type, code;
  json detail;
};

/// {connection, type, code}: the connection, and at least one of the others.
Many many_of(const json& body) {
  Many many;
  many.connection = body.at("connection").get<std::string>();
  if (body.contains("type")) many.type = body.at("type").get<std::string>();
  if (body.contains("code")) many.code = body.at("code").get<std::string>();
  if (!many.type && !many.code) {
    bad_request("request.missing_field", "the body needs \"code\" or \"type\", a string",
                "sluice errors lists the codes");
  }
  many.detail = body;
  return many;
}

Task<HttpResponse> replay_many(Call& call) {
  const json body = co_await call.body();
  const Many many = many_of(body);
  const ConnectionId connection = co_await connection_named(call, many.connection);
  const std::string connector = co_await connector_that_fetches(call, many.connection);
  std::int64_t asked = 0;
  std::string after_type, after_id;
  for (bool more = true; more;) {
    pg::Params params(call.workspace, connector, connection, many.type, many.code, after_type,
                      after_id, kQuarantineManyMax);
    auto lease = co_await call.services.pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    const auto done = co_await transaction.query(kReplayMany, std::move(params));
    json detail = many.detail;
    detail["asked"] = done.get<std::int64_t>(0, 1);
    co_await audit(transaction, call, "quarantine.replay", many.connection, std::move(detail));
    co_await transaction.commit();
    asked += done.get<std::int64_t>(0, 1);
    more = done.get<std::int64_t>(0, 0) == kQuarantineManyMax;
    if (more) {
      after_type = done.get<std::string>(0, 2);
      after_id = done.get<std::string>(0, 3);
    }
  }
  call.services.engine.kick();
  json document;
  document["asked"] = asked;
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> dismiss(Call& call) {
  const json body = co_await call.body();
  const auto id = call.part_number("id");
  if (!id) throw no_such_row(call);
  auto lease = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto gone = co_await transaction.query(kDismissOne, pg::Params(call.workspace, *id));
  if (gone.empty()) throw no_such_row(call);
  json detail;
  detail["record"] = gone.get<std::string>(0, 0);
  detail["code"] = gone.get<std::string>(0, 1);
  co_await audit(transaction, call, "quarantine.dismiss", call.part("id"), std::move(detail));
  co_await transaction.commit();
  json document;
  document["dismissed"] = 1;
  co_return HttpResponse::json(document);
}

Task<HttpResponse> dismiss_many(Call& call) {
  const json body = co_await call.body();
  const Many many = many_of(body);
  const ConnectionId connection = co_await connection_named(call, many.connection);
  std::int64_t dismissed = 0;
  for (bool more = true; more;) {
    pg::Params params(call.workspace, connection, many.type, many.code, kQuarantineManyMax);
    auto lease = co_await call.services.pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    const auto gone = co_await transaction.query(kDismissMany, std::move(params));
    json detail = many.detail;
    detail["dismissed"] = gone.affected();
    co_await audit(transaction, call, "quarantine.dismiss", many.connection, std::move(detail));
    co_await transaction.commit();
    dismissed += gone.affected();
    more = gone.affected() == kQuarantineManyMax;
  }
  json document;
  document["dismissed"] = dismissed;
  co_return HttpResponse::json(document);
}

constexpr std::array kListQuery = {
    Parameter{.name = "connection", .says = "only of this connection"},
    Parameter{.name = "type", .says = "only of this entity type"},
    Parameter{.name = "code", .says = "only with this code"},
    limit_of(kQuarantinePage, kQuarantinePageMax),
    Parameter{.name = "after",
              .says = "where to go on: the next of the page before",
              .kind = ParameterKind::id}};

constexpr std::array<Route, 6> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/quarantine",
     .access = Access::reader,
     .operation = "listQuarantine",
     .summary = "Records that could not be stored, and why",
     .handler = list,
     .query = kListQuery,
     .answer = "QuarantinePage",
     .problems = "404 connection.unknown"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/quarantine/{id}",
     .access = Access::reader,
     .operation = "getQuarantined",
     .summary = "One of them; the record itself only for an admin",
     .handler = show,
     .answer = "QuarantinedRecord",
     .problems = "404 quarantine.unknown"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/quarantine/{id}/replay",
     .access = Access::admin,
     .operation = "replayQuarantined",
     .summary = "Reads the record again from the vendor",
     .handler = replay,
     .answer = "QuarantineAsked",
     .status = "202",
     .problems = "404 quarantine.unknown connection.unknown 409 connection.disabled 501 "
                 "quarantine.no_fetch quarantine.no_id"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/quarantine/{id}/dismiss",
     .access = Access::admin,
     .operation = "dismissQuarantined",
     .summary = "Forgets it; the audit does not",
     .handler = dismiss,
     .answer = "QuarantineDismissed",
     .problems = "404 quarantine.unknown"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/quarantine/replay",
     .access = Access::admin,
     .operation = "replayManyQuarantined",
     .summary = "Reads all of a connection again that have this type or code",
     .handler = replay_many,
     .body = "QuarantineMany",
     .answer = "QuarantineAsked",
     .status = "202",
     .problems = "404 connection.unknown 409 connection.disabled 501 quarantine.no_fetch"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/quarantine/dismiss",
     .access = Access::admin,
     .operation = "dismissManyQuarantined",
     .summary = "Forgets all of a connection that have this type or code",
     .handler = dismiss_many,
     .body = "QuarantineMany",
     .answer = "QuarantineDismissed",
     .problems = "404 connection.unknown"},
}};

}  // namespace

std::span<const Route> quarantine_routes() { return kRoutes; }

}  // namespace sluice::api
