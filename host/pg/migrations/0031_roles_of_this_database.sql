-- Roles are the server's. The owners of views were named by the numbers of a workspace and of a type alone, so that
-- the hosts of two databases on one server were members of the same ones, and each could read and drop the other's
-- views. Their names have the database's oid now, and so have those of readers: a grant of a name that another
-- database of the server uses, too, opened that one.

-- What all roles of this database begin with, after 'sluice_view' and 'sluice_reader'.
create function sluice.role_space() returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select '_d' || d.oid || '_w' from pg_database d where d.datname = current_database());

create or replace function sluice.make_view_role(of_workspace bigint, of_type bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_view' || sluice.role_space() || of_workspace || case when of_type <> 0 then '_t' || of_type else '' end;
begin
  if not exists (select from sluice.workspace w where w.workspace_id = of_workspace) then
    raise 'there is no workspace %', of_workspace;
  end if;
  if not exists (select from pg_roles r where r.rolname = role_name) then
    execute format('create role %I nologin', role_name);
  end if;
  if not pg_has_role(session_user, role_name, 'member') then
    execute format('grant %I to %I', role_name, session_user);
  end if;
end $$;

-- One of before that is this database's keeps its name: people have been granted it.
create or replace function sluice.make_reader_role(of_workspace bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := sluice.reader_of(of_workspace);
begin
  if not exists (select from sluice.workspace w where w.workspace_id = of_workspace) then
    raise 'there is no workspace %', of_workspace;
  end if;
  if role_name is not null then return role_name; end if;
  role_name := 'sluice_reader' || sluice.role_space() || of_workspace;
  execute format('create role %I nologin', role_name);
  execute format('comment on role %I is %L', role_name,
                 format('sluice reader of workspace %s in database %s', of_workspace, current_database()));
  return role_name;
end $$;

-- The role to grant to whoever shall read a workspace's views; null: there is none yet.
create function sluice.reader_of(of_workspace bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select r.rolname::text from pg_roles r
        where r.rolname = 'sluice_reader' || sluice.role_space() || of_workspace
           or r.rolname = 'sluice_reader_w' || of_workspace
              and shobj_description(r.oid, 'pg_authid')
                  = format('sluice reader of workspace %s in database %s', of_workspace, current_database())
        order by length(r.rolname::text) limit 1);

-- By a workspace's name: select sluice.reader_of('acme').
create function sluice.reader_of(of_workspace text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select sluice.reader_of(w.workspace_id) from sluice.workspace w where w.name = of_workspace);

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
  execute format('grant select on sluice.%I to %I', relation, role_name);
end $$;

revoke execute on function sluice.role_space(), sluice.reader_of(bigint), sluice.reader_of(text) from public;

-- What the roles of before could do here ends. Their views are barriers until they are made again, which the host
-- does next.
do $$
declare
  one text;
begin
  for one in
    select format('alter view %s set (security_barrier = true)', c.oid::regclass)
    from pg_class c join pg_roles r on r.oid = c.relowner
    where c.relkind = 'v' and r.rolname ~ '^sluice_view_w\d+(_t\d+)?$'
    union all
    select format('alter view %s owner to %I', c.oid::regclass, current_user)
    from pg_class c join pg_roles r on r.oid = c.relowner
    where c.relkind = 'v' and r.rolname ~ '^sluice_view_w\d+(_t\d+)?$'
    union all
    select format('drop policy %I on %s', p.polname, p.polrelid::regclass)
    from pg_policy p where p.polname ~ '^sluice_view_w\d+(_t\d+)?$'
    union all
    select format('revoke all on %s from %I', c.oid::regclass, r.rolname)
    from pg_class c cross join aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
    where r.rolname ~ '^sluice_view_w\d+(_t\d+)?$'
    union all
    select format('revoke all on schema %I from %I', n.nspname, r.rolname)
    from pg_namespace n cross join aclexplode(n.nspacl) a join pg_roles r on r.oid = a.grantee
    where r.rolname ~ '^sluice_view_w\d+(_t\d+)?$'
  loop
    execute one;
  end loop;
end $$;
