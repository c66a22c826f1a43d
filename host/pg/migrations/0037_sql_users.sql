-- Logins for people who ask by SQL: each of one workspace, by whose reader it may read. Roles are the server's, so
-- their names have the database's number and the workspace's. Made by who may make roles, as the other two kinds are;
-- never from a password, only from what PostgreSQL keeps of one.

insert into sluice.mutex (name) values ('sql users');

create function sluice.sql_user_role(of_workspace bigint, user_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return 'sluice_sql' || sluice.role_space() || of_workspace || '_' || user_name;

create function sluice.make_sql_user(of_workspace bigint, user_name text, verifier text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  login text := sluice.sql_user_role(of_workspace, user_name);
  reader text := sluice.reader_of(of_workspace);
  space text := (select w.name from sluice.workspace w where w.workspace_id = of_workspace);
begin
  if space is null then raise 'there is no workspace %', of_workspace; end if;
  if reader is null then raise 'workspace % has no reader', of_workspace; end if;
  if user_name is null or user_name !~ '^[a-z][a-z0-9_]{0,29}$' then raise 'no name for a login'; end if;
  if verifier is null or verifier !~ '^SCRAM-SHA-256\$[0-9]{4,9}:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' then
    raise 'a login is made from a verifier alone';
  end if;
  -- One that was closed, and could not be dropped then.
  if exists (select from pg_roles r where r.rolname = login and not r.rolcanlogin) then
    execute format('drop role %I', login);
  end if;
  -- Here, since of a statement that fails the log may keep the text, and with it the verifier.
  if exists (select from pg_roles r where r.rolname = login) then
    raise 'there is a login %', user_name using errcode = 'duplicate_object';
  end if;
  execute format('create role %I login nosuperuser nocreatedb nocreaterole noreplication connection limit 8 password %L',
                 login, verifier);
  execute format('grant %I to %I', reader, login);
  -- By this one the private cluster knows whom its door is for.
  if exists (select from pg_roles r where r.rolname = 'sluice_sql_users')
     and pg_has_role(current_user, 'sluice_sql_users', 'member with admin option') then
    execute format('grant sluice_sql_users to %I', login);
  end if;
  execute format('alter role %I set search_path = %I', login, space);
  execute format('alter role %I set statement_timeout = %L', login, '5min');
  execute format('alter role %I set idle_in_transaction_session_timeout = %L', login, '5min');
  execute format('comment on role %I is %L', login,
                 format('sluice sql user of workspace %s in database %s, made %s', space, current_database(),
                        to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
  return login;
end $$;

-- In the transaction that says so. A session that came in before it is committed is ended by the next function.
create function sluice.close_sql_user(of_workspace bigint, user_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  login text := sluice.sql_user_role(of_workspace, user_name);
  granted text;
begin
  if login is null or not exists (select from pg_roles r where r.rolname = login) then return false; end if;
  execute format('alter role %I nologin password null', login);
  for granted in
    select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles l on l.oid = m.member
    where l.rolname = login and (g.rolname = sluice.reader_of(of_workspace) or g.rolname = 'sluice_sql_users')
  loop
    execute format('revoke %I from %I', granted, login);
  end loop;
  -- So as to end its sessions.
  execute format('grant %I to %I', login, current_user);
  perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usename = login;
  return true;
end $$;

-- Null when it is gone; else what it owns or was granted besides, for which PostgreSQL keeps it. It cannot log in.
create function sluice.drop_sql_user(of_workspace bigint, user_name text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  login text := sluice.sql_user_role(of_workspace, user_name);
  held text;
begin
  if login is null or not exists (select from pg_roles r where r.rolname = login and not r.rolcanlogin) then return null; end if;
  perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usename = login;
  perform pg_terminate_backend(a.pid, 2000) from pg_stat_activity a where a.usename = login;
  execute format('drop role %I', login);
  return null;
exception when dependent_objects_still_exist then
  get stacked diagnostics held = pg_exception_detail;
  return held;
end $$;

revoke execute on function sluice.sql_user_role(bigint, text), sluice.make_sql_user(bigint, text, text),
  sluice.close_sql_user(bigint, text), sluice.drop_sql_user(bigint, text) from public;

-- What we said of a view and its columns ('' for itself), so as to tell it from what people wrote there.
alter table sluice.sql_view add column comments jsonb not null default '{}';
