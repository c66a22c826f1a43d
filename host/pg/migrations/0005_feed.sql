-- The change feed in the order of its commits, with positions of its own. A transaction's id is the
-- order of its first write, and means nothing in another server; a position is given under the lock
-- of the workspace's head row, by the last statement before the commit, and goes wherever the rows go.

-- One row a workspace, made with it. Locked last in every transaction that tells changes, and never
-- updated by one.
create table sluice.feed_head (
    workspace_id bigint primary key,
    kept_from    bigint not null default 1 check (kept_from >= 1),  -- the lowest position that retention has left
    generation   bigint not null                                    -- which history; random, below 2^52
);

-- The histories that a workspace's feed has had. What was told up to began_after belongs to this one
-- and to the one before.
create table sluice.feed_generation (
    workspace_id bigint not null,
    ordinal      int not null,
    generation   bigint not null,
    began_after  bigint not null,
    at           timestamptz not null,
    why          text not null,
    primary key (workspace_id, ordinal),
    unique (workspace_id, generation)
);

-- Where this database was when a host last looked. Another place may be another history.
create table sluice.feed_origin (
    one               boolean primary key default true check (one),
    system_identifier bigint not null,
    timeline          text not null,
    database          oid not null,
    head              oid not null
);

-- For cursors of before ("1:…"): whoever had read up to this transaction had read all up to
-- safe_position. The last row of a workspace stands for all later transactions.
create table sluice.feed_legacy (
    workspace_id  bigint not null,
    txid          xid8 not null,
    safe_position bigint not null,
    primary key (workspace_id, txid)
);

-- Changes of a transaction that are too many to be held by the host until its end: arrays, in parts.
-- Written and removed by the same transaction, so nobody ever sees a row.
create table sluice.change_part (
    workspace_id bigint not null,
    run_id       bigint not null,
    part         bigint generated always as identity,
    types        bigint[] not null,
    entities     bigint[] not null,
    ops          text[] not null,
    ids          text[] not null,
    changes      jsonb[] not null,
    primary key (workspace_id, run_id, part)
);

create function sluice.fresh_generation() returns bigint language sql volatile
return (('x' || left(md5(gen_random_uuid()::text), 13))::bit(52))::bigint;

create function sluice.begin_feed() returns trigger language plpgsql set search_path = '' as $$
declare fresh bigint := sluice.fresh_generation();
begin
  insert into sluice.feed_head (workspace_id, generation) values (new.workspace_id, fresh);
  insert into sluice.feed_generation (workspace_id, ordinal, generation, began_after, at, why)
  values (new.workspace_id, 1, fresh, 0, clock_timestamp(), 'made');
  return null;
end $$;
create trigger begin_feed after insert on sluice.workspace for each row execute function sluice.begin_feed();

alter table sluice.change rename to change_old;
alter index sluice.change_pkey rename to change_old_pkey;
alter index sluice.change_by_entity rename to change_old_by_entity;

-- Append-only: what changed, from what to what, and why. The feed, the history and the undo log.
-- Rows are put by append_changes alone, and go from the old end alone, by whole months.
create table sluice.change (
    workspace_id  bigint not null,
    position      bigint not null,                    -- dense in the workspace, in the order of commits
    at            timestamptz not null,               -- given with the position, and never goes back
    type_id       bigint not null,
    entity_id     bigint not null,
    connection_id bigint not null default 0,
    run_id        bigint not null default 0,
    op            text not null constraint change_op check
        (op in ('insert','update','delete','restore','link','unlink','erased')),
    external_id   text collate "C" not null default '',
    changed       jsonb,                              -- {"attribute": [before, after]}; null for insert and erased
    primary key (workspace_id, position, at)
) partition by range (at);
create index change_by_entity on sluice.change (workspace_id, entity_id, position);

-- Nothing is ever refused for want of a month.
create table sluice.change_later partition of sluice.change default;

-- The months from now on, and those whose rows wait in change_later. Gives up after two seconds of
-- waiting for somebody who reads it, so that nobody queues behind: ask again.
create function sluice.ensure_change_partitions(months int default 2) returns int
language plpgsql set search_path = '' set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  this_month timestamptz := date_trunc('month', now());
  first timestamptz;
  month timestamptz;
  name text;
  made int := 0;
begin
  select least(this_month, date_trunc('month', min(c.at))) into first from sluice.change_later c where c.at <= now();
  for month in select generate_series(first, this_month + months * interval '1 month', interval '1 month') loop
    name := 'change_' || to_char(month, 'YYYYMM');
    continue when to_regclass('sluice.' || name) is not null;
    lock table sluice.change_later in access exclusive mode;
    continue when to_regclass('sluice.' || name) is not null;  -- another host was first
    execute format('create table sluice.%I (like sluice.change including all)', name);
    execute format('with moved as (delete from sluice.change_later where at >= %L and at < %L returning *) '
                   'insert into sluice.%I select * from moved', month, month + interval '1 month', name);
    execute format('alter table sluice.change attach partition sluice.%I for values from (%L) to (%L)',
                   name, month, month + interval '1 month');
    made := made + 1;
  end loop;
  return made;
