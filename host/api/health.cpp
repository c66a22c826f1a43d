// Is it alive, is it ready, what does it count.
#include "api/api.hpp"

#include "api/openapi.hpp"
#include "api/state.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "pg/migrate.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr auto kReadyAge = std::chrono::milliseconds(500);
constexpr auto kReadyWait = std::chrono::seconds(2);
constexpr auto kGaugesAge = std::chrono::seconds(5);
constexpr auto kGaugesWait = std::chrono::seconds(2);

Task<HttpResponse> healthz(Call&) { co_return HttpResponse::json(json{{"status", "alive"}}); }

/// What keeps the host from its work; nothing when it is ready.
std::vector<std::string> not_ready(Call& call, const Cached<SchemaState>::Answer& schema) {
  std::vector<std::string> reasons;
  if (call.state.stopping) reasons.emplace_back("the host is stopping");
  const auto newest = static_cast<int>(pg::migrations().size());
  if (!schema.failure.empty()) {
    // Anybody may ask here: what exactly failed is for the log.
    log::warning("api.not_ready", {{"error", schema.failure}});
    reasons.emplace_back("the database cannot be reached or does not answer");
  } else if (schema.value->version != newest) {
    reasons.push_back(fmt::format("the database's schema is version {}, this program's is {}",
                                  schema.value->version, newest));
  }
  return reasons;
}

/// What some of its work stands for, though the host can do the rest. Anybody may ask: no names.
std::vector<std::string> degraded(const sync::StepPoolNow& steps) {
  std::vector<std::string> reasons;
  if (!steps.at_bound.empty()) {
    reasons.push_back(fmt::format(
        "{} workspaces get no more threads for connectors of theirs: steps that do not come back "
        "keep {}; /metrics and sluice errors say whose",
        steps.workspaces_at_bound(), steps.lost));
  }
  if (steps.full) {
    reasons.push_back(
        fmt::format("{} threads for connectors are kept by slow steps, and no more are replaced",
                    sync::kStepThreadsMoreMax));
  }
  if (steps.longest_wait >= sync::kStepSecondsWarn) {
    reasons.push_back(fmt::format("steps of connectors have waited for a thread for {} s",
                                  steps.longest_wait.count() / 1000));
  }
  return reasons;
}

Task<HttpResponse> readyz(Call& call) {
  const auto schema = co_await call.state.schema.get(kReadyAge, kReadyWait);
  std::vector<std::string> reasons = not_ready(call, schema);
  const sync::StepPoolNow steps = call.services.steps.now();
  if (steps.none_left) {
    reasons.emplace_back(
        "no thread is left for connectors: all are kept by steps that do not come back");
  }
  json document;
  document["status"] = reasons.empty() ? "ready" : "not ready";
  document["reasons"] = reasons;
  document["degraded"] = degraded(steps);
  // Of connectors: the host is well, and does the rest of its work.
  document["held"] = schema.value ? json(schema.value->held) : json::array();
  document["version"] = call.services.version;
  HttpResponse answer = HttpResponse::json(document, reasons.empty() ? 200 : 503);
  if (!reasons.empty()) answer.headers.emplace_back("Retry-After", "5");
  co_return answer;
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
                                             {"egress", ready_json(allowances.text(row, 2))}});
  }
  document["connections_in_use"] = call.services.pools.in_use();
  co_return HttpResponse::json(document);
}

Task<HttpResponse> metrics(Call& call) {
  Cached<DatabaseGauges>& cached = call.state.gauges;
  auto gauges = co_await cached.get(kGaugesAge, kGaugesWait);
  std::string text = metrics_text(call.services, call.state.refusals, call.state.places, gauges);
  co_return HttpResponse::text(std::move(text), "text/plain; version=0.0.4; charset=utf-8");
}

Task<HttpResponse> openapi_document(Call& call) {
  co_return HttpResponse::json(openapi(call.services.version));
}

constexpr std::array<Route, 5> kRoutes = {{
    {.method = "GET",
     .pattern = "/healthz",
     .access = Access::open,
     .operation = "isAlive",
     .summary = "The process is alive",
     .handler = healthz,
     .answer = "Alive"},
    {.method = "GET",
     .pattern = "/readyz",
     .access = Access::open,
     .operation = "isReady",
     .summary = "It can do its work, or why not: database, schema, stopping",
     .handler = readyz,
     .answer = "Ready",
     .status = "200 503"},
    {.method = "GET",
     .pattern = "/health",
     .access = Access::operator_,
     .operation = "getHealth",
     .summary = "What is unusual: egress allowances, connections in use",
     .handler = health,
     .answer = "Health"},
    {.method = "GET",
     .pattern = "/metrics",
     .access = Access::operator_,
     .operation = "getMetrics",
     .summary = "Counters for Prometheus; without a token on the listener of watch.port",
     .handler = metrics,
     .produces = "text/plain"},
    {.method = "GET",
     .pattern = "/openapi.json",
     .access = Access::open,
     .operation = "getOpenapi",
     .summary = "This document",
     .handler = openapi_document,
     .answer = "Anything"},
}};

}  // namespace

bool is_for_watchers(const Route& route) {
  return route.handler == metrics || route.handler == healthz || route.handler == readyz;
}

std::span<const Route> health_routes() { return kRoutes; }

}  // namespace sluice::api
