#include "feed/view_owners.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "model/columns.hpp"
#include "pg/error.hpp"

namespace sluice::feed {
namespace {

using model::quote_text;

/// Every statement of a batch reads all policies of the table once more, and has it for itself.
constexpr std::int64_t kClosedAtOnce = 10;

constexpr int kRoleRounds = 4;

// Each try for one of the core's tables, which all workspaces write.
constexpr std::string_view kShortPatience = "select set_config('lock_timeout', '60ms', true)";

// Policies bind whoever is neither a table's owner nor free of them: only who sees all rows anyway
// may make tables have some. And the function that makes roles makes them by its owner's rights.
constexpr std::string_view kMayOwn =
    "select (r.rolsuper or r.rolbypassrls) and exists (select from pg_proc p join pg_roles o"
    " on o.oid = p.proowner where p.oid = to_regprocedure('sluice.make_view_role(bigint,bigint)')"
    " and (o.rolsuper or o.rolcreaterole)) from pg_roles r where r.rolname = current_user";

constexpr std::string_view kMissingRoles =
    "select w.name, w.type from unnest($1::text[], $2::bigint[]) as w (name, type)"
    " where not exists (select from pg_roles r join pg_roles g on g.rolname = sluice.view_owners()"
    "   where r.rolname = w.name and pg_has_role(r.oid, 'member')"
    "   and pg_has_role(r.oid, g.oid, 'usage'))";

constexpr std::string_view kMakeRole = "select sluice.make_view_role($1, $2)";
constexpr std::string_view kOpenToView = "select sluice.open_to_view($1, $2, $3)";

// A policy is called like the role that it is for; its comment is the condition it was made with.
constexpr std::string_view kOpenReads =
    "select w.n, coalesce(obj_description(p.oid, 'pg_policy'), '') = w.condition"
    " from unnest($1::text[], $2::text[], $3::text[]) with ordinality"
    "   as w (relation, owner, condition, n)"
    " join pg_roles r on r.rolname = w.owner"
    " join pg_class c on c.oid = to_regclass(w.relation) and c.relrowsecurity"
    " join pg_policy p on p.polrelid = c.oid and p.polname = w.owner"
    " where has_table_privilege(r.oid, c.oid, 'select')";

constexpr std::string_view kHowOpen =
    "select c.relrowsecurity, has_table_privilege($2, c.oid, 'select'), sluice.view_owners()"
    " from pg_class c where c.oid = to_regclass($1)";

// Of types that are there, also disabled ones, it stays; and while a view belongs to it. Behind the
// digits comes ':'. Somebody's own role may begin like ours.
constexpr std::string_view kLeftOwners = R"(
  select l.type from (
    select r.oid, case when substr(r.rolname::text, length(p.before) + 1) ~ '^\d{1,18}$'
      then substr(r.rolname::text, length(p.before) + 1)::bigint end as type
    from (select 'sluice_view' || sluice.role_space() || $1::bigint || '_t') p (before)
    join pg_roles r on r.rolname >= p.before::name and r.rolname < (p.before || ':')::name) l
  left join sluice.entity_type t on t.workspace_id = $1::bigint and t.type_id = l.type
  where l.type > $3 and (t.type_id is null or t.state in ('dropping', 'dropped'))
    and (select 1 from pg_shdepend d where d.refclassid = 'pg_authid'::regclass and d.refobjid = l.oid
         and d.deptype = 'o' limit 1) is null
  order by l.type limit $2)";
constexpr std::string_view kCloseOwners =
    "select sluice.drop_view_roles($1, sluice.close_to_view($1, $2::bigint[]))";

struct Step {
  std::string sql;
  pg::Params params;
};

Error refusal_of(const pg::QueryError& error) {
  if (error.sqlstate() == "55P03") {
    return Error(ErrorKind::retry_later, std::string(kOwnerBusyCode),
                 "a table that it reads is in use");
  }
  // Roles are the server's: another host, or one of another database, makes the same one, or writes
  // at the same one.
  const std::string& state = error.sqlstate();
  if (state == "23505" || state == "42710" || state == "XX000" || state == "40P01") {
    return Error(ErrorKind::retry_later, std::string(kOwnerBusyCode),
                 "somebody else makes it at this moment");
  }
  return Error(ErrorKind::conflict, std::string(kNoOwnerCode), error.error().message);
}

Task<std::optional<Error>> run_alone(pg::Connection& connection, std::vector<Step> steps) {
  auto transaction = co_await pg::Transaction::begin(connection);
  std::optional<Error> refused;
  try {
    co_await transaction.query(kShortPatience);
    for (Step& step : steps) co_await transaction.query(step.sql, std::move(step.params));
  } catch (const pg::QueryError& error) {
    if (error.sqlstate().empty()) throw;
    refused = refusal_of(error);
  }
  if (!refused) {
    co_await transaction.commit();
  } else {
    co_await transaction.rollback();
  }
  co_return refused;
}

/// Those that could not be made.
Task<std::map<std::string, Error>> make_roles(pg::Connection& connection, WorkspaceId workspace,
                                              const std::vector<View>& views) {
  std::map<std::string, std::int64_t> owners;
  for (const View& view : views) owners.emplace(view.owner, view.owner_type);
  pg::Array names(pg::Oid::text), types(pg::Oid::int8);
  for (const auto& [name, type] : owners) {
    names.add(std::string_view(name));
    types.add(type);
  }
  std::map<std::string, Error> refused;
  // Roles are the server's: who makes views beside us, or in another database of it, makes the same
  // ones. Whatever he has made by the next look is made.
  for (int round = 0; round < kRoleRounds; ++round) {
    pg::Params params(names, types);
    const auto missing = co_await connection.query(kMissingRoles, std::move(params));
    refused.clear();
    for (int row = 0; row < missing.rows(); ++row) {
      pg::Params which(workspace, missing.get<std::int64_t>(row, 1));
      std::optional<Error> why = co_await try_alone(connection, kMakeRole, std::move(which));
      if (why) refused.emplace(missing.get<std::string>(row, 0), std::move(*why));
    }
    const bool is_busy = std::any_of(refused.begin(), refused.end(), [](const auto& one) {
      return one.second.kind == ErrorKind::retry_later;
    });
    if (!is_busy) break;
  }
  co_return refused;
}

/// A table of the core is its owner's to open, by a function; one of vendor is ours. The right to
/// read is that of all owners of views: by itself it shows nobody a row.
Task<std::optional<Error>> open_read(pg::Connection& connection, WorkspaceId workspace,
                                     std::string owner, std::int64_t owner_type, ViewRead read) {
  constexpr std::string_view kCore = "sluice.";
  if (read.table.starts_with(kCore)) {
    pg::Params which(read.table.substr(kCore.size()), workspace, owner_type);
    auto refused = co_await try_alone(connection, kOpenToView, std::move(which));
    co_return refused;
  }
  pg::Params params(read.table, owner);
  const auto open = co_await connection.query(kHowOpen, std::move(params));
  if (open.empty()) {
    co_return Error(ErrorKind::conflict, std::string(kNoOwnerCode),
                    fmt::format("there is no table {}", read.table));
  }
  std::vector<Step> steps;
  const auto add = [&steps](std::string sql) { steps.emplace_back().sql = std::move(sql); };
  if (!open.get<bool>(0, 0))
    add(fmt::format("alter table {} enable row level security", read.table));
  add(fmt::format("drop policy if exists {} on {}", owner, read.table));
  add(fmt::format("create policy {0} on {1} for select to {0} using ({2})", owner, read.table,
                  read.condition));
  add(fmt::format("comment on policy {} on {} is {}", owner, read.table,
                  quote_text(read.condition)));
  if (!open.get<bool>(0, 1))
    add(fmt::format("grant select on {} to {}", read.table, open.text(0, 2)));
  auto refused = co_await run_alone(connection, std::move(steps));
  co_return refused;
}

}  // namespace

