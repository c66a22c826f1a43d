-- A month of the feed goes without being read: a look into its index for each workspace, before any head is
-- held. Before, the whole month was counted twice while all heads were held, and every writer of every
-- workspace waited for that.
insert into sluice.mutex (name) values ('months');

-- A month goes for good, from the old end only. kept_from first: the positions are never given again.
-- Gives up after two seconds of waiting: ask again.
create or replace function sluice.forget_change_partition(partition regclass) returns bigint
language plpgsql set search_path = '' set lock_timeout = '2s'
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  ends timestamptz;
  workspaces bigint[];
  tops bigint[];
  younger bigint;
begin
  perform 1 from sluice.mutex where name = 'months' for update;  -- one host at a time
  select substring(pg_get_expr(c.relpartbound, c.oid) from $re$TO \('([^']+)'\)$re$)::timestamptz into ends
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'sluice.change'::regclass and i.inhrelid = partition;
  if not found then raise '% is no part of the change feed', partition; end if;
  -- A month that is over gets no more rows; any other does, from whoever holds a head.
  if ends is null or ends > clock_timestamp() then
    perform 1 from sluice.feed_head order by workspace_id for update;
  end if;
  execute format('select array_agg(h.workspace_id), array_agg(m.top), '
                 'min(h.workspace_id) filter (where (select c.position from sluice.change c where c.workspace_id = h.workspace_id order by c.position limit 1) < m.low) '
                 'from sluice.feed_head h cross join lateral '
                 '(select (select p.position from %1$s p where p.workspace_id = h.workspace_id order by p.position desc limit 1) as top, '
                 '        (select p.position from %1$s p where p.workspace_id = h.workspace_id order by p.position limit 1) as low) m '
                 'where m.top is not null', partition) into workspaces, tops, younger;
  if younger is not null then raise '% is not the oldest part of the change feed of workspace %', partition, younger; end if;
  perform 1 from sluice.feed_head where workspace_id = any (workspaces) order by workspace_id for update;
  update sluice.feed_head h set kept_from = greatest(h.kept_from, 1 + m.top)
  from unnest(workspaces, tops) as m (workspace_id, top) where m.workspace_id = h.workspace_id;
  execute format('alter table sluice.change detach partition %s', partition);
  execute format('drop table %s', partition);
  return coalesce(cardinality(workspaces), 0);
end $$;
