#include "feed/expansion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/exact_json.hpp"
#include "model/columns.hpp"

namespace sluice::feed {
namespace {

using model::Catalog;
using model::StoredRelationship;
using model::StoredRule;
using model::StoredType;
using nlohmann::json;

constexpr std::string_view kLinks =
    "select l.source_id, r.name, l.state, coalesce(t.name, r.target_type), l.target_id,"
    " to_jsonb(l.candidates::text[]), l.candidate_count"
    " from unnest($2::bigint[]) as k(id)"
    " cross join lateral (select * from sluice.link x"
    "   where x.workspace_id = $1 and x.source_id = k.id and x.state <> 'inactive' offset 0) l"
    " join sluice.link_rule r on r.workspace_id = $1 and r.rule_id = l.rule_id"
    " left join sluice.entity_type t on t.workspace_id = $1 and t.type_id = l.target_type_id";

bool matches(std::string_view rest, std::string_view name) {
  return rest.starts_with(name) && (rest.size() == name.size() || rest[name.size()] == '.');
}

/// An edge and how many characters of the path it took.
struct Step {
  Edge edge;
  std::size_t length = 0;
};

std::unexpected<Error> ambiguous(std::string_view path, std::string_view name, std::string hint) {
  return fail(ErrorKind::bad_input, "expand.ambiguous",
              fmt::format("expand={}: '{}' may mean several edges", path, name), std::move(hint));
}

class Planner {
 public:
  Planner(const Catalog& catalog, std::string_view path) : catalog_(catalog), path_(path) {}

  Result<Step> step(const StoredType& type, std::string_view rest) const {
    if (rest.starts_with("link.")) return link_by_rule(type, rest);
    const std::string_view name = rest.substr(0, rest.find('.'));
    for (const StoredRelationship& relationship : type.relationships) {
      if (relationship.name == name) return reference(type, relationship);
    }
    auto link = link_by_target(type, name);
    auto below = children(type, name);
    // A rule that somebody adds is not to take over a path that meant something else before.
    const bool both = (!link || link->length > 0) && (!below || below->length > 0);
    if (both) {
      return ambiguous(path_, name,
                       below ? fmt::format("name the rule: link.<rule>; or the relationship: {}:{}",
                                           name, relationship_of(below->edge, type))
                             : "name the rule: link.<rule>; or the relationship behind a colon");
    }
    if (!link || link->length > 0) return link;
    if (!below || below->length > 0) return below;
    if (auto found = linked(type, rest); found.length > 0) return found;
    return unknown(type, name);
  }

 private:
  [[nodiscard]] bool live(const StoredRule& rule) const {
    return catalog_.find(rule.source_type) && catalog_.find(rule.target_type);
  }

  Result<Step> link_by_rule(const StoredType& type, std::string_view rest) const {
    const StoredRule* best = nullptr;
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.source_type != type.id || !live(rule) || !matches(rest.substr(5), rule.name))
        continue;
      if (!best || rule.name.size() > best->name.size()) best = &rule;
    }
    if (!best) return unknown(type, rest);
    Step step;
    step.length = 5 + best->name.size();
    step.edge.kind = EdgeKind::link;
    step.edge.name = fmt::format("link.{}", best->name);
    step.edge.target = catalog_.find(best->target_type);
    step.edge.rules = {best->id};
    return step;
  }

  [[nodiscard]] Step reference(const StoredType& type,
                               const StoredRelationship& relationship) const {
    Step step;
    step.length = relationship.name.size();
    step.edge.kind = EdgeKind::reference;
    step.edge.name = relationship.name;
    step.edge.target = catalog_.find(relationship.target);
    step.edge.attribute = relationship.attribute;
    if (const model::StoredAttribute* const holds = type.find(relationship.attribute))
      step.edge.from = fmt::format("({})", model::value_expression(type, *holds, "e"));
    return step;
  }

