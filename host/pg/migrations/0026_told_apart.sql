-- What is told apart, where it was one figure or none before.

-- What the last full read of a stream found that nothing had told of: entities that were new or other than stored, and those that
-- the list no longer had. Null: there was none since the first, or it is not compared yet.
alter table sluice.stream
    add column reread_found   bigint,
    add column reread_missing bigint;
