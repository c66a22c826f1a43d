// Following edges from rows that were read: references, children and links, one query a path.
// Internal to feed/; entities.hpp says what paths mean.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "feed/entities.hpp"
#include "feed/page_bytes.hpp"
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
  std::string from;           ///< reference: the SQL of row "e" that has the other's external id
  std::vector<RuleId> rules;  ///< link, linked
  std::vector<Edge> next;
};

/// Reads paths such as "invoice.customer" against the catalogue. Errors: expand.unknown_path,
/// expand.ambiguous, expand.too_deep.
Result<std::vector<Edge>> plan_expansion(const model::Catalog& catalog,
                                         const model::StoredType& type,
                                         std::span<const std::string> paths);

/// What is left for one request: of rows that are read, and of bytes that are shown, those of an
/// entity as often as it is.
struct ExpansionBudget {
  std::size_t entities = kExpandedEntitiesMax;
  std::size_t bytes = kExpandedBytesMax;
};

/// Rows reached over one edge, as within_bytes() gives them; n is which parent ($2 and $3, counted
/// from 1).
[[nodiscard]] std::string edge_sql(const model::Catalog& catalog, const Edge& edge,
                                   const ExpansionBudget& budget);

/// Fills "expanded" of each entity along the edges, and "links" of every entity on the way. Throws
/// Failure(bad_input, "expand.too_many" or "expand.too_large") when the budget runs out.
Task<void> expand(pg::Connection& connection, const model::Catalog& catalog,
                  const model::StoredType& type, std::vector<Entity>& entities,
                  const std::vector<Edge>& edges, ExpansionBudget& budget);

}  // namespace sluice::feed
