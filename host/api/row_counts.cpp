// How many rows of which types a connection has: what goes when it is turned off or deleted.
#include "api/api.hpp"
#include "model/columns.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

/// Of one type; beyond it "or_more" is enough for who has to decide, and nobody waits for a scan.
constexpr std::int64_t kCountedMax = 20'000;

const pg::Statement kConnectorOf{"api_rows_connector", R"(
  select connector from sluice.connection where workspace_id = $1 and connection_id = $2)"};

/// One row a type, by its place in `types`: rows that are there, kCountedMax + 1 at most. By the
/// key of each table, which begins with workspace and connection.
std::string counting(const std::vector<const model::StoredType*>& types) {
  std::string sql;
  for (std::size_t at = 0; at < types.size(); ++at) {
    if (at > 0) sql += " union all ";
    sql += fmt::format(
        "select {} as type, count(*) as rows from (select 1 from vendor.{} where workspace_id = $1 "
        "and connection_id = $2 and deleted_at is null limit {}) x",
        at, model::quote_name(types[at]->table), kCountedMax + 1);
  }
  return sql;
}

Task<HttpResponse> rows_of_connection(Call& call) {
  const ConnectionId id = co_await connection_named(call, call.part("name"));
  const model::CatalogPtr catalog = co_await catalog_of(call);
  auto connection = co_await call.services.pool.acquire();
  const auto connector = co_await connection->query(kConnectorOf, pg::Params(call.workspace, id));
  if (connector.empty()) no_connection(call.part("name"));
  std::vector<const model::StoredType*> types;
  for (const model::StoredType& type : catalog->types)
    if (!type.own && type.connector == connector.text(0, 0)) types.push_back(&type);
  json document;
  document["connection"] = call.part("name");
  document["types"] = json::array();
  std::int64_t all = 0;
  bool or_more = false;
  if (!types.empty()) {
    const std::string sql = counting(types);
    const auto counts = co_await connection->query(sql, pg::Params(call.workspace, id));
    for (int row = 0; row < counts.rows(); ++row) {
      const auto type = static_cast<std::size_t>(counts.get<std::int32_t>(row, 0));
      const std::int64_t rows = std::min(counts.get<std::int64_t>(row, 1), kCountedMax);
      if (rows == 0) continue;
      json one;
      one["type"] = types[type]->name;
      one["rows"] = rows;
      one["or_more"] = counts.get<std::int64_t>(row, 1) > kCountedMax;
      or_more = or_more || one["or_more"].get<bool>();
      all += rows;
      document["types"].push_back(std::move(one));
    }
  }
  document["rows"] = all;
  document["or_more"] = or_more;
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 1> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/rows",
     .access = Access::reader,
     .operation = "countConnectionRows",
     .summary = "How many rows of which types a connection has, counted to 20000 of each: what is "
                "hidden when it is turned off",
     .handler = rows_of_connection,
     .answer = "ConnectionRows",
     .problems = "404 connection.unknown"},
}};

}  // namespace

std::span<const Route> row_count_routes() { return kRoutes; }

}  // namespace sluice::api
