#include "pg/roles.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "pg/sql_sessions.hpp"

namespace sluice::pg {
namespace {

constexpr int kTriesMax = 5;

constexpr const char* kLock = "lock table sluice.schema_version in share row exclusive mode";
// Whoever reads a table for long need not keep all who come behind us waiting.
constexpr const char* kPatience = "select set_config('lock_timeout', '10s', true)";
constexpr const char* kFor =
    "select set_config('sluice.app', $1, true), set_config('sluice.make_app', $2, true),"
    " set_config('sluice.denied', '', true)";
constexpr const char* kDenied =
    "select s from unnest(string_to_array(current_setting('sluice.denied'), chr(1))) s"
    " where s <> ''";
constexpr const char* kSession = "select session_user::text";
// The login may have another name now; but hosts that still work as the former one would find
// nothing any more.
constexpr const char* kOthers = R"(
  select distinct a.usename::text from pg_namespace n join pg_stat_activity a on a.usesysid = n.nspowner
  where n.nspname = 'vendor' and a.datname = current_database()
    and pg_get_userbyid(n.nspowner) not in ($1, 'sluice_owner', current_user) limit 1)";

// In three steps, each from how things are after the one before: ownership takes grants away.
constexpr const char* kSettle = R"(
do $settle$
declare
  app text := current_setting('sluice.app');
  is_super boolean := (select r.rolsuper from pg_roles r where r.rolname = current_user);
  owner text := current_user;
  maker text := current_user;
  ours_begin text := 'sluice_view' || sluice.role_space();
  one text;
begin
  if is_super then
    owner := 'sluice_owner';
    maker := 'sluice_roles';
    if not exists (select from pg_roles r where r.rolname = owner) then
      create role sluice_owner nologin;
    end if;
    if not exists (select from pg_roles r where r.rolname = maker) then
      create role sluice_roles nologin createrole;
    elsif not (select r.rolcreaterole from pg_roles r where r.rolname = maker) then
      alter role sluice_roles createrole;
    end if;
    if current_setting('sluice.make_app') = 'yes' and not exists (select from pg_roles r where r.rolname = app) then
      execute format('create role %I login', app);
    end if;
    if current_setting('sluice.make_app') = 'yes' then
      if not exists (select from pg_roles r where r.rolname = 'sluice_sql_users') then
        create role sluice_sql_users nologin;
      end if;
      if not pg_has_role(maker, 'sluice_sql_users', 'member with admin option') then
        execute format('grant sluice_sql_users to %I with admin option', maker);
      end if;
    end if;
    if not (select r.rolbypassrls or r.rolsuper from pg_roles r where r.rolname = app) then
      execute format('alter role %I bypassrls', app);
    end if;
  end if;
  for step in 1..3 loop
    -- All of them first: no table is being read when it is given away.
    foreach one in array (
      with ours as (
        select c.oid, c.relname, c.relkind, c.relowner, c.relispartition, n.nspname, c.oid::regclass::text as name,
               case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end as word,
               exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                       and d.deptype in ('a', 'i') and c.relkind = 'S') as of_column
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('sluice', 'vendor') and c.relkind in ('r', 'p', 'v', 'S')),
      functions as (
        select p.oid, p.proowner, p.proname as short, p.oid::regprocedure::text as name,
               case when p.proname in ('make_view_role', 'drop_view_roles', 'make_reader_role', 'make_sql_user', 'close_sql_user', 'drop_sql_user',
                                     'end_sql_sessions')
                    then maker else owner end as wanted
        from pg_proc p where p.pronamespace = 'sluice'::regnamespace),
      -- Anybody may write a comment on a schema of his own: it counts where the schema is one of ours.
      spaces as (
        select n.oid, n.nspname, n.nspowner, w.workspace_id as workspace
        from pg_namespace n join sluice.workspace w
          on obj_description(n.oid, 'pg_namespace') = 'sluice workspace ' || w.workspace_id
        where pg_get_userbyid(n.nspowner) in (app, owner, current_user)
           or n.nspowner = (select c.relowner from pg_class c where c.oid = 'sluice.workspace'::regclass)),
      views as (
        select c.oid, c.oid::regclass::text as name, pg_get_userbyid(c.relowner)::text as owned_by
        from spaces s join pg_class c on c.relnamespace = s.oid and c.relkind = 'v'
        left join sluice.sql_view v on v.workspace_id = s.workspace and v.name = c.relname::text collate "C"
        where v.name is not null  -- or a version before 0007 made it, and said so
          or obj_description(c.oid, 'pg_class') ~ '^sluice ([0-9a-f]{16}|migrated)$')
      select coalesce(array_agg(w.statement order by w.place, w.statement), '{}') from (
        select 1 as at, 1 as place, format('grant %I to %I', app, current_user) as statement
        where not is_super and not pg_has_role(current_user, app, 'member')
        union all
        select 1, 2, format('grant create, connect, temporary on database %I to %I', current_database(), app)
        where not has_database_privilege(app, current_database(), 'create')
        union all
        select 2, 1, format('alter schema %I owner to %I', n.nspname, o.wanted)
        from pg_namespace n join (values ('sluice', owner), ('vendor', app)) o (name, wanted) on o.name = n.nspname
        where pg_get_userbyid(n.nspowner) <> o.wanted
        union all
        select 2, 2, format('alter schema %I owner to %I', s.nspname, app)
        from spaces s where pg_get_userbyid(s.nspowner) <> app
        union all
        select 2, 3, format('alter %s %s owner to %I', t.word, t.name, case t.nspname when 'vendor' then app else owner end)
        from ours t where not t.of_column and pg_get_userbyid(t.relowner) <> case t.nspname when 'vendor' then app else owner end
        union all
        select 2, 4, format('alter function %s owner to %I', f.name, f.wanted)
        from functions f where pg_get_userbyid(f.proowner) <> f.wanted
        union all
        select 2, 5, format('alter view %s owner to %I', v.name, app)
        from views v where v.owned_by <> app and not v.owned_by ^@ ours_begin
        union all
        select distinct 2, 6, format('grant %I to %I', v.owned_by, app)
        from views v where v.owned_by ^@ ours_begin and not pg_has_role(app, v.owned_by, 'member')
        union all
        select 3, 1, format('grant usage on schema sluice to %I', r.name)
        from unnest(array[app, maker]) r (name) where not has_schema_privilege(r.name, 'sluice', 'usage')
        union all
        select 3, 2, format('grant select on sluice.workspace to %I', maker)
        where not has_table_privilege(maker, 'sluice.workspace', 'select')
        union all
        select 3, 3, format('grant select on sluice.schema_version to %I', app)
        where not has_table_privilege(app, 'sluice.schema_version', 'select')
        union all
        select 3, 4, format('grant select, insert, update, delete on %s to %I', t.name, app)
        from ours t where t.nspname = 'sluice' and t.relkind in ('r', 'p', 'v') and not t.relispartition
          and t.relname <> 'schema_version'
          and not (has_table_privilege(app, t.oid, 'select') and has_table_privilege(app, t.oid, 'insert')
                   and has_table_privilege(app, t.oid, 'update') and has_table_privilege(app, t.oid, 'delete'))
        union all
        select 3, 5, format('grant usage, select on sequence %s to %I', t.name, app)
        from ours t where t.nspname = 'sluice'
          and case when t.relkind = 'S' then not has_sequence_privilege(app, t.oid, 'usage') else false end
        union all
        select 3, 6, format('grant execute on function %s to %I', f.name, app)
        from functions f where not has_function_privilege(app, f.oid, 'execute')
        union all
        select 3, 7, format('grant execute on function %s to %I', f.name, maker)
        from functions f where f.short in ('role_space', 'view_owners', 'reader_of', 'sql_user_role') and not has_function_privilege(maker, f.oid, 'execute')
      ) w where w.at = step)
    loop
      begin
        execute one;
      exception when insufficient_privilege or invalid_grant_operation then
        perform set_config('sluice.denied', concat_ws(chr(1), current_setting('sluice.denied'), one), true);
      end;
    end loop;
  end loop;
