// How many rows of which types a connection has: what goes when it is turned off or deleted.
#include "model/row_counts.hpp"
#include "api/api.hpp"

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

Task<HttpResponse> rows_of_connection(Call& call) {
  const ConnectionId id = co_await connection_named(call, call.part("name"));
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::RowCounts counts = co_await model::row_counts(call.services.pool, call.workspace);
  json document;
  document["connection"] = call.part("name");
  document["types"] = json::array();
  std::int64_t all = 0;
  for (const model::StoredType& type : catalog->types) {
    const std::int64_t rows = type.own ? 0 : counts.of(type, id);
    if (rows == 0) continue;
    json& one = document["types"].emplace_back();
    one["type"] = type.name;
    one["rows"] = rows;
    all += rows;
  }
  document["rows"] = all;
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 1> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/rows",
     .access = Access::reader,
     .operation = "countConnectionRows",
     .summary =
         "How many rows of which types a connection has: what is hidden when it is turned off",
     .handler = rows_of_connection,
     .answer = "ConnectionRows",
     .problems = "404 connection.unknown"},
}};

}  // namespace

std::span<const Route> row_count_routes() { return kRoutes; }

}  // namespace sluice::api
