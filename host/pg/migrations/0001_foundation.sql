-- The catalogue and the machinery. Every table of a workspace has workspace_id first in its primary key,
-- and every unique and foreign key includes it; nothing joins across workspaces.
-- The schema sluice itself is made by migrate(). Typed entity tables live in schema vendor and are made
-- from manifests (model/storage).

create schema vendor;

-- Ids of entities, of preset and own types alike: unique, right-growing, never reused.
create sequence sluice.entity_id as bigint cache 64;

create table sluice.workspace (
    workspace_id bigint generated always as identity primary key,
    name         text collate "C" not null unique check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    created_at   timestamptz not null default now()
);

-- A token is "slc_<workspace>_<token>_<secret>"; only a BLAKE2b hash of the secret is kept.
create table sluice.token (
    workspace_id bigint not null references sluice.workspace,
    token_id     bigint generated always as identity,
    name         text not null,
    role         text not null check (role in ('operator', 'admin', 'reader')),
    hash         bytea not null check (length(hash) = 32),
    created_at   timestamptz not null default now(),
    revoked_at   timestamptz,
    primary key (workspace_id, token_id)
);

-- Connectors that were admitted to this system; shared by all workspaces.
create table sluice.connector_version (
    connector   text collate "C" not null,
    version     text not null,
    sha256      bytea not null check (length(sha256) = 32),
    manifest    jsonb not null,
    state       text not null default 'admitted' check (state in ('admitted', 'refused', 'retired')),
    admitted_at timestamptz not null default now(),
    primary key (connector, sha256)
);

create table sluice.installation (
    workspace_id bigint not null references sluice.workspace,
    connector    text collate "C" not null,
    sha256       bytea not null,
    state        text not null default 'enabled' check (state in ('enabled', 'disabled')),
    created_at   timestamptz not null default now(),
    primary key (workspace_id, connector),
    foreign key (connector, sha256) references sluice.connector_version (connector, sha256)
);

create table sluice.connection (
    workspace_id   bigint not null,
    connection_id  bigint generated always as identity,
    connector      text collate "C" not null,
    name           text collate "C" not null check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    config         jsonb not null default '{}',
    egress         jsonb not null default '{}',   -- {"base_urls":{"api":"http://127.0.0.1:1"}}: an explicit allowance
    state          text not null default 'CONNECTED' check (state in
        ('CONNECTED','SYNCING','HEALTHY','DEGRADED','STALE','DISCONNECTING','DISCONNECTED','FAILED')),
    state_reason   text not null default '',
    vendor_account text,                          -- as CHECK said; rows of another account are refused
    account_name   text,
    mode           text not null default '',
    created_at     timestamptz not null default now(),
    primary key (workspace_id, connection_id),
    unique (workspace_id, name),
    foreign key (workspace_id, connector) references sluice.installation (workspace_id, connector)
);

create table sluice.stream (
    workspace_id         bigint not null,
    connection_id        bigint not null,
    stream               text collate "C" not null,
    enabled              boolean not null default true,
    mode                 text not null,
    interval_seconds     bigint not null default 0,
    state                text not null default 'new' check (state in ('new','running','idle','waiting','failed')),
    reason               text not null default '',   -- what is wrong and what to do, in words for an admin
    error_class          text,
    checkpoint           bytea,
    checkpoint_format    int not null default 0,
    snapshot_done        boolean not null default false,
    next_run_at          timestamptz,                -- null: only on request
    consecutive_failures int not null default 0,
    last_run_id          bigint,
    last_success_at      timestamptz,
    records_total        bigint not null default 0,
    vendor_total         bigint not null default 0,
    primary key (workspace_id, connection_id, stream),
    foreign key (workspace_id, connection_id) references sluice.connection (workspace_id, connection_id)
);

create table sluice.sync_run (
    workspace_id  bigint not null,
    run_id        bigint generated always as identity,
    connection_id bigint not null,
    stream        text collate "C" not null,          -- '' for refetch runs
    kind          text not null check (kind in ('check','full','incremental','refetch','resync')),
    epoch         bigint not null default 0,
    started_at    timestamptz not null default now(),
    finished_at   timestamptz,
    outcome       text check (outcome in ('done','failed','cancelled','lost')),
    error         jsonb,
    pages         bigint not null default 0,
    requests      bigint not null default 0,
    bytes         bigint not null default 0,
    records       bigint not null default 0,
    inserted      bigint not null default 0,
    updated       bigint not null default 0,
    unchanged     bigint not null default 0,
    deleted       bigint not null default 0,
    quarantined   bigint not null default 0,
    notices       bigint not null default 0,
    primary key (workspace_id, run_id),
    foreign key (workspace_id, connection_id) references sluice.connection (workspace_id, connection_id)
);
create index sync_run_by_stream on sluice.sync_run (workspace_id, connection_id, stream, run_id);