end $settle$)";

// What the role may do, and what it may become: attributes are not inherited, but `set role` leads
// to them. And who else may become what nobody is to be.
constexpr const char* kTooMany = R"(
  select w.what from pg_roles r cross join lateral (
    select 1, 'it is a superuser' where r.rolsuper
    union all select 2, 'it may make roles (CREATEROLE)' where r.rolcreaterole and not r.rolsuper
    union all select 3, 'it may copy the server (REPLICATION)' where r.rolreplication and not r.rolsuper
    union all
    select 4, format('it may become %s, a role %s', m.rolname, case when m.rolsuper then 'that is a superuser'
      when m.rolcreaterole then 'that may make roles (CREATEROLE)' else 'that may copy the server (REPLICATION)' end)
    from pg_roles m
    where not r.rolsuper and m.oid <> r.oid and (m.rolsuper or m.rolcreaterole or m.rolreplication)
      and pg_has_role(r.oid, m.oid, 'member')
    union all
    select 5, 'it is a member of ' || m.name
    from unnest(array['pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'pg_read_all_data',
                      'pg_write_all_data']) m (name)
    where not r.rolsuper and pg_has_role(r.oid, m.name, 'member')
    union all
    select 6, 'it owns the tables of schema sluice'
    where not r.rolsuper and exists (
      select from pg_class c where c.oid in ('sluice.secret'::regclass, 'sluice.workspace'::regclass, 'sluice.schema_version'::regclass)
        and pg_has_role(r.oid, c.relowner, 'member'))
    union all
    select 7, format('%s may log in', m.rolname) from pg_roles m
    where m.rolname in ('sluice_owner', 'sluice_roles') and m.rolcanlogin
    union all
    select 8, format('%s is a member of %s', pg_get_userbyid(a.member), pg_get_userbyid(a.roleid)) from pg_auth_members a
    where pg_get_userbyid(a.roleid) in ('sluice_owner', 'sluice_roles')
      and not exists (select from pg_roles s where s.oid = a.member and s.rolsuper)
  ) w (place, what) where r.rolname = session_user order by w.place, w.what)";

