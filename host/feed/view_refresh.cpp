// Makes a workspace's schema hold the views that its catalogue calls for.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error_json.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "feed/view_comments.hpp"
#include "feed/view_owners.hpp"
#include "feed/views.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "model/indexed_text.hpp"
#include "pg/error.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::feed {
namespace {

using model::quote_name;
using model::quote_text;

constexpr const char* kBusyCode = "views.busy";
constexpr std::string_view kOurMark = "sluice workspace ";
/// Rises with the way views are made: all are made anew then.
constexpr int kFormat = 7;
/// Each of these indexes costs every write of every workspace; names beyond are found by reading.
constexpr std::int64_t kOwnIndexesMax = 8;
/// An index of an own attribute is built at once up to this size of the table; it takes seconds.
constexpr std::int64_t kIndexAtOnceBytes = 256 << 20;

// One at a time of a workspace. A row of ours, which no reader can lock; and its key stays free for
// whoever refers to it.
constexpr std::string_view kLock =
    "select 1 from sluice.workspace where workspace_id = $1 for no key update";

constexpr int kCatalogueChangesMax =
    10;  ///< while views are being made; then somebody else does it

// Behind a long query an ACCESS EXCLUSIVE lock keeps everybody else waiting, too.
constexpr std::string_view kPatience = "select set_config('lock_timeout', '2s', true)";
constexpr std::string_view kSchema =
    "select coalesce(obj_description(oid, 'pg_namespace'), ''),"
    " pg_has_role(current_user, nspowner, 'usage') from pg_namespace where nspname = $1";

constexpr std::string_view kExisting =
    "select c.relname::text, c.oid::bigint, pg_get_userbyid(c.relowner)::text,"
    " coalesce(obj_description(c.oid, 'pg_class'), ''),"
    " coalesce('security_barrier=true' = any (c.reloptions), false), coalesce(v.hash, ''),"
    " v.name is not null, v.failure is not null, array_to_json(array(select a.attname::text from"
    " pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
    " order by a.attnum))::text, c.relkind = 'v'"
    " from pg_class c left join sluice.sql_view v"
    "   on v.workspace_id = $2 and v.name = c.relname::text collate \"C\""
    " where c.relnamespace = (select oid from pg_namespace where nspname = $1)"
    "   and c.relkind in ('v', 'm', 'r', 'p', 'f')";

// What a dump does not carry along (the owners of views), and what makes another view of the same
// catalogue.
constexpr std::string_view kMadeHere =
    "select format('%s in %s/%s by %s', $1::int, s.system_identifier, d.oid, r.rolname)"
    " from pg_control_system() s, pg_database d, pg_roles r"
    " where d.datname = current_database() and r.rolname = current_user";

constexpr std::string_view kRemember =
    "update sluice.workspace set views_made = $2 where workspace_id = $1 and views_made <> $2";

// And how the owners of views are called here: roles are the server's, their names of this
// database.
constexpr std::string_view kMe =
    "select current_user::text, 'sluice_view' || sluice.role_space(), sluice.view_owners()";

constexpr std::string_view kMakeReader = "select sluice.make_reader_role($1)";
constexpr std::string_view kIndexOwnText = "select sluice.index_own_text($1, $2)";

// Who is to own a view must be able to make one there, which all owners of views are; and who is to
// read one, to look there.
constexpr std::string_view kMayNotMake =
    "select 1 from pg_namespace n, pg_roles r where n.nspname = $1 and r.rolname = $2"
    " and not has_schema_privilege(r.oid, n.oid, 'create')";
constexpr std::string_view kMayNotLook =
    "select 1 from pg_namespace n, pg_roles r where n.nspname = $1 and r.rolname = $2"
    " and not has_schema_privilege(r.oid, n.oid, 'usage')";

constexpr std::string_view kMayNotRead =
    "select v.name from pg_namespace n join pg_roles r on r.rolname = $3"
    " join sluice.sql_view v on v.workspace_id = $2 and v.hash <> ''"
    " join pg_class c on c.relnamespace = n.oid and c.relname::text collate \"C\" = v.name"
    "   and c.relkind = 'v'"
    " where n.nspname = $1 and not has_table_privilege(r.oid, c.oid, 'select')";

// Views and functions that stand on this one, or take its row type; triggers and rules on it.
constexpr std::string_view kInTheWay =
    "select distinct case when d.classid = 'pg_rewrite'::regclass"
    "   then pg_describe_object('pg_class'::regclass, r.ev_class, 0)"
    "   else pg_describe_object(d.classid, d.objid, 0) end"
    " from pg_depend d left join pg_rewrite r"
    "   on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid"
    " where d.deptype = 'n' and (r.ev_class is null or r.ev_class <> $1::bigint::oid)"
    "   and ((d.refclassid = 'pg_class'::regclass and d.refobjid = $1::bigint::oid)"
    "     or (d.refclassid = 'pg_type'::regclass and d.refobjid in ("
    "       select t.oid from pg_type t where t.typrelid = $1::bigint::oid"
    "       union all select t.typarray from pg_type t where t.typrelid = $1::bigint::oid)))"
    " union select pg_describe_object('pg_trigger'::regclass, t.oid, 0) from pg_trigger t"
    "   where t.tgrelid = $1::bigint::oid and not t.tgisinternal"
    " union select pg_describe_object('pg_rewrite'::regclass, r.oid, 0) from pg_rewrite r"
    "   where r.ev_class = $1::bigint::oid and r.rulename <> '_RETURN'"
    " order by 1";

// What people gave and wrote, as statements that do it again: column ('' for the view), statement.
constexpr std::string_view kKept =
    "select '', format('grant %s on %s to %s%s', a.privilege_type, $2::text, case a.grantee when 0"
    "   then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,"
    "   case when a.is_grantable then ' with grant option' else '' end)"
    " from pg_class c cross join aclexplode(c.relacl) a"
    " where c.oid = $1::bigint::oid and a.grantee <> c.relowner"
    " union all"
    " select t.attname::text, format('grant %s (%I) on %s to %s%s', a.privilege_type, t.attname,"
    "   $2::text, case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee))"
    "   end, case when a.is_grantable then ' with grant option' else '' end)"
    " from pg_attribute t cross join aclexplode(t.attacl) a"
    " where t.attrelid = $1::bigint::oid and t.attnum > 0 and not t.attisdropped"
    " union all"
    " select t.attname::text, format('comment on column %s.%I is %L', $2::text, t.attname,"
    "   col_description(t.attrelid, t.attnum))"
    " from pg_attribute t where t.attrelid = $1::bigint::oid and t.attnum > 0"
    "   and col_description(t.attrelid, t.attnum) is not null"
    " union all"
    " select '', format('comment on view %s is %L', $2::text, obj_description($1::bigint::oid,"
    "   'pg_class')) where obj_description($1::bigint::oid, 'pg_class') is not null";

// Of a view that was just made again: what default privileges gave, which the one before had not.
constexpr std::string_view kGivenByDefault =
    "select distinct format('revoke all on %s from %s', $1::text, case a.grantee when 0 then"
    "   'public' else quote_ident(pg_get_userbyid(a.grantee)) end)"
    " from pg_class c cross join aclexplode(c.relacl) a"
    " where c.oid = to_regclass($1) and a.grantee <> c.relowner";

constexpr std::string_view kMade =
    "insert into sluice.sql_view (workspace_id, name, hash) values ($1, $2, $3)"
    " on conflict (workspace_id, name) do update set hash = excluded.hash, failure = null,"
    " failed_at = null";

constexpr std::string_view kFailed =
    "insert into sluice.sql_view (workspace_id, name, failure, failed_at)"
    " values ($1, $2, $3, now()) on conflict (workspace_id, name) do update"
    " set failure = excluded.failure, failed_at = excluded.failed_at";

constexpr std::string_view kGone =
    "delete from sluice.sql_view where workspace_id = $1 and name = $2";

constexpr std::string_view kRemembered =
    "select name, hash, coalesce(failure->>'code', ''), coalesce(failure->>'message', ''),"
    " coalesce(failure->>'hint', '') from sluice.sql_view where workspace_id = $1";

// With what is stored beside it: an index reads every document.
constexpr std::string_view kOwnBytes = "select pg_table_size('sluice.own_entity')";
constexpr std::string_view kOwnIndexes =
    "select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid"
    " where i.indrelid = 'sluice.own_entity'::regclass and c.relname like 'own\\_entity\\_at\\_%'";

/// A relation of the workspace's schema as it is.
struct Standing {
  std::int64_t oid = 0;
  std::string owner, comment, hash;
  bool barrier = false, ours = false, failed = false, is_view = true;
  std::vector<std::string> columns;
};

/// One refresh, for all its views.
struct Refresh {
  WorkspaceId workspace;
  std::string schema;
  std::string me;         ///< the role that we are
  std::string everybody;  ///< the role that all owners of views are members of
  std::chrono::milliseconds readers_patience{0};
  ViewOwners owners;
  std::string reader;  ///< who may read all views; empty: there is none of ours
  std::map<std::string, Standing> standing;
  std::vector<StaleView> stale;
};

/// Of a view that a version before 0007 made: the hash that it kept in the comment, or what 0005
/// wrote there.
bool is_old_mark(std::string_view comment) {
  if (comment == "sluice migrated") return true;
  return comment.starts_with("sluice ") && comment.size() == 7 + 16 &&
         comment.find_first_not_of("0123456789abcdef", 7) == std::string_view::npos;
}

std::string hash_of(const View& view) {
  std::string text = fmt::format("{} {} {}", kFormat, view.owner, view.sql());
  for (const ViewRead& read : view.reads) text += read.table + read.condition;
  return model::text_hash(text);
}

std::string mark_of(WorkspaceId workspace) {
  return fmt::format("{}{}", kOurMark, workspace.value);
}

Task<void> claim(pg::Transaction& transaction, const std::string& name, const std::string& mark) {
  pg::Params by_name(name);
  const auto existing = co_await transaction.query(kSchema, std::move(by_name));
  if (existing.empty()) {
    const std::string create = fmt::format("create schema {}", quote_name(name));
    co_await transaction.query(create);
    const std::string comment =
        fmt::format("comment on schema {} is {}", quote_name(name), quote_text(mark));
    co_await transaction.query(comment);
    co_return;
  }
  // Anybody may write our mark on a schema of his own.
  if (existing.text(0, 0) == mark && existing.get<bool>(0, 1)) co_return;
  throw Failure(Error(
      ErrorKind::conflict, "workspace.schema_taken",
      fmt::format("the database has a schema {} that does not belong to this workspace", name),
      "rename that schema, or choose another name for the workspace"));
}

/// The role that people are granted, or nothing: we may not make it, or it is somebody else's.
Task<std::string> reader_of(pg::Connection& connection, WorkspaceId workspace) {
  std::string reader;
  bool refused = false;
  auto transaction = co_await pg::Transaction::begin(connection);
  try {
    const auto made = co_await transaction.query(kMakeReader, pg::Params(workspace));
    if (!made.is_null(0, 0)) reader = made.get<std::string>(0, 0);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate().empty()) throw;
    refused = true;
  }
  if (refused) {
    co_await transaction.rollback();
  } else {
    co_await transaction.commit();
  }
  co_return reader;
}

