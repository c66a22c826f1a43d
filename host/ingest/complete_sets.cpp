#include "ingest/complete_sets.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/check.hpp"
#include "ingest/hash.hpp"

namespace sluice::ingest {
namespace {

const pg::Statement kLearnChildren{"ingest_learn_children", R"(
  insert into sluice.child_set (workspace_id, connector, type, attribute)
  select $1, $2, i.type, i.attribute from unnest($3::text[], $4::text[]) as i (type, attribute)
  on conflict do nothing)"};

const pg::Statement kChildren{"ingest_children", R"(
  select type, attribute from sluice.child_set where workspace_id = $1 and connector = $2)"};

/// Nothing when this version's manifest has no such relationship any more.
std::optional<ChildKind> child_kind(const contract::Manifest& manifest, std::uint32_t type,
                                    std::uint32_t attribute) {
  const contract::EntityType& children = manifest.entity_types.at(type);
  for (const contract::Relationship& edge : children.relationships) {
    if (edge.attribute != children.attributes.at(attribute).name) continue;
    const auto parent = manifest.type_index(edge.target);
    if (!parent) continue;
    ChildKind kind;
    kind.type = type;
    kind.attribute = attribute;
    kind.parent = *parent;
    return kind;
  }
  return std::nullopt;
}

}  // namespace

Failure contended(std::string what) {
  return Failure(Error(
      ErrorKind::retry_later, "ingest.contended", std::move(what),
      "the page is written again by the next run; is another host at work without the lease?"));
}

void CompleteSets::add_new_children() {
  if (new_children_.empty()) return;
  pg::Array types(pg::Oid::text), attributes(pg::Oid::text);
  for (const ChildKind& kind : new_children_) {
    const contract::EntityType& type = context_.manifest->entity_types.at(kind.type);
    types.add(std::string_view(type.name));
    attributes.add(std::string_view(type.attributes.at(kind.attribute).name));
  }
  pg::Params params(context_.workspace, context_.manifest->id, std::move(types),
                    std::move(attributes));
  waiting_.add(kLearnChildren, std::move(params));
}

Task<void> CompleteSets::delete_missing(pg::Fenced& fenced,
                                        std::span<const contract::CompleteSet> sets) {
  if (sets.empty()) co_return;
  for (const contract::CompleteSet& set : sets) {
    const auto kind = child_kind(*context_.manifest, set.type, set.attribute);
    if (!kind) continue;
    const std::tuple one(context_.workspace, context_.manifest->id, *kind);
    if (!known_.contains(one) && std::ranges::find(new_children_, *kind) == new_children_.end())
      new_children_.push_back(*kind);
  }
  const std::function<std::vector<Look>()> looks = [this, sets] { return missing_of(sets); };
  co_await delete_all(fenced, looks);
}

Task<void> CompleteSets::delete_all(pg::Fenced& fenced,
                                    const std::function<std::vector<Look>()>& looks) {
  recorder_.begin_round();
  for (int turn = 0;;) {
    std::vector<Look> next = looks();
    if (next.empty()) co_return;
    const Lost lost = co_await look_for(fenced, std::move(next));
    if (lost.found.empty()) co_return;
    const bool all = co_await delete_found(fenced, lost);
    if (!all) {
      if (++turn > kTurnsMax)
        throw contended(
            "children keep being changed by somebody else while they are marked as deleted");
      continue;
    }
    if (!lost.more) co_return;
    add_rows_so_far(waiting_, context_, tail_);
    recorder_.begin_round();
  }
}

std::vector<CompleteSets::Look> CompleteSets::missing_of(
    std::span<const contract::CompleteSet> sets) const {
  std::vector<Look> looks;
  for (const contract::CompleteSet& set : sets) {
    const TypePlan& plan = batch_.plan(set.type);
    const auto& attribute =
        plan.stored->attributes[static_cast<std::size_t>(plan.column_of.at(set.attribute))];
    Look& look = looks.emplace_back();
    look.type = set.type;
    look.sql = unlisted_children_sql(plan, attribute);
    pg::Array ids(pg::Oid::text);
    for (const std::string_view id : set.ids) ids.add(id);
    look.params =
        pg::Params(context_.workspace, context_.connection, observed_, set.equals, std::move(ids));
  }
  return looks;
}

/// What the looks find, at most kMissingRowsPerLook of each. Two of them may find the same entity.
Task<CompleteSets::Lost> CompleteSets::look_for(pg::Fenced& fenced, std::vector<Look> looks) {
  pg::Pipeline ask = std::move(waiting_);
  waiting_ = pg::Pipeline();
  const std::size_t before = ask.size();
  for (Look& each : looks) shapes_.add(ask, each.sql, std::move(each.params));
  const std::vector<pg::QueryResult> answers = co_await fenced.run(std::move(ask));
  Lost lost;
  for (std::size_t i = 0; i < looks.size(); ++i) {
    const pg::QueryResult& result = answers.at(before + i);
    lost.more = lost.more || result.rows() == kMissingRowsPerLook;
    for (int row = 0; row < result.rows(); ++row) {
      Found found;
      found.id = result.get<std::int64_t>(row, 1);
      found.sync_version = result.get<std::int64_t>(row, 2);
      lost.found.emplace(std::make_pair(looks[i].type, result.get<std::string>(row, 0)),
                         std::move(found));
    }
  }
  co_return lost;
}

/// Marks them as deleted. False: one changed since it was found, by the connection's other lane,
/// and is to be looked at again.
Task<bool> CompleteSets::delete_found(pg::Fenced& fenced, const Lost& lost) {
  std::map<std::uint32_t, std::vector<Target>> targets;
  std::vector<Row> rows;
  rows.reserve(lost.found.size());
  for (const auto& [key, found] : lost.found) {
    Row& row = rows.emplace_back();
    row.type = key.first;
    row.external_id = key.second;
    row.deleted = true;
    row.hash = deleted_hash();
    Target target;
    target.row = &row;
    target.found = &found;
    targets[key.first].push_back(target);
  }
  pg::Pipeline bury;
  const Presence nothing;
  for (const auto& [type, list] : targets) {
    const TypePlan& plan = batch_.plan(type);
    pg::Params params = action_params(Action::bury, context_.workspace, context_.connection, batch_,
                                      plan, nothing, observed_, list);
    shapes_.add(bury, action_sql(Action::bury, plan, nothing), std::move(params));
  }
  const std::vector<pg::QueryResult> answers = co_await fenced.run(std::move(bury));
  std::size_t deleted = 0;
  auto type = targets.begin();
  for (const pg::QueryResult& result : answers) {
    for (int row = 0; row < result.rows(); ++row) {
      const auto found =
          lost.found.find(std::make_pair(type->first, result.get<std::string>(row, 0)));
      SLUICE_INVARIANT(found != lost.found.end());
      recorder_.deleted(type->first, found->first.second, found->second);
      ++deleted;
    }
    ++type;
  }
  co_return deleted == rows.size();
}

std::vector<CompleteSets::Look> CompleteSets::children_of(const DeletedIds& parents,
                                                          const std::vector<ChildKind>& kinds) {
  std::vector<Look> looks;
  for (const ChildKind& kind : kinds) {
    const auto of = parents.find(kind.parent);
    if (of == parents.end() || of->second.empty()) continue;
    const TypePlan& plan = batch_.planned(kind.type);
    const auto& attribute =
        plan.stored->attributes[static_cast<std::size_t>(plan.column_of.at(kind.attribute))];
    pg::Array ids(pg::Oid::text);
    for (const std::string& id : of->second) ids.add(std::string_view(id));
    Look& look = looks.emplace_back();
    look.type = kind.type;
    look.sql = children_sql(plan, attribute);
    look.params = pg::Params(context_.workspace, context_.connection, observed_, std::move(ids));
  }
  return looks;
}

Task<std::vector<ChildKind>> CompleteSets::child_kinds(
    pg::Fenced& fenced, std::span<const contract::CompleteSet> sets) {
  const contract::Manifest& manifest = *context_.manifest;
  std::set<ChildKind> kinds;
  for (const contract::CompleteSet& set : sets) {
    if (const auto kind = child_kind(manifest, set.type, set.attribute)) kinds.insert(*kind);
  }
  pg::Pipeline ask = std::move(waiting_);
  waiting_ = pg::Pipeline();
  pg::Params params(context_.workspace, manifest.id);
  ask.add(kChildren, std::move(params));
  const std::vector<pg::QueryResult> answers = co_await fenced.run(std::move(ask));
  const pg::QueryResult& known = answers.back();
  for (int row = 0; row < known.rows(); ++row) {
    const auto type = manifest.type_index(known.text(row, 0));
    if (!type) continue;
    const auto attribute = manifest.entity_types.at(*type).attribute_index(known.text(row, 1));
    if (!attribute) continue;
    if (const auto kind = child_kind(manifest, *type, *attribute)) kinds.insert(*kind);
  }
  co_return std::vector<ChildKind>(kinds.begin(), kinds.end());
}

Task<void> CompleteSets::delete_children(pg::Fenced& fenced,
                                         std::span<const contract::CompleteSet> sets) {
  DeletedIds parents = recorder_.take_deleted();
  if (parents.empty()) co_return;
  const std::vector<ChildKind> kinds = co_await child_kinds(fenced, sets);
  while (!parents.empty()) {  // what is deleted here may be a parent too; nothing is deleted twice
    const std::function<std::vector<Look>()> looks = [this, &parents, &kinds] {
      return children_of(parents, kinds);
    };
    co_await delete_all(fenced, looks);
    parents = recorder_.take_deleted();
  }
}

}  // namespace sluice::ingest