Task<std::optional<Error>> try_alone(pg::Connection& connection, std::string_view sql,
                                     pg::Params params) {
  std::vector<Step> steps(1);
  steps[0].sql = std::string(sql);
  steps[0].params = std::move(params);
  auto refused = co_await run_alone(connection, std::move(steps));
  co_return refused;
}

Task<bool> may_own_views(pg::Connection& connection) {
  const auto allowed = co_await connection.query(kMayOwn);
  co_return !allowed.empty() && allowed.get<bool>(0, 0);
}

Task<ViewOwners> ready_owners(pg::Connection& connection, WorkspaceId workspace,
                              const std::vector<View>& views) {
  ViewOwners all;
  const bool allowed = co_await may_own_views(connection);
  if (!allowed) co_return all;
  all.refused = co_await make_roles(connection, workspace, views);
  std::map<std::pair<std::string, std::string>, std::string> wanted;
  std::map<std::string, std::int64_t> types;
  for (const View& view : views) {
    if (all.refused.contains(view.owner)) continue;
    all.ready.insert(view.owner);
    types[view.owner] = view.owner_type;
    for (const ViewRead& read : view.reads) wanted[{view.owner, read.table}] = read.condition;
  }
  std::vector<std::pair<std::string, ViewRead>> reads;
  pg::Array tables(pg::Oid::text), owners(pg::Oid::text), conditions(pg::Oid::text);
  for (const auto& [key, condition] : wanted) {
    reads.emplace_back(key.first, ViewRead{key.second, condition});
    owners.add(std::string_view(key.first));
    tables.add(std::string_view(key.second));
    conditions.add(std::string_view(condition));
  }
  pg::Params params(std::move(tables), std::move(owners), std::move(conditions));
  const auto open = co_await connection.query(kOpenReads, std::move(params));
  std::map<std::int64_t, bool> is_current;
  for (int row = 0; row < open.rows(); ++row)
    is_current[open.get<std::int64_t>(row, 0)] = open.get<bool>(row, 1);
  std::int64_t number = 0;
  // Who waits for a table in use keeps all behind him waiting, too: once.
  std::map<std::string, Error> busy;
  for (const auto& [owner, read] : reads) {
    const auto found = is_current.find(++number);
    if (found != is_current.end() && found->second) continue;
    std::optional<Error> refused;
    if (const auto waits = busy.find(read.table); waits != busy.end()) refused = waits->second;
    if (!refused) {
      refused = co_await open_read(connection, workspace, owner, types.at(owner), read);
      if (refused && refused->kind == ErrorKind::retry_later) busy.emplace(read.table, *refused);
    }
    // One in the words of an older version shows the same rows, until its table is free.
    if (!refused || found != is_current.end()) continue;
    all.ready.erase(owner);
    all.refused.emplace(owner, std::move(*refused));
  }
  for (const auto& [table, error] : busy) all.busy.insert(table);
  co_return all;
}