/// The columns in the order in which the view has them, new ones behind.
void keep_order(View& view, const std::vector<std::string>& order) {
  std::vector<ViewColumn> columns;
  for (const std::string& name : order) {
    const auto found = std::find_if(view.columns.begin(), view.columns.end(),
                                    [&](const ViewColumn& one) { return one.name == name; });
    if (found == view.columns.end()) continue;  // gone: PostgreSQL will refuse to replace
    columns.push_back(std::move(*found));
    view.columns.erase(found);
  }
  std::move(view.columns.begin(), view.columns.end(), std::back_inserter(columns));
  view.columns = std::move(columns);
}

/// False when PostgreSQL will not replace the view in place.
Task<bool> replace_view(pg::Transaction& transaction, const std::string& create) {
  co_await transaction.query("savepoint replace_view");
  bool replaced = true;
  try {
    co_await transaction.query(create);
  } catch (const pg::QueryError& error) {
    // 42P16: columns were dropped, renamed, retyped or put in another order.
    if (error.sqlstate() != "42P16") throw;
    replaced = false;
  }
  if (!replaced) co_await transaction.query("rollback to savepoint replace_view");
  co_await transaction.query("release savepoint replace_view");
  co_return replaced;
}

Task<void> refuse_what_is_used(pg::Transaction& transaction, std::int64_t oid,
                               const std::string& full_name) {
  pg::Params params(oid);
  const auto used = co_await transaction.query(kInTheWay, std::move(params));
  if (used.empty()) co_return;
  std::vector<std::string> by;
  for (int row = 0; row < used.rows(); ++row) by.push_back(used.get<std::string>(row, 0));
  throw Failure(Error(ErrorKind::conflict, "views.depended_on",
                      fmt::format("the view {} must be made again, but is used by: {}", full_name,
                                  fmt::join(by, ", ")),
                      "drop what uses it, run: sluice view refresh, and create it again"));
}

