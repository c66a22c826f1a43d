// Logins with which people ask by SQL: roles of the database, each a member of its workspace's
// reader and of nothing else. Nothing of them is kept elsewhere, so the list is what there is.
#include <fmt/format.h>
#include <sodium.h>

#include <array>

#include "api/api.hpp"
#include "api/sql_entrance.hpp"
#include "base/bytes.hpp"
#include "base/log.hpp"

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::int64_t kUsersPageMax = 1000;
constexpr std::size_t kPasswordBytes = 24;
constexpr std::size_t kNameMax = 30;
constexpr std::int64_t kConnectionsMax = 8;  ///< of one login (migration 0037)

// The reader is made here where the workspace's views have not been made yet, which open themselves
// to it.
const pg::Statement kLogin{"api_sql_login", R"(
  select sluice.sql_user_role($1, $2), sluice.make_reader_role($1))"};

const pg::Statement kReader{"api_sql_reader", "select sluice.make_reader_role($1)"};

// Nobody's password, and of connections their number alone.
const pg::Statement kUsers{"api_sql_users", R"(
  select substr(r.rolname::text, length(p.before) + 1), r.rolname::text, not r.rolcanlogin,
         substring(shobj_description(r.oid, 'pg_authid') from 'made (\S+)$'),
         (select count(*) from pg_stat_activity a where a.usesysid = r.oid), r.rolconnlimit
  from (select sluice.sql_user_role($1, '')) p (before)
  join pg_roles r on r.rolname > (p.before || coalesce($2::text, ''))::name
    and r.rolname < (left(p.before, -1) || '`')::name  -- which comes behind '_'
  order by r.rolname limit $3)"};

const pg::Statement kLock{"api_sql_users_lock",
                          "select 1 from sluice.mutex where name = 'sql users' for update"};

// PostgreSQL keeps places for superusers alone, and a host is none: so people are given no more,
// all together, than what is left beside the hosts. Of a server that is not ours nothing is known.
const pg::Statement kRoom{"api_sql_users_room", R"(
  select s.share, coalesce(sum(case when r.rolconnlimit < 0 then s.share else r.rolconnlimit end), 0)::bigint,
         count(*) filter (where r.rolconnlimit < 0),
         coalesce(sum(r.rolconnlimit) filter (where r.rolname::text ^@ sluice.sql_user_role($1, '')), 0)::bigint,
         (select count(*) from (select from sluice.workspace limit 1000) w)
  from (select least(current_setting('sluice.sql_connections', true)::bigint,
                     greatest(current_setting('max_connections')::bigint - 100, 0))
        where current_setting('sluice.sql_connections', true) <> '') s (share)
  left join pg_auth_members m
    on m.roleid = (select g.oid from pg_roles g where g.rolname = 'sluice_sql_users')
  left join pg_roles r on r.oid = m.member and r.rolcanlogin
  group by s.share)"};

const pg::Statement kMake{"api_sql_user_make", "select sluice.make_sql_user($1, $2, $3)"};
const pg::Statement kClose{"api_sql_user_close", "select sluice.close_sql_user($1, $2)"};
const pg::Statement kDrop{"api_sql_user_drop", "select sluice.drop_sql_user($1, $2)"};

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kNameMax || name[0] < 'a' || name[0] > 'z') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
}

std::string new_password() {
  Bytes random(kPasswordBytes);
  randombytes_buf(random.data(), random.size());
  return to_base64url(random);
}

json where(const Call& call) {
  const SqlEntrance& sql = call.services.sql;
  json out;
  out["host"] = sql.host;
  out["port"] = sql.port;
  out["database"] = sql.database;
  out["schema"] = call.workspace_name;
  out["tcp_host"] = nullptr;
  if (!sql.tcp_host.empty()) out["tcp_host"] = reachable_name(sql.tcp_host);
  return out;
}

Task<json> users_of(Call& call, std::optional<std::string> after, std::int64_t limit) {
  pg::Params params(call.workspace, after, limit);
  const auto rows = co_await call.services.pool.query(kUsers, std::move(params));
  json users = json::array();
  for (int row = 0; row < rows.rows(); ++row) {
    json one;
    one["name"] = rows.get<std::string>(row, 0);
    one["login"] = rows.get<std::string>(row, 1);
    one["closed"] = rows.get<bool>(row, 2);
    one["created_at"] = nullptr;
    if (!rows.is_null(row, 3)) one["created_at"] = rows.get<std::string>(row, 3);
    one["connections"] = rows.get<std::int64_t>(row, 4);
    one["connections_max"] = rows.get<std::int32_t>(row, 5);
    users.push_back(std::move(one));
  }
  co_return users;
}

