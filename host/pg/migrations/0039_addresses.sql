-- An address has at most 1,024 bytes now, so that views show it as it is indexed (0018). What holds a longer text is
-- text like any other, and stays as it is.
with longer as (
  update sluice.attribute a set format = ''
  from sluice.entity_type t
  where t.workspace_id = a.workspace_id and t.type_id = a.type_id and t.origin = 'own'
    and a.type = 'text' and a.format = 'email' and not a.is_unique
    and exists (select from sluice.own_entity e where e.workspace_id = a.workspace_id and e.type_id = a.type_id
                and octet_length(e.data->>a.name) > 1024)
  returning a.workspace_id)
update sluice.catalog_version v set version = v.version + 1 where v.workspace_id in (select l.workspace_id from longer l);
