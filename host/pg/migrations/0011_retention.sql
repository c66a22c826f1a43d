-- What has been is not kept for ever. Durable work forgets it, batch by batch: the oldest first, found
-- without reading what stays.

-- A run under way is in none of them.
create index sync_run_by_age on sluice.sync_run (workspace_id, started_at, run_id) where finished_at is not null;
create index audit_by_age on sluice.audit (workspace_id, at, audit_id);
create index work_finished on sluice.work (workspace_id, finished_at, work_id) where state = 'done';

-- Each workspace has this work from its first moment, and takes it along when it could not be made.
alter table sluice.work drop constraint work_workspace_id_fkey,
    add constraint work_workspace_id_fkey foreign key (workspace_id) references sluice.workspace on delete cascade;
create function sluice.begin_retention() returns trigger language plpgsql set search_path = '' as $$
begin
  insert into sluice.work (workspace_id, kind, subject, task, not_before)
  values (new.workspace_id, 'retention.apply', '', '{"every_seconds": 3600}', now() + interval '1 hour');
  return null;
end $$;
create trigger begin_retention after insert on sluice.workspace for each row execute function sluice.begin_retention();

-- Those that are there: in the course of an hour, not all at once.
insert into sluice.work (workspace_id, kind, subject, task, not_before)
select workspace_id, 'retention.apply', '', '{"every_seconds": 3600}', now() + random() * interval '1 hour'
from sluice.workspace;
