-- A connector is native code in the host, which works for every workspace: an operator says once of a content that it
-- may run here, whoever installs it afterwards. What is installed already was let in by the rules before.
create table sluice.connector_approval (
    sha256      bytea primary key check (length(sha256) = 32),
    connector   text collate "C" not null,
    version     text not null,
    approved_by text not null,
    approved_at timestamptz not null default now()
);
insert into sluice.connector_approval (sha256, connector, version, approved_by)
select distinct on (v.sha256) v.sha256, v.connector, v.version, 'was installed'
from sluice.installation i join sluice.connector_version v using (connector, sha256) order by v.sha256, v.connector;
