-- When a change happened at the vendor, beside when it was told here: null where the vendor gave no time, where
-- nothing came from a vendor, and in all changes of before. No row is written anew by this.
alter table sluice.change add column vendor_at timestamptz;
alter table sluice.change_part add column vendor_times timestamptz[];

-- As before (0005, 0012), with that time beside each change; null: none of them has one. Who leaves it out is an
-- older host.
drop function sluice.append_changes(bigint, bigint, bigint, bigint[], bigint[], text[], text[], jsonb[]);
create function sluice.append_changes(w bigint, connection bigint, run bigint, types bigint[], entities bigint[],
                                      ops text[], ids text[], changes jsonb[],
                                      vendor_times timestamptz[] default null) returns bigint
language plpgsql volatile set search_path = '' set lock_timeout = '20s'
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
  insert into sluice.change (workspace_id, position, at, connection_id, run_id, type_id, entity_id, op, external_id,
                             changed, vendor_at)
  select w, before + i.n, last, connection, run, i.t, i.e, i.o, coalesce(i.x, ''), i.c, i.v
  from unnest(types, entities, ops, ids, changes, vendor_times) with ordinality as i(t, e, o, x, c, v, n);
  return before + cardinality(entities);
end $$;

create or replace function sluice.append_change_parts(w bigint, connection bigint, run bigint) returns bigint
language plpgsql volatile set search_path = '' as $$
declare
  one record;
  last bigint;
begin
  for one in select * from sluice.change_part p where p.workspace_id = w and p.run_id = run order by p.part loop
    last := sluice.append_changes(w, connection, run, one.types, one.entities, one.ops, one.ids, one.changes,
                                  one.vendor_times);
  end loop;
  delete from sluice.change_part p where p.workspace_id = w and p.run_id = run;
  return last;
end $$;

-- What a reconcile has the vendor asked about is deleted by later look-ups: it is counted with the run that asked.
alter table sluice.refetch add column for_run bigint;
alter table sluice.sync_run add column looked_up bigint not null default 0;   -- ids that it put on the list
alter table sluice.sync_run add column found_gone bigint not null default 0;  -- of these, deleted by look-ups since
