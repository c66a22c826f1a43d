-- A unique decimal is looked up in its one form: 1.5, 1.50 and 1.500 are one value (base/decimal.hpp). Where two
-- entities have it already, the older one holds it. The other stays as it is, and has no row here: nobody is
-- matched by it, and only what is new is refused.
delete from sluice.own_unique u using (
    select o.workspace_id, o.type_id, o.attribute, o.value,
           row_number() over (partition by o.workspace_id, o.type_id, o.attribute,
                                           case when a.type = 'decimal' then o.value::numeric end order by o.id) as place
    from sluice.own_unique o
    join sluice.attribute a on a.workspace_id = o.workspace_id and a.type_id = o.type_id and a.name = o.attribute
    where a.type = 'decimal') f
where u.workspace_id = f.workspace_id and u.type_id = f.type_id and u.attribute = f.attribute and u.value = f.value
    and f.place > 1;
update sluice.own_unique u
set value = case when a.type = 'decimal' then trim_scale(u.value::numeric)::text end
from sluice.attribute a
where a.workspace_id = u.workspace_id and a.type_id = u.type_id and a.name = u.attribute and a.type = 'decimal'
    and case when a.type = 'decimal' then trim_scale(u.value::numeric)::text <> u.value end;
