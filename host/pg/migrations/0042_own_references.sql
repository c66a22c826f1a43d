-- Rows of own types have a type, and unique values a row: judged for each statement, not for each row. A foreign key asks
-- for every row by itself and locks what it finds, which was 12 of the 42 microseconds of the server that an imported row took.
-- Refused is what a statement leaves behind, with the code of a foreign key; a row that goes takes its unique values along.
-- Of two transactions at once only one thing is left to writers: who puts a unique value has locked its row, or made it.
alter table sluice.own_entity drop constraint own_entity_workspace_id_type_id_fkey;
alter table sluice.own_unique drop constraint own_unique_workspace_id_type_id_id_fkey;

-- The type stays while the transaction runs: whoever deletes it waits, and then finds these rows.
create function sluice.own_rows_have_types() returns trigger language plpgsql as $$
declare
  one record;
begin
  for one in select distinct n.workspace_id, n.type_id from new_rows n loop
    perform 1 from sluice.entity_type t where t.workspace_id = one.workspace_id and t.type_id = one.type_id for key share;
    if not found then
      raise foreign_key_violation using table = 'own_entity',
        message = format('workspace %s has no type %s, which rows of sluice.own_entity are to be of', one.workspace_id, one.type_id);
    end if;
  end loop;
  return null;
end $$;
create trigger have_types after insert on sluice.own_entity referencing new table as new_rows
    for each statement execute function sluice.own_rows_have_types();

create function sluice.types_have_no_own_rows() returns trigger language plpgsql as $$
begin
  if exists (select from sluice.own_entity e where e.workspace_id = old.workspace_id and e.type_id = old.type_id) then
    raise foreign_key_violation using table = 'entity_type',
      message = format('type %s of workspace %s has rows in sluice.own_entity', old.type_id, old.workspace_id);
  end if;
  return old;
end $$;
create trigger have_no_own_rows before delete on sluice.entity_type
    for each row execute function sluice.types_have_no_own_rows();

-- Each row is looked up by its key, whatever the planner thinks of tables that it has no statistics of. Its writer has
-- made it or locked it, and rows are deleted by who has locked them.
create function sluice.own_unique_have_rows() returns trigger language plpgsql set enable_seqscan = off set enable_hashjoin = off as $$
begin
  if exists (select from new_rows n where (
      select 1 from sluice.own_entity e
      where e.workspace_id = n.workspace_id and e.type_id = n.type_id and e.id = n.id offset 0) is null) then
    raise foreign_key_violation using table = 'own_unique',
      message = 'a unique value is of a row that is not in sluice.own_entity';
  end if;
  return null;
end $$;
create trigger have_rows after insert on sluice.own_unique referencing new table as new_rows
    for each statement execute function sluice.own_unique_have_rows();

create function sluice.own_rows_take_unique() returns trigger language plpgsql set enable_seqscan = off set enable_hashjoin = off as $$
begin
  delete from sluice.own_unique u where u.ctid = any (array(
    select f.tid from old_rows o cross join lateral (
      select k.ctid as tid, k.type_id from sluice.own_unique k
      where k.workspace_id = o.workspace_id and k.id = o.id offset 0) f where f.type_id = o.type_id));
  return null;
end $$;
create trigger take_unique after delete on sluice.own_entity referencing old table as old_rows
    for each statement execute function sluice.own_rows_take_unique();

-- What no writer does: a row keeps its key for life, and rows do not go all at once without their unique values.
create function sluice.own_keys_stay() returns trigger language plpgsql as $$
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
create trigger keys_stay before update of workspace_id, type_id, id on sluice.own_entity
    for each row when ((old.workspace_id, old.type_id, old.id) is distinct from (new.workspace_id, new.type_id, new.id))
    execute function sluice.own_keys_stay();
create trigger keys_stay before update of workspace_id, type_id, id on sluice.own_unique
    for each row when ((old.workspace_id, old.type_id, old.id) is distinct from (new.workspace_id, new.type_id, new.id))
    execute function sluice.own_keys_stay();
create trigger unique_values_go_first after truncate on sluice.own_entity
    for each statement execute function sluice.own_keys_stay();
