// The change feed.
#include "api/api.hpp"

#include "base/moment.hpp"
#include "feed/feed.hpp"
#include "feed/upkeep.hpp"
#include "model/own_types.hpp"

#include <algorithm>
#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

Micros since_of(const std::string& text, Micros now) {
  if (const auto moment = moment_of(text, now)) return *moment;
  bad_request("request.bad_parameter", "since is '" + text.substr(0, 60) + "', which is no time",
              "use 90m, 2h, 1d, 1w, today, yesterday, 2026-11-23, or 2026-11-23T05:16:54Z");
}

void add_ops(const Call& call, feed::FeedFilter& filter) {
  constexpr std::array<std::string_view, 7> kOps = {"insert", "update", "delete", "restore",
                                                    "link",   "unlink", "erased"};
  const auto wanted = call.http.parameter("op");
  const auto kind = call.http.parameter("kind");
  const auto fits = [&](std::string_view op) {
    const bool is_link = op == "link" || op == "unlink";
    return !kind || is_link == (*kind == "link");
  };
  if (!wanted && !kind) return;
  std::string_view rest = wanted ? std::string_view(*wanted) : std::string_view();
  while (wanted) {
    const std::string_view op = rest.substr(0, rest.find(','));
    if (std::find(kOps.begin(), kOps.end(), op) == kOps.end()) {
      bad_request("request.bad_parameter", "op has '" + std::string(op.substr(0, 30)) + "'",
                  "use some of insert, update, delete, restore, link, unlink, erased, between "
                  "commas");
    }
    if (fits(op)) filter.ops.emplace_back(op);
    if (op.size() == rest.size()) break;
    rest.remove_prefix(op.size() + 1);
  }
  if (!wanted) {
    for (const std::string_view op : kOps)
      if (fits(op)) filter.ops.emplace_back(op);
  }
  if (filter.ops.empty())
    bad_request("request.bad_parameter", "no op of those asked for is of this kind");
}

/// What the request wants; looks the connection up.
Task<feed::FeedFilter> filter_of(Call& call) {
  feed::FeedFilter query;
  add_ops(call, query);
  query.cause = call.http.parameter("cause").value_or("");
  if (const auto name = call.http.parameter("connection"))
    query.connection = co_await connection_named(call, *name);
  if (const auto type = call.http.parameter("type")) {
    const model::CatalogPtr catalog = co_await catalog_of(call);
    if (const model::StoredType* stored = catalog->find(*type)) {
      query.type = stored->id;
      co_return query;
    }
    const auto dropped =
        co_await model::find_dropped_type(call.services.pool, call.workspace, *type);
    if (!dropped)
      bad_request("type.not_found", "there is no entity type '" + *type + "'",
                  "sluice entity types");
    query.type = dropped->id;
  }
  co_return query;
}

/// Where to begin, when there is no cursor.
Task<std::string> beginning_of(Call& call, const feed::FeedQuery& query) {
  const auto since = call.http.parameter("since");
  const auto from = call.http.parameter("from");
  const auto cursor = call.http.parameter("cursor");
  const int given = (since ? 1 : 0) + (from ? 1 : 0) + (cursor ? 1 : 0);
  if (given > 1) {
    bad_request("request.bad_parameter", "cursor, since and from each say where to begin",
                "send one of them; later pages go on with the cursor alone");
  }
  pg::Pool& pool = call.services.pool;
  if (since) {
    const Micros time = since_of(*since, call.services.clock.now());
    co_return expect(co_await feed::cursor_since(pool, call.workspace, time));
  }
  if (from == "now") co_return expect(co_await feed::cursor_now(pool, call.workspace));
  if (from == "newest") {
    feed::FeedFilter filter = query;
    co_return expect(
        co_await feed::cursor_newest(pool, call.workspace, std::move(filter), query.limit));
  }
  co_return cursor.value_or("");
}