/// Drops and creates; what people gave on it and wrote on it is there again afterwards.
Task<void> make_again(pg::Transaction& transaction, const View& view, std::int64_t oid,
                      const std::string& name, const std::string& create) {
  co_await refuse_what_is_used(transaction, oid, name);
  pg::Params params(oid, name);
  const auto kept = co_await transaction.query(kKept, std::move(params));
  const std::string drop = fmt::format("drop view {}", name);
  co_await transaction.query(drop);
  co_await transaction.query(create);
  pg::Params made(name);
  const auto given = co_await transaction.query(kGivenByDefault, std::move(made));
  for (int row = 0; row < given.rows(); ++row) {
    const auto revoke = given.get<std::string>(row, 0);
    co_await transaction.query(revoke);
  }
  for (int row = 0; row < kept.rows(); ++row) {
    const std::string_view column = kept.text(row, 0);
    const bool there =
        column.empty() || std::any_of(view.columns.begin(), view.columns.end(),
                                      [&](const ViewColumn& one) { return one.name == column; });
    const auto again = kept.get<std::string>(row, 1);
    if (there) co_await transaction.query(again);
  }
}

Task<void> put_view(pg::Transaction& transaction, const Refresh& refresh, View view,
                    const Standing* standing, std::string hash) {
  const std::string name = fmt::format("{}.{}", quote_name(refresh.schema), quote_name(view.name));
  if (standing != nullptr && (!standing->ours || !standing->is_view)) {
    throw Failure(Error(ErrorKind::conflict, "views.name_taken",
                        fmt::format("{} is somebody's own, and stands where a view of Sluice "
                                    "belongs",
                                    name),
                        "rename or drop it, and run: sluice view refresh"));
  }
  const bool owned = refresh.owners.ready.contains(view.owner);
  if (standing != nullptr) keep_order(view, standing->columns);
  const std::string create =
      fmt::format("create or replace view {} with (security_barrier = {}) as {}", name,
                  owned ? "false" : "true", view.sql());
  if (standing != nullptr && is_old_mark(standing->comment)) {
    const std::string comment = fmt::format("comment on view {} is null", name);
    co_await transaction.query(comment);
  }
  const bool replaced = co_await replace_view(transaction, create);
  if (!replaced && standing != nullptr)
    co_await make_again(transaction, view, standing->oid, name, create);
  const std::string owner = owned ? view.owner : refresh.me;
  const bool same_owner = standing != nullptr ? replaced && standing->owner == owner : !owned;
  if (!same_owner) {
    const std::string alter = fmt::format("alter view {} owner to {}", name, quote_name(owner));
    co_await transaction.query(alter);
  }
  pg::Params made(refresh.workspace, view.name, hash);
  co_await transaction.query(kMade, std::move(made));
}

