#include "link/listing.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "base/exact_json.hpp"
#include "link/ids.hpp"
#include "link/statements.hpp"
#include "model/link_states.hpp"

namespace sluice::link {
namespace {

const pg::Statement kSummary{"link_summary",
                             "select rule_id, state, count(*) from sluice.link where workspace_id "
                             "= $1 group by 1, 2 order by 1, 2"};

// From behind ($2, $3) to the end of rule $4, in the order of the primary key.
const pg::Statement kList{
    "link_list",
    "select rule_id, source_id, source_type_id, state, target_id, target_type_id, candidates, "
    "candidate_count, evidence, decided_by from sluice.link "
    "where workspace_id = $1 and (rule_id, source_id) > ($2, $3) and rule_id <= $4 "
    "and ($5::text is null or state = $5) and ($7::bigint[] is null or rule_id = any ($7)) "
    "order by rule_id, source_id limit $6"};

/// Faces of one end of the links of a page; one query for each rule that it has.
struct WantedFaces {
  const model::StoredType* type = nullptr;
  const model::StoredAttribute* key = nullptr;
  std::vector<EntityId> ids;
};

void want(std::map<std::pair<RuleId, EntityTypeId>, WantedFaces>& all,
          const model::Catalog& catalog, RuleId rule, EntityTypeId type, std::string_view attribute,
          EntityId id) {
  WantedFaces& wanted = all[{rule, type}];
  wanted.type = catalog.find(type);
  if (wanted.type != nullptr) wanted.key = wanted.type->find(attribute);
  wanted.ids.push_back(id);
}

/// What the entities of a page are called.
Task<void> add_faces(pg::Connection& connection, WorkspaceId workspace,
                     const model::Catalog& catalog, std::vector<ListedLink>& links) {
  std::map<std::pair<RuleId, EntityTypeId>, WantedFaces> sources, targets;
  const auto end_of = [&](const ListedLink& link, bool source) -> std::string_view {
    const model::StoredRule* rule = catalog.find_rule(link.rule);
    if (rule == nullptr) return {};
    return source ? rule->source_attribute : rule->target_attribute;
  };
  const auto target_type = [&](const ListedLink& link) {
    const model::StoredRule* rule = catalog.find_rule(link.rule);
    return link.target_type ? *link.target_type : rule ? rule->target_type : EntityTypeId(0);
  };
  for (const ListedLink& link : links) {
    want(sources, catalog, link.rule, link.source_type, end_of(link, true), link.source);
    const EntityTypeId type = target_type(link);
    if (link.target) want(targets, catalog, link.rule, type, end_of(link, false), *link.target);
    for (const EntityId candidate : link.candidates)
      want(targets, catalog, link.rule, type, end_of(link, false), candidate);
  }
  for (auto* ends : {&sources, &targets}) {
    for (auto& [of, wanted] : *ends) {
      if (wanted.type == nullptr) continue;
      const Faces faces =
          co_await faces_of(connection, workspace, *wanted.type, wanted.key, std::move(wanted.ids));
      for (ListedLink& link : links) {
        if (link.rule != of.first) continue;
        if (ends == &sources) {
          const auto found = faces.find(link.source);
          if (link.source_type == of.second && found != faces.end())
            link.source_face = found->second;
          continue;
        }
        const auto found = link.target ? faces.find(*link.target) : faces.end();
        if (found != faces.end()) link.target_face = found->second;
        for (const EntityId candidate : link.candidates) {
          const auto one = faces.find(candidate);
          if (one != faces.end()) link.candidate_faces.push_back(one->second);
        }
      }
    }
  }
}

/// Rules that begin or end at the type; nothing: all.
std::optional<pg::Array> rules_at(const model::Catalog& catalog,
                                  const std::optional<EntityTypeId>& type) {
  if (!type) return std::nullopt;
  pg::Array rules(pg::Oid::int8);
  for (const model::StoredRule& rule : catalog.rules) {
    if (rule.source_type == *type || rule.target_type == *type) rules.add(rule.id.value);
  }
  return rules;
}

}  // namespace

Task<std::vector<RuleSummary>> link_summary(pg::Connection& connection, WorkspaceId workspace) {
  pg::Params params(workspace);
  const pg::QueryResult rows = co_await connection.query(kSummary, std::move(params));
  std::vector<RuleSummary> all;
  for (int r = 0; r < rows.rows(); ++r) {
    RuleSummary& one = all.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.state = rows.get<std::string>(r, 1);
    one.count = rows.get<std::int64_t>(r, 2);
  }
  co_return all;
}

Task<std::vector<ListedLink>> list_links(pg::Connection& connection, WorkspaceId workspace,
                                         model::CatalogPtr catalog, LinkQuery query) {
  RuleId last(std::numeric_limits<std::int64_t>::max());
  if (query.rule) {
    last = *query.rule;
    // A page of one rule begins with it, wherever the page before ended.
    if (query.after_rule < last) {
      query.after_rule = last;
      query.after_source = EntityId(0);
    }
  }
  pg::Params params(workspace, query.after_rule, query.after_source, last, query.state,
                    std::int64_t{std::clamp(query.limit, 1, kLinksPageMax)});
  auto rules = rules_at(*catalog, query.type);
  if (rules) {
    params.add(std::move(*rules));
  } else {
    params.add(nullptr);
  }
  const pg::QueryResult rows = co_await connection.query(kList, std::move(params));
  std::vector<ListedLink> all;
  for (int r = 0; r < rows.rows(); ++r) {
    ListedLink& one = all.emplace_back();
    one.rule = rows.get<RuleId>(r, 0);
    one.source = rows.get<EntityId>(r, 1);
    one.source_type = rows.get<EntityTypeId>(r, 2);
    one.state = rows.get<std::string>(r, 3);
    if (!rows.is_null(r, 4)) one.target = rows.get<EntityId>(r, 4);
    if (!rows.is_null(r, 5)) one.target_type = rows.get<EntityTypeId>(r, 5);
    one.candidates = ids_of(rows.text(r, 6));
    one.candidate_count = rows.get<std::int32_t>(r, 7);
    one.evidence = stored_json(rows.text(r, 8));
    one.decided_by = rows.get<std::string>(r, 9);
  }
  co_await add_faces(connection, workspace, *catalog, all);
  co_return all;
}

Task<std::optional<std::int64_t>> count_living(pg::Connection& connection, WorkspaceId workspace,
                                               const model::StoredType& type) {
  const std::string sql = living_sql(type);
  pg::Params params(workspace, kLivingCounted + 1);
  const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
  const auto count = rows.get<std::int64_t>(0, 0);
  if (count > kLivingCounted) co_return std::nullopt;
  co_return count;
}

Task<UnkeyedPage> list_unkeyed(pg::Connection& connection, WorkspaceId workspace,
                               model::CatalogPtr catalog, LinkQuery query) {
  UnkeyedPage page;
  const auto limit = static_cast<std::size_t>(std::clamp(query.limit, 1, kLinksPageMax));
  std::int64_t looked = 0;
  for (const model::StoredRule& rule : catalog->rules) {
    if (rule.going || rule.id < query.after_rule) continue;
    if (query.rule && rule.id != *query.rule) continue;
    if (query.type && rule.source_type != *query.type && rule.target_type != *query.type) continue;
    const model::StoredType* type = catalog->find(rule.source_type);
    if (type == nullptr || rule.source_position < 0) continue;
    const std::string sql = unkeyed_sql(*type);
    EntityId after = rule.id == query.after_rule ? query.after_source : EntityId(0);
    for (bool ends = false; !ends;) {
      if (page.links.size() == limit || looked >= kUnkeyedLooked) {
        page.more = true;
        page.last_rule = rule.id;
        page.last_source = after;
        break;
      }
      const std::int64_t look = kUnkeyedLooked - looked;
      pg::Params params(workspace, after, look, rule.source_type,
                        std::int32_t{rule.source_position},
                        static_cast<std::int32_t>(rule.key_kind), rule.id,
                        static_cast<std::int64_t>(limit - page.links.size()));
      const pg::QueryResult rows = co_await connection.query(sql, std::move(params));
      const auto found = rows.get<std::int64_t>(0, 2);
      looked += found;
      ends = found < look;
      if (!rows.is_null(0, 1)) after = rows.get<EntityId>(0, 1);
      for (int r = 0; r < rows.rows(); ++r) {
        if (rows.is_null(r, 0)) continue;
        ListedLink& one = page.links.emplace_back();
        one.rule = rule.id;
        one.source = rows.get<EntityId>(r, 0);
        one.source_type = rule.source_type;
        one.state = model::kNoKey;
        one.evidence = nlohmann::json::object();
      }
      // Full: others that were looked at may lack a key, too.
      if (page.links.size() == limit) {
        after = page.links.back().source;
        ends = false;
      }
    }
    if (page.more) break;
  }
  co_await add_faces(connection, workspace, *catalog, page.links);
  co_return page;
}

}  // namespace sluice::link