Task<HttpResponse> read(Call& call) {
  feed::FeedQuery query;
  static_cast<feed::FeedFilter&>(query) = co_await filter_of(call);
  query.limit = static_cast<int>(call.limit());
  query.cursor = co_await beginning_of(call, query);
  feed::FeedPage page =
      expect(co_await feed::read_changes(call.services.pool, call.workspace, std::move(query)));
  json document;
  document["changes"] = json::array();
  for (const feed::Change& change : page.changes)
    document["changes"].push_back(feed::to_json(change));
  document["cursor"] = page.cursor;
  document["has_more"] = page.has_more;
  document["kept_from"] = id_text(page.kept_from);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> summary(Call& call) {
  const feed::FeedFilter filter = co_await filter_of(call);
  const Micros since =
      since_of(call.http.parameter("since").value_or("1d"), call.services.clock.now());
  const feed::FeedSummary counted =
      expect(co_await feed::summarise(call.services.pool, call.workspace, since, filter));
  json document;
  document["since"] = to_rfc3339(since);
  document["changes"] = std::min(counted.looked, feed::kSummaryMax);
  document["truncated"] = counted.truncated;
  document["counts"] = json::array();
  for (const feed::FeedCount& one : counted.counts) {
    json count;
    count["type"] = one.type;
    count["op"] = one.op;
    count["cause"] = one.cause;
    count["count"] = one.count;
    document["counts"].push_back(std::move(count));
  }
  co_return HttpResponse::json(document);
}

/// Of all workspaces: it is the database that was put back. The audit's line is in the operator's.
Task<HttpResponse> begin_generation(Call& call) {
  const json body = co_await call.body();
  const std::string why = body.at("why").get<std::string>();
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const std::int64_t begun = co_await feed::begin_generation(*connection, why);
  call.workspace = call.principal.workspace;
  json detail;
  detail["why"] = why;
  detail["workspaces"] = begun;
  co_await audit(transaction, call, "feed.new_generation", "all workspaces", std::move(detail));
  co_await transaction.commit();
  json document;
  document["workspaces"] = begun;
  co_return HttpResponse::json(document);
}

constexpr Parameter kType{.name = "type",
                          .says = "only of this entity type, or of one that was dropped"};
constexpr Parameter kConnection{.name = "connection", .says = "only of this connection's rows"};
constexpr Parameter kOp{.name = "op",
                        .says =
                            "only these, between commas: insert, update, delete, restore, "
                            "link, unlink, erased"};
constexpr Parameter kCause{.name = "cause",
                           .says =
                               "only what came by this: a sync, links (keys, rules and "
                               "people), own data, or a connection's being turned off",
                           .kind = ParameterKind::choice,
                           .choices = "sync link own connection"};
constexpr Parameter kKind{.name = "kind",
                          .says = "only changes of entities, or of links",
                          .kind = ParameterKind::choice,
                          .choices = "entity link"};
constexpr Parameter kSince{.name = "since",
                           .says =
                               "from this time on: 90m, 2h, 1d, 1w, today, yesterday (UTC), a "
                               "date, or RFC 3339"};
constexpr std::array kQuery = {
    Parameter{.name = "cursor", .says = "where to go on: the cursor of the page before"},
    kSince,
    Parameter{.name = "from",
              .says = "where to begin without a cursor: at the oldest change, behind the last one, "
                      "or so that the newest are the page",
              .kind = ParameterKind::choice,
              .choices = "start now newest"},
    limit_of(100, feed::kFeedPageMax),
    kType,
    kConnection,
    kOp,
    kCause,
    kKind};
constexpr std::array kSummaryQuery = {kSince, kType, kConnection, kOp, kCause, kKind};

constexpr std::array<Route, 3> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/changes",
     .access = Access::reader,
     .operation = "readChanges",
     .summary =
         "What changed, in the order of commits. Ask again with the cursor that is given back",
     .handler = read,
     .query = kQuery,
     .answer = "ChangePage",
     .problems = "400 feed.bad_cursor type.not_found 404 connection.unknown 409 feed.cursor_ahead "
                 "410 feed.expired "
                 "feed.history_lost"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/changes/summary",
     .access = Access::reader,
     .operation = "summariseChanges",
     .summary = "How many changes there are since then (a day, if nothing is said), by type, op "
                "and cause",
     .handler = summary,
     .query = kSummaryQuery,
     .answer = "ChangeSummary",
     .problems = "400 type.not_found 404 connection.unknown"},
    {.method = "POST",
     .pattern = "/v1/feed/new-generation",
     .access = Access::operator_,
     .operation = "beginFeedGeneration",
     .summary =
         "Begins a new history of every workspace's feed: for files that were put back by hand",
     .handler = begin_generation,
     .body = "GenerationNew",
     .answer = "GenerationBegun"},
}};

}  // namespace

std::span<const Route> change_routes() { return kRoutes; }

}  // namespace sluice::api
