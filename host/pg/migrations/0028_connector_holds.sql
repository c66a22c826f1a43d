-- What runs on no host of this database until an operator approves it again.
create table sluice.connector_hold (
    sha256    bytea primary key check (length(sha256) = 32),
    connector text collate "C" not null,
    version   text not null,
    code      text not null check (code in ('connector.held', 'connector.revoked')),
    reason    text not null,                                -- a sentence
    held_at   timestamptz not null default now()
);
create index connector_approval_connector on sluice.connector_approval (connector);
-- Hosts that a content ended, whoever it worked for, and whatever was said about that one thing since. An operator's
-- approval begins the count anew; sluice.connector_death is counted for each connection and forgotten by its admins.
create table sluice.connector_file_death (
    sha256    bytea not null check (length(sha256) = 32),
    death     text collate "C" not null,                    -- told apart by the host that died of it
    what      text not null,                                -- in words: reading the stream orders
    how       text not null,                                -- SIGSEGV in step()
    is_load   boolean not null,
    at        timestamptz not null,
    primary key (sha256, death)
);
create index connector_death_content on sluice.connector_death (sha256);
insert into sluice.connector_file_death (sha256, death, what, how, is_load, at)
select decode(sha256, 'hex'), death,
       case operation when 'load' then 'being loaded' when 'check' then 'checking the key'
                      when 'fetch' then 'reading objects of type ' || subject || ' again'
                      else 'reading the stream ' || subject end,
       how || ' in ' || function || '()', operation = 'load', at
from sluice.connector_death where sha256 ~ '^[0-9a-f]{64}$' on conflict do nothing;
-- What each host held for itself.
insert into sluice.connector_hold (sha256, connector, version, code, reason)
select decode(sha256, 'hex'), max(connector), max(version), 'connector.held',
       max(connector || ' ' || version) || ' ended hosts ' || count(*)
         || ' times while being loaded; it runs for nobody until an operator approves it again'
from sluice.connector_death where operation = 'load' and sha256 ~ '^[0-9a-f]{64}$' group by sha256 having count(*) >= 2;
