-- What is told apart, where it was one figure or none before.

-- What the last full read of a stream found that nothing had told of: entities that were new or other than stored, and those that
-- the list no longer had. Null: there was none since the first, or it is not compared yet.
alter table sluice.stream
    add column reread_found   bigint,
    add column reread_missing bigint;

-- Of what a connector ever put out a complete set: the children of a type, by the attribute that holds their parent's id. When a
-- parent goes, its children go.
create table sluice.child_set (
    workspace_id  bigint not null,
    connector     text collate "C" not null,
    type          text collate "C" not null,          -- the children's, without the connector's prefix
    attribute     text collate "C" not null,
    primary key (workspace_id, connector, type, attribute)
);

-- Records whose source_version was lower than the stored row's: left aside, and not the same.
alter table sluice.sync_run add column older bigint not null default 0;

-- An admin said that the next complete read of the stream may overwrite such rows. Off again when it is complete.
alter table sluice.stream add column trust_vendor boolean not null default false;
