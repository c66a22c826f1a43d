// What always holds of the change feed, as queries: for tests that wrote much, in whatever way.
#pragma once

#include <string_view>

namespace sluice::testing {

/// Each answers with one number: how many workspaces, rows or values break the rule. 0 is right at
/// any moment, also under load.

/// Workspaces whose positions are not kept_from, kept_from + 1, … without a gap.
inline constexpr std::string_view kFeedGaps =
    "select count(*) from sluice.feed_head h cross join lateral (select count(*) as n,"
    " min(c.position) as low, max(c.position) as top from sluice.change c"
    " where c.workspace_id = h.workspace_id) c"
    " where c.n > 0 and (c.low <> h.kept_from or c.n <> c.top - h.kept_from + 1)";

/// Changes that were written earlier than the one before them.
inline constexpr std::string_view kFeedTimeGoesBack =
    "select count(*) from (select c.at < lag(c.at) over (partition by c.workspace_id order by"
    " c.position) as back from sluice.change c) x where back";

/// Values whose "before" is not the "after" that the same attribute of the same entity (or the same
/// rule's link of it) had in the change before. What an insert held is not told, and what was
/// erased is gone: the chain begins anew behind them.
inline constexpr std::string_view kFeedBrokenChains =
    "select count(*) from (select a.value->0 as before, lag(a.value->1) over (partition by"
    " c.workspace_id, c.entity_id, c.life, c.is_link, a.key order by c.position) as after_before"
    " from (select x.*, x.op in ('link', 'unlink') as is_link, count(*) filter (where x.op in"
    " ('insert', 'erased')) over (partition by x.workspace_id, x.entity_id order by x.position)"
    " as life from sluice.change x) c"
    " cross join lateral jsonb_each(case when jsonb_typeof(c.changed) = 'object' then c.changed"
    " else '{}' end) a where jsonb_typeof(a.value) = 'array') y"
    " where after_before is distinct from before and after_before is not null";

}  // namespace sluice::testing
