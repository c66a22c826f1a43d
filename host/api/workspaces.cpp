// Workspaces and their tokens.
#include "api/api.hpp"

#include "feed/views.hpp"

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

Task<HttpResponse> list(Call& call) {
  const auto rows = co_await call.services.pool.query(
      "select name, (extract(epoch from created_at) * 1000000)::bigint from sluice.workspace order "
      "by name limit 10000");
  json names = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    names.push_back({{"name", rows.get<std::string>(row, 0)},
                     {"created_at", to_rfc3339(Micros(rows.get<std::int64_t>(row, 1)))}});
  }
  co_return HttpResponse::json({{"workspaces", std::move(names)}});
}

Task<HttpResponse> create(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"name"});
  const std::string name = required_text(body, "name");
  expect(feed::check_workspace_name(name));
  auto connection = co_await call.services.pool.acquire();
  std::optional<WorkspaceId> made;
  try {
    const auto row = co_await connection->query(
        "insert into sluice.workspace (name) values ($1) returning workspace_id", pg::Params(name));
    made = row.get<WorkspaceId>(0, 0);
  } catch (const pg::QueryError& error) {
    if (error.kind() == ErrorKind::bad_input) {
      bad_request("workspace.bad_name", "'" + name.substr(0, 100) + "' is no name for a workspace",
                  "a-z, 0-9 and _, beginning with a letter, at most 63 long");
    }
    if (error.kind() != ErrorKind::conflict) throw;
  }
  if (!made)
    throw Failure(Error(ErrorKind::conflict, "workspace.name_taken",
                        "there is a workspace '" + name + "' already"));
  std::exception_ptr failure;
  try {
    const model::CatalogPtr catalog = co_await call.services.catalogs.get(*made);
    co_await feed::refresh_views(*connection, *catalog, name);
  } catch (const Failure&) {
    failure = std::current_exception();
  }
  if (failure) {
    // No workspace without its schema: the name can be used again once that is free.
    co_await call.services.pool.query("delete from sluice.workspace where workspace_id = $1",
                                      pg::Params(*made));
    std::rethrow_exception(failure);
  }
  co_return HttpResponse::json({{"name", name}}, 201);
}

Task<HttpResponse> create_token_for(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"name", "role"});
  const std::string name = required_text(body, "name");
  const auto role = role_of(body.contains("role") ? required_text(body, "role") : "reader");
  if (!role || (*role == Role::operator_ && call.principal.role != Role::operator_)) {
    bad_request("token.bad_role", "role must be reader or admin",
                "Only an operator may make operators");
  }
  auto connection = co_await call.services.pool.acquire();
  const std::string token = co_await create_token(*connection, call.workspace, name, *role);
  co_return HttpResponse::json({{"name", name}, {"role", to_string(*role)}, {"token", token}}, 201);
}

constexpr std::array<Route, 3> kRoutes = {{
    {"GET", "/v1/workspaces", Access::operator_, "All workspaces", list},
    {"POST", "/v1/workspaces", Access::operator_, "Makes a workspace {name}", create},
    {"POST", "/v1/workspaces/{workspace}/tokens", Access::admin,
     "Makes a token {name, role}; shown once", create_token_for},
}};

}  // namespace

std::span<const Route> workspace_routes() { return kRoutes; }

}  // namespace sluice::api
