-- Whoever freezes with a feed's head in its hands is ended after 10 s, by the hosts; the limit of who waits there
-- is for holders that they leave alone.
alter function sluice.append_changes(bigint, bigint, bigint, bigint[], bigint[], text[], text[], jsonb[])
    set lock_timeout = '20s';