Task<void> drop_view(pg::Transaction& transaction, const Refresh& refresh, std::string view,
                     const Standing& standing) {
  const std::string name = fmt::format("{}.{}", quote_name(refresh.schema), quote_name(view));
  co_await refuse_what_is_used(transaction, standing.oid, name);
  const std::string drop = fmt::format("drop view {}", name);
  co_await transaction.query(drop);
  pg::Params gone(refresh.workspace, view);
  co_await transaction.query(kGone, std::move(gone));
}

Error stale_error(const pg::QueryError& error, const std::string& view) {
  if (error.sqlstate() == "55P03") {
    return Error(ErrorKind::retry_later, kBusyCode,
                 fmt::format("the view {} is locked by somebody who reads it", view),
                 "run: sluice view refresh, when their query is over");
  }
  return Error(error.kind(), error.error().code, error.error().message,
               "run: sluice view refresh, once that is mended");
}

/// What the schema itself has to allow.
Task<void> open_schema(pg::Transaction& transaction, const Refresh& refresh) {
  const std::string schema = quote_name(refresh.schema);
  if (!refresh.owners.ready.empty()) {
    pg::Params who(refresh.schema, refresh.everybody);
    const auto closed = co_await transaction.query(kMayNotMake, std::move(who));
    const std::string grant =
        fmt::format("grant create, usage on schema {} to {}", schema, refresh.everybody);
    if (!closed.empty()) co_await transaction.query(grant);
  }
  if (refresh.reader.empty()) co_return;
  pg::Params reader(refresh.schema, refresh.reader);
  const auto blind = co_await transaction.query(kMayNotLook, std::move(reader));
  if (blind.empty()) co_return;
  const std::string grant = fmt::format("grant usage on schema {} to {}", schema, refresh.reader);
  co_await transaction.query(grant);
}

