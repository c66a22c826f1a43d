// Is it alive, is it ready, what does it count.
#include "api/api.hpp"
#include "api/tokens.hpp"

#include "api/host_facts.hpp"
#include "api/not_ready.hpp"
#include "api/openapi.hpp"
#include "api/state.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr auto kReadyAge = std::chrono::milliseconds(500);
constexpr auto kReadyWait = std::chrono::seconds(2);
constexpr auto kGaugesAge = std::chrono::seconds(5);
constexpr auto kGaugesWait = std::chrono::seconds(2);

Task<HttpResponse> healthz(Call&) { co_return HttpResponse::json(json{{"status", "alive"}}); }

/// Beside what the host's own facts say; and those learn whether the database answers.
std::vector<std::string> look_beside(Call& call, const Cached<SchemaState>::Answer& schema) {
  call.services.host.database_said(schema.failure);
  std::optional<int> version;
  if (schema.failure.empty()) version = schema.value->version;
  return not_ready_beside(call.state.stopping, version);
}

/// What keeps the host from its work; nothing when it is ready.
std::vector<std::string> not_ready(Call& call, const Cached<SchemaState>::Answer& schema) {
  std::vector<std::string> reasons = look_beside(call, schema);
  if (schema.failure.empty()) return reasons;
  // Anybody may ask here: what exactly failed is for the log.
  log::warning("api.not_ready", {{"error", schema.failure}});
  for (const HostReason& reason : call.services.host.reasons()) {
    if (reason.keeps_from_work) reasons.push_back(reason.what);
  }
  return reasons;
}

/// What some of its work stands for, though the host can do the rest. Anybody may ask: no names.
std::vector<std::string> degraded(const sync::StepPoolNow& steps, const HostFacts& host) {
  std::vector<std::string> reasons;
  for (const HostReason& reason : host.reasons()) {
    if (!reason.keeps_from_work) reasons.push_back(reason.what);
  }
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
  document["degraded"] = degraded(steps, call.services.host);
  // Of connectors: the host is well, and does the rest of its work.
  document["held"] = schema.value ? json(schema.value->held) : json::array();
  document["version"] = call.services.version;
  HttpResponse answer = HttpResponse::json(document, reasons.empty() ? 200 : 503);
  if (!reasons.empty()) answer.headers.emplace_back("Retry-After", "5");
  co_return answer;
}

json disks_json(const HostFacts& host, bool with_directories) {
  json all = json::array();
  for (const DiskNow& disk : host.disks()) {
    json one;
    one["name"] = disk.name;
    if (with_directories) one["directory"] = disk.directory.string();
    one["free_bytes"] = disk.free_bytes;
    one["total_bytes"] = disk.total_bytes;
    one["running_out"] = disk.running_out;
    one["growth_bytes_per_day"] =
        disk.growth_bytes_per_day ? json(*disk.growth_bytes_per_day) : json(nullptr);
    one["growth_seconds"] = disk.growth_seconds;
    all.push_back(std::move(one));
  }
  return all;
}

json database_json(const HostFacts& host) {
  const DatabaseNow& database = host.database();
  json one;
  one["up"] = database.state == DatabaseNow::State::up;
  one["private"] = host.database_is_private();
  one["why"] = database.why;
  one["since"] = database.since ? json(to_rfc3339(*database.since)) : json(nullptr);
  one["starts_tried"] = database.starts_tried;
  return one;
}

json machine_json() {
  const MachineNow now = machine_now();
  json one;
  one["own_bytes"] = now.process_bytes;
  one["memory_bytes"] = now.memory_bytes;
  one["memory_available_bytes"] = now.memory_available_bytes;
  one["load"] = json::array({now.load_1, now.load_5, now.load_15});
  one["processors"] = now.processors;
  return one;
}

/// What a host knows of itself; without its database, and for anybody.
json facts_of(Call& call, const std::vector<std::string>& others) {
  const HostFacts& host = call.services.host;
  json document;
  document["version"] = call.services.version;
  document["reasons"] = json::array();
  bool works = others.empty();
  for (const HostReason& reason : host.reasons()) {
    works = works && !reason.keeps_from_work;
    json one;
    one["code"] = reason.code;
    one["what"] = reason.what;
    one["action"] = reason.action;
    one["keeps_from_work"] = reason.keeps_from_work;
    document["reasons"].push_back(std::move(one));
  }
  for (const std::string& other : others) {
    json one;
    one["code"] = "host.not_ready";
    one["what"] = other;
    one["action"] = "";
    one["keeps_from_work"] = true;
    document["reasons"].push_back(std::move(one));
  }
  document["status"] = !works ? "not working" : document["reasons"].empty() ? "well" : "degraded";
  document["database"] = database_json(host);
  document["disks"] = disks_json(host, false);
  return document;
}