constexpr const char* kHidden = R"(
  select count(*) from pg_class c
  where c.relnamespace in ('sluice'::regnamespace, 'vendor'::regnamespace) and c.relkind in ('r', 'p')
    and c.relrowsecurity and row_security_active(c.oid))";

// Of a database whose owner is about to change, and that owner was no superuser: what runs with the
// rights of whoever comes after him, and is in no migration ($1, their text).
constexpr const char* kForeignCode = R"(
  with before as (
    select 1 from pg_class c join pg_roles r on r.oid = c.relowner
    where c.oid = to_regclass('sluice.schema_version') and not r.rolsuper and r.rolname <> 'sluice_owner'
      and (select m.rolsuper from pg_roles m where m.rolname = current_user)),
  tables as (
    select c.oid, c.relname, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('sluice', 'vendor')),
  ours as (
    select oid from pg_proc where pronamespace in ('sluice'::regnamespace, 'pg_catalog'::regnamespace))
  select f.what from before cross join lateral (
    select 'function ' || p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'sluice'::regnamespace
      and (l.lanname not in ('sql', 'plpgsql') or position('function sluice.' || p.proname || '(' in $1) = 0
           or p.prosqlbody is null and (p.prosrc = '' or position(p.prosrc in $1) = 0))
    union all
    select format('trigger %s on %I.%I', quote_ident(t.tgname), o.nspname, o.relname)
    from pg_trigger t join tables o on o.oid = t.tgrelid
    where not t.tgisinternal and not t.tgfoid in (select oid from pg_proc where pronamespace = 'sluice'::regnamespace)
    union all
    select format('rule %s on %I.%I', quote_ident(r.rulename), o.nspname, o.relname)
    from pg_rewrite r join tables o on o.oid = r.ev_class where r.rulename <> '_RETURN'
    union all
    select distinct pg_describe_object(d.classid, d.objid, d.objsubid) || ' calls ' || d.refobjid::regprocedure::text
    from pg_depend d
    left join pg_attrdef a on d.classid = 'pg_attrdef'::regclass and a.oid = d.objid
    left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
    left join pg_index i on d.classid = 'pg_class'::regclass and i.indexrelid = d.objid
    join tables o on o.oid = coalesce(a.adrelid, k.conrelid, i.indrelid)
    where d.refclassid = 'pg_proc'::regclass and d.refobjid not in (select oid from ours)
  ) f (what) order by 1 limit 10)";

std::vector<std::string> texts_of(const QueryResult& rows) {
  std::vector<std::string> texts;
  for (int row = 0; row < rows.rows(); ++row) texts.push_back(rows.get<std::string>(row, 0));
  return texts;
}

