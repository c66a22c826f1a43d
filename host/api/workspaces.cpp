// Workspaces and their tokens.
#include "api/api.hpp"
#include "base/printable.hpp"

#include "feed/views.hpp"
#include "sync/view_work.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::int64_t kTokensPageMax = 1000;
constexpr std::size_t kTokenNameMax = 100;
constexpr std::int64_t kKnownMax = 100;  ///< workspaces that GET /v1/me names

const pg::Statement kTokens{"api_tokens", R"(
  select token_id, name, role, (extract(epoch from created_at) * 1000000)::bigint,
         (extract(epoch from revoked_at) * 1000000)::bigint,
         (extract(epoch from last_used_at) * 1000000)::bigint
  from sluice.token where workspace_id = $1 and ($2::bigint is null or token_id > $2)
  order by token_id limit $3)"};

const pg::Statement kTokenLock{"api_token_lock",
                               "select 1 from sluice.mutex where name = 'tokens' for update"};

const pg::Statement kToken{"api_token", R"(
  select name, role, revoked_at is not null from sluice.token
  where workspace_id = $1 and token_id = $2)"};

const pg::Statement kOtherOperators{"api_token_operators", R"(
  select count(*) from (select 1 from sluice.token
                        where role = 'operator' and revoked_at is null and token_id <> $1 limit 1) t)"};

const pg::Statement kRevoke{"api_token_revoke", R"(
  update sluice.token set revoked_at = coalesce(revoked_at, now())
  where workspace_id = $1 and token_id = $2)"};

const pg::Statement kHome{"api_me_home", R"(
  select name from sluice.workspace where workspace_id = $1)"};

const pg::Statement kKnown{"api_me_known", R"(
  select name from sluice.workspace order by name limit $1)"};

