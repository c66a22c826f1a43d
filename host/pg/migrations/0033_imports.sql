-- An import is a run, too: of no connection, by somebody, of a file of theirs. Its stream is the type.
alter table sluice.sync_run alter column connection_id drop not null;
alter table sluice.sync_run add column actor text not null default '';
alter table sluice.sync_run add column file text not null default '';      -- as whoever sent it calls it
alter table sluice.sync_run add column file_bytes bigint;                  -- as announced; null when it was not
alter table sluice.sync_run add column beat_at timestamptz;                -- when the host last said how far it is
alter table sluice.sync_run drop constraint sync_run_kind_check;
alter table sluice.sync_run add constraint sync_run_kind_check
    check (kind in ('check','full','incremental','refetch','resync','reconcile','disconnect','import'));
alter table sluice.sync_run add constraint sync_run_connection_check
    check ((connection_id is null) = (kind = 'import'));

-- Those that have not ended, of whose host nothing was heard.
create index sync_run_import_unfinished on sluice.sync_run (workspace_id, beat_at)
    where kind = 'import' and finished_at is null;
