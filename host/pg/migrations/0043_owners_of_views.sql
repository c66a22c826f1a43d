-- What an own type's view had was for good: a role, a policy on the table of own rows, and a grant there. All grants of a
-- table are one value in one row of PostgreSQL's catalogue, which is full at some 2,000; then nobody's view got an owner
-- of its own any more. So the grants are those of one role now, which every owner of views in this database is a member
-- of: without a policy of his own nobody sees a row by it. And owner and policy of a type that is dropped go.

create function sluice.view_owners() returns text
language sql stable set search_path = pg_catalog, pg_temp
return ('sluice_view' || left(sluice.role_space(), -2));
revoke execute on function sluice.view_owners() from public;

create or replace function sluice.make_view_role(of_workspace bigint, of_type bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_view' || sluice.role_space() || of_workspace || case when of_type <> 0 then '_t' || of_type else '' end;
  everybody text := sluice.view_owners();
  one text;
begin
  if not exists (select from sluice.workspace w where w.workspace_id = of_workspace) then
    raise 'there is no workspace %', of_workspace;
  end if;
  foreach one in array array[role_name, everybody] loop
    if not exists (select from pg_roles r where r.rolname = one) then
      execute format('create role %I nologin', one);
    end if;
  end loop;
  if not pg_has_role(role_name, everybody, 'usage') then
    execute format('grant %I to %I', everybody, role_name);
  end if;
  if not pg_has_role(session_user, role_name, 'member') then
    execute format('grant %I to %I', role_name, session_user);
  end if;
end $$;

create or replace function sluice.open_to_view(relation text, of_workspace bigint, of_type bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_view' || sluice.role_space() || of_workspace || case when of_type <> 0 then '_t' || of_type else '' end;
  condition text := 'workspace_id = ' || of_workspace;
begin
  if of_type <> 0 and relation = 'own_entity' then
    condition := condition || ' and type_id = ' || of_type || ' and case when deleted_at is null then true else false end';
  elsif of_type <> 0 or relation is null
        or relation not in ('connection', 'link', 'link_rule', 'change', 'entity_type') then
    raise 'no view reads % so', relation;
  end if;
  if not (select c.relrowsecurity from pg_class c where c.oid = format('sluice.%I', relation)::regclass) then
    execute format('alter table sluice.%I enable row level security', relation);
  end if;
  execute format('drop policy if exists %I on sluice.%I', role_name, relation);
  execute format('create policy %1$I on sluice.%2$I for select to %1$I using (%3$s)', role_name, relation, condition);
  execute format('comment on policy %I on sluice.%I is %L', role_name, relation, condition);
  if not has_table_privilege(role_name, format('sluice.%I', relation), 'select') then
    execute format('grant select on sluice.%I to %I', relation, sluice.view_owners());
  end if;
end $$;

-- Of these types of a workspace, those of which nothing is to be seen any more, without policy and grant; a type that is
-- there keeps what it has, and cannot come while this is not committed.
create function sluice.close_to_view(of_workspace bigint, of_types bigint[]) returns bigint[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text;
  said text;
  one bigint;
  gone bigint[] := '{}';
begin
  foreach one in array of_types loop
    select t.state into said from sluice.entity_type t
    where t.workspace_id = of_workspace and t.type_id = one for share;
    continue when found and said not in ('dropping', 'dropped');
    gone := gone || one;
    role_name := 'sluice_view' || sluice.role_space() || of_workspace || '_t' || one;
    if exists (select from pg_policy p where p.polrelid = 'sluice.own_entity'::regclass and p.polname = role_name) then
      execute format('drop policy %I on sluice.own_entity', role_name);
    end if;
    if exists (select from pg_class c cross join aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
               where c.oid = 'sluice.own_entity'::regclass and r.rolname = role_name) then
      execute format('revoke all on sluice.own_entity from %I', role_name);
    end if;
  end loop;
  return gone;
end $$;

-- The roles of such types. One that a table knows, or that a view belongs to, stays: PostgreSQL does not let it go.
create function sluice.drop_view_roles(of_workspace bigint, of_types bigint[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text;
  one bigint;
  dropped integer := 0;
begin
  foreach one in array of_types loop
    role_name := 'sluice_view' || sluice.role_space() || of_workspace || '_t' || one;
    continue when not exists (select from pg_roles r where r.rolname = role_name);
    begin
      execute format('drop role %I', role_name);
      dropped := dropped + 1;
    exception when dependent_objects_still_exist then
      raise log 'sluice: % stays: %', role_name, sqlerrm;
    end;
  end loop;
  return dropped;
end $$;

revoke execute on function sluice.close_to_view(bigint, bigint[]), sluice.drop_view_roles(bigint, bigint[]) from public;

-- What each owner had been granted by himself. Where who migrates may not, it stays as it was: it works, but fills up.
do $$
declare
  ours text := 'sluice_view' || sluice.role_space();
  one record;
begin
  execute format('grant execute on function sluice.view_owners() to %I',
                 (select pg_get_userbyid(p.proowner) from pg_proc p
                  where p.oid = 'sluice.make_view_role(bigint, bigint)'::regprocedure));
  for one in
    select w.workspace_id, coalesce(nullif(m.part[2], ''), '0')::bigint as of_type
    from (select regexp_match(substr(r.rolname::text, length(ours) + 1), '^(\d{1,18})(?:_t(\d{1,18}))?$') as part
          from pg_roles r where r.rolname::text ^@ ours) m
    join sluice.workspace w on w.workspace_id = m.part[1]::bigint
  loop
    perform sluice.make_view_role(one.workspace_id, one.of_type);
  end loop;
  for one in
    with granted as (
      select 'table ' || c.oid::regclass as object, 'select' as what, a.grantee
      from pg_class c cross join aclexplode(c.relacl) a
      where c.relnamespace in ('sluice'::regnamespace, 'vendor'::regnamespace) and c.relrowsecurity
      union
      select 'schema ' || quote_ident(n.nspname), 'create, usage', a.grantee
      from pg_namespace n cross join aclexplode(n.nspacl) a)
    select g.object, g.what, string_agg(quote_ident(r.rolname), ', ') as owners
    from granted g join pg_roles r on r.oid = g.grantee
    where r.rolname::text ^@ ours group by g.object, g.what
  loop
    execute format('revoke all on %s from %s', one.object, one.owners);
    execute format('grant %s on %s to %I', one.what, one.object, sluice.view_owners());
  end loop;
exception when insufficient_privilege then
  raise log 'sluice: owners of views keep grants of their own: %', sqlerrm;
end $$;