/// Whoever asks may not know what to ask: which workspaces there are for this token.
Task<HttpResponse> me(Call& call) {
  const Principal& who = call.principal;
  const auto home = co_await call.services.pool.query(kHome, pg::Params(who.workspace));
  json document;
  document["token"] = {
      {"id", std::to_string(who.token_id)}, {"name", who.name}, {"role", to_string(who.role)}};
  document["workspace"] = home.get<std::string>(0, 0);
  document["workspaces"] = json::array();
  document["more"] = false;
  document["version"] = call.services.version;
  if (who.role != Role::operator_) {
    document["workspaces"].push_back(document["workspace"]);
    co_return HttpResponse::json(document);
  }
  const auto known = co_await call.services.pool.query(kKnown, pg::Params(kKnownMax + 1));
  document["more"] = known.rows() > kKnownMax;
  for (int row = 0; row < known.rows() && row < kKnownMax; ++row)
    document["workspaces"].push_back(known.get<std::string>(row, 0));
  co_return HttpResponse::json(document);
}

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
  const std::string name = body.at("name").get<std::string>();
  expect(feed::check_workspace_name(name));
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  std::optional<WorkspaceId> made;
  try {
    const auto row = co_await transaction.query(
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
  call.workspace = *made;
  co_await feed::claim_schema(transaction, *made, name);
  co_await sync::renew_views(transaction, *made, call.actor().name());
  co_await audit(transaction, call, "workspace.create", name, json::object());
  co_await transaction.commit();
  // Durable work does it too; now, so that who made it can ask at once.
  const std::vector<std::string> notes = co_await sync::renew_views_now(*connection, *made, name);
  json document;
  document["name"] = name;
  if (!notes.empty()) document["notes"] = notes;
  co_return HttpResponse::json(document, 201);
}

Task<HttpResponse> create_token_for(Call& call) {
  const json body = co_await call.body();
  const std::string name = body.at("name").get<std::string>();
  if (name.size() > kTokenNameMax || printable(name) != name) {
    bad_request(
        "token.bad_name",
        fmt::format("a token's name has at most {} bytes and nothing that cannot be printed",
                    kTokenNameMax),
        "It stands in the audit of all that the token does");
  }
  const Role role = role_of(body.value("role", "reader")).value();
  if (role == Role::operator_ && call.principal.role != Role::operator_) {
    bad_request("token.bad_role", "role must be reader or admin",
                "Only an operator may make operators");
  }
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const std::string token = co_await create_token(*connection, call.workspace, name, role);
  json detail;
  detail["role"] = to_string(role);
  co_await audit(transaction, call, "token.create", name, std::move(detail));
  co_await transaction.commit();
  co_return HttpResponse::json({{"name", name}, {"role", to_string(role)}, {"token", token}}, 201);
}

Task<HttpResponse> list_tokens(Call& call) {
  const std::int64_t limit = call.limit();
  const auto after = call.number("after");
  const auto rows =
      co_await call.services.pool.query(kTokens, pg::Params(call.workspace, after, limit));
  json all = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    json one;
    const auto id = rows.get<std::int64_t>(row, 0);
    one["id"] = id_text(id);
    one["name"] = rows.get<std::string>(row, 1);
    one["role"] = rows.get<std::string>(row, 2);
    one["created_at"] = time_or_null(rows, row, 3);
    one["revoked_at"] = time_or_null(rows, row, 4);
    one["last_used_at"] = time_or_null(rows, row, 5);
    one["this_one"] = call.principal.token_id == id && call.principal.workspace == call.workspace;
    all.push_back(std::move(one));
  }
  json document;
  document["next"] = rows.rows() == limit ? all.back()["id"] : json(nullptr);
  document["tokens"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> revoke(Call& call) {
  const auto no_token = [&call] {
    return Failure(Error(ErrorKind::not_found, "token.not_found",
                         fmt::format("there is no token '{}'", call.part("id").substr(0, 100)),
                         "sluice token list"));
  };
  const auto id = call.part_number("id");
  if (!id) throw no_token();
  auto lease = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  // Two operators that revoke each other at the same moment must not both succeed.
  co_await transaction.query(kTokenLock);
  const auto found = co_await transaction.query(kToken, pg::Params(call.workspace, *id));
  if (found.empty()) throw no_token();
  const bool is_operator = found.text(0, 1) == "operator";
  if (is_operator && call.principal.role != Role::operator_) {
    throw Failure(Error(ErrorKind::denied, "token.role",
                        "only an operator may revoke an operator token",
                        fmt::format("Use an operator token; {}", kLostOperatorToken)));
  }
  if (is_operator && !found.get<bool>(0, 2)) {
    const auto others = co_await transaction.query(kOtherOperators, pg::Params(*id));
    if (others.get<std::int64_t>(0, 0) == 0) {
      throw Failure(
          Error(ErrorKind::conflict, "token.last_operator",
                "this is the last operator token: nobody could make another",
                "sluice token create NAME --role operator, then revoke this one with it"));
    }
  }
  json detail;
  detail["name"] = found.get<std::string>(0, 0);
  // Before it is revoked: the line asks for the caller's token, which may be the very one.
  co_await audit(transaction, call, "token.revoke", call.part("id"), std::move(detail));
  co_await transaction.query(kRevoke, pg::Params(call.workspace, *id));
  co_await transaction.commit();
  json document;
  document["revoked"] = id_text(*id);
  co_return HttpResponse::json(document);
}

constexpr std::array kTokensQuery = {
    limit_of(kTokensPageMax, kTokensPageMax),
    Parameter{.name = "after",
              .says = "where to go on: the next of the page before",
              .kind = ParameterKind::id}};

constexpr std::array<Route, 6> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/me",
     .access = Access::reader,
     .operation = "whoAmI",
     .summary = "Whose token this is, which workspaces it knows, and the host's release",
     .handler = me,
     .answer = "Me"},
    {.method = "GET",
     .pattern = "/v1/workspaces",
     .access = Access::operator_,
     .operation = "listWorkspaces",
     .summary = "All workspaces",
     .handler = list,
     .answer = "WorkspaceList"},
    {.method = "POST",
     .pattern = "/v1/workspaces",
     .access = Access::operator_,
     .operation = "createWorkspace",
     .summary = "Makes a workspace",
     .handler = create,
     .body = "WorkspaceNew",
     .answer = "WorkspaceMade",
     .status = "201",
     .problems = "400 workspace.* 409 workspace.*"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/tokens",
     .access = Access::admin,
     .operation = "createToken",
     .summary = "Makes a token; shown once",
     .handler = create_token_for,
     .body = "TokenNew",
     .answer = "TokenMade",
     .status = "201",
     .problems = "400 token.bad_name token.bad_role"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/tokens",
     .access = Access::admin,
     .operation = "listTokens",
     .summary = "Tokens, the revoked ones too, without their secrets",
     .handler = list_tokens,
     .query = kTokensQuery,
     .answer = "TokenPage"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/tokens/{id}",
     .access = Access::admin,
     .operation = "revokeToken",
     .summary = "Revokes a token, at once and for ever",
     .handler = revoke,
     .answer = "TokenRevoked",
     .problems = "404 token.not_found 409 token.last_operator"},
}};

}  // namespace

std::span<const Route> workspace_routes() { return kRoutes; }

}  // namespace sluice::api
