-- A secret is sealed together with where it may go, its state and its validity, and the wrapped data key of its
-- workspace knows which versions are the ones (host/vault/format.hpp, alg 2). Rows of alg 1 are sealed anew by
-- durable work, and from its end on not opened any more.

-- What a secret may be used for; authenticated. '' in rows of alg 1 and in revoked ones.
alter table sluice.secret
    add column bound_to text not null default '' check (octet_length(bound_to) <= 16384);

-- Authenticated by the wrapped key, so that no writer of the database can change them or take them away:
--   oldest_alg  rows of this alg and newer ones are opened
--   generation  how often it was wrapped     as_of  when that was last
--   ledger      which versions of each secret are the ones
alter table sluice.data_key
    add column oldest_alg smallint    not null default 1 check (oldest_alg between 1 and 255),
    add column generation bigint      not null default 0 check (generation >= 0),
    add column as_of      timestamptz,
    add column ledger     bytea       not null default '';

-- Every workspace looks after its secrets: what is of an older format is sealed anew, what is expired goes, and
-- the wrapped key says that it is of now.
create or replace function sluice.begin_retention() returns trigger language plpgsql set search_path = '' as $$
begin
  insert into sluice.work (workspace_id, kind, subject, task, not_before)
  values (new.workspace_id, 'retention.apply', '', '{"every_seconds": 3600}', now() + interval '1 hour'),
         (new.workspace_id, 'secrets.tidy', '', '{"every_seconds": 3600}', now() + interval '1 hour');
  return null;
end $$;
insert into sluice.work (workspace_id, kind, subject, task)
select workspace_id, 'secrets.tidy', '', '{"every_seconds": 3600}' from sluice.workspace;
