-- Who reads a view keeps its tables until his transaction ends, and nobody ended it: a login may lift its own limits. So
-- new views of all workspaces waited for their owners, and upgrades for their columns, for as long as somebody stayed.

-- Ends sessions of people who read in this database: logins by SQL and whoever has a workspace's reader, and no role that
-- sees more than they (a backup). One whose transaction is open for kept_ms goes; one that somebody else waits for, or that
-- keeps a table or view of in_use, goes after patience_ms. A row for each of these; not ended: we may not, and where
-- open_ms is null we are not even told since when it reads.
create function sluice.end_sql_sessions(kept_ms bigint, patience_ms bigint, in_use regclass[])
returns table (login text, backend integer, open_ms bigint, in_the_way boolean, ended boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  readers oid[] := array(
    select distinct r.oid from pg_stat_activity a join pg_roles r on r.oid = a.usesysid
    where a.datname = current_database() and coalesce(a.backend_type, 'client backend') = 'client backend'
      and r.rolname not in (session_user, current_user)
      and not (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication)
      and not pg_has_role(r.oid, (select c.relowner from pg_class c where c.oid = 'sluice.workspace'::regclass), 'member')
      and (r.rolname::text ^@ ('sluice_sql' || sluice.role_space()) or exists (
        select from pg_roles g
        where (g.rolname = 'sluice_sql_users' or g.rolname::text ^@ ('sluice_reader' || sluice.role_space())
               or g.rolname::text ^@ 'sluice_reader_w')
          and pg_has_role(r.oid, g.oid, 'member'))));
  one oid;
begin
  -- When its transaction began, and that it may be ended, is for whoever has its role: of logins that we made.
  foreach one in array readers loop
    if not pg_has_role(current_user, one, 'usage') and pg_get_userbyid(one)::text ^@ ('sluice_sql' || sluice.role_space()) then
      begin
        execute format('grant %I to %I', pg_get_userbyid(one), current_user);
      exception when insufficient_privilege or invalid_grant_operation or unique_violation or internal_error then
        null;  -- not ours to give, or another host gives it at this moment
      end;
    end if;
  end loop;
  return query
    with sessions as materialized (
      select a.pid, a.usename::text as who, (extract(epoch from clock_timestamp() - a.xact_start) * 1000)::bigint as since_ms,
             pg_has_role(current_user, a.usesysid, 'usage') as may_end
      from pg_stat_activity a
      where a.datname = current_database() and coalesce(a.backend_type, 'client backend') = 'client backend' and a.usesysid = any (readers)),
    ours as materialized (
      select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'i') and exists (select from sessions)
        and (n.nspname = 'sluice' or n.nspowner = (select v.nspowner from pg_namespace v where v.nspname = 'vendor'))),
    locks as materialized (
      select l.pid, l.locktype, l.granted, l.database, l.relation from pg_locks l
      where exists (select from sessions)),
    in_way as materialized (
      -- Of tables and views of ours: what else is in this database is not the host's business.
      select b.pid from locks w cross join lateral unnest(pg_blocking_pids(w.pid)) b (pid)
      where not w.granted and w.locktype = 'relation' and w.pid not in (select s.pid from sessions s)
        and w.database = (select d.oid from pg_database d where d.datname = current_database())
        and w.relation in (select o.oid from ours o)
      union
      select l.pid from locks l
      where l.granted and l.locktype = 'relation' and l.relation = any (in_use)
        and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    select s.who, s.pid, s.since_ms, b.blocks, case when s.may_end then pg_terminate_backend(s.pid) else false end
    from sessions s cross join lateral (
      -- One that waits for a table of ours itself goes on when its turn has come; for anything else it may wait for ever.
      select s.pid in (select i.pid from in_way i)
             and not exists (select from locks l where l.pid = s.pid and not l.granted and l.locktype = 'relation'
                             and l.relation in (select o.oid from ours o))) b (blocks)
    where case when s.since_ms is null then b.blocks and not s.may_end
               else s.since_ms >= kept_ms or b.blocks and s.since_ms >= patience_ms end;
end $$;

revoke execute on function sluice.end_sql_sessions(bigint, bigint, regclass[]) from public;

-- As in 0037, but its sessions end first: one that changes its own role, and stays, holds the row that is changed here.
create or replace function sluice.close_sql_user(of_workspace bigint, user_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  login text := sluice.sql_user_role(of_workspace, user_name);
  granted text;
begin
  if login is null or not exists (select from pg_roles r where r.rolname = login) then return false; end if;
  -- So as to end its sessions.
  execute format('grant %I to %I', login, current_user);
  perform set_config('lock_timeout', '1s', true);
  for turn in 1..8 loop
    perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usename = login;
    begin
      execute format('alter role %I nologin password null', login);
      exit;
    exception when lock_not_available or internal_error then
      if turn = 8 then raise; end if;
    end;
  end loop;
  for granted in
    select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles l on l.oid = m.member
    where l.rolname = login and (g.rolname = sluice.reader_of(of_workspace) or g.rolname = 'sluice_sql_users')
  loop
    execute format('revoke %I from %I', granted, login);
  end loop;
  perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usename = login;
  return true;
end $$;
