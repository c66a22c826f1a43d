-- What is done under a lease and waits for its vendor's rate, and until when by this clock: {"stream charges": 1790000000000} in ms
-- since 1970, as of the last renewal. Null: nothing. Any host may be asked for the status, and the holder alone knows.
alter table sluice.lease_hold add column waits jsonb;
