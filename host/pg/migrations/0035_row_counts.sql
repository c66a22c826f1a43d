-- How many rows there are, as they stand, without counting them each time. Triggers on the tables themselves say it, so
-- that no writer can forget to: each statement that makes living rows or ends them leaves its difference in row_delta, in its
-- own transaction, and nobody waits for anybody. The differences are folded into row_count now and then (model/row_counts);
-- the truth is the sum of both at any time.
create table sluice.row_count (
    workspace_id bigint not null,
    relation     text collate "C" not null,   -- 'stripe_customer' of schema vendor, or 'own_entity'
    part         bigint not null,             -- the connection's id; of own_entity the type's
    live         bigint not null,
    primary key (workspace_id, relation, part)
);

create table sluice.row_delta (
    workspace_id bigint not null,
    delta_id     bigint generated always as identity,
    relation     text collate "C" not null,
    part         bigint not null,
    live         bigint not null,
    primary key (workspace_id, delta_id)
);

create function sluice.count_vendor_rows() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select n.workspace_id, tg_table_name, n.connection_id, count(*) from new_rows n
    where n.deleted_at is null group by n.workspace_id, n.connection_id;
  elsif tg_op = 'DELETE' then
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select o.workspace_id, tg_table_name, o.connection_id, -count(*) from old_rows o
    where o.deleted_at is null group by o.workspace_id, o.connection_id;
  else
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select u.workspace_id, tg_table_name, u.connection_id, sum(u.live) from (
      select n.workspace_id, n.connection_id, 1 as live from new_rows n where n.deleted_at is null
      union all
      select o.workspace_id, o.connection_id, -1 from old_rows o where o.deleted_at is null) u
    group by u.workspace_id, u.connection_id having sum(u.live) <> 0;
  end if;
  return null;
end $$;

create function sluice.count_own_rows() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select n.workspace_id, tg_table_name, n.type_id, count(*) from new_rows n
    where n.deleted_at is null group by n.workspace_id, n.type_id;
  elsif tg_op = 'DELETE' then
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select o.workspace_id, tg_table_name, o.type_id, -count(*) from old_rows o
    where o.deleted_at is null group by o.workspace_id, o.type_id;
  else
    insert into sluice.row_delta (workspace_id, relation, part, live)
    select u.workspace_id, tg_table_name, u.type_id, sum(u.live) from (
      select n.workspace_id, n.type_id, 1 as live from new_rows n where n.deleted_at is null
      union all
      select o.workspace_id, o.type_id, -1 from old_rows o where o.deleted_at is null) u
    group by u.workspace_id, u.type_id having sum(u.live) <> 0;
  end if;
  return null;
end $$;

-- Links that somebody decided are looked at again when one of their ends goes or comes back, also one without a key.
create function sluice.queue_decided_ends() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id)
    select o.workspace_id, 0, '00000000-0000-0000-0000-000000000000', 0, 0, o.id from old_rows o
    where o.deleted_at is null
      and (exists (select from sluice.link_decision d where d.workspace_id = o.workspace_id and d.target_id = o.id)
        or exists (select from sluice.link_decision d where d.workspace_id = o.workspace_id and d.source_id = o.id));
  else
    insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id)
    select u.workspace_id, 0, '00000000-0000-0000-0000-000000000000', 0, 0, u.id from (
      select n.workspace_id, n.id from new_rows n where n.deleted_at is not null
      union all
      select o.workspace_id, o.id from old_rows o where o.deleted_at is not null) u
    where exists (select from sluice.link_decision d where d.workspace_id = u.workspace_id and d.target_id = u.id)
       or exists (select from sluice.link_decision d where d.workspace_id = u.workspace_id and d.source_id = u.id);
  end if;
  return null;
end $$;

-- Has a new table's rows counted, and their coming and going told to decided links. Its caller owns the table.
create function sluice.watch_rows_of(watched regclass) returns void language plpgsql as $$
declare
  counter text := case when watched = 'sluice.own_entity'::regclass then 'count_own_rows' else 'count_vendor_rows' end;
begin
  execute format('create trigger count_inserted after insert on %s referencing new table as new_rows '
                 'for each statement execute function sluice.%I()', watched, counter);
  execute format('create trigger count_updated after update on %s referencing old table as old_rows new table as new_rows '
                 'for each statement execute function sluice.%I()', watched, counter);
  execute format('create trigger count_deleted after delete on %s referencing old table as old_rows '
                 'for each statement execute function sluice.%I()', watched, counter);
  execute format('create trigger ends_updated after update on %s referencing old table as old_rows new table as new_rows '
                 'for each statement execute function sluice.queue_decided_ends()', watched);
  execute format('create trigger ends_deleted after delete on %s referencing old table as old_rows '
                 'for each statement execute function sluice.queue_decided_ends()', watched);
end $$;

-- At most so many differences of all workspaces; how many they were. Any number of hosts may do it at once.
create function sluice.fold_row_counts(most int) returns bigint language sql
begin atomic
  with chosen as (
    select d.workspace_id, d.delta_id from sluice.row_delta d
    order by d.workspace_id, d.delta_id limit most for update skip locked),
  gone as (
    delete from sluice.row_delta d using chosen s
    where d.workspace_id = s.workspace_id and d.delta_id = s.delta_id
    returning d.workspace_id, d.relation, d.part, d.live),
  put as (
    insert into sluice.row_count as c (workspace_id, relation, part, live)
    select g.workspace_id, g.relation, g.part, sum(g.live) from gone g
    group by g.workspace_id, g.relation, g.part order by g.workspace_id, g.relation, g.part
    on conflict (workspace_id, relation, part) do update set live = c.live + excluded.live
    returning 1)
  select count(*) from gone;
end;

do $$
declare
  one record;
begin
  for one in select c.oid::regclass as watched, c.relname from pg_class c
             where c.relnamespace = 'vendor'::regnamespace and c.relkind = 'r'
               and 3 = (select count(*) from pg_attribute a where a.attrelid = c.oid and not a.attisdropped
                        and a.attname in ('workspace_id', 'connection_id', 'deleted_at'))  -- somebody else's have not
             order by c.relname loop
    perform sluice.watch_rows_of(one.watched);
    execute format('insert into sluice.row_count (workspace_id, relation, part, live) '
                   'select t.workspace_id, %L, t.connection_id, count(*) from %s t where t.deleted_at is null '
                   'group by t.workspace_id, t.connection_id', one.relname, one.watched);
  end loop;
  perform sluice.watch_rows_of('sluice.own_entity'::regclass);
  insert into sluice.row_count (workspace_id, relation, part, live)
  select e.workspace_id, 'own_entity', e.type_id, count(*) from sluice.own_entity e where e.deleted_at is null
  group by e.workspace_id, e.type_id;
end $$;

-- What a complete read of a stream held, by type: {"customer": 2000, "invoice": 2422}; and when it was complete. Compared
-- with the rows it says whether all that the vendor has is here.
alter table sluice.stream
    add column enumerated_types jsonb not null default '{}',
    add column last_full_types  jsonb,
    add column last_full_at     timestamptz;

create function sluice.added_up(a jsonb, b jsonb) returns jsonb language sql immutable parallel safe
begin atomic
  select coalesce(jsonb_object_agg(s.key, s.total), '{}') from (
    select e.key, sum(e.value::bigint)::bigint as total
    from (select * from jsonb_each_text(a) union all select * from jsonb_each_text(b)) e group by e.key) s;
end;