end $$;

-- A month goes for good, from the old end only. kept_from first: the positions are never given again.
create function sluice.forget_change_partition(partition regclass) returns bigint
language plpgsql set search_path = '' set lock_timeout = '2s' as $$
declare workspaces bigint; younger text;
begin
  if not exists (select 1 from pg_inherits where inhparent = 'sluice.change'::regclass and inhrelid = partition) then
    raise '% is no part of the change feed', partition;
  end if;
  perform 1 from sluice.feed_head order by workspace_id for update;  -- no writer is between its look and its commit
  execute format('select min(p.workspace_id)::text from (select workspace_id, max(position) as top, min(position) as low from %s group by 1) p '
                 'where (select c.position from sluice.change c where c.workspace_id = p.workspace_id order by c.position limit 1) < p.low',
                 partition) into younger;
  if younger is not null then raise '% is not the oldest part of the change feed of workspace %', partition, younger; end if;
  execute format('update sluice.feed_head h set kept_from = greatest(h.kept_from, 1 + m.top) '
                 'from (select workspace_id, max(position) as top from %s group by 1) m where m.workspace_id = h.workspace_id', partition);
  get diagnostics workspaces = row_count;
  execute format('alter table sluice.change detach partition %s', partition);
  execute format('drop table %s', partition);
  return workspaces;
end $$;

-- The months of the rows that were there before; the first one takes whatever is older.
do $$
declare
  this_month timestamptz := date_trunc('month', now(), 'UTC');
  first timestamptz;
  month timestamptz;
begin
  select date_trunc('month', min(at), 'UTC') into first from sluice.change_old;
  first := least(greatest(coalesce(first, this_month), this_month - interval '36 months'), this_month);
  for month in select generate_series(first, this_month + interval '2 months', interval '1 month') loop
    execute format('create table sluice.change_%s partition of sluice.change for values from (%s) to (%L)',
                   to_char(month at time zone 'UTC', 'YYYYMM'),
                   case when month = first then 'minvalue' else quote_literal(month) end, month + interval '1 month');
  end loop;
end $$;

-- By change_id, which was drawn behind the row's lock and so is the order of each entity's changes.
insert into sluice.change (workspace_id, position, at, type_id, entity_id, connection_id, run_id, op, external_id, changed)
select workspace_id, row_number() over w, max(at) over w, type_id, entity_id, connection_id, run_id, op, external_id, changed
from sluice.change_old window w as (partition by workspace_id order by change_id rows unbounded preceding);

insert into sluice.feed_legacy (workspace_id, txid, safe_position)
select workspace_id, txid, min(low) over (partition by workspace_id order by txid desc) - 1
from (select workspace_id, txid, min(position) as low
      from (select workspace_id, txid, row_number() over (partition by workspace_id order by change_id) as position from sluice.change_old) numbered
      group by 1, 2) old;
insert into sluice.feed_legacy (workspace_id, txid, safe_position)
select w.workspace_id, '18446744073709551615', coalesce((select max(c.position) from sluice.change c where c.workspace_id = w.workspace_id), 0)
from sluice.workspace w;

insert into sluice.feed_head (workspace_id, generation) select workspace_id, sluice.fresh_generation() from sluice.workspace;
insert into sluice.feed_generation (workspace_id, ordinal, generation, began_after, at, why)
select workspace_id, 1, generation, 0, clock_timestamp(), 'migration' from sluice.feed_head;

-- The workspaces' views move over in place: whoever was granted one keeps it, and so do views upon it.
do $$
declare one record;
begin
  for one in
    select distinct n.nspname, substring(obj_description(n.oid, 'pg_namespace') from '^sluice workspace (\d+)$')::bigint as workspace
    from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class join pg_namespace n on n.oid = v.relnamespace
    where d.refobjid = 'sluice.change_old'::regclass and d.classid = 'pg_rewrite'::regclass and v.relname = 'change' and v.relkind = 'v'
      and obj_description(n.oid, 'pg_namespace') ~ '^sluice workspace \d+$'
  loop
    execute format(
      'create or replace view %1$I.change as select null::xid8 as txid, h.position as change_id, h.at, t.name as type, h.entity_id, '
      'h.external_id, h.op, h.changed, c.name as connection_name, h.run_id, h.position from sluice.change h '
      'left join sluice.entity_type t on t.workspace_id = %2$s and t.type_id = h.type_id '
      'left join sluice.connection c on c.workspace_id = %2$s and c.connection_id = h.connection_id where h.workspace_id = %2$s',
      one.nspname, one.workspace);
    execute format('comment on view %I.change is %L', one.nspname, 'sluice migrated');
  end loop;
end $$;
drop table sluice.change_old;