/// Views that came, and all of them where the reader did.
Task<void> open_views(pg::Transaction& transaction, const Refresh& refresh) {
  if (refresh.reader.empty()) co_return;
  pg::Params reader(refresh.schema, refresh.workspace, refresh.reader);
  const auto closed = co_await transaction.query(kMayNotRead, std::move(reader));
  for (int row = 0; row < closed.rows(); ++row) {
    const std::string grant = fmt::format("grant select on {}.{} to {}", quote_name(refresh.schema),
                                          quote_name(closed.text(row, 0)), refresh.reader);
    co_await transaction.query(grant);
  }
}

/// A view that has no owner of its own, though it could: it stands, and is remembered.
Task<void> without(pg::Transaction& transaction, Refresh& refresh, std::string name,
                   Error refused) {
  Error error = without_owner(name, refused);
  pg::Params params(refresh.workspace, name, error_json(error));
  co_await transaction.query(kFailed, std::move(params));
  log::warning("views.no_owner",
               {{"workspace", refresh.schema}, {"view", name}, {"error", error.describe()}});
  refresh.stale.push_back(StaleView{std::move(name), std::move(error)});
}

/// One view's work. False: it went wrong, which undoes it alone, and is remembered.
Task<bool> in_its_savepoint(pg::Transaction& transaction, Refresh& refresh, std::string name,
                            Task<void> work) {
  co_await transaction.query("savepoint one_view");
  std::optional<Error> failed;
  try {
    co_await std::move(work);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate().empty()) throw;  // the connection, not the view
    failed = stale_error(error, name);
  } catch (const Failure& failure) {
    failed = failure.error();
  }
  if (failed) {
    co_await transaction.query("rollback to savepoint one_view");
    pg::Params params(refresh.workspace, name, error_json(*failed));
    co_await transaction.query(kFailed, std::move(params));
    log::warning("views.stale",
                 {{"workspace", refresh.schema}, {"view", name}, {"error", failed->describe()}});
    refresh.stale.push_back(StaleView{std::move(name), std::move(*failed)});
  }
  co_await transaction.query("release savepoint one_view");
  co_return !failed;
}

Task<void> look(pg::Transaction& transaction, Refresh& refresh) {
  pg::Params params(refresh.schema, refresh.workspace);
  const auto rows = co_await transaction.query(kExisting, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    Standing& one = refresh.standing[rows.get<std::string>(row, 0)];
    one.oid = rows.get<std::int64_t>(row, 1);
    one.owner = rows.get<std::string>(row, 2);
    one.comment = rows.get<std::string>(row, 3);
    one.barrier = rows.get<bool>(row, 4);
    one.hash = rows.get<std::string>(row, 5);
    one.ours = (rows.get<bool>(row, 6) && !one.hash.empty()) || is_old_mark(one.comment);
    one.failed = rows.get<bool>(row, 7);
    one.columns = stored_json(rows.text(row, 8)).get<std::vector<std::string>>();
    one.is_view = rows.get<bool>(row, 9);
  }
}

/// Texts of own types that are looked for by themselves, each name once; unique ones first, since
/// there are places for a few.
std::vector<std::string> indexed_texts(const model::Catalog& catalog) {
  std::vector<std::string> names, addresses;
  for (const model::StoredType& type : catalog.types) {
    for (const model::StoredAttribute& attribute : type.attributes) {
      if (!type.own || !model::is_indexed_text(attribute)) continue;
      (attribute.unique ? names : addresses).push_back(attribute.name);
    }
  }
  std::move(addresses.begin(), addresses.end(), std::back_inserter(names));
  std::set<std::string> seen;
  std::erase_if(names, [&](const std::string& name) { return !seen.insert(name).second; });
  return names;
}

