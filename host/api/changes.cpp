// The change feed.
#include "api/api.hpp"

#include "feed/feed.hpp"
#include "feed/upkeep.hpp"

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

Task<HttpResponse> read(Call& call) {
  feed::FeedQuery query;
  query.cursor = call.http.parameter("cursor").value_or("");
  query.limit = static_cast<int>(call.limit());
  if (const auto type = call.http.parameter("type")) {
    const model::CatalogPtr catalog = co_await catalog_of(call);
    const model::StoredType* stored = catalog->find(*type);
    if (stored == nullptr)
      bad_request("type.not_found", "there is no entity type '" + *type + "'",
                  "sluice entity types");
    query.type = stored->id;
  }
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

constexpr std::array kQuery = {
    Parameter{.name = "cursor", .says = "where to go on: the cursor of the page before"},
    limit_of(100, feed::kFeedPageMax),
    Parameter{.name = "type", .says = "only of this entity type"}};

constexpr std::array<Route, 2> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/changes",
     .access = Access::reader,
     .operation = "readChanges",
     .summary =
         "What changed, in the order of commits. Ask again with the cursor that is given back",
     .handler = read,
     .query = kQuery,
     .answer = "ChangePage",
     .problems = "400 feed.bad_cursor type.not_found 409 feed.cursor_ahead 410 feed.expired "
                 "feed.history_lost"},
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
