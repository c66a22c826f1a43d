-- How a run ends without a gap, and how somebody's word is kept that comes while it is under way.

-- Runs that have not ended are few; whoever takes a connection's lease looks for those of the host
-- before, without reading the ones that have.
create index sync_run_unfinished on sluice.sync_run (workspace_id, connection_id) where finished_at is null;

-- Rises each time somebody has the stream read again from its start. A run that began under another
-- number still stores records, but neither its checkpoint nor that it is complete.
alter table sluice.stream add column reading bigint not null default 0;
