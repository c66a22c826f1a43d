-- What SQL views need. docs/decisions/0008 says why.

-- The views that Sluice made, and what was in the way of the last refresh. hash: of the definition, '' while
-- there is none; failure: {"code":…,"message":…,"hint":…}.
create table sluice.sql_view (
    workspace_id bigint not null references sluice.workspace,
    name         text collate "C" not null,
    hash         text not null default '',
    failure      jsonb,
    failed_at    timestamptz,
    primary key (workspace_id, name)
);

-- data->>'name' that the planner may use below a row-level policy: it neither fails on nor tells of a row
-- that its caller may not see. Only a superuser may say so; others get the operator under another name.
do $$
begin
    if (select rolsuper from pg_roles where rolname = current_user) then
        create function sluice.text_of(jsonb, text) returns text
            language internal immutable strict leakproof parallel safe as 'jsonb_object_field_text';
    else
        create function sluice.text_of(jsonb, text) returns text
            language sql immutable strict parallel safe as 'select $1->>$2';
    end if;
end $$;

-- One own row by a unique text. Attributes of one name share an index; refresh_views makes those of later names.
do $$
declare attribute text;
begin
    for attribute in
        select 'email' union select a.name from sluice.attribute a
            join sluice.entity_type t on t.workspace_id = a.workspace_id and t.type_id = a.type_id
            where t.origin = 'own' and a.is_unique and a.type = 'text' and length('own_entity_by_' || a.name) <= 63
    loop
        execute format('create index %I on sluice.own_entity (workspace_id, type_id, (sluice.text_of(data, %2$L)))
            where (sluice.text_of(data, %2$L)) is not null', 'own_entity_by_' || attribute, attribute);
    end loop;
end $$;
