// Following edges from rows that were read: references, children and links, one query a path.
// Internal to feed/; entities.hpp says what paths mean.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "feed/relation.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::feed {

enum class EdgeKind {
  reference,  ///< a relationship: this row's attribute holds the other's external id
  children,   ///< the same, backwards: a list
  link,       ///< a link rule from this type to an own type
  linked,     ///< the same, backwards: a list
};

/// One step of the wanted paths, and the steps behind it. Points into the catalogue.
struct Edge {
  EdgeKind kind = EdgeKind::reference;
  std::string name;  ///< key in "expanded"
  const model::StoredType* target = nullptr;
  std::string attribute;      ///< reference, children
  std::vector<RuleId> rules;  ///< link, linked
  std::vector<Edge> next;
};

/// Reads paths such as "invoice.customer" against the catalogue. Errors: expand.unknown_path,
/// expand.ambiguous, expand.too_deep.
Result<std::vector<Edge>> plan_expansion(const model::Catalog& catalog,
                                         const model::StoredType& type,
                                         std::span<const std::string> paths);

/// Rows reached over one edge: first column which parent ($2 and $3, counted from 1), then the
/// target's columns.
[[nodiscard]] std::string edge_sql(const model::Catalog& catalog, const Edge& edge);

/// Fills "expanded" of each entity along the edges, and "links" of every entity on the way.
/// `budget` is what is left of kExpandedEntitiesMax; throws Failure(bad_input, "expand.too_many")
/// when it runs out.
Task<void> expand(pg::Connection& connection, const model::Catalog& catalog,
                  const model::StoredType& type, std::vector<Entity>& entities,
                  const std::vector<Edge>& edges, std::size_t& budget);

}  // namespace sluice::feed
