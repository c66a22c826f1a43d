-- The index of a reference leaves out who refers to nothing. While there are no statistics, an index of all rows
-- was taken for looks by id, which then read every row of the connection. Made beside whoever writes, by durable
-- work, which drops the index of before.
insert into sluice.work (workspace_id, kind, subject, task)
select distinct on (t.relation, r.attribute) r.workspace_id, 'index.make', split_part(t.relation, '.', 2) || '.' || r.attribute,
       jsonb_build_object('table', split_part(t.relation, '.', 2), 'attribute', r.attribute)
from sluice.relationship r join sluice.entity_type t on t.workspace_id = r.workspace_id and t.type_id = r.type_id
where t.origin = 'preset' order by t.relation, r.attribute, r.workspace_id;
