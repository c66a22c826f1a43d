-- What people said of links. Beside sluice.link, whose rows come and go with keys and rules: a decision stays until
-- it is withdrawn, or its rule or its source is forgotten.
create table sluice.link_decision (
    workspace_id   bigint not null,
    rule_id        bigint not null,
    source_id      bigint not null,
    target_id      bigint not null,                   -- 0: rejected is whoever the rule may find
    source_type_id bigint not null,
    target_type_id bigint not null,
    verdict        text not null check (verdict in ('confirmed', 'rejected')),
    -- The target's key by the rule while it was there: who has it after the target was deleted is the same again.
    target_digest  uuid,
    decided_at     timestamptz not null default now(),
    decided_by     text not null,                     -- "token 3", as in the audit
    why            text not null default '',
    primary key (workspace_id, rule_id, source_id, target_id),
    foreign key (workspace_id, rule_id) references sluice.link_rule (workspace_id, rule_id),
    check (target_id <> 0 or verdict = 'rejected')
);
create unique index link_decision_confirmed on sluice.link_decision (workspace_id, rule_id, source_id)
    where verdict = 'confirmed';
create index link_decision_by_source on sluice.link_decision (workspace_id, source_id);
create index link_decision_by_target on sluice.link_decision (workspace_id, target_id);
create index link_decision_by_key on sluice.link_decision (workspace_id, rule_id, target_digest)
    where target_digest is not null;