  Result<Step> link_by_target(const StoredType& type, std::string_view name) const {
    Step step;
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.source_type != type.id || !live(rule) || rule.target_type_name != name) continue;
      if (step.length > 0) return ambiguous(path_, name, "name the rule: expand=link.<rule>");
      step.length = name.size();
      step.edge.kind = EdgeKind::link;
      step.edge.name = name;
      step.edge.target = catalog_.find(rule.target_type);
      step.edge.rules = {rule.id};
    }
    return step;
  }

  /// "invoice_line", or "invoice_line:invoice" when several relationships lead here.
  Result<Step> children(const StoredType& type, std::string_view name) const {
    Step step;
    if (type.own) return step;
    const std::size_t colon = name.find(':');
    const StoredType* child =
        catalog_.find(fmt::format("{}.{}", type.connector, name.substr(0, colon)));
    if (!child) return step;
    for (const StoredRelationship& relationship : child->relationships) {
      if (relationship.target != type.id) continue;
      if (colon != std::string_view::npos && relationship.name != name.substr(colon + 1)) continue;
      if (step.length > 0) {
        return ambiguous(
            path_, name,
            fmt::format("name the relationship: expand={}:{}", name, relationship.name));
      }
      step.length = name.size();
      step.edge.kind = EdgeKind::children;
      step.edge.name = name;
      step.edge.target = child;
      step.edge.attribute = relationship.attribute;
    }
    return step;
  }

  /// "stripe.customer" from an own type: everything of that type that is linked to it.
  [[nodiscard]] Step linked(const StoredType& type, std::string_view rest) const {
    Step step;
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.target_type != type.id || !live(rule) || !matches(rest, rule.source_type_name))
        continue;
      if (rule.source_type_name.size() > step.length) {
        step = Step();
        step.length = rule.source_type_name.size();
        step.edge.kind = EdgeKind::linked;
        step.edge.name = rule.source_type_name;
        step.edge.target = catalog_.find(rule.source_type);
      }
      if (rule.source_type_name.size() == step.length) step.edge.rules.push_back(rule.id);
    }
    return step;
  }

  /// The name by which the child calls its way up.
  static std::string relationship_of(const Edge& edge, const StoredType& type) {
    for (const StoredRelationship& one : edge.target->relationships)
      if (one.target == type.id && one.attribute == edge.attribute) return one.name;
    return {};
  }

  std::unexpected<Error> unknown(const StoredType& type, std::string_view name) const {
    std::set<std::string> names;
    for (const StoredRelationship& relationship : type.relationships)
      names.insert(relationship.name);
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.source_type == type.id && live(rule)) names.insert("link." + rule.name);
      if (rule.target_type == type.id && live(rule)) names.insert(rule.source_type_name);
    }
    for (const StoredType& other : catalog_.types) {
      if (type.own || other.connector != type.connector) continue;
      for (const StoredRelationship& relationship : other.relationships) {
        if (relationship.target == type.id)
          names.insert(other.name.substr(other.connector.size() + 1));
      }
    }
    return fail(ErrorKind::bad_input, "expand.unknown_path",
                fmt::format("expand={}: {} has no edge '{}'", path_, type.name, name),
                names.empty() ? std::string("it has none")
                              : fmt::format("it has {}", fmt::join(names, ", ")));
  }

  const Catalog& catalog_;
  std::string_view path_;
};

pg::Array id_array(const std::vector<Entity>& entities) {
  pg::Array ids(pg::Oid::int8);
  for (const Entity& entity : entities) ids.add(entity.id.value);
  return ids;
}

pg::Array rule_array(const std::vector<RuleId>& rules) {
  pg::Array ids(pg::Oid::int8);
  for (const RuleId rule : rules) ids.add(rule.value);
  return ids;
}

void spend_rows(ExpansionBudget& budget, int rows) {
  if (static_cast<std::size_t>(rows) > budget.entities) {
    throw Failure(
        Error(ErrorKind::bad_input, "expand.too_many",
              fmt::format("the expansion reaches more than {} entities", kExpandedEntitiesMax),
              "ask for fewer entities at once, or for fewer paths"));
  }
  budget.entities -= static_cast<std::size_t>(rows);
}

[[noreturn]] void too_large() {
  throw Failure(
      Error(ErrorKind::bad_input, "expand.too_large",
            fmt::format("what the expansion adds is larger than {} MiB", kExpandedBytesMax >> 20),
            "ask for fewer entities at once (limit=), or for fewer paths"));
}

/// Before it is shown once more.
void spend_bytes(ExpansionBudget& budget, std::size_t bytes) {
  if (bytes > budget.bytes) too_large();
  budget.bytes -= bytes;
}

std::string live_rows(const StoredType& type, std::string_view condition) {
  return fmt::format("select e.* from {} e where {} and e.deleted_at is null and {}",
                     relation_of(type), confined(type), condition);
}