Task<HttpResponse> entrance(Call& call) {
  json document = where(call);
  const json users = co_await users_of(call, std::nullopt, kUsersPageMax);
  document["users"] = json::array();
  for (const json& user : users) {
    if (user["closed"] == true) continue;
    json one;
    one["name"] = user["name"];
    one["login"] = user["login"];
    document["users"].push_back(std::move(one));
  }
  co_return HttpResponse::json(document);
}

Task<HttpResponse> list(Call& call) {
  const std::int64_t limit = call.limit();
  json users = co_await users_of(call, call.http.parameter("after"), limit);
  json document;
  document["next"] = nullptr;
  if (std::ssize(users) == limit) document["next"] = users.back()["name"];
  document["sql_users"] = std::move(users);
  co_return HttpResponse::json(document);
}

[[noreturn]] void name_taken(const std::string& name) {
  throw Failure(Error(ErrorKind::conflict, "sql_user.name_taken",
                      fmt::format("the workspace has a login '{}' already", name),
                      fmt::format("choose another name; or: sluice sql-user delete {}", name)));
}

/// One without a limit of its own may take all that people have.
///
/// A workspace has its share of what there is, so that none keeps the others out.
Task<void> require_room(pg::Transaction& transaction, WorkspaceId workspace) {
  const auto room = co_await transaction.query(kRoom, pg::Params(workspace));
  if (room.empty()) co_return;
  const auto share = room.get<std::int64_t>(0, 0), given = room.get<std::int64_t>(0, 1);
  const auto own = room.get<std::int64_t>(0, 3), workspaces = room.get<std::int64_t>(0, 4);
  const std::int64_t of_workspace =
      std::max({share / std::max<std::int64_t>(workspaces, 1), share / 4, 2 * kConnectionsMax});
  const bool full = given + kConnectionsMax > share;
  if (!full && own + kConnectionsMax <= of_workspace) co_return;
  std::string what = fmt::format(
      "people may have {} connections to this database, this workspace's {} of them; their logins "
      "have {}, and this workspace's {}",
      share, of_workspace, given, own);
  if (const auto unlimited = room.get<std::int64_t>(0, 2); unlimited > 0)
    what += fmt::format("; {} made by hand have no limit of their own", unlimited);
  throw Failure(Error(ErrorKind::conflict, "sql_user.too_many", std::move(what),
                      "delete one that nobody uses (sluice sql-user list); or have the operator "
                      "make room: docs/operating/sql.md"));
}

/// The workspace's views make it, too, at the same moment: then it is there.
Task<void> make_reader(pg::Connection& connection, WorkspaceId workspace) {
  constexpr int kTries = 3;
  for (int attempt = 1; attempt <= kTries; ++attempt) {
    try {
      co_await connection.query(kReader, pg::Params(workspace));
      co_return;
    } catch (const pg::QueryError& error) {
      const std::string& state = error.sqlstate();
      if (state == "42501") co_return;  // said below
      const bool beside = state == "23505" || state == "42710" || state == "XX000";
      if (!beside || attempt == kTries) throw;
    }
  }
}