/// An index for each such text, one for all that are called alike; the first names that come.
Task<void> make_own_indexes(pg::Connection& connection, const model::Catalog& catalog) {
  const std::vector<std::string> texts = indexed_texts(catalog);
  if (texts.empty()) co_return;
  const auto bytes = co_await connection.query(kOwnBytes);
  if (bytes.get<std::int64_t>(0, 0) > kIndexAtOnceBytes) co_return;
  const auto made = co_await connection.query(kOwnIndexes);
  std::set<std::string> indexes;
  for (int row = 0; row < made.rows(); ++row) indexes.insert(made.get<std::string>(row, 0));
  for (const std::string& name : texts) {
    const std::string index = model::fitted_name(fmt::format("own_entity_at_{}", name));
    if (indexes.contains(index)) continue;
    if (std::ssize(indexes) >= kOwnIndexesMax) co_return;
    pg::Params which(index, name);
    co_await try_alone(connection, kIndexOwnText, std::move(which));
    indexes.insert(index);
  }
}

/// Who reads by SQL, and stays, is out of the way of the next refresh.
Task<void> make_way(pg::Connection& connection, const Refresh& refresh) {
  std::vector<std::string> in_use(refresh.owners.busy.begin(), refresh.owners.busy.end());
  for (const StaleView& one : refresh.stale) {
    if (one.error.code == kBusyCode)
      in_use.push_back(fmt::format("{}.{}", quote_name(refresh.schema), quote_name(one.name)));
  }
  if (in_use.empty()) co_return;
  pg::ReadersLimits limits;
  limits.patience = refresh.readers_patience;
  co_await pg::end_sql_sessions(connection, limits, std::move(in_use));
}

/// Everything of one refresh. False, and nothing done: the workspace has another catalogue by now.
/// By an old one, views that somebody else has just made would go again.
Task<bool> refresh_by(pg::Connection& connection, const model::Catalog& catalog, Refresh& refresh) {
  std::vector<View> views = views_of(catalog);
  std::map<std::string, std::string> hashes;
  const auto me = co_await connection.query(kMe);
  refresh.me = me.get<std::string>(0, 0);
  const auto owners = me.get<std::string>(0, 1);
  refresh.everybody = me.get<std::string>(0, 2);
  for (View& view : views) {
    hashes[view.name] = hash_of(view);
    view.owner.insert(0, owners);
  }
  const std::string made_here = co_await views_made_here(connection);
  co_await make_own_indexes(connection, catalog);
  refresh.owners = co_await ready_owners(connection, catalog.workspace, views);
  refresh.reader = co_await reader_of(connection, catalog.workspace);

  auto transaction = co_await pg::Transaction::begin(connection);
  co_await transaction.query(kLock, pg::Params(catalog.workspace));
  const auto version =
      co_await transaction.query(model::kCatalogVersion, pg::Params(catalog.workspace));
  if (!version.empty() && version.get<std::int64_t>(0, 0) != catalog.version) {
    co_await transaction.rollback();
    co_return false;
  }
  co_await transaction.query(kPatience);
  const std::string mark = mark_of(catalog.workspace);
  co_await claim(transaction, refresh.schema, mark);
  co_await open_schema(transaction, refresh);
  co_await look(transaction, refresh);

  for (View& view : views) {
    const auto found = refresh.standing.find(view.name);
    const bool exists = found != refresh.standing.end();
    const bool owned = refresh.owners.ready.contains(view.owner);
    std::string hash = hashes[view.name];
    std::optional<Standing> standing;
    if (exists) standing = std::move(found->second);
    if (exists) refresh.standing.erase(found);
    const bool stands = exists && standing->ours && standing->hash == hash &&
                        standing->barrier == !owned &&
                        standing->owner == (owned ? view.owner : refresh.me);
    const auto refused = refresh.owners.refused.find(view.owner);
    const bool is_told = refused != refresh.owners.refused.end();
    if (stands && !is_told && !standing->failed) continue;
    std::string name = view.name;
    if (!stands || !is_told) {
      Task<void> work = put_view(transaction, refresh, std::move(view),
                                 standing ? &*standing : nullptr, std::move(hash));
      const bool put = co_await in_its_savepoint(transaction, refresh, name, std::move(work));
      if (!put) continue;
    }
    if (is_told) co_await without(transaction, refresh, std::move(name), refused->second);
  }
  // What is left was made by us but no type calls for it; views that people made here stay.
  for (const auto& [name, standing] : refresh.standing) {
    if (!standing.ours || !standing.is_view) continue;
    Task<void> work = drop_view(transaction, refresh, name, standing);
    co_await in_its_savepoint(transaction, refresh, name, std::move(work));
  }
  co_await open_views(transaction, refresh);
  co_await comment_views(transaction, catalog, refresh.schema);
  pg::Params made(catalog.workspace, made_here);
  co_await transaction.query(kRemember, std::move(made));
  co_await transaction.commit();
  co_await make_way(connection, refresh);
  co_await close_owners(connection, catalog.workspace);
  co_return true;
}

}  // namespace

