#include "link/said.hpp"

#include <algorithm>
#include <string>

#include "link/ids.hpp"
#include "link/living.hpp"
#include "link/resolver.hpp"
#include "link/statements.hpp"

namespace sluice::link {

using model::StoredRule;

namespace {

// What people said of these pairs, and which key its target has by the rule now.
const pg::Statement kDecisions{
    "link_decisions",
    "select i.n, d.target_id, d.target_type_id, d.verdict, d.target_digest, "
    "(select x.digest from (select k.digest, k.type_id, k.attribute, k.kind from sluice.link_key k "
    "where k.workspace_id = $1 and k.entity_id = d.target_id offset 0) x "
    "where x.type_id = d.target_type_id and x.attribute = i.attribute and x.kind = i.kind limit 1) "
    "from unnest($2::bigint[], $3::bigint[], $4::int[], $5::int[]) with ordinality "
    "as i(rule, source, kind, attribute, n) cross join lateral (select o.* from "
    "sluice.link_decision o where o.workspace_id = $1 and o.rule_id = i.rule and o.source_id = "
    "i.source offset 0) d order by i.n, d.target_id"};

// Whose decided target had one of these keys: also sources that have no key, or another.
const pg::Statement kDecidedSources{
    "link_decided_sources",
    "select i.n, d.source_id from unnest($2::bigint[], $3::uuid[]) with ordinality as i(rule, "
    "digest, n) cross join lateral (select x.source_id from (select o.source_id from "
    "sluice.link_decision o where o.workspace_id = $1 and o.rule_id = i.rule and o.target_digest = "
    "i.digest offset 0) x order by x.source_id limit $4) d"};

// Whose decided target, or who himself, one of these is.
const pg::Statement kDecidedEnds{
    "link_decided_ends",
    "select d.rule_id, d.source_id from unnest($2::bigint[]) as i(id) cross join lateral "
    "((select o.rule_id, o.source_id from sluice.link_decision o where o.workspace_id = $1 and "
    "o.target_id = i.id order by o.rule_id, o.source_id limit $3) union all (select o.rule_id, "
    "o.source_id from sluice.link_decision o where o.workspace_id = $1 and o.source_id = i.id "
    "order by o.rule_id limit $3)) d"};

// Who has the key that a deleted target had; whoever was made since is among the newest.
const pg::Statement kReturned{
    "link_returned",
    "select i.n, array_agg(h.entity_id) from unnest($2::uuid[], $3::bigint[], $4::int[], "
    "$5::int[]) with ordinality as i(digest, type_id, attribute, kind, n) cross join lateral "
    "(select k.entity_id from sluice.link_key k where k.workspace_id = $1 and k.kind = "
    "i.kind::smallint and k.digest = i.digest and k.type_id = i.type_id and k.attribute = "
    "i.attribute::smallint order by k.entity_id desc limit 20 offset 0) h group by i.n"};

// The same decision of whoever came back.
const pg::Statement kFollow{
    "link_decision_follow",
    "update sluice.link_decision d set target_id = $5, target_digest = $6 where d.workspace_id = "
    "$1 and d.rule_id = $2 and d.source_id = $3 and d.target_id = $4"};

}  // namespace

/// One decision, as it is stored.
struct Listener::Word {
  const Pair* pair = nullptr;
  std::int64_t target = 0;
  std::int64_t target_type = 0;
  bool confirms = false;
  std::optional<pg::Uuid> digest;  ///< as stored
  std::optional<pg::Uuid> has;     ///< as the target has it now
  bool alive = false;
  bool source_alive = false;
};

/// A decision's target is gone, and who has its key now.
struct Listener::Return {
  Word* word = nullptr;
  std::int64_t target = 0;
};

Task<std::vector<Pair>> Listener::concerned(
    std::set<std::int64_t> ends, std::vector<std::pair<const StoredRule*, pg::Uuid>> keys) {
  std::vector<Pair> pairs;
  const auto add = [&pairs](const StoredRule& rule, std::int64_t source) {
    Pair& pair = pairs.emplace_back();
    pair.rule = &rule;
    pair.source = source;
  };
  pg::Array ids(pg::Oid::int8);
  for (const std::int64_t id : ends) ids.add(id);
  pg::Params of_ends(catalog_.workspace, std::move(ids), std::int64_t{kDecidedSourcesMax});
  const pg::QueryResult found = co_await fenced_.query(kDecidedEnds, std::move(of_ends));
  for (int r = 0; r < found.rows(); ++r) {
    const StoredRule* const rule = catalog_.find_rule(found.get<RuleId>(r, 0));
    if (rule != nullptr && rule->effective()) add(*rule, found.get<std::int64_t>(r, 1));
  }
  if (keys.empty()) co_return pairs;
  pg::Array rules(pg::Oid::int8), digests(pg::Oid::uuid);
  for (const auto& [rule, digest] : keys) {
    rules.add(rule->id.value);
    digests.add(digest);
  }
  pg::Params params(catalog_.workspace, std::move(rules), std::move(digests),
                    std::int64_t{kDecidedSourcesMax});
  const pg::QueryResult rows = co_await fenced_.query(kDecidedSources, std::move(params));
  for (int r = 0; r < rows.rows(); ++r) {
    const auto ordinal = static_cast<std::size_t>(rows.get<std::int64_t>(r, 0));
    add(*keys.at(ordinal - 1).first, rows.get<std::int64_t>(r, 1));
  }
  co_return pairs;
}

Task<SaidOf> Listener::hear(const std::vector<Pair>& pairs) {
  SaidOf all;
  std::vector<Word> words = co_await read_words(pairs);
  if (words.empty()) co_return all;
  co_await look_who_lives(words);
  co_await follow_returned(words);
  for (const Word& word : words) {
    Said& said = all[{word.pair->rule->id.value, word.pair->source}];
    said.is_confirmed = said.is_confirmed || word.confirms;
    said.source_gone = !word.source_alive;
    if (word.confirms && word.alive) said.confirmed = word.target;
    said.rejected = said.rejected || word.target == 0;
    if (!word.confirms && word.alive && word.has) said.rejected_keys.push_back(*word.has);
  }
  co_return all;
}

Task<std::vector<Listener::Word>> Listener::read_words(const std::vector<Pair>& pairs) {
  std::vector<Word> words;
  if (pairs.empty()) co_return words;
  pg::Array rules(pg::Oid::int8), sources(pg::Oid::int8), kinds(pg::Oid::int4), at(pg::Oid::int4);
  for (const Pair& pair : pairs) {
    rules.add(pair.rule->id.value);
    sources.add(pair.source);
    kinds.add(static_cast<std::int32_t>(pair.rule->key_kind));
    at.add(std::int32_t{pair.rule->target_position});
  }
  pg::Params params(catalog_.workspace, std::move(rules), std::move(sources), std::move(kinds),
                    std::move(at));
  const pg::QueryResult rows = co_await fenced_.query(kDecisions, std::move(params));
  for (int r = 0; r < rows.rows(); ++r) {
    Word& word = words.emplace_back();
    word.pair = &pairs.at(static_cast<std::size_t>(rows.get<std::int64_t>(r, 0)) - 1);
    word.target = rows.get<std::int64_t>(r, 1);
    word.target_type = rows.get<std::int64_t>(r, 2);
    word.confirms = rows.text(r, 3) == "confirmed";
    word.digest = rows.get<std::optional<pg::Uuid>>(r, 4);
    word.has = rows.get<std::optional<pg::Uuid>>(r, 5);
  }
  co_return words;
}

Task<void> Listener::look_who_lives(std::vector<Word>& words) {
  IdsByType wanted;
  for (const Word& word : words) {
    if (word.target != 0) wanted[word.target_type].insert(word.target);
    wanted[word.pair->rule->source_type.value].insert(word.pair->source);
  }
  const std::set<std::int64_t> alive = co_await living(fenced_, catalog_, std::move(wanted));
  for (Word& word : words) {
    word.alive = alive.contains(word.target);
    word.source_alive = alive.contains(word.pair->source);
  }
}

/// A confirmed target that was deleted and made again has another id: it is known by its key, and
/// by being made behind the deletion. A rejection is of that one alone: it says that the key
/// misleads there, and who is made with it later may well be meant.
Task<void> Listener::follow_returned(std::vector<Word>& words) {
  // Whether a decision of that source names the target.
  const auto is_named = [&words](const Pair* pair, std::int64_t target) {
    return std::ranges::any_of(
        words, [&](const Word& word) { return word.pair == pair && word.target == target; });
  };
  pg::Array digests(pg::Oid::uuid), types(pg::Oid::int8), at(pg::Oid::int4), kinds(pg::Oid::int4);
  std::vector<Word*> gone;
  for (Word& word : words) {
    if (!word.confirms || word.alive || !word.digest) continue;
    const StoredRule& rule = *word.pair->rule;
    digests.add(*word.digest);
    types.add(word.target_type);
    at.add(std::int32_t{rule.target_position});
    kinds.add(static_cast<std::int32_t>(rule.key_kind));
    gone.push_back(&word);
  }
  std::vector<Return> returns;
  if (!gone.empty()) {
    pg::Params params(catalog_.workspace, std::move(digests), std::move(types), std::move(at),
                      std::move(kinds));
    const pg::QueryResult rows = co_await fenced_.query(kReturned, std::move(params));
    for (int r = 0; r < rows.rows(); ++r) {
      Word* const word = gone.at(static_cast<std::size_t>(rows.get<std::int64_t>(r, 0)) - 1);
      for (const EntityId holder : ids_of(rows.text(r, 1)))
        if (!is_named(word->pair, holder.value)) returns.push_back(Return{word, holder.value});
    }
  }
  co_await keep_made_after(returns);
  std::map<const Word*, int> how_many;
  for (const Return& one : returns) ++how_many[one.word];
  // Of two, who it was is not known.
  std::erase_if(returns, [&](const Return& one) { return how_many[one.word] != 1; });
  for (const Return& one : returns) {
    Word& word = *one.word;
    word.has = word.digest;
    co_await follow(word, one.target);
    word.target = one.target;
    word.alive = true;
  }
  for (Word& word : words) {  // those that stay, with another key than is stored
    if (word.alive && word.has && word.has != word.digest) co_await follow(word, word.target);
  }
}

/// Whoever had the key all the time is nobody who came back.
Task<void> Listener::keep_made_after(std::vector<Return>& returns) {
  std::map<std::int64_t, std::vector<Return>> by_type;
  for (const Return& one : returns) by_type[one.word->target_type].push_back(one);
  returns.clear();
  for (const auto& [type_id, some] : by_type) {
    const model::StoredType* type = catalog_.find(EntityTypeId(type_id));
    if (type == nullptr) continue;
    pg::Array gone(pg::Oid::int8), made(pg::Oid::int8);
    for (const Return& one : some) {
      gone.add(one.word->target);
      made.add(one.target);
    }
    const std::string sql = made_after_sql(*type);
    pg::Params params(catalog_.workspace, std::move(gone), std::move(made));
    const pg::QueryResult rows = co_await fenced_.query(sql, std::move(params));
    for (int r = 0; r < rows.rows(); ++r)
      returns.push_back(some.at(static_cast<std::size_t>(rows.get<std::int64_t>(r, 0)) - 1));
  }
}

Task<void> Listener::follow(const Word& word, std::int64_t target) {
  pg::Params params(catalog_.workspace, word.pair->rule->id, word.pair->source, word.target, target,
                    *word.has);
  co_await fenced_.query(kFollow, std::move(params));
}

}  // namespace sluice::link
