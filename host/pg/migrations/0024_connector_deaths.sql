-- What connectors' code did to hosts: each row is a host that it ended. Two of one call, and that call is made no more
-- until somebody says so, who deletes them.
create table sluice.connector_death (
    workspace_id  bigint not null,                    -- 0: while the file was loaded, for nobody in particular
    connection_id bigint not null,                    -- 0: the same
    operation     text collate "C" not null,          -- check, read, fetch, load
    subject       text collate "C" not null,          -- the stream, the entity type, the file's sha256
    death         text collate "C" not null,          -- told apart by the host that died of it
    connector     text collate "C" not null,
    version       text not null,
    sha256        text collate "C" not null,
    function      text not null,                      -- open, step, close, load
    how           text not null,                      -- SIGSEGV, exit(3)
    half_made     boolean not null,                   -- the connection was being made: it has no account yet
    run_id        bigint not null,
    at            timestamptz not null,
    primary key (workspace_id, connection_id, operation, subject, death)
);
