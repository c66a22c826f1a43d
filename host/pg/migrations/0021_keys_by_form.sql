-- A unique attribute that is a link key is unique by the key's normal form, and a connector's rule is its own.

-- Who shares the form of a unique value with another row of sluice.own_unique: stored before the two were one
-- by it. A new row with the form is refused; these stay, and errors names them.
create table sluice.own_shared (
    workspace_id bigint not null,
    type_id      bigint not null,
    attribute    text collate "C" not null,
    value        text collate "C" not null,
    id           bigint not null,
    primary key (workspace_id, type_id, attribute, id)
);
create index own_shared_by_value on sluice.own_shared (workspace_id, type_id, attribute, value);

-- Whose rule it is, and what that connector's manifest calls it: name is another when that was taken. One that
-- the connector dropped is going: off, until durable work has taken its links and then itself.
alter table sluice.link_rule
    add column connector text collate "C",
    add column declared_name text collate "C",
    add column going boolean not null default false;
update sluice.link_rule r set connector = t.connector, declared_name = r.name
from sluice.entity_type t
where r.origin = 'connector' and t.workspace_id = r.workspace_id and t.name = r.source_type;
create unique index link_rule_declared on sluice.link_rule (workspace_id, connector, declared_name)
    where connector is not null;

-- The forms of these keys changed: those that are stored are made again.
insert into sluice.work (workspace_id, kind, subject, task)
select a.workspace_id, 'keys.make', t.name || '.' || a.name, jsonb_build_object('type', t.name, 'attribute', a.name)
from sluice.attribute a join sluice.entity_type t on t.workspace_id = a.workspace_id and t.type_id = a.type_id
where a.key_kind in (1, 2, 3, 4);
-- Sources that came before their rule had both ends were never looked at.
insert into sluice.work (workspace_id, kind, subject, task)
select workspace_id, 'rule.apply', name, '{"keeps_links": true}' from sluice.link_rule where enabled;
