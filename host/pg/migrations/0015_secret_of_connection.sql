-- A credential belongs to a connection that is there: one that is stored while its connection goes would
-- outlive it. connection_id 0 is the workspace's own and refers to none.
delete from sluice.secret s where s.connection_id <> 0 and not exists (
    select 1 from sluice.connection c where c.workspace_id = s.workspace_id and c.connection_id = s.connection_id);
alter table sluice.secret
    add column of_connection bigint generated always as (nullif(connection_id, 0)) stored,
    add constraint secret_of_connection foreign key (workspace_id, of_connection)
        references sluice.connection (workspace_id, connection_id);
