// The REST API: a table of routes, who may use each, and what answers it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/http.hpp"
#include "api/routes.hpp"
#include "api/secret_body.hpp"
#include "api/sql_entrance.hpp"
#include "api/tokens.hpp"
#include "base/clock.hpp"
#include "connector/registry.hpp"
#include "fetch/client.hpp"
#include "model/catalog.hpp"
#include "model/gathered_writes.hpp"
#include "pg/pools.hpp"
#include "sync/connections.hpp"
#include "sync/engine.hpp"
#include "sync/page_budget.hpp"
#include "sync/step_pool.hpp"
#include "vault/vault.hpp"

namespace sluice::api {

class HostFacts;

/// What handlers work with; built by main, outlives the server.
struct Services {
  pg::Pools& pools;
  /// Of a call: its workspace's share of the connections for asking, or for changing where the
  /// method changes something. Never two at once (pg/holding.hpp).
  pg::Pool& pool;
  const Clock& clock;
  connector::Registry& registry;
  vault::Vault& vault;
  model::Catalogs& catalogs;
  model::GatheredWrites& writes;
  sync::Connections& connections;
  sync::Engine& engine;
  const fetch::Client& client;
  const sync::PageBudget& pages;
  const sync::StepPool& steps;
  HostFacts& host;
  std::string version;
  SqlEntrance sql;  ///< left out it is a warning, and a URL that leads nowhere

  [[nodiscard]] Services with_pool(pg::Pool& other) const;
};

struct State;

/// One request on its way through a handler.
struct Call {
  Services& services;
  State& state;
  HttpRequest& http;
  const Route& route;
  PathValues path;  ///< values of the {names} in the pattern
  Principal principal;
  WorkspaceId workspace;  ///< of /v1/workspaces/{workspace}/…
  std::string workspace_name;
  model::CatalogPtr catalog = {};  ///< the one that catalog_of() gave last

  [[nodiscard]] const std::string& part(std::string_view name) const {
    return path.find(name)->second;
  }
  /// The part as a number of 64 bits; nothing when it is none, which is no id of anything.
  [[nodiscard]] std::optional<std::int64_t> part_number(std::string_view name) const;
  /// ?name=true; false when it is not there.
  [[nodiscard]] bool flag(std::string_view name) const;
  /// ?limit=, or what the route says when it is not there.
  [[nodiscard]] std::int64_t limit() const;
  /// ?name= as a number of 64 bits, when it is there.
  [[nodiscard]] std::optional<std::int64_t> number(std::string_view name) const;
  /// The body as a JSON object that follows the route's schema, {} when there is none. Failure:
  /// request.too_large, request.not_json, request.unsupported_media_type, request.not_text (a NUL
  /// in a string), and check_body()'s.
  Task<nlohmann::json> body();
  /// The same of a body with secrets, which go to `secrets` without a copy that stays behind.
  Task<nlohmann::json> body_with_secrets(SecretsAt at, sync::SecretValues& secrets);
  /// Who asks, for the audit: Principal::text().
  [[nodiscard]] sync::Actor actor() const;

 private:
  Task<WipedText> body_text();
  static nlohmann::json parse_body(std::string_view text);
};

inline constexpr std::size_t kJsonBodyBytesMax = 1 << 20;
inline constexpr std::size_t kJsonDepthMax = 66;  ///< an attribute's value may have 64 of them

// One table an area, each in the file of that name.
[[nodiscard]] std::span<const Route> health_routes();
/// Of them, what a listener without tokens has.
[[nodiscard]] bool is_for_watchers(const Route& route);
[[nodiscard]] std::span<const Route> workspace_routes();
[[nodiscard]] std::span<const Route> sql_user_routes();
[[nodiscard]] std::span<const Route> connector_routes();
[[nodiscard]] std::span<const Route> connection_routes();
[[nodiscard]] std::span<const Route> status_routes();
[[nodiscard]] std::span<const Route> run_routes();
[[nodiscard]] std::span<const Route> error_routes();
[[nodiscard]] std::span<const Route> quarantine_routes();
[[nodiscard]] std::span<const Route> type_routes();
[[nodiscard]] std::span<const Route> entity_routes();
[[nodiscard]] std::span<const Route> link_routes();
[[nodiscard]] std::span<const Route> entity_link_routes();
[[nodiscard]] std::span<const Route> change_routes();
[[nodiscard]] std::span<const Route> audit_routes();
[[nodiscard]] std::span<const Route> row_count_routes();

/// Finds the route and a place, checks the token and the workspace, runs the handler. A workspace
/// that the token may not see answers exactly as one that does not exist.
class Api {
 public:
  /// `requests_max`: of all clients at once (places.hpp).
  Api(Services services, std::size_t requests_max);
  ~Api();
  Task<HttpResponse> handle(HttpRequest& request);
  /// /metrics, /healthz and /readyz, without a token: for a listener that only who watches this
  /// host can reach.
  Task<HttpResponse> watch(HttpRequest& request);
  /// Writes down, each second, what was refused and which tokens were used; for ever, spawned once
  /// by the owner.
  Task<void> keep_records();
  /// From now on /readyz says no: whoever balances load goes elsewhere.
  void begin_stop();

 private:
  /// Who asks, and in which workspace.
  struct Asking {
    Principal principal;
    WorkspaceId workspace;
    std::string workspace_name;
  };
  /// A place, the token, the workspace of the path and the role: or why not.
  Task<Result<Asking>> admit(HttpRequest& request, const Route& route, const PathValues& values);

  Services services_;
  std::unique_ptr<State> state_;
  std::vector<Route> routes_;
};

/// A value that a handler read from JSON or a parameter and does not like: Failure(bad_input).
[[noreturn]] void bad_request(std::string code, std::string message, std::string hint = {});
/// A time of µs since the epoch, as RFC 3339, or null.
[[nodiscard]] nlohmann::json time_or_null(const pg::QueryResult& rows, int row, int column);
/// The connection of that name in the call's workspace, or no_connection().
Task<ConnectionId> connection_named(Call& call, std::string name);
/// Failure(not_found, "connection.unknown").
[[noreturn]] void no_connection(const std::string& name);
/// One line of the workspace's audit, in the transaction that makes the change (sync/audit.hpp).
Task<void> audit(pg::Transaction& transaction, const Call& call, std::string action,
                 std::string subject, nlohmann::json detail);
/// What the workspace may store, read by the call's own connections.
Task<model::CatalogPtr> catalog_of(Call& call);
}  // namespace sluice::api