-- The one way to tell changes: the last statement of a transaction before its commit. Everything that
-- the transaction locks is locked by then, so that the head is held for a moment only, and for one
-- entity the order of positions is that of its changes. $2 and $3: connection and run, or 0.
-- A statement of a volatile function takes its snapshot after the lock was given, and the lock is given
-- after its holder has committed: the look below sees the last position, and a snapshot that sees a
-- position sees all before it.
-- The settings keep a plan that was made while a month was empty from being one that sorts.
create function sluice.append_changes(w bigint, connection bigint, run bigint, types bigint[], entities bigint[],
                                      ops text[], ids text[], changes jsonb[]) returns bigint
language plpgsql volatile set search_path = '' set lock_timeout = '5s'
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  before bigint;
  top bigint;
  last timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'sluice.append_changes needs read committed';
  end if;
  if coalesce(cardinality(entities), 0) = 0 then return null; end if;
  select h.kept_from - 1 into before from sluice.feed_head h where h.workspace_id = w for update;
  if not found then raise 'workspace % has no feed', w; end if;
  select x.position, x.at into top, last from sluice.change x  -- two months at most
  where x.workspace_id = w and x.at >= now() - interval '2 days' order by x.position desc limit 1;
  if not found then
    select x.position, x.at into top, last from sluice.change x where x.workspace_id = w order by x.position desc limit 1;
  end if;
  before := coalesce(top, before);
  last := greatest(last, clock_timestamp());
  insert into sluice.change (workspace_id, position, at, connection_id, run_id, type_id, entity_id, op, external_id, changed)
  select w, before + i.n, last, connection, run, i.t, i.e, i.o, coalesce(i.x, ''), i.c
  from unnest(types, entities, ops, ids, changes) with ordinality as i(t, e, o, x, c, n);
  return before + cardinality(entities);
end $$;

-- The parts that this transaction put into change_part, in their order.
create function sluice.append_change_parts(w bigint, connection bigint, run bigint) returns bigint
language plpgsql volatile set search_path = '' as $$
declare
  one record;
  last bigint;
begin
  for one in select * from sluice.change_part p where p.workspace_id = w and p.run_id = run order by p.part loop
    last := sluice.append_changes(w, connection, run, one.types, one.entities, one.ops, one.ids, one.changes);
  end loop;
  delete from sluice.change_part p where p.workspace_id = w and p.run_id = run;
  return last;
end $$;

-- A new history of every workspace (or of one): cursors go on up to where it branches off. How many began.
create function sluice.begin_generation(reason text, of_workspace bigint default null) returns bigint
language plpgsql volatile set search_path = '' as $$
declare
  one record;
  fresh bigint;
  top bigint;
  begun bigint := 0;
begin
  for one in select h.workspace_id, h.kept_from from sluice.feed_head h
             where of_workspace is null or h.workspace_id = of_workspace order by h.workspace_id for update loop
    select c.position into top from sluice.change c where c.workspace_id = one.workspace_id order by c.position desc limit 1;
    fresh := sluice.fresh_generation();
    insert into sluice.feed_generation (workspace_id, ordinal, generation, began_after, at, why)
    select one.workspace_id, coalesce(max(g.ordinal), 0) + 1, fresh, coalesce(top, one.kept_from - 1), clock_timestamp(), reason
    from sluice.feed_generation g where g.workspace_id = one.workspace_id;
    update sluice.feed_head h set generation = fresh where h.workspace_id = one.workspace_id;
    begun := begun + 1;
  end loop;
  return begun;
end $$;

create function sluice.feed_origin_now() returns sluice.feed_origin language sql volatile
return row(true, (select s.system_identifier from pg_control_system() s),
           case when pg_is_in_recovery() then '' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end,
           (select d.oid from pg_database d where d.datname = current_database()),
           'sluice.feed_head'::regclass::oid)::sluice.feed_origin;

-- Whether this is still the place it was; if not, a new generation begins, and the answer says what is
-- another one now ('' otherwise). One host at a time; a standby leaves it to the primary.
create function sluice.check_feed_origin() returns text language plpgsql volatile set search_path = '' as $$
declare
  here sluice.feed_origin;
  stored sluice.feed_origin;
  what text;
begin
  if pg_is_in_recovery() then return ''; end if;
  here := sluice.feed_origin_now();
  select o.* into stored from sluice.feed_origin o;
  if stored is not distinct from here then return ''; end if;
  lock table sluice.feed_origin in share row exclusive mode;
  select o.* into stored from sluice.feed_origin o;
  if stored is not distinct from here then return ''; end if;
  what := concat_ws(', ',
    case when stored.system_identifier is distinct from here.system_identifier then 'server' end,
    case when stored.timeline is distinct from here.timeline then 'timeline' end,
    case when stored.database is distinct from here.database then 'database' end,
    case when stored.head is distinct from here.head then 'table' end);
  perform sluice.begin_generation('another ' || what);
  delete from sluice.feed_origin;
  insert into sluice.feed_origin select here.*;
  return what;
end $$;
insert into sluice.feed_origin select o.* from sluice.feed_origin_now() o;
