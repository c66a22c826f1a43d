#include "link/resolver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/exact_json.hpp"
#include "base/failpoint.hpp"
#include "journal/append.hpp"
#include "link/changes.hpp"
#include "link/ids.hpp"
#include "link/living.hpp"
#include "link/said.hpp"
#include "link/statements.hpp"
#include "model/catalog_version.hpp"
#include "pg/fenced.hpp"

namespace sluice::link {

ResolveCounts& ResolveCounts::operator+=(const ResolveCounts& other) {
  queue_rows += other.queue_rows;
  pairs += other.pairs;
  linked += other.linked;
  pending += other.pending;
  contested += other.contested;
  inactive += other.inactive;
  removed += other.removed;
  enqueued += other.enqueued;
  return *this;
}

namespace {

using model::StoredRule;

// Every lookup is LATERAL with OFFSET 0 and a full key prefix: no plan can scan or hash a table.

// A range, though it is one workspace: without statistics the planner takes a workspace for half a
// percent of the queue, and would read and sort all of it for each round.
const pg::Statement kTake{
    "link_take",
    "select seq, kind, digest, type_id, attribute, entity_id from sluice.link_queue "
    "where (workspace_id, seq) >= ($1, 0) and workspace_id <= $1 order by workspace_id, seq "
    "limit $2"};

const pg::Statement kSources{
    "link_sources",
    "select i.n, s.entity_id from unnest($2::int[], $3::uuid[], $4::bigint[], $5::int[]) with "
    "ordinality "
    "as i(kind, digest, type_id, attribute, n) cross join lateral (select k.entity_id from "
    "sluice.link_key k "
    "where k.workspace_id = $1 and k.kind = i.kind::smallint and k.digest = i.digest and k.type_id "
    "= i.type_id "
    "and k.attribute = i.attribute::smallint order by k.entity_id limit $6 offset 0) s"};

// A negative attribute, -1 - position, says "as a source only": else two rules that point at each
// other would put each other's sources back into the queue for ever. Its mark stands until the
// first of the rows is taken: until then all of them are decided later anyhow, with whatever
// targets the key has by then.
const pg::Statement kEnqueueSources{
    "link_enqueue_sources",
    "with marked as (insert into sluice.link_spread (workspace_id, kind, digest, type_id, "
    "attribute) values ($1, $2::int::smallint, $3, $4, $5::int::smallint) on conflict do nothing "
    "returning workspace_id) "
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select k.workspace_id, k.kind, k.digest, k.type_id, -1 - k.attribute, k.entity_id "
    "from marked m cross join lateral (select * from sluice.link_key o "
    "where o.workspace_id = $1 and o.kind = $2::int::smallint and o.digest = $3 and o.type_id = $4 "
    "and o.attribute = $5::int::smallint offset 0) k"};

const pg::Statement kUnmark{
    "link_unmark",
    "delete from sluice.link_spread s where s.ctid = any(array(select f.tid from "
    "unnest($2::int[], $3::uuid[], $4::bigint[], $5::int[], $6::bigint[]) "
    "as i(kind, digest, type_id, attribute, seq) "
    "cross join lateral (select o.ctid as tid, o.first_seq from sluice.link_spread o where "
    "o.workspace_id = $1 "
    "and o.kind = i.kind::smallint and o.digest = i.digest and o.type_id = i.type_id "
    "and o.attribute = i.attribute::smallint offset 0) f where f.first_seq <= i.seq)) "
    "returning s.kind, s.digest, s.type_id, s.attribute"};

// $8: how many candidates are counted, $9: how many are named. The keys of a source are looked up
// by entity alone and sorted out behind OFFSET 0: with its kind and attribute in the same condition
// a planner without statistics takes the primary key, and walks all keys of the kind for each
// source.
const pg::Statement kDecide{
    "link_decide",
    "select i.n, k.digest, c.n, c.ids, l.state, l.target_id, l.digest, l.candidates, "
    "l.candidate_count, l.decided_by "
    "from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::bigint[], "
    "$10::int[]) "
    "with ordinality as i(rule, source, source_type, source_attribute, kind, target_type, "
    "target_attribute, n) "
    "left join lateral (select o.digest from (select x.digest, x.type_id, x.attribute, x.kind "
    "from sluice.link_key x where x.workspace_id = $1 and x.entity_id = i.source offset 0) o "
    "where o.type_id = i.source_type and o.attribute = i.source_attribute and o.kind = i.kind) k "
    "on true "
    "cross join lateral (select count(*) as n, (array_agg(t.entity_id order by t.entity_id))[1:$9] "
    "as ids from "
    "(select o.entity_id from sluice.link_key o where o.workspace_id = $1 and o.kind = "
    "i.kind::smallint "
    "and o.digest = k.digest and o.type_id = i.target_type and o.attribute = "
    "i.target_attribute::smallint "
    "and o.entity_id <> i.source and o.entity_id <> all(array(select d.target_id from "
    "sluice.link_decision d where d.workspace_id = $1 and d.rule_id = i.rule and d.source_id = "
    "i.source and d.verdict = 'rejected')) order by o.entity_id limit $8 offset 0) t) c "
    "left join lateral (select o.state, o.target_id, o.digest, o.candidates, o.candidate_count, "
    "o.decided_by "
    "from sluice.link o where o.workspace_id = $1 and o.rule_id = i.rule and o.source_id = "
    "i.source offset 0) l on true"};

const pg::Statement kPut{
    "link_put",
    "insert into sluice.link as l (workspace_id, rule_id, source_id, source_type_id, state, "
    "target_id, "
    "target_type_id, candidates, candidate_count, kind, digest, evidence, decided_by) "
    "select $1, i.rule, i.source, i.source_type, i.state, i.target, i.target_type, "
    "i.candidates::bigint[], "
    "i.candidate_count, i.kind::smallint, i.digest, "
    "case when i.state in ('linked', 'confirmed') then i.evidence || jsonb_build_object('at', "
    "now()) else '{}' end, i.decided_by "
    "from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], "
    "$8::text[], "
    "$9::int[], $10::int[], $11::uuid[], $12::jsonb[], $13::text[]) "
    "as i(rule, source, source_type, state, target, target_type, candidates, candidate_count, "
    "kind, digest, evidence, decided_by) "
    "on conflict (workspace_id, rule_id, source_id) do update set state = excluded.state, "
    "target_id = excluded.target_id, target_type_id = excluded.target_type_id, candidates = "
    "excluded.candidates, "
    "candidate_count = excluded.candidate_count, kind = excluded.kind, digest = excluded.digest, "
    "evidence = excluded.evidence, decided_by = excluded.decided_by, updated_at = now()"};

const pg::Statement kRemove{"link_remove",
                            "delete from sluice.link l where l.ctid = any(array(select f.tid from "
                            "unnest($2::bigint[], $3::bigint[]) "
                            "as i(rule, source) cross join lateral (select o.ctid as tid from "
                            "sluice.link o where o.workspace_id = $1 "
                            "and o.rule_id = i.rule and o.source_id = i.source offset 0 for "
                            "update) f))"};

const pg::Statement kForget{"link_forget",
                            "delete from sluice.link_queue q where q.ctid = any(array(select f.tid "
                            "from unnest($2::bigint[]) as i(seq) "
                            "cross join lateral (select o.ctid as tid from sluice.link_queue o "
                            "where o.workspace_id = $1 and o.seq = i.seq "
                            "offset 0) f))"};

const pg::Statement kAnyDecision{
    "link_any_decision",
    "select exists (select 1 from sluice.link_decision where workspace_id = $1)"};

/// A key as a rule's source attribute would have it.
using SourceKey = std::tuple<std::int16_t, pg::Uuid, std::int64_t, std::int16_t>;

struct Decision {
  Pair pair;
  std::string_view state;
  std::optional<std::int64_t> target;
  std::optional<pg::Uuid> digest;
  std::string candidates = "{}";
  std::int32_t candidate_count = 0;
  std::optional<std::int64_t> target_before;
  bool had_row = false;
  bool by_human = false;
  /// When linked: the two values are written differently, and are one by their normal form.
  std::optional<bool> only_after_folding;
};

/// An attribute at one end of a rule: type and name.
using End = std::pair<std::int64_t, std::string>;
End source_end(const StoredRule& rule) { return {rule.source_type.value, rule.source_attribute}; }
End target_end(const StoredRule& rule) { return {rule.target_type.value, rule.target_attribute}; }

/// The work of one transaction.
class Resolution {
 public:
  Resolution(WorkspaceId workspace, const model::Catalog& catalog, pg::Fenced& fenced)
      : workspace_(workspace), catalog_(catalog), fenced_(fenced) {}

