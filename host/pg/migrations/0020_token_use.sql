-- When a token was last used, to the minute: an admin sees which ones nobody needs.
alter table sluice.token add column last_used_at timestamptz;
