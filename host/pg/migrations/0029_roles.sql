-- What a running host does that only the owner of the tables may do: so that the role that the host works as
-- need not be that owner. docs/decisions/0014 says who is who. Each function is one thing that a host does, takes
-- ids, and makes all names itself. Whoever may call one must not be able to put something of his own under a name
-- in it: pg_temp is looked through first unless it is named, so it is named, behind pg_catalog.

alter function sluice.ensure_change_partitions(int) security definer set search_path = pg_catalog, pg_temp;
alter function sluice.forget_change_partition(regclass) security definer set search_path = pg_catalog, pg_temp;
revoke execute on function sluice.ensure_change_partitions(int), sluice.forget_change_partition(regclass) from public;

-- The role that owns a workspace's views, or (of_type not 0) the view of one of its own types. Its caller becomes a
-- member, so as to make and replace what the role owns. The owner of this function may make roles, and is nobody.
create function sluice.make_view_role(of_workspace bigint, of_type bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_view_w' || of_workspace || case when of_type <> 0 then '_t' || of_type else '' end;
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

-- The role that people's logins are granted so as to read a workspace's views; its name, or null where that role is
-- somebody else's. Roles are the server's: one that people were granted for another database must not open this one.
-- One of a database that is gone, which nobody was granted, is taken over.
create function sluice.make_reader_role(of_workspace bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_reader_w' || of_workspace;
  mark text := format('sluice reader of workspace %s in database %s', of_workspace, current_database());
  said text;
  other text;
begin
  if not exists (select from sluice.workspace w where w.workspace_id = of_workspace) then
    raise 'there is no workspace %', of_workspace;
  end if;
  select coalesce(shobj_description(r.oid, 'pg_authid'), '') into said from pg_roles r where r.rolname = role_name;
  if not found then
    execute format('create role %I nologin', role_name);
    execute format('comment on role %I is %L', role_name, mark);
    return role_name;
  end if;
  if said = mark then return role_name; end if;
  other := substring(said from '^sluice reader of workspace \d+ in database (.+)$');
  if other is null or exists (select from pg_database d where d.datname = other)
     or exists (select from pg_auth_members m where m.roleid = role_name::regrole) then
    return null;
  end if;
  execute format('comment on role %I is %L', role_name, mark);
  return role_name;
end $$;

-- Lets the owner of views see its rows of one of our tables, and no others. The condition is that of
-- host/feed/views.cpp, word by word: a policy whose comment differs is made anew.
create function sluice.open_to_view(relation text, of_workspace bigint, of_type bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := 'sluice_view_w' || of_workspace || case when of_type <> 0 then '_t' || of_type else '' end;
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

-- One own row by a unique text (0018): attributes of one name share an index.
create function sluice.index_own_text(index_name text, attribute text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if index_name is null or index_name not like 'own\_entity\_at\_%' then raise '% is no index of own texts', index_name; end if;
  execute format('create index if not exists %1$I on sluice.own_entity (workspace_id, type_id, (sluice.short_text_of(data, %2$L))) '
                 'where (sluice.short_text_of(data, %2$L)) is not null', index_name, attribute);
end $$;

revoke execute on function sluice.make_view_role(bigint, bigint), sluice.make_reader_role(bigint),
  sluice.open_to_view(text, bigint, bigint), sluice.index_own_text(text, text) from public;