  Task<ResolveCounts> run() {
    co_await take_queue();
    if (counts_.queue_rows == 0) {
      co_await fenced_.rollback();
      co_return counts_;
    }
    co_await unmark_begun();
    co_await find_sources();
    if (any_said_) co_await listen();
    co_await decide();
    co_await look_up_lost_sources();
    co_await compare_spelling();
    pg::Pipeline tail;
    write(tail);
    pg::Params forget(workspace_, std::move(sequence_));
    tail.add(kForget, std::move(forget));
    model::add_catalog_guard(tail, catalog_);
    changes_.append_to(tail, workspace_);
    SLUICE_FAILPOINT("link.before_commit");
    co_await fenced_.commit(std::move(tail));
    co_return counts_;
  }

 private:
  Task<void> take_queue();
  Task<void> unmark_begun();
  Task<void> find_sources();
  Task<void> listen();
  Task<void> decide();
  Task<void> look_up_lost_sources();
  Task<void> compare_spelling();
  Task<void> look_up_spelling(End end, std::set<std::int64_t> ids);
  void write(pg::Pipeline& tail);
  void judge(const pg::QueryResult& result, int r, const Pair& pair);
  void add_pair(const StoredRule& rule, std::int64_t source);

  WorkspaceId workspace_;
  const model::Catalog& catalog_;
  pg::Fenced& fenced_;
  ResolveCounts counts_;
  bool any_said_ = false;  ///< somebody decided something in this workspace
  pg::Array sequence_{pg::Oid::int8};
  std::set<std::pair<std::int64_t, std::int64_t>> seen_;
  std::set<std::int64_t> ends_;  ///< entities of the rows that were taken
  std::vector<Pair> pairs_;
  SaidOf said_;
  std::map<SourceKey, std::vector<const StoredRule*>> wanted_;  ///< whose sources must be looked up
  std::map<SourceKey, std::int64_t>
      spread_;                 ///< keys taken apart before: the last of their rows here
  std::set<SourceKey> begun_;  ///< those of them whose other sources all follow
  std::vector<Decision> decisions_;
  std::vector<Decision> lost_;  ///< had a row, have no key any more
  std::map<End, std::map<std::int64_t, std::string>> spelling_;  ///< of whoever is linked now
  LinkChanges changes_;
};

void Resolution::add_pair(const StoredRule& rule, std::int64_t source) {
  if (!seen_.emplace(rule.id.value, source).second) return;
  Pair pair;
  pair.rule = &rule;
  pair.source = source;
  pairs_.push_back(pair);
}

Task<void> Resolution::take_queue() {
  pg::Pipeline begin = fenced_.opening();
  pg::Params params(workspace_, std::int64_t{kQueueRowsMax});
  begin.add(kAnyDecision, pg::Params(workspace_));
  begin.add(kTake, std::move(params));
  const std::vector<pg::QueryResult> results = co_await fenced_.run(std::move(begin));
  any_said_ = results.at(results.size() - 2).get<bool>(0, 0);
  const pg::QueryResult& rows = results.back();
  for (int r = 0; r < rows.rows(); ++r) {
    sequence_.add(rows.get<std::int64_t>(r, 0));
    const auto kind = rows.get<std::int16_t>(r, 1);
    const auto digest = rows.get<pg::Uuid>(r, 2);
    const auto type = rows.get<std::int64_t>(r, 3);
    const auto marked = rows.get<std::int16_t>(r, 4);
    ends_.insert(rows.get<std::int64_t>(r, 5));
    if (kind == kEndChanged) continue;
    const bool source_only = marked < 0;
    const auto attribute = static_cast<std::int16_t>(source_only ? -1 - marked : marked);
    if (source_only)  // in the order of seq: the last one stays
      spread_[std::make_tuple(kind, digest, type, attribute)] = rows.get<std::int64_t>(r, 0);
    for (const StoredRule& rule : catalog_.rules) {
      if (!rule.effective() || static_cast<std::int16_t>(rule.key_kind) != kind) continue;
      if (rule.source_type.value == type && rule.source_position == attribute) {
        add_pair(rule, rows.get<std::int64_t>(r, 5));
      }
      if (!source_only && rule.target_type.value == type && rule.target_position == attribute) {
        auto& rules =
            wanted_[std::make_tuple(kind, digest, rule.source_type.value, rule.source_position)];
        if (std::find(rules.begin(), rules.end(), &rule) == rules.end()) rules.push_back(&rule);
      }
    }
  }
  counts_.queue_rows = rows.rows();
}

/// Of the keys taken apart before: the first of their sources are decided now.
Task<void> Resolution::unmark_begun() {
  if (spread_.empty()) co_return;
  pg::Array kinds(pg::Oid::int4), digests(pg::Oid::uuid), types(pg::Oid::int8),
      attributes(pg::Oid::int4), sequence(pg::Oid::int8);
  for (const auto& [key, seq] : spread_) {
    const auto& [kind, digest, type, attribute] = key;
    sequence.add(seq);
    kinds.add(std::int32_t{kind});
    digests.add(digest);
    types.add(type);
    attributes.add(std::int32_t{attribute});
  }
  pg::Params params(workspace_, std::move(kinds), std::move(digests), std::move(types),
                    std::move(attributes), std::move(sequence));
  const pg::QueryResult rows = co_await fenced_.query(kUnmark, std::move(params));
  for (int r = 0; r < rows.rows(); ++r) {
    begun_.emplace(rows.get<std::int16_t>(r, 0), rows.get<pg::Uuid>(r, 1),
                   rows.get<std::int64_t>(r, 2), rows.get<std::int16_t>(r, 3));
  }
}

Task<void> Resolution::find_sources() {
  if (wanted_.empty()) co_return;
  pg::Array kinds(pg::Oid::int4), digests(pg::Oid::uuid), types(pg::Oid::int8),
      attributes(pg::Oid::int4);
  std::vector<const std::pair<const SourceKey, std::vector<const StoredRule*>>*> order;
  for (const auto& entry : wanted_) {
    const auto& [kind, digest, type, attribute] = entry.first;
    kinds.add(std::int32_t{kind});
    digests.add(digest);
    types.add(type);
    attributes.add(std::int32_t{attribute});
    order.push_back(&entry);
  }
  pg::Params params(workspace_, std::move(kinds), std::move(digests), std::move(types),
                    std::move(attributes), std::int64_t{kInlineSourcesMax + 1});
  const pg::QueryResult rows = co_await fenced_.query(kSources, std::move(params));
  std::map<std::size_t, std::vector<std::int64_t>> sources;
  for (int r = 0; r < rows.rows(); ++r) {
    sources[static_cast<std::size_t>(rows.get<std::int64_t>(r, 0))].push_back(
        rows.get<std::int64_t>(r, 1));
  }
  for (const auto& [ordinal, ids] : sources) {
    const auto& [key, rules] = *order.at(ordinal - 1);
    if (ids.size() <= static_cast<std::size_t>(kInlineSourcesMax)) {
      for (const StoredRule* rule : rules) {
        for (const std::int64_t id : ids) add_pair(*rule, id);
      }
      continue;
    }
    if (begun_.contains(key)) continue;  // all of them are in this batch or behind it
    const auto& [kind, digest, type, attribute] = key;
    pg::Params again(workspace_, std::int32_t{kind}, digest, type, std::int32_t{attribute});
    const pg::QueryResult enqueued = co_await fenced_.query(kEnqueueSources, std::move(again));
    counts_.enqueued += enqueued.affected();
  }
}

/// Whoever something was decided about is decided anew, too; and what was said of all of them.
Task<void> Resolution::listen() {
  std::vector<std::pair<const StoredRule*, pg::Uuid>> keys;
  for (const auto& [key, rules] : wanted_)
    for (const StoredRule* rule : rules) keys.emplace_back(rule, std::get<1>(key));
  Listener listener(catalog_, fenced_);
  const std::vector<Pair> concerned = co_await listener.concerned(ends_, std::move(keys));
  for (const Pair& pair : concerned) add_pair(*pair.rule, pair.source);
  said_ = co_await listener.hear(pairs_);
}

Task<void> Resolution::decide() {
  counts_.pairs = static_cast<std::int64_t>(pairs_.size());
  constexpr std::size_t kPart = 5'000;
  for (std::size_t begin = 0; begin < pairs_.size(); begin += kPart) {
    const std::size_t end = std::min(begin + kPart, pairs_.size());
    pg::Array rules(pg::Oid::int8), sources(pg::Oid::int8), source_types(pg::Oid::int8),
        source_at(pg::Oid::int4), kinds(pg::Oid::int4), target_types(pg::Oid::int8),
        target_at(pg::Oid::int4);
    for (std::size_t i = begin; i < end; ++i) {
      const StoredRule& rule = *pairs_[i].rule;
      rules.add(rule.id.value);
      sources.add(pairs_[i].source);
      source_types.add(rule.source_type.value);
      source_at.add(std::int32_t{rule.source_position});
      kinds.add(static_cast<std::int32_t>(rule.key_kind));
      target_types.add(rule.target_type.value);
      target_at.add(std::int32_t{rule.target_position});
    }
    pg::Params params(workspace_, std::move(rules), std::move(sources), std::move(source_types),
                      std::move(source_at), std::move(kinds), std::move(target_types),
                      std::int64_t{kCandidatesCounted}, std::int32_t{kCandidatesShown},
                      std::move(target_at));
    const pg::QueryResult rows = co_await fenced_.query(kDecide, std::move(params));
    for (int r = 0; r < rows.rows(); ++r) {
      judge(rows, r, pairs_[begin + static_cast<std::size_t>(rows.get<std::int64_t>(r, 0)) - 1]);
    }
  }
}

void Resolution::judge(const pg::QueryResult& result, int r, const Pair& pair) {
  Decision decision;
  decision.pair = pair;
  decision.had_row = !result.is_null(r, 4);
  decision.target_before = result.get<std::optional<std::int64_t>>(r, 5);
  const bool was_human = decision.had_row && result.text(r, 9) == "human";
  const auto found_said = said_.find({pair.rule->id.value, pair.source});
  const bool has_said = found_said != said_.end();
  const Said said = has_said ? found_said->second : Said();
  // Somebody wrote it there without a word that is kept: it stands.
  if (was_human && !has_said) return;
  decision.digest = result.get<std::optional<pg::Uuid>>(r, 1);
  decision.by_human = said.is_confirmed || said.rejected;
  if (!decision.digest && !decision.by_human) {
    if (decision.had_row) lost_.push_back(std::move(decision));
    return;
  }
  const auto found = result.get<std::int64_t>(r, 2);
  if (said.source_gone) {  // what was decided of it stands for when it comes back
    decision.by_human = true;
    decision.state = "inactive";
  } else if (said.is_confirmed) {
    decision.state = said.confirmed ? "confirmed" : "pending";
    decision.target = said.confirmed;
  } else if (said.rejected ||
             (found == 0 && std::ranges::count(said.rejected_keys, *decision.digest) > 0)) {
    decision.by_human = true;
    decision.state = "rejected";
  } else if (found == 0) {
    decision.state = "pending";
  } else if (found == 1) {
    decision.state = "linked";
    decision.target = ids_of(result.text(r, 3)).front().value;
  } else {
    decision.state = "contested";
    decision.candidates = result.text(r, 3);
    decision.candidate_count = static_cast<std::int32_t>(found);
  }
  const bool same = decision.had_row && result.text(r, 4) == decision.state &&
                    decision.target == decision.target_before &&
                    result.get<std::optional<pg::Uuid>>(r, 6) == decision.digest &&
                    result.text(r, 7) == decision.candidates &&
                    result.get<std::int32_t>(r, 8) == decision.candidate_count &&
                    was_human == decision.by_human;
  if (!same) decisions_.push_back(std::move(decision));
}

/// A source that lost its key was deleted, or only changed.
Task<void> Resolution::look_up_lost_sources() {
  IdsByType sources;
  for (const Decision& decision : lost_)
    sources[decision.pair.rule->source_type.value].insert(decision.pair.source);
  const std::set<std::int64_t> alive = co_await living(fenced_, catalog_, std::move(sources));
  for (Decision& decision : lost_) {
    decision.state = alive.contains(decision.pair.source) ? "" : "inactive";
    decisions_.push_back(std::move(decision));
  }
  lost_.clear();
}

/// As evidence: a person sees that the two are written differently.
Task<void> Resolution::compare_spelling() {
  std::map<End, std::set<std::int64_t>> wanted;
  for (const Decision& decision : decisions_) {
    if (!decision.target || decision.by_human) continue;
    wanted[source_end(*decision.pair.rule)].insert(decision.pair.source);
    wanted[target_end(*decision.pair.rule)].insert(*decision.target);
  }
  for (auto& entry : wanted) {
    End end = entry.first;
    std::set<std::int64_t> ids = std::move(entry.second);
    co_await look_up_spelling(std::move(end), std::move(ids));
  }
  for (Decision& decision : decisions_) {
    if (!decision.target || decision.by_human) continue;
    const auto& sources = spelling_[source_end(*decision.pair.rule)];
    const auto& targets = spelling_[target_end(*decision.pair.rule)];
    const auto source = sources.find(decision.pair.source);
    const auto target = targets.find(*decision.target);
    // Changed since: its new key is in the queue.
    if (source == sources.end() || target == targets.end()) continue;
    decision.only_after_folding = source->second != target->second;
  }
}

Task<void> Resolution::look_up_spelling(End end, std::set<std::int64_t> ids) {
  const model::StoredType* type = catalog_.find(EntityTypeId(end.first));
  const model::StoredAttribute* attribute = type == nullptr ? nullptr : type->find(end.second);
  if (attribute == nullptr) co_return;
  pg::Array list(pg::Oid::int8);
  for (const std::int64_t id : ids) list.add(id);
  const std::string sql = spelling_sql(*type, *attribute);
  pg::Params params(workspace_, std::move(list));
  const pg::QueryResult rows = co_await fenced_.query(sql, std::move(params));
  auto& known = spelling_[end];
  for (int r = 0; r < rows.rows(); ++r) {
    if (!rows.is_null(r, 1)) known[rows.get<std::int64_t>(r, 0)] = rows.get<std::string>(r, 1);
  }
}

void Resolution::write(pg::Pipeline& tail) {
  pg::Array rules(pg::Oid::int8), sources(pg::Oid::int8), source_types(pg::Oid::int8),
      states(pg::Oid::text), targets(pg::Oid::int8), target_types(pg::Oid::int8),
      candidates(pg::Oid::text), counts(pg::Oid::int4), kinds(pg::Oid::int4),
      digests(pg::Oid::uuid), evidence(pg::Oid::jsonb), deciders(pg::Oid::text);
  pg::Array gone_rules(pg::Oid::int8), gone_sources(pg::Oid::int8);
  // In one order, so that two writers never wait for each other in a circle.
  std::sort(decisions_.begin(), decisions_.end(), [](const Decision& a, const Decision& b) {
    return std::make_pair(a.pair.rule->id, a.pair.source) <
           std::make_pair(b.pair.rule->id, b.pair.source);
  });
  for (const Decision& decision : decisions_) {
    const StoredRule& rule = *decision.pair.rule;
    changes_.retarget(rule.name, rule.source_type.value, decision.pair.source,
                      decision.target_before, decision.target);
    if (decision.state.empty()) {
      gone_rules.add(rule.id.value);
      gone_sources.add(decision.pair.source);
      ++counts_.removed;
      continue;
    }
    ++(decision.target                 ? counts_.linked
       : decision.state == "contested" ? counts_.contested
       : decision.state == "inactive"  ? counts_.inactive
                                       : counts_.pending);
    rules.add(rule.id.value);
    sources.add(decision.pair.source);
    source_types.add(rule.source_type.value);
    states.add(decision.state);
    if (decision.target) {
      targets.add(*decision.target);
      target_types.add(rule.target_type.value);
    } else {
      targets.add_null();
      target_types.add_null();
    }
    candidates.add(std::string_view(decision.candidates));
    counts.add(decision.candidate_count);
    kinds.add(static_cast<std::int32_t>(rule.key_kind));
    if (decision.digest) {
      digests.add(*decision.digest);
    } else {
      digests.add_null();
    }
    nlohmann::json proof = {{"rule", rule.name},
                            {"source_attribute", rule.source_attribute},
                            {"target_attribute", rule.target_attribute},
                            {"key_kind", contract::to_string(rule.key_kind)}};
    if (decision.only_after_folding) proof["only_after_folding"] = *decision.only_after_folding;
    evidence.add(std::string_view(write_json(proof)));
    deciders.add(std::string_view(decision.by_human ? "human" : "rule"));
  }
  if (rules.size() > 0) {
    pg::Params params(workspace_, std::move(rules), std::move(sources), std::move(source_types),
                      std::move(states), std::move(targets), std::move(target_types),
                      std::move(candidates), std::move(counts), std::move(kinds),
                      std::move(digests), std::move(evidence), std::move(deciders));
    tail.add(kPut, std::move(params));
  }
  if (gone_rules.size() > 0) {
    pg::Params params(workspace_, std::move(gone_rules), std::move(gone_sources));
    tail.add(kRemove, std::move(params));
  }
}

}  // namespace

Task<ResolveCounts> Resolver::run_once(model::CatalogPtr catalog, pg::LeaseProof lease) {
  const WorkspaceId workspace = lease.workspace;
  pg::Pool::Lease connection = co_await pool_.acquire();
  pg::Fenced fenced(*connection, std::move(lease));
  Resolution work(workspace, *catalog, fenced);
  try {
    Task<ResolveCounts> telling = work.run();
    co_return co_await journal::or_feed_busy(*connection, workspace, std::move(telling));
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() == model::kCatalogChangedState) throw model::catalog_changed(*catalog);
    throw;
  }
}

Task<ResolveCounts> resolve_some(Resolver& resolver, model::Catalogs& catalogs,
                                 pg::LeaseProof lease) {
  const WorkspaceId workspace = lease.workspace;
  model::CatalogPtr catalog = co_await catalogs.get(workspace);
  for (int attempt = 1;; ++attempt) {
    try {
      co_return co_await resolver.run_once(catalog, lease);
    } catch (const Failure& failure) {
      if (!model::is_catalog_changed(failure) || attempt == model::kCatalogAttemptsMax) throw;
    }
    catalog = co_await catalogs.renewed(workspace);
  }
}

}  // namespace sluice::link