pg::Params edge_params(const Catalog& catalog, const Edge& edge,
                       const std::vector<Entity>& parents) {
  pg::Params params(catalog.workspace);
  if (edge.kind == EdgeKind::link || edge.kind == EdgeKind::linked) {
    params.add(id_array(parents));
    params.add(rule_array(edge.rules));
    return params;
  }
  pg::Array connections(pg::Oid::int8);
  pg::Array external_ids(pg::Oid::text);
  for (const Entity& parent : parents) {
    connections.add(parent.connection.value);
    if (edge.kind == EdgeKind::children) {
      external_ids.add(std::string_view(parent.external_id));
      continue;
    }
    const json& attributes = parent.object["attributes"];  // null of a row that cannot be read
    const auto raw = attributes.find(edge.attribute);
    if (raw != attributes.end() && raw->is_string()) {
      external_ids.add(std::string_view(raw->get_ref<const std::string&>()));
    } else {
      external_ids.add_null();
    }
  }
  params.add(std::move(connections));
  params.add(std::move(external_ids));
  return params;
}

/// Puts what was reached into the parents: one object or null, or a list.
void attach(const Edge& edge, std::vector<Entity>& parents,
            const std::vector<std::vector<std::size_t>>& reached,
            const std::vector<Entity>& targets, ExpansionBudget& budget) {
  const bool list = edge.kind == EdgeKind::children || edge.kind == EdgeKind::linked;
  for (std::size_t i = 0; i < parents.size(); ++i) {
    const auto show = [&](std::size_t n) -> const json& {
      const Entity& target = targets[reached[i][n]];
      spend_bytes(budget, target.bytes);
      parents[i].bytes += target.bytes;
      return target.object;
    };
    json& slot = parents[i].object["expanded"][edge.name];
    if (!list) {
      slot = reached[i].empty() ? json(nullptr) : show(0);
      continue;
    }
    const std::size_t shown = std::min<std::size_t>(reached[i].size(), kChildrenMax);
    slot = json::object();
    slot["items"] = json::array();
    for (std::size_t n = 0; n < shown; ++n) slot["items"].push_back(show(n));
    slot["has_more"] = reached[i].size() > shown;
  }
}

/// What is behind an edge, and from which parents: each entity once, however many reach it.
struct Reached {
  std::vector<Entity> targets;
  std::vector<std::vector<std::size_t>> by_parent;
};

Reached read_reached(const Edge& edge, const pg::QueryResult& rows, std::size_t parents,
                     const ExpansionBudget& budget) {
  Reached all;
  all.by_parent.resize(parents);
  const int bytes_column = rows.columns() - 2;
  std::map<EntityId, std::size_t> known;
  std::size_t bytes = 0;
  for (int row = 0; row < rows.rows(); ++row) {
    const auto parent = static_cast<std::size_t>(rows.get<std::int64_t>(row, 0)) - 1;
    const auto id = rows.get<EntityId>(row, 1);
    const auto size = static_cast<std::size_t>(rows.get<std::int64_t>(row, bytes_column));
    bytes += size;
    const auto [found, fresh] = known.emplace(id, all.targets.size());
    if (fresh) {
      all.targets.push_back(read_entity(*edge.target, rows, row, 1));
      all.targets.back().bytes = size;
    }
    all.by_parent[parent].push_back(found->second);
  }
  // The database gave up behind the row that went beyond.
  if (bytes > budget.bytes) too_large();
  return all;
}

Task<void> follow(pg::Connection& connection, const Catalog& catalog, std::vector<Entity>& parents,
                  const Edge& edge, ExpansionBudget& budget) {
  pg::Params params = edge_params(catalog, edge, parents);
  const std::string sql = edge_sql(catalog, edge, budget);
  Reached reached;
  {
    const auto rows = co_await connection.query(sql, std::move(params));
    spend_rows(budget, rows.rows());
    reached = read_reached(edge, rows, parents.size(), budget);
  }
  co_await expand(connection, catalog, *edge.target, reached.targets, edge.next, budget);
  attach(edge, parents, reached.by_parent, reached.targets, budget);
}

Task<void> add_links(pg::Connection& connection, const Catalog& catalog, const StoredType& type,
                     std::vector<Entity>& entities) {
  const bool any = std::any_of(catalog.rules.begin(), catalog.rules.end(),
                               [&](const StoredRule& rule) { return rule.source_type == type.id; });
  if (!any || entities.empty()) co_return;
  pg::Params params(catalog.workspace, id_array(entities));
  const auto rows = co_await connection.query(kLinks, std::move(params));
  std::map<EntityId, std::size_t> by_id;
  for (std::size_t i = 0; i < entities.size(); ++i) by_id[entities[i].id] = i;
  for (int row = 0; row < rows.rows(); ++row) {
    json link = json::object();
    link["state"] = rows.get<std::string>(row, 2);
    link["target_type"] = rows.get<std::string>(row, 3);
    link["target_id"] = nullptr;
    if (!rows.is_null(row, 4)) link["target_id"] = id_text(rows.get<EntityId>(row, 4));
    if (rows.text(row, 2) == "contested") {
      link["candidates"] = ready_json(rows.text(row, 5));
      link["candidate_count"] = rows.get<std::int64_t>(row, 6);
    }
    const std::size_t index = by_id.at(rows.get<EntityId>(row, 0));
    entities[index].object["links"][rows.get<std::string>(row, 1)] = std::move(link);
  }
}

}  // namespace

