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
  query.limit = static_cast<int>(call.limit(100, feed::kFeedPageMax));
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
  only_fields(body, {"why"});
  const std::string why = required_text(body, "why");
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

constexpr std::array<Route, 2> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/changes", Access::reader,
     "What changed, in the order of commits; ?cursor=&limit=&type=. Ask again with the cursor that "
     "is given back",
     read, "cursor limit type"},
    {"POST", "/v1/feed/new-generation", Access::operator_,
     "Begins a new history of every workspace's feed {why}: for files that were put back by hand",
     begin_generation},
}};

}  // namespace

std::span<const Route> change_routes() { return kRoutes; }

}  // namespace sluice::api
