-- Fair turns: due work of one workspace, of one kind, of one type, each found without reading the others'.

-- Change streams and the rest have slots of their own, so each kind has an index of its own. The first walks what is
-- due, whosever; the second is for the look workspace by workspace, when there is more than the first look reads.
drop index sluice.stream_due;
create index stream_due_changes on sluice.stream (next_run_at)
    where enabled and mode = 'changes' and next_run_at is not null;
create index stream_due_loads on sluice.stream (next_run_at)
    where enabled and mode <> 'changes' and next_run_at is not null;
create index stream_due_changes_of on sluice.stream (workspace_id, next_run_at)
    where enabled and mode = 'changes' and next_run_at is not null;
create index stream_due_loads_of on sluice.stream (workspace_id, next_run_at)
    where enabled and mode <> 'changes' and next_run_at is not null;

-- The batch of a type: what waits longest, and was never tried; what failed before goes apart.
create index refetch_fresh on sluice.refetch (workspace_id, connection_id, type, not_before) where attempts = 0;
create index refetch_again on sluice.refetch (workspace_id, connection_id, type, not_before) where attempts > 0;
-- Which connections have due ids, without a probe for each that only waits.
create index refetch_by_time on sluice.refetch (not_before);

-- A refetch lane that does not ask for now: the vendor is down, or it refuses one type. A row stays, with `until` in the
-- past, until something has been read again: then one id is a trial.
create table sluice.refetch_pause (
    workspace_id  bigint not null,
    connection_id bigint not null,
    type          text collate "C" not null,          -- '': all types of the connection
    failures      bigint not null default 1,          -- pauses in a row
    since         timestamptz not null default now(), -- of the first of them
    until         timestamptz not null,
    error_class   text not null,
    reason        text not null,
    primary key (workspace_id, connection_id, type),
    foreign key (workspace_id, connection_id) references sluice.connection (workspace_id, connection_id) on delete cascade
);
