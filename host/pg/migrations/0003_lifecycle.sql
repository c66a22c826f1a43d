-- What a running host needs to reconcile deletions, to take connectors in and out, and to finish such
-- work after a crash.

-- Each time a snapshot is read from its start is one enumeration. Where rows were there before, the ids
-- that its pages held are kept until it is complete; what it did not hold may be gone at the vendor.
--   none       nothing to compare: the first load, or compared already
--   recording  the enumeration is under way, its ids are in sluice.seen
--   due        it is complete; compare now
--   blocked    too large a share would go: waits for a person, see reconcile_detail
--   confirmed  a person said yes; compare now, whatever the share
alter table sluice.stream
    add column enumeration      bigint not null default 0,
    add column enumeration_from timestamptz,
    add column reconcile        text not null default 'none'
        check (reconcile in ('none','recording','due','blocked','confirmed')),
    add column reconcile_detail jsonb,
    add column last_full_records bigint not null default 0,   -- records of the last complete enumeration
    add column enumerated_records bigint not null default 0;  -- of the one under way

-- One row a page and type. hashes: hashtextextended(external_id, 0).
create table sluice.seen (
    workspace_id  bigint not null,
    connection_id bigint not null,
    stream        text collate "C" not null,
    enumeration   bigint not null,
    page          bigint generated always as identity,
    type          text collate "C" not null,             -- without the connector's prefix
    hashes        bigint[] not null,
    primary key (workspace_id, connection_id, stream, enumeration, type, page)
);

-- What an install changed in the catalogue and has not yet applied to the entities that were there
-- before: {"keys":[{"type":…,"attribute":…}],"rules":["name"]}. Null: nothing. Written by the install's
-- own transaction, so a host that dies behind it leaves work, not a gap.
alter table sluice.installation add column to_apply jsonb;

-- Loose scans for due work: one probe a workspace, or a connection, that has any.
drop index sluice.refetch_due;
create index refetch_due on sluice.refetch (workspace_id, connection_id, not_before, attempts);

-- What the engine looks for, each by a partial index that is empty when there is nothing to do.
create index stream_reconcile on sluice.stream (workspace_id, connection_id)
    where reconcile in ('due', 'confirmed');
create index connection_disconnecting on sluice.connection (workspace_id, connection_id)
    where state = 'DISCONNECTING';
create index installation_to_apply on sluice.installation (workspace_id, connector)
    where to_apply is not null;

alter table sluice.sync_run drop constraint sync_run_kind_check;
alter table sluice.sync_run add constraint sync_run_kind_check
    check (kind in ('check','full','incremental','refetch','resync','reconcile','disconnect'));
