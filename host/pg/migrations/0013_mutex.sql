-- Locks by name that nobody but Sluice can take. Any role that may connect can take any advisory lock, and keep it.
create table sluice.mutex (
    name text collate "C" primary key  -- "begin": what an empty database gets; "types"; "tokens"
);
insert into sluice.mutex (name) values ('begin'), ('types'), ('tokens');
