// The change feed.
#include "api/api.hpp"

#include "feed/feed.hpp"

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
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 1> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/changes", Access::reader,
     "What changed, in the order of commits; ?cursor=&limit=&type=. Ask again with the cursor that "
     "is given back",
     read, "cursor limit type"},
}};

}  // namespace

std::span<const Route> change_routes() { return kRoutes; }

}  // namespace sluice::api