/// Roles are the server's: a host of another database may make the same one at this moment.
bool made_by_another(const std::string& state) {
  return state == "23505" || state == "42710" || state == "XX000" || state == "40P01";
}

/// Returns what the connection's role may not do; nothing was changed then.
Task<std::vector<std::string>> settle_once(Connection& connection, const std::string& app,
                                           AppLogin login) {
  auto transaction = co_await Transaction::begin(connection);
  co_await transaction.query(kPatience);
  co_await transaction.query(kLock);
  const QueryResult others = co_await transaction.query(kOthers, Params(app));
  if (!others.empty()) {
    throw Failure(Error(ErrorKind::conflict, "database.other_login",
                        fmt::format("hosts work in this database as {}, and this one is to work as "
                                    "{}",
                                    others.text(0, 0), app),
                        "give all hosts of a database one login in database.url; or stop the "
                        "others first, and this start hands everything over"));
  }
  Params whom(app, login == AppLogin::make ? "yes" : "no");
  co_await transaction.query(kFor, std::move(whom));
  co_await transaction.query(kSettle);
  const QueryResult denied = co_await transaction.query(kDenied);
  std::vector<std::string> missing = texts_of(denied);
  if (missing.empty()) {
    co_await transaction.commit();
  } else {
    co_await transaction.rollback();
  }
  co_return missing;
}

}  // namespace

Task<std::vector<std::string>> settle_roles(Connection& connection, std::string app,
                                            AppLogin login) {
  for (int tries = 1;; ++tries) {
    std::exception_ptr failure;
    bool busy = false;
    try {
      co_return co_await settle_once(connection, app, login);
    } catch (const QueryError& error) {
      busy = error.sqlstate() == "55P03";
      if (!connection.usable() || (!busy && !made_by_another(error.sqlstate()))) throw;
      failure = std::current_exception();
    }
    if (connection.in_transaction()) co_await connection.query("rollback");
    if (busy) {
      const ReadersLimits limits(kReadersPatience, kReadersPatience);
      const int ended = co_await end_sql_sessions(connection, limits);
      if (ended > 0 && tries < kTriesMax) continue;
      throw Failure(Error(ErrorKind::retry_later, "database.busy",
                          "the tables are given to their owner, and somebody uses one of them",
                          "start again when that query, backup or older host has ended"));
    }
    if (tries == kTriesMax) std::rethrow_exception(failure);
  }
}

Task<void> require_own_code(Connection& connection, std::span<const Migration> all) {
  const QueryResult there =
      co_await connection.query("select to_regnamespace('sluice') is not null");
  if (!there.get<bool>(0, 0)) co_return;
  std::string text;
  for (const Migration& one : all) text.append(one.sql);
  const QueryResult foreign = co_await connection.query(kForeignCode, Params(text));
  if (foreign.empty()) co_return;
  const std::vector<std::string> what = texts_of(foreign);
  throw Failure(Error(
      ErrorKind::conflict, "database.foreign_code",
      fmt::format("the database is to get a superuser's help, and holds code that its owner of "
                  "before put beside Sluice's own, which would run with those rights: {}",
                  fmt::join(what, "; ")),
      "look what it is for and drop it; or restore the rows into a database that Sluice made"));
}

Task<std::vector<std::string>> rights_too_many(Connection& connection) {
  const QueryResult rows = co_await connection.query(kTooMany);
  co_return texts_of(rows);
}

Task<void> require_all_rows(Connection& connection) {
  const QueryResult hidden = co_await connection.query(kHidden);
  if (hidden.get<std::int64_t>(0, 0) == 0) co_return;
  const std::string me = co_await session_role(connection);
  throw Failure(Error(
      ErrorKind::denied, "database.row_security",
      fmt::format("row policies hide rows of {} tables from the role {}, which a host would take "
                  "for gone",
                  hidden.get<std::int64_t>(0, 0), me),
      fmt::format("as a superuser: alter role \"{}\" bypassrls; or name a superuser in "
                  "database.owner_url",
                  me)));
}

Task<std::string> session_role(Connection& connection) {
  const QueryResult me = co_await connection.query(kSession);
  co_return me.get<std::string>(0, 0);
}

}  // namespace sluice::pg