Task<HttpResponse> create(Call& call) {
  const json body = co_await call.body();
  const std::string name = body.at("name").get<std::string>();
  if (!is_name(name)) {
    bad_request("sql_user.bad_name", "'" + name.substr(0, 100) + "' is no name for a login",
                "a-z, 0-9 and _, beginning with a letter, at most 30 long");
  }
  auto connection = co_await call.services.pool.acquire();
  co_await make_reader(*connection, call.workspace);
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query(kLock);
  pg::Params which(call.workspace, name);
  std::string login;
  try {
    const auto found = co_await transaction.query(kLogin, std::move(which));
    if (!found.is_null(0, 1)) login = found.get<std::string>(0, 0);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() != "42501") throw;
  }
  if (login.empty()) {
    throw Failure(Error(ErrorKind::conflict, "sql_user.no_rights",
                        "this host may not make roles in its database",
                        "name a login with CREATEROLE in database.owner_url and start again: "
                        "docs/operating/README.md"));
  }
  co_await require_room(transaction, call.workspace);
  const std::string password = new_password();
  pg::Params made(call.workspace, name, connection->password_verifier(login, password));
  bool taken = false;
  try {
    co_await transaction.query(kMake, std::move(made));
  } catch (const pg::QueryError& error) {
    // 2BP01: a closed one of that name, which the database keeps.
    const std::string& state = error.sqlstate();
    taken = state == "42710" || state == "23505" || state == "2BP01";
    if (!taken) throw;
  }
  if (taken) name_taken(name);
  json detail;
  detail["login"] = login;
  co_await audit(transaction, call, "sql_user.create", name, std::move(detail));
  co_await transaction.commit();
  const SqlEntrance& sql = call.services.sql;
  json document = where(call);
  document["name"] = name;
  document["login"] = login;
  document["password"] = password;
  document["url"] = sql_url(sql, login, password, false);
  document["tcp_url"] = nullptr;
  if (!sql.tcp_host.empty()) document["tcp_url"] = sql_url(sql, login, password, true);
  co_return HttpResponse::json(document, 201);
}

/// What could not be done of it is done when the name is used again, or deleted again: what was
/// closed can neither come in nor read.
Task<std::string> drop_closed(pg::Connection& connection, WorkspaceId workspace, std::string name) {
  pg::Params which(workspace, name);
  try {
    const auto kept = co_await connection.query(kDrop, std::move(which));
    if (kept.is_null(0, 0)) co_return std::string();
    co_return fmt::format(
        "the role stays in the database, without a password, without a login and without the "
        "workspace, because other things there are its own: {}",
        kept.text(0, 0));
  } catch (const pg::QueryError& error) {
    log::warning("sql_user.not_dropped", {{"name", name}, {"error", error.what()}});
  }
  co_return "the login is closed; its role could not be dropped now, and is when you delete it again";
}

Task<HttpResponse> remove(Call& call) {
  const std::string name = call.part("name");
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query(kLock);
  bool existed = false;
  if (is_name(name)) {
    pg::Params which(call.workspace, name);
    const auto closed = co_await transaction.query(kClose, std::move(which));
    existed = closed.get<bool>(0, 0);
  }
  if (!existed) {
    throw Failure(Error(ErrorKind::not_found, "sql_user.unknown",
                        fmt::format("there is no login '{}'", name.substr(0, 100)),
                        "sluice sql-user list"));
  }
  co_await audit(transaction, call, "sql_user.delete", name, json::object());
  co_await transaction.commit();
  // A session that came in just before that is ended now.
  const std::string kept = co_await drop_closed(*connection, call.workspace, name);
  json document;
  document["deleted"] = name;
  document["notes"] = json::array();
  if (!kept.empty()) document["notes"].push_back(kept);
  co_return HttpResponse::json(document);
}

constexpr std::array kUsersQuery = {
    limit_of(kUsersPageMax, kUsersPageMax),
    Parameter{.name = "after", .says = "where to go on: the next of the page before"}};

constexpr std::array<Route, 4> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/sql",
     .access = Access::reader,
     .operation = "showSqlEntrance",
     .summary = "Where the workspace's views are asked by SQL, and the names of those who may",
     .handler = entrance,
     .answer = "SqlEntrance"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/sql-users",
     .access = Access::admin,
     .operation = "listSqlUsers",
     .summary = "Logins for SQL, without their passwords",
     .handler = list,
     .query = kUsersQuery,
     .answer = "SqlUserPage"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/sql-users",
     .access = Access::admin,
     .operation = "createSqlUser",
     .summary =
         "Makes a login that may read the workspace's views by SQL; its password is shown once",
     .handler = create,
     .body = "SqlUserNew",
     .answer = "SqlUserMade",
     .status = "201",
     .problems =
         "400 sql_user.bad_name 409 sql_user.name_taken sql_user.no_rights sql_user.too_many"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/sql-users/{name}",
     .access = Access::admin,
     .operation = "deleteSqlUser",
     .summary = "Ends a login and its sessions, at once and for ever",
     .handler = remove,
     .answer = "SqlUserDeleted",
     .problems = "404 sql_user.unknown"},
}};

}  // namespace

std::span<const Route> sql_user_routes() { return kRoutes; }

}  // namespace sluice::api
