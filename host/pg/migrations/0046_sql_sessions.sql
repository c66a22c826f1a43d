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
    where a.datname = current_database() and r.rolname not in (session_user, current_user)
      and not (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication)
      and not pg_has_role(r.oid, (select c.relowner from pg_class c where c.oid = 'sluice.workspace'::regclass), 'member')
      and (r.rolname::text ^@ ('sluice_sql' || sluice.role_space()) or exists (
        select from pg_roles g
        where (g.rolname = 'sluice_sql_users' or g.rolname::text ^@ ('sluice_reader' || sluice.role_space())
               or g.rolname::text ^@ 'sluice_reader_w')
          and pg_has_role(r.oid, g.oid, 'member'))));
  one oid;
begin
  -- When its transaction began, and that it may be ended, is for whoever has its role.
  foreach one in array readers loop
    if not pg_has_role(current_user, one, 'usage') then
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
      from pg_stat_activity a where a.datname = current_database() and a.usesysid = any (readers)),
    locks as materialized (
      select l.pid, l.locktype, l.granted, l.database, l.relation from pg_locks l
      where exists (select from sessions)),
    in_way as materialized (
      select b.pid from locks w cross join lateral unnest(pg_blocking_pids(w.pid)) b (pid)
      where not w.granted and w.pid not in (select s.pid from sessions s)
      union
      select l.pid from locks l
      where l.granted and l.locktype = 'relation' and l.relation = any (in_use)
        and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    select s.who, s.pid, s.since_ms, b.blocks, case when s.may_end then pg_terminate_backend(s.pid) else false end
    from sessions s cross join lateral (
      -- One that waits itself goes on when its turn has come.
      select s.pid in (select i.pid from in_way i)
             and not exists (select from locks l where l.pid = s.pid and not l.granted)) b (blocks)
    where case when s.since_ms is null then b.blocks and not s.may_end
               else s.since_ms >= kept_ms or b.blocks and s.since_ms >= patience_ms end;
end $$;

revoke execute on function sluice.end_sql_sessions(bigint, bigint, regclass[]) from public;

-- All owners of views could make views in all workspaces' schemas. They can while they are given one, and no longer.
do $$
declare
  one text;
begin
  for one in
    select distinct n.nspname from pg_namespace n cross join aclexplode(n.nspacl) a join pg_roles r on r.oid = a.grantee
    where r.rolname = sluice.view_owners() and a.privilege_type = 'CREATE'
  loop
    execute format('revoke create on schema %I from %I', one, sluice.view_owners());
  end loop;
exception when insufficient_privilege then
  raise log 'sluice: owners of views keep the right to make views: %', sqlerrm;
end $$;
