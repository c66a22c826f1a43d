// Is it alive, is it ready, what does it count.
#include "api/api.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

Task<HttpResponse> healthz(Call&) { co_return HttpResponse::json(json{{"status", "alive"}}); }

Task<HttpResponse> readyz(Call& call) {
  co_await call.services.pool.query("select 1");
  co_return HttpResponse::json(json{{"status", "ready"}, {"version", call.services.version}});
}

/// What is unusual about this host, for whoever looks after it.
Task<HttpResponse> health(Call& call) {
  const auto allowances = co_await call.services.pool.query(
      "select w.name, c.name, c.egress::text from sluice.connection c join sluice.workspace w "
      "using (workspace_id) "
      "where c.egress <> '{}' order by 1, 2 limit 1000");
  json document;
  document["version"] = call.services.version;
  document["egress_allowances"] = json::array();
  for (int row = 0; row < allowances.rows(); ++row) {
    document["egress_allowances"].push_back({{"workspace", allowances.get<std::string>(row, 0)},
                                             {"connection", allowances.get<std::string>(row, 1)},
                                             {"egress", json::parse(allowances.text(row, 2))}});
  }
  document["connections_in_use"] = call.services.pool.in_use();
  co_return HttpResponse::json(document);
}

Task<HttpResponse> metrics(Call& call) {
  const sync::EngineStats& stats = call.services.engine.stats();
  std::string text;
  const auto counter = [&](std::string_view name, std::string_view help, std::int64_t value) {
    text += fmt::format("# HELP sluice_{0} {1}\n# TYPE sluice_{0} counter\nsluice_{0} {2}\n", name,
                        help, value);
  };
  counter("runs_done_total", "Sync runs that ended well.", stats.runs_done);
  counter("runs_failed_total", "Sync runs that failed.", stats.runs_failed);
  counter("pages_total", "Pages stored.", stats.pages);
  counter("records_total", "Records received from connectors.", stats.records);
  counter("links_resolved_total", "Link decisions made.", stats.links_resolved);
  text += fmt::format(
      "# HELP sluice_connections_working Connections being worked on.\n# TYPE "
      "sluice_connections_working gauge\n"
      "sluice_connections_working {}\n",
      stats.working);
  text += fmt::format(
      "# HELP sluice_pg_connections_in_use Database connections in use.\n# TYPE "
      "sluice_pg_connections_in_use gauge\n"
      "sluice_pg_connections_in_use {}\n",
      call.services.pool.in_use());
  co_return HttpResponse::text(std::move(text), "text/plain; version=0.0.4; charset=utf-8");
}

Task<HttpResponse> openapi_document(Call& call) {
  const std::vector<Route> routes = all_routes();
  co_return HttpResponse::json(openapi(routes, call.services.version));
}

constexpr std::array<Route, 5> kRoutes = {{
    {"GET", "/healthz", Access::open, "The process is alive", healthz},
    {"GET", "/readyz", Access::open, "It can do its work: the database answers", readyz},
    {"GET", "/health", Access::operator_, "What is unusual: egress allowances, connections in use",
     health},
    {"GET", "/metrics", Access::open, "Counters for Prometheus", metrics},
    {"GET", "/openapi.json", Access::open, "This document", openapi_document},
}};

}  // namespace

std::span<const Route> health_routes() { return kRoutes; }

}  // namespace sluice::api
