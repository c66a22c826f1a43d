-- The indexes for looks by a unique text of own types are shared by all workspaces, and are called after the
-- attribute: they must not care how long a text is that another type has under that name. A unique text has at
-- most 1,024 bytes (own_values.cpp); what is longer is in no index. And each of them is paid for by every write
-- of every workspace: eight at most (view_refresh.cpp).
do $$
begin
    if (select rolsuper from pg_roles where rolname = current_user) then
        create function sluice.octets_of(text) returns int
            language internal immutable strict leakproof parallel safe as 'textoctetlen';
    else
        create function sluice.octets_of(text) returns int
            language sql immutable strict parallel safe as 'select octet_length($1)';
    end if;
end $$;
-- Written into the query that calls it: so it is as trusted as what it calls. Parsed here, since a reader of a
-- view may not look up names in this schema.
create function sluice.short_text_of(jsonb, text) returns text language sql immutable parallel safe
    return case when sluice.octets_of(sluice.text_of($1, $2)) <= 1024 then sluice.text_of($1, $2) end;

do $$
declare old record; attribute text;
begin
    for old in select c.oid::regclass::text as name from pg_index i join pg_class c on c.oid = i.indexrelid
               where i.indrelid = 'sluice.own_entity'::regclass and c.relname like 'own\_entity\_by\_%' loop
        execute 'drop index ' || old.name;
    end loop;
    for attribute in
        select name from (
            select 'email' as name, 1e9 as types
            union all
            select a.name, count(*) from sluice.attribute a
            join sluice.entity_type t on t.workspace_id = a.workspace_id and t.type_id = a.type_id
            where t.origin = 'own' and a.is_unique and a.type = 'text' and a.name <> 'email' and length('own_entity_at_' || a.name) <= 63
            group by 1) named order by types desc, name limit 8
    loop
        execute format('create index %I on sluice.own_entity (workspace_id, type_id, (sluice.short_text_of(data, %2$L)))
            where (sluice.short_text_of(data, %2$L)) is not null', 'own_entity_at_' || attribute, attribute);
    end loop;
end $$;
