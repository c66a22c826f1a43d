-- Which catalogue a decision was made by.

-- Rises in the transaction of each change of a workspace's types, attributes, relationships or link
-- rules. Pages and resolvers read it FOR SHARE in theirs: what was decided by an older catalogue is not
-- stored.
create table sluice.catalog_version (
    workspace_id bigint not null references sluice.workspace on delete cascade,
    version      bigint not null,
    primary key (workspace_id)
);
insert into sluice.catalog_version (workspace_id, version) select workspace_id, 0 from sluice.workspace;

-- Keys with so many sources that these went back into the link queue as rows of their own; a row stands
-- until the first of them, first_seq or behind, is taken off it.
create table sluice.link_spread (
    workspace_id bigint not null,
    kind         smallint not null,
    digest       uuid not null,
    type_id      bigint not null,
    attribute    smallint not null,
    first_seq    bigint not null default nextval('sluice.link_queue_seq_seq'),
    primary key (workspace_id, kind, digest, type_id, attribute)
);
