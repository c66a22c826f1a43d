-- Small letters are not folded any more (ſ is no s): addresses and usernames are made again.
insert into sluice.work (workspace_id, kind, subject, task)
select a.workspace_id, 'keys.make', t.name || '.' || a.name, jsonb_build_object('type', t.name, 'attribute', a.name)
from sluice.attribute a join sluice.entity_type t on t.workspace_id = a.workspace_id and t.type_id = a.type_id
where a.key_kind in (1, 4)
  and not exists (select from sluice.work w where w.workspace_id = a.workspace_id and w.kind = 'keys.make'
                  and w.subject = t.name || '.' || a.name and w.state = 'waiting');
