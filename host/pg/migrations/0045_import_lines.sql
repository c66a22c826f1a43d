-- An import that ended early goes on behind the last line of its file that is done, which is known in the same
-- transaction as the rows: a type without a unique attribute would have those rows twice.
alter table sluice.sync_run add column file_line bigint;  -- null: not an import, or nothing of it is done
