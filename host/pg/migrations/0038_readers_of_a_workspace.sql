-- Whose people's logins are, after an older backup was put back.

create or replace function sluice.reader_of(of_workspace bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select r.rolname::text
        from pg_roles r, format('sluice reader of workspace %s in database %s', of_workspace, current_database()) m (mark)
        where r.rolname = 'sluice_reader' || sluice.role_space() || of_workspace
           or r.rolname = 'sluice_reader_w' || of_workspace
              and (shobj_description(r.oid, 'pg_authid') = m.mark
                   or shobj_description(r.oid, 'pg_authid') ^@ (m.mark || ', which is of '))
        order by length(r.rolname::text) limit 1);

-- Roles are in no dump of a database: behind an older one that is put back, numbers of workspaces are given once more,
-- and the reader of such a number, with all who were granted it, is of a workspace that is gone. So its comment says
-- of when the workspace is. One of before says nothing; then it is taken for this one's, as it always was.
create or replace function sluice.make_reader_role(of_workspace bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  role_name text := sluice.reader_of(of_workspace);
  made text := (select to_char(w.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                from sluice.workspace w where w.workspace_id = of_workspace);
  mark text := format('sluice reader of workspace %s in database %s, which is of ', of_workspace, current_database());
  said text;
  one text;
begin
  if made is null then raise 'there is no workspace %', of_workspace; end if;
  if role_name is null then
    role_name := 'sluice_reader' || sluice.role_space() || of_workspace;
    execute format('create role %I nologin', role_name);
  else
    select shobj_description(r.oid, 'pg_authid') into said from pg_roles r where r.rolname = role_name;
    if said = mark || made then return role_name; end if;
    if said ^@ mark then
      for one in
        select substr(r.rolname::text, length(p.before) + 1)
        from (select sluice.sql_user_role(of_workspace, '')) p (before)
        join pg_roles r on r.rolname::text ^@ p.before and r.rolcanlogin
      loop
        perform sluice.close_sql_user(of_workspace, one);
      end loop;
      for one in
        select l.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles l on l.oid = m.member
        where g.rolname = role_name
      loop
        execute format('revoke %I from %I', role_name, one);
        raise log 'sluice: % was of an earlier workspace %, and % reads it no more', role_name, of_workspace, one;
      end loop;
    end if;
  end if;
  execute format('comment on role %I is %L', role_name, mark || made);
  return role_name;
end $$;
