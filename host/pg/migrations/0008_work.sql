-- What takes long and must not be forgotten.

-- Durable work: whatever somebody starts that is done in batches, each in a transaction that also says
-- how far it is. Written by the transaction that makes it due.
--   waiting  to be done, or to be gone on with, from not_before on
--   done     and finished_at says when; detail says more, {"superseded_by": work}
create table sluice.work (
    workspace_id bigint not null references sluice.workspace,
    work_id      bigint generated always as identity,
    kind         text collate "C" not null,
    subject      text collate "C" not null,         -- the rule's name, the connection's
    state        text not null default 'waiting' check (state in ('waiting', 'done')),
    task         jsonb not null default '{}',       -- what is to be done; never changes
    progress     jsonb not null default '{}',       -- where the next batch begins
    items        bigint not null default 0,         -- links, entities, … that were looked at so far
    attempts     int not null default 0,            -- that failed, since the last batch that did not
    error        jsonb,                             -- of the last one
    not_before   timestamptz not null default now(),
    actor        text not null default '',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    finished_at  timestamptz,
    primary key (workspace_id, work_id)
);
create index work_waiting on sluice.work (workspace_id, kind, subject, work_id) where state = 'waiting';
create index work_due on sluice.work (not_before) where state = 'waiting';

-- What installs left to do becomes work. Rules first read their links anew, then their sources.
insert into sluice.work (workspace_id, kind, subject, task)
select i.workspace_id, 'keys.make', (k.value->>'type') || '.' || (k.value->>'attribute'), k.value
from sluice.installation i cross join lateral jsonb_array_elements(i.to_apply->'keys') k
where i.to_apply is not null;
insert into sluice.work (workspace_id, kind, subject)
select i.workspace_id, 'rule.apply', r.value
from sluice.installation i cross join lateral jsonb_array_elements_text(i.to_apply->'rules') r
where i.to_apply is not null;
insert into sluice.work (workspace_id, kind, subject)
select i.workspace_id, 'views.renew', '' from sluice.installation i where i.to_apply is not null
group by i.workspace_id;
drop index sluice.installation_to_apply;
alter table sluice.installation drop column to_apply;

-- A rule that was switched off before this version may have left links.
insert into sluice.work (workspace_id, kind, subject)
select workspace_id, 'rule.apply', name from sluice.link_rule where not enabled;
