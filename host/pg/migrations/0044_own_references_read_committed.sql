-- The checks of own rows (0042) look at what is committed when they look, which only a transaction of read committed
-- sees: another one's view of the rows is from its beginning, and would miss a row or a unique value that has come, or
-- gone, since. Such a transaction is refused; no host makes one. And each name in the checks means what it says, whatever
-- the search path of whoever writes.

create or replace function sluice.own_rows_have_types() returns trigger language plpgsql set search_path = '' as $$
declare
  one record;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'rows of sluice.own_entity are written in read committed only';
  end if;
  for one in select distinct n.workspace_id, n.type_id from new_rows n loop
    perform 1 from sluice.entity_type t where t.workspace_id = one.workspace_id and t.type_id = one.type_id for key share;
    if not found then
      raise foreign_key_violation using table = 'own_entity',
        message = format('workspace %s has no type %s, which rows of sluice.own_entity are to be of', one.workspace_id, one.type_id);
    end if;
  end loop;
  return null;
end $$;

create or replace function sluice.types_have_no_own_rows() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'types are deleted in read committed only';
  end if;
  if exists (select from sluice.own_entity e where e.workspace_id = old.workspace_id and e.type_id = old.type_id) then
    raise foreign_key_violation using table = 'entity_type',
      message = format('type %s of workspace %s has rows in sluice.own_entity', old.type_id, old.workspace_id);
  end if;
  return old;
end $$;

create or replace function sluice.own_unique_have_rows() returns trigger language plpgsql
set search_path = '' set enable_seqscan = off set enable_hashjoin = off as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'unique values of sluice.own_entity are written in read committed only';
  end if;
  if exists (select from new_rows n where (
      select 1 from sluice.own_entity e
      where e.workspace_id = n.workspace_id and e.type_id = n.type_id and e.id = n.id offset 0) is null) then
    raise foreign_key_violation using table = 'own_unique',
      message = 'a unique value is of a row that is not in sluice.own_entity';
  end if;
  return null;
end $$;

create or replace function sluice.own_rows_take_unique() returns trigger language plpgsql
set search_path = '' set enable_seqscan = off set enable_hashjoin = off as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'rows of sluice.own_entity are deleted in read committed only';
  end if;
  delete from sluice.own_unique u where u.ctid = any (array(
    select f.tid from old_rows o cross join lateral (
      select k.ctid as tid, k.type_id from sluice.own_unique k
      where k.workspace_id = o.workspace_id and k.id = o.id offset 0) f where f.type_id = o.type_id));
  return null;
end $$;

create or replace function sluice.own_keys_stay() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'TRUNCATE' then
    if not exists (select from sluice.own_unique) then
      return null;
    end if;
    raise foreign_key_violation using table = tg_table_name,
      message = 'sluice.own_unique has values of these rows: truncate both';
  end if;
  raise foreign_key_violation using table = tg_table_name,
    message = format('workspace, type and id of a row of sluice.%s never change', tg_table_name);
end $$;
