-- Own types can be dropped. One that was stays as a row without attributes, since the change feed goes on calling its
-- entities by it:
--   dropping  in no catalogue any more; durable work (type.drop) takes its entities, their keys and links
--   dropped   nothing of it is left. Made anew under its name it has the same type_id, and another created_at
alter table sluice.entity_type drop constraint entity_type_state_check;
alter table sluice.entity_type add constraint entity_type_state_check
    check (state in ('active','disabled','dropping','dropped'));