Result<std::vector<Edge>> plan_expansion(const Catalog& catalog, const StoredType& type,
                                         std::span<const std::string> paths) {
  std::vector<Edge> root;
  for (const std::string& path : paths) {
    const Planner planner(catalog, path);
    std::vector<Edge>* level = &root;
    const StoredType* at = &type;
    std::string_view rest = path;
    for (int depth = 1; !rest.empty(); ++depth) {
      if (depth > kExpandDepthMax) {
        return fail(ErrorKind::bad_input, "expand.too_deep",
                    fmt::format("expand={} follows more than {} edges", path, kExpandDepthMax),
                    "ask again from an entity further along the path");
      }
      auto step = planner.step(*at, rest);
      if (!step) return std::unexpected(step.error());
      rest.remove_prefix(std::min(rest.size(), step->length + 1));
      const auto known = std::find_if(level->begin(), level->end(), [&](const Edge& edge) {
        return edge.name == step->edge.name;
      });
      at = step->edge.target;
      if (known == level->end()) {
        level->push_back(std::move(step->edge));
        level = &level->back().next;
      } else {
        level = &known->next;
      }
    }
  }
  return root;
}

namespace {

std::string rows_of(const Catalog& catalog, const Edge& edge) {
  const StoredType& target = *edge.target;
  const std::string columns = named_columns_of(catalog, target);
  switch (edge.kind) {
    case EdgeKind::reference:
      return fmt::format(
          "select k.n, {} from unnest($2::bigint[], $3::text[]) with ordinality as "
          "k(connection_id, external_id, n)"
          " cross join lateral ({} offset 0) e",
          columns,
          live_rows(target, "e.connection_id = k.connection_id and e.external_id = k.external_id"));
    case EdgeKind::children:
      return fmt::format(
          "select k.n, {} from unnest($2::bigint[], $3::text[]) with ordinality as "
          "k(connection_id, external_id, n)"
          " cross join lateral ({} order by e.id limit {}) e",
          columns,
          live_rows(target,
                    fmt::format(
                        "e.connection_id = k.connection_id and e.{} collate \"C\" = k.external_id",
                        model::quote_name(edge.attribute))),
          kChildrenMax + 1);
    case EdgeKind::link:
      return fmt::format(
          "select k.n, {} from unnest($2::bigint[]) with ordinality as k(id, n)"
          " cross join lateral (select x.target_id from sluice.link x where x.workspace_id = $1"
          "   and x.rule_id = any ($3::bigint[]) and x.source_id = k.id"
          "   and x.state in ('linked', 'confirmed') offset 0) l"
          " cross join lateral ({} offset 0) e",
          columns, live_rows(target, "e.id = l.target_id"));
    case EdgeKind::linked:
      return fmt::format(
          "select k.n, {} from unnest($2::bigint[]) with ordinality as k(id, n)"
          " cross join lateral (select distinct x.source_id from sluice.link x"
          "   where x.workspace_id = $1 and x.target_id = k.id and x.rule_id = any ($3::bigint[])"
          "   and x.state in ('linked', 'confirmed') order by x.source_id limit {}) l"
          " cross join lateral ({} offset 0) e",
          columns, kChildrenMax + 1, live_rows(target, "e.id = l.source_id"));
  }
  return {};
}

}  // namespace

std::string edge_sql(const Catalog& catalog, const Edge& edge, const ExpansionBudget& budget) {
  Rows rows;
  rows.sql = rows_of(catalog, edge);
  rows.by_parent = true;
  rows.most = budget.entities + 1;  // the one more tells that it is too many
  return within_bytes(catalog, *edge.target, rows, budget.bytes);
}

Task<void> expand(pg::Connection& connection, const Catalog& catalog, const StoredType& type,
                  std::vector<Entity>& entities, const std::vector<Edge>& edges,
                  ExpansionBudget& budget) {
  if (entities.empty()) co_return;
  co_await add_links(connection, catalog, type, entities);
  for (const Edge& edge : edges) co_await follow(connection, catalog, entities, edge, budget);
}

}  // namespace sluice::feed