create index stream_due on sluice.stream (next_run_at) where enabled and next_run_at is not null;

-- Ids to read again: notices from event feeds and webhooks meet here, one row an object.
create table sluice.refetch (
    workspace_id  bigint not null,
    connection_id bigint not null,
    type          text collate "C" not null,
    external_id   text collate "C" not null,
    kind          text not null default 'changed' check (kind in ('changed','deleted','merged')),
    observed_at   timestamptz,
    generation    bigint not null default 1,          -- grows with each notice: a notice during a refetch is not lost
    attempts      int not null default 0,
    not_before    timestamptz not null default now(),
    reason        text not null default '',
    primary key (workspace_id, connection_id, type, external_id)
);
create index refetch_due on sluice.refetch (workspace_id, connection_id, not_before);

-- The entity environment.
create table sluice.entity_type (
    workspace_id bigint not null references sluice.workspace,
    type_id      bigint generated always as identity,
    name         text collate "C" not null,           -- 'stripe.customer' or 'customer'
    origin       text not null check (origin in ('preset','own')),
    connector    text collate "C",                    -- of a preset type
    relation     text not null,                       -- 'vendor.stripe_customer' or 'sluice.own_entity'
    declaration  jsonb not null,
    state        text not null default 'active' check (state in ('active','disabled')),
    created_at   timestamptz not null default now(),
    primary key (workspace_id, type_id),
    unique (workspace_id, name)
);

create table sluice.attribute (
    workspace_id bigint not null,
    type_id      bigint not null,
    name         text collate "C" not null,
    position     int not null,
    type         text not null,
    format       text not null default '',
    description  text not null default '',
    protected    boolean not null default false,
    required     boolean not null default false,
    personal     boolean not null default false,
    is_unique    boolean not null default false,      -- own types only
    key_kind     smallint,                            -- link key: 1 email … 6 exact
    origin       text not null default 'declared' check (origin in ('declared','user')),
    primary key (workspace_id, type_id, name),
    foreign key (workspace_id, type_id) references sluice.entity_type (workspace_id, type_id)
);

create table sluice.relationship (
    workspace_id   bigint not null,
    type_id        bigint not null,
    name           text collate "C" not null,
    attribute      text collate "C" not null,
    target_type_id bigint not null,
    protected      boolean not null default true,
    primary key (workspace_id, type_id, name),
    foreign key (workspace_id, type_id) references sluice.entity_type (workspace_id, type_id),
    foreign key (workspace_id, target_type_id) references sluice.entity_type (workspace_id, type_id)
);

create table sluice.link_rule (
    workspace_id     bigint not null references sluice.workspace,
    rule_id          bigint generated always as identity,
    name             text collate "C" not null,
    source_type      text collate "C" not null,       -- by name: the target may not exist yet
    source_attribute text collate "C" not null,
    target_type      text collate "C" not null,
    target_attribute text collate "C" not null,
    key_kind         smallint not null check (key_kind between 1 and 6),
    enabled          boolean not null default true,
    origin           text not null check (origin in ('connector','admin')),
    created_at       timestamptz not null default now(),
    primary key (workspace_id, rule_id),
    unique (workspace_id, name)
);

-- Rows of the organisation's own types.
create table sluice.own_entity (
    workspace_id bigint not null,
    type_id      bigint not null,
    id           bigint not null default nextval('sluice.entity_id'),
    data         jsonb not null,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    deleted_at   timestamptz,
    primary key (workspace_id, type_id, id),
    foreign key (workspace_id, type_id) references sluice.entity_type (workspace_id, type_id)
) with (fillfactor = 80);

