-- By which version, in which place and as whom the workspace's SQL views were made last (feed::views_made_here);
-- '' while they never were. A start makes the others due, and reads those alone.
alter table sluice.workspace add column views_made text collate "C" not null default '';
create index workspace_views_made on sluice.workspace (views_made);
