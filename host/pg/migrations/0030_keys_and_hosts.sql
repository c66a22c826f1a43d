-- Which unique values a row of an own type holds, whatever its own values are by now: a replaced or deleted row gives
-- them all back. sluice.link_key has such an index, and sluice.own_shared is looked at by attribute. Without the type,
-- which would have other statements take it for theirs while there are no statistics: ids are of one sequence.
create index own_unique_by_entity on sluice.own_unique (workspace_id, id);

-- What deleted rows left that could not be read: nobody could have their values again, and links went to them.
delete from sluice.own_unique u using sluice.own_entity e
where e.workspace_id = u.workspace_id and e.type_id = u.type_id and e.id = u.id and e.deleted_at is not null;
delete from sluice.own_shared s using sluice.own_entity e
where e.workspace_id = s.workspace_id and e.type_id = s.type_id and e.id = s.id and e.deleted_at is not null;
with gone as (
    delete from sluice.link_key k using sluice.own_entity e
    where e.workspace_id = k.workspace_id and e.type_id = k.type_id and e.id = k.entity_id and e.deleted_at is not null
    returning k.workspace_id, k.kind, k.digest, k.type_id, k.attribute, k.entity_id)
insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id)
select g.workspace_id, g.kind, g.digest, g.type_id, g.attribute, g.entity_id from gone g;

-- The hosts that work on this database, and where each listens: that is closed to the connectors of all.
create table sluice.host (
    host    uuid primary key,               -- new at every start
    listens jsonb not null,                 -- {"network", "addresses": [], "listeners": [{"what", "address", "port"}]}
    beat_at timestamptz not null            -- by this clock; host/sync/other_hosts.hpp says when a host has ended
);
create index host_by_beat on sluice.host (beat_at);