-- What makes an attribute of an own type unique: one row a value.
create table sluice.own_unique (
    workspace_id bigint not null,
    type_id      bigint not null,
    attribute    text collate "C" not null,
    value        text collate "C" not null,
    id           bigint not null,
    primary key (workspace_id, type_id, attribute, value),
    foreign key (workspace_id, type_id, id) references sluice.own_entity (workspace_id, type_id, id) on delete cascade
);

-- Normalised keys by digest (16 bytes of BLAKE2b over the normalised text). One row a key an entity has.
create table sluice.link_key (
    workspace_id bigint not null,
    kind         smallint not null,
    digest       uuid not null,
    type_id      bigint not null,
    attribute    smallint not null,                   -- attribute.position within its type
    entity_id    bigint not null,
    primary key (workspace_id, kind, digest, type_id, attribute, entity_id)
);
create index link_key_by_entity on sluice.link_key (workspace_id, entity_id);

-- Keys that an entity gained or lost; written in the transaction that did it, resolved after its commit.
create table sluice.link_queue (
    workspace_id bigint not null,
    seq          bigint generated always as identity,
    kind         smallint not null,
    digest       uuid not null,
    type_id      bigint not null,
    attribute    smallint not null,
    entity_id    bigint not null,
    primary key (workspace_id, seq)
);

create table sluice.link (
    workspace_id   bigint not null,
    rule_id        bigint not null,
    source_id      bigint not null,
    source_type_id bigint not null,
    state          text not null check (state in ('pending','linked','contested','suggested','confirmed','rejected','inactive')),
    target_id      bigint,                            -- when linked or confirmed
    target_type_id bigint,
    candidates     bigint[] not null default '{}',    -- when contested: the first 20
    candidate_count int not null default 0,
    kind           smallint not null,
    digest         uuid,
    evidence       jsonb not null default '{}',
    decided_by     text not null default 'rule' check (decided_by in ('rule','human')),
    updated_at     timestamptz not null default now(),
    primary key (workspace_id, rule_id, source_id),
    foreign key (workspace_id, rule_id) references sluice.link_rule (workspace_id, rule_id)
) with (fillfactor = 80);
create index link_by_source on sluice.link (workspace_id, source_id);
create index link_by_target on sluice.link (workspace_id, target_id) where target_id is not null;

-- Append-only: what changed, from what to what, and why. The feed, the history and the undo log.
-- Read in the order (txid, change_id), and only transactions older than the oldest running one.
create table sluice.change (
    workspace_id  bigint not null,
    txid          xid8 not null default pg_current_xact_id(),
    change_id     bigint generated always as identity,
    at            timestamptz not null default now(),
    type_id       bigint not null,
    entity_id     bigint not null,
    connection_id bigint not null default 0,
    run_id        bigint not null default 0,
    op            text not null check (op in ('insert','update','delete','restore','link','unlink')),
    external_id   text collate "C" not null default '',
    changed       jsonb,                              -- {"attribute": [before, after]}; null for insert
    primary key (workspace_id, txid, change_id)
);
create index change_by_entity on sluice.change (workspace_id, entity_id, change_id);

-- Records that could not be stored, with the reason, until somebody replays or dismisses them.
create table sluice.quarantine (
    workspace_id  bigint not null,
    quarantine_id bigint generated always as identity,
    connection_id bigint not null,
    run_id        bigint not null default 0,
    stream        text collate "C" not null default '',
    type          text collate "C" not null,
    external_id   text not null,
    code          text not null,
    reason        text not null,
    record        jsonb,
    first_seen_at timestamptz not null default now(),
    last_seen_at  timestamptz not null default now(),
    times         bigint not null default 1,
    primary key (workspace_id, quarantine_id),
    unique (workspace_id, connection_id, type, external_id, code)
);

-- Who works on what. Two tables, because a writer share-locks the epoch while the holder renews the hold.
create table sluice.lease_epoch (
    workspace_id bigint not null,
    name         text collate "C" not null,
    epoch        bigint not null,
    primary key (workspace_id, name)
);
create table sluice.lease_hold (
    workspace_id bigint not null,
    name         text collate "C" not null,
    holder       uuid not null,
    expires_at   timestamptz not null,
    primary key (workspace_id, name)
);

create table sluice.audit (
    workspace_id bigint not null,
    audit_id     bigint generated always as identity,
    at           timestamptz not null default now(),
    actor        text not null,
    action       text not null,
    subject      text not null,
    detail       jsonb not null default '{}',
    primary key (workspace_id, audit_id)
);