Result<void> check_workspace_name(std::string_view name) {
  const bool reserved = name == "public" || name == "sluice" || name == "vendor" ||
                        name == "information_schema" || name.starts_with("pg_");
  if (!reserved) return {};
  return fail(
      ErrorKind::bad_input, "workspace.reserved_name",
      fmt::format("a workspace cannot be called {}: its views live in a schema of that name, and"
                  " PostgreSQL or Sluice needs that one",
                  name),
      "choose another name");
}

Task<void> claim_schema(pg::Transaction& transaction, WorkspaceId workspace, std::string name) {
  const std::string mark = mark_of(workspace);
  co_await claim(transaction, name, mark);
}

Task<std::string> views_made_here(pg::Connection& connection) {
  const auto here = co_await connection.query(kMadeHere, pg::Params(kFormat));
  const bool owned = co_await may_own_views(connection);
  co_return here.get<std::string>(0, 0) + (owned ? " (views have owners, those a role)" : "");
}

Task<std::vector<StaleView>> refresh_views(pg::Connection& connection,
                                           const model::Catalog& catalog,
                                           std::string workspace_name,
                                           std::chrono::milliseconds readers_patience) {
  expect(check_workspace_name(workspace_name));
  model::CatalogPtr newer;
  const model::Catalog* current = &catalog;
  for (int changes = 0; changes < kCatalogueChangesMax; ++changes) {
    Refresh refresh;
    refresh.workspace = catalog.workspace;
    refresh.schema = workspace_name;
    refresh.readers_patience = readers_patience;
    const bool done = co_await refresh_by(connection, *current, refresh);
    if (done) co_return std::move(refresh.stale);
    newer = co_await model::load_catalog(connection, catalog.workspace);
    current = newer.get();
  }
  throw Failure(Error(ErrorKind::retry_later, "catalog.changed",
                      "types or rules changed again and again while the SQL views were made",
                      "run: sluice view refresh, when that is over"));
}

Task<std::vector<StaleView>> stale_views(pg::Connection& connection,
                                         const model::Catalog& catalog) {
  pg::Params params(catalog.workspace);
  const auto rows = co_await connection.query(kRemembered, std::move(params));
  std::vector<StaleView> stale;
  std::map<std::string, std::string> hashes;
  for (int row = 0; row < rows.rows(); ++row) {
    std::string name = rows.get<std::string>(row, 0);
    if (rows.text(row, 2).empty()) {
      hashes[name] = rows.get<std::string>(row, 1);
      continue;
    }
    const bool was_busy = rows.text(row, 2) == kBusyCode || rows.text(row, 2) == kOwnerBusyCode;
    Error error(was_busy ? ErrorKind::retry_later : ErrorKind::conflict,
                rows.get<std::string>(row, 2), rows.get<std::string>(row, 3),
                rows.get<std::string>(row, 4));
    hashes[name] = "";
    stale.push_back(StaleView{std::move(name), std::move(error)});
  }
  for (const View& view : views_of(catalog)) {
    const auto made = hashes.find(view.name);
    if (made != hashes.end() && (made->second.empty() || made->second == hash_of(view))) continue;
    Error error(ErrorKind::retry_later, "views.outdated",
                fmt::format("the SQL view {} is not what the catalogue says", view.name),
                "run: sluice view refresh");
    stale.push_back(StaleView{view.name, std::move(error)});
  }
  co_return stale;
}

}  // namespace sluice::feed
