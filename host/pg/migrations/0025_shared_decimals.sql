-- Entities whose unique decimals became one value (0023): those that do not hold it share it, so that errors names
-- both and what is new is refused for either. Found part by part, by durable work.
insert into sluice.work (workspace_id, kind, subject, task)
select a.workspace_id, 'keys.make', t.name || '.' || a.name, jsonb_build_object('type', t.name, 'attribute', a.name)
from sluice.attribute a join sluice.entity_type t on t.workspace_id = a.workspace_id and t.type_id = a.type_id
where t.origin = 'own' and a.is_unique and a.type = 'decimal';