/// Whether an operator asks. A token that is none makes it nobody's question, and counts as wrong
/// everywhere else.
Task<bool> is_operators(Call& call) {
  if (call.http.authorization.empty()) co_return false;
  const Result<void> admitted =
      co_await call.state.refusals.admit(call.http.authorization, call.http.peer);
  if (!admitted) co_return false;
  const Result<Principal> asking =
      co_await authenticate(call.services.pools.asking, call.http.authorization);
  if (asking) {
    call.state.refusals.accepted(call.http.authorization, *asking);
  } else if (asking.error().code == "token.unknown") {
    call.state.refusals.wrong(call.http.peer, call.http.authorization);
  }
  co_return asking && asking->role >= Role::operator_;
}

/// What an operator alone may know.
void add_for_operators(Call& call, json& document) {
  document["connections_in_use"] = call.services.pools.in_use();
  document["disks"] = disks_json(call.services.host, true);
  document["machine"] = machine_json();
}

/// And what is unusual, which the database knows.
Task<void> add_of_database(Call& call, json& document) {
  const auto allowances = co_await call.services.pool.query(
      "select w.name, c.name, c.egress::text from sluice.connection c join sluice.workspace w "
      "using (workspace_id) "
      "where c.egress <> '{}' order by 1, 2 limit 1000");
  const auto size = co_await call.services.pool.query(
      "select pg_database_size(current_database()), current_setting('server_version')");
  document["egress_allowances"] = json::array();
  for (int row = 0; row < allowances.rows(); ++row) {
    document["egress_allowances"].push_back({{"workspace", allowances.get<std::string>(row, 0)},
                                             {"connection", allowances.get<std::string>(row, 1)},
                                             {"egress", ready_json(allowances.text(row, 2))}});
  }
  document["database"]["bytes"] = size.get<std::int64_t>(0, 0);
  document["database"]["server_version"] = size.get<std::string>(0, 1);
}

void add_left_out(json& document, const std::string& why) {
  json one;
  one["code"] = "health.left_out";
  one["what"] = "what only the database knows is left out: " + why;
  one["action"] = "ask again; when it stays so, look at the host's log";
  one["keeps_from_work"] = false;
  document["reasons"].push_back(std::move(one));
  if (document["status"] == "well") document["status"] = "degraded";
}

Task<HttpResponse> health(Call& call) {
  const auto schema = co_await call.state.schema.get(kReadyAge, kReadyWait);
  call.services.host.look();
  const std::vector<std::string> beside = look_beside(call, schema);
  if (!schema.failure.empty()) log::warning("api.not_ready", {{"error", schema.failure}});
  json document = facts_of(call, beside);
  if (!schema.failure.empty()) co_return HttpResponse::json(document);
  // The database may go away just now: what is known without it is said.
  std::optional<std::string> left_out;
  try {
    const bool wanted = co_await is_operators(call);
    if (wanted) {
      add_for_operators(call, document);
      co_await add_of_database(call, document);
    }
  } catch (const pg::QueryError& error) {
    left_out = error.what();
  }
  // To whom it was not shown that he is an operator, the database's words are not shown either.
  if (left_out && document.contains("machine")) add_left_out(document, *left_out);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> metrics(Call& call) {
  Cached<DatabaseGauges>& cached = call.state.gauges;
  auto gauges = co_await cached.get(kGaugesAge, kGaugesWait);
  std::string text = metrics_text(call.services, call.state.refusals, call.state.places, gauges);
  co_return HttpResponse::text(std::move(text), "text/plain; version=0.0.4; charset=utf-8");
}

/// Anybody may ask: it is made once.
Task<HttpResponse> openapi_document(Call& call) {
  static const std::string text = HttpResponse::json(openapi(call.services.version)).body;
  HttpResponse answer;
  answer.body = text;
  co_return answer;
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
     .access = Access::open,
     .operation = "getHealth",
     .summary =
         "What the host knows of itself, also without its database: why it cannot work, or soon "
         "cannot, and room on its disks; for operators also what is unusual, memory, load, growth",
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