Task<ClosedOwners> close_owners(pg::Connection& connection, WorkspaceId workspace,
                                EntityTypeId after) {
  ClosedOwners closed;
  closed.last = after;
  const bool allowed = co_await may_own_views(connection);
  pg::QueryResult left;
  if (allowed) {
    pg::Params where(workspace, kClosedAtOnce, after);
    left = co_await connection.query(kLeftOwners, std::move(where));
  }
  closed.more = left.rows() == kClosedAtOnce;
  if (left.empty()) co_return closed;
  pg::Array types(pg::Oid::int8);
  for (int row = 0; row < left.rows(); ++row) types.add(left.get<std::int64_t>(row, 0));
  pg::Params which(workspace, std::move(types));
  const auto refused = co_await try_alone(connection, kCloseOwners, std::move(which));
  closed.last = left.get<EntityTypeId>(left.rows() - 1, 0);
  closed.busy = refused && refused->kind == ErrorKind::retry_later;
  if (refused && !closed.busy) throw Failure(*refused);
  co_return closed;
}

Error without_owner(const std::string& view, const Error& refused) {
  const bool busy = refused.kind == ErrorKind::retry_later;
  return Error(refused.kind, refused.code,
               fmt::format("the SQL view {} has no owner of its own, so that its joins find no "
                           "index: {}",
                           view, refused.message),
               busy ? "it is tried again by itself; or run: sluice view refresh"
                    : "once that is mended, run: sluice view refresh");
}

}  // namespace sluice::feed
