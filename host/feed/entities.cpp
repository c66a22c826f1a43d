#include "feed/entities.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/bytes.hpp"
#include "base/numbers.hpp"
#include "contract/reserved_names.hpp"
#include "feed/empty_list.hpp"
#include "feed/entity_query.hpp"
#include "feed/expansion.hpp"
#include "feed/money.hpp"
#include "feed/relation.hpp"
#include "model/columns.hpp"
#include "model/row_counts.hpp"

namespace sluice::feed {
namespace {

using model::Catalog;
using model::StoredAttribute;
using model::StoredType;
using nlohmann::json;

/// Of one type, and of one order: "1:<type>:<id>", or "2:<type>:<hash of the order>:<id>" and of
/// each value ":-" for none, or ":<bytes>:<value>".
std::string cursor_prefix(const StoredType& type, const std::vector<SortKey>& sort) {
  if (sort.empty()) return fmt::format("1:{}:", type.id.value);
  std::string order;
  for (const SortKey& key : sort)
    order += fmt::format("{}{},", key.descending ? "-" : "", key.attribute);
  return fmt::format("2:{}:{}:", type.id.value, model::text_hash(order));
}

/// The first characters of a text, as left() gives them.
std::string first_characters(const std::string& text, int most) {
  std::size_t at = 0;
  for (int n = 0; n < most && at < text.size(); ++n) {
    do ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  }
  return text.substr(0, at);
}

/// What an entity is sorted by, as its cursor keeps it and the database takes it back.
std::optional<std::string> sorted_value(const StoredType& type, const Entity& entity,
                                        const SortKey& key) {
  if (key.attribute == "id") return std::to_string(entity.id.value);
  const json& attributes = entity.object["attributes"];
  const auto found = attributes.find(key.attribute);
  if (found == attributes.end()) {
    return key.attribute == "external_id" ? std::optional(entity.external_id) : std::nullopt;
  }
  if (found->is_null()) return std::nullopt;
  const StoredAttribute* const attribute = type.find(key.attribute);
  if (attribute != nullptr && attribute->type == contract::AttributeType::text)
    return first_characters(found->get_ref<const std::string&>(), kSortedTextMax);
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string cursor_of(const StoredType& type, const std::vector<SortKey>& sort,
                      const Entity& entity) {
  std::string text = fmt::format("{}{}", cursor_prefix(type, sort), entity.id.value);
  for (const SortKey& key : sort) {
    const auto value = sorted_value(type, entity, key);
    text += value ? fmt::format(":{}:{}", value->size(), *value) : std::string(":-");
  }
  return to_base64url(as_bytes(text));
}

/// Takes ":-" or ":<bytes>:<value>" off the text; false when it does not begin so.
bool take_value(std::string_view& text, std::vector<std::optional<std::string>>& values) {
  if (text.starts_with(":-")) {
    values.emplace_back();
    text.remove_prefix(2);
    return true;
  }
  if (!text.starts_with(':')) return false;
  const std::size_t colon = text.find(':', 1);
  if (colon == std::string_view::npos) return false;
  const auto size = whole_number(text.substr(1, colon - 1));
  text.remove_prefix(colon + 1);
  if (!size || *size < 0 || static_cast<std::size_t>(*size) > text.size()) return false;
  values.emplace_back(std::string(text.substr(0, static_cast<std::size_t>(*size))));
  text.remove_prefix(static_cast<std::size_t>(*size));
  return true;
}

Result<PagePlace> position_of(const StoredType& type, const std::vector<SortKey>& sort,
                              const std::string& cursor) {
  PagePlace place;
  if (cursor.empty()) return place;
  const std::string prefix = cursor_prefix(type, sort);
  const auto bytes = from_base64url(cursor);
  std::string_view text;
  if (bytes) text = as_text(*bytes);
  bool ours = text.starts_with(prefix);
  if (ours) text.remove_prefix(prefix.size());
  const std::size_t end = std::min(text.find(':'), text.size());
  const auto id = ours ? whole_number(text.substr(0, end)) : std::nullopt;
  text.remove_prefix(end);
  for (std::size_t i = 0; ours && i < sort.size(); ++i) ours = take_value(text, place.values);
  if (id && ours && text.empty()) {
    place.id = EntityId(*id);
    return place;
  }
  return fail(ErrorKind::bad_input, "entity.bad_cursor",
              fmt::format("this is no cursor of a list of {}{}", type.name,
                          sort.empty() ? "" : " in this order"),
              "send a cursor exactly as a page gave it, or none for the first page");
}

std::unexpected<Error> no_type(std::string_view name) {
  return fail(ErrorKind::not_found, "type.not_found",
              fmt::format("the workspace has no type {}", name),
              "sluice entity types, or GET the workspace's types, has their names");
}

std::unexpected<Error> too_many(std::string code, std::string_view what, std::size_t max) {
  return fail(ErrorKind::bad_input, std::move(code), fmt::format("too many {}", what),
              fmt::format("use at most {}", max));
}

std::vector<Entity> read_all(const StoredType& type, const pg::QueryResult& rows, int column) {
  std::vector<Entity> entities;
  for (int row = 0; row < rows.rows(); ++row)
    entities.push_back(read_entity(type, rows, row, column));
  return entities;
}

/// The type with the attributes that are asked for, and those that the answer is made with.
Result<StoredType> shown_of(const StoredType& type, const ListQuery& query,
                            const std::vector<Edge>& edges) {
  StoredType shown = type;
  if (query.fields.empty()) return shown;
  std::set<std::string, std::less<>> wanted;
  bool extra = false;
  const std::vector<MajorUnits> amounts = major_units_of(type);
  // False: nothing is called so. Of an amount in its currency, what it is made of.
  const auto want = [&](const std::string& name) {
    const auto amount = std::find_if(amounts.begin(), amounts.end(),
                                     [&](const MajorUnits& one) { return one.name == name; });
    if (amount != amounts.end()) {
      wanted.insert(amount->attribute->name);
      wanted.insert(amount->attribute->currency);
      return true;
    }
    wanted.insert(name);
    return type.find(name) != nullptr;
  };
  for (const std::string& field : query.fields) {
    if (field == kExtra && !type.own) {
      extra = true;
    } else if (!want(field)) {
      std::vector<std::string> names;
      for (const StoredAttribute& attribute : type.attributes) names.push_back(attribute.name);
      for (const MajorUnits& one : amounts) names.push_back(one.name);
      if (!type.own) names.emplace_back(kExtra);
      return fail(ErrorKind::bad_input, "fields.unknown_attribute",
                  fmt::format("fields: {} has no attribute '{}'", type.name, field),
                  fmt::format("it has {}", fmt::join(names, ", ")));
    }
  }
  for (const SortKey& key : query.sort) want(key.attribute);
  for (const Edge& edge : edges) wanted.insert(edge.attribute);
  std::erase_if(shown.attributes,
                [&](const StoredAttribute& attribute) { return !wanted.contains(attribute.name); });
  if (extra) show_extra(shown);
  return shown;
}

/// Takes away what was only read to make the answer.
void keep_fields(const std::vector<std::string>& fields, json& entity) {
  const auto attributes = entity.find("attributes");
  if (fields.empty() || attributes == entity.end() || !attributes->is_object()) return;
  json kept = json::object();
  for (const std::string& field : fields) {
    const auto found = attributes->find(field);
    if (found != attributes->end()) kept[field] = std::move(*found);
  }
  *attributes = std::move(kept);
}

Task<EntityCount> count(pg::Connection& connection, EntityQuery asked) {
  const auto counted = co_await connection.query(asked.sql, std::move(asked.params));
  EntityCount count;
  count.rows = counted.get<std::int64_t>(0, 0);
  count.exact = count.rows <= kCountMax;
  count.rows = std::min(count.rows, kCountMax);
  co_return count;
}

struct Found {
  std::vector<Entity> entities;
  bool more = false;  ///< rows stand behind them
};

Task<Found> read_page(pg::Connection& connection, const StoredType& shown, EntityQuery asked,
                      int column) {
  Found found;
  const auto rows = co_await connection.query(asked.sql, std::move(asked.params));
  found.entities = read_all(shown, rows, column);
  found.more = !rows.empty() && rows.get<bool>(rows.rows() - 1, rows.columns() - 1);
  co_return found;
}

/// The one that costs least, of those that may be asked.
FarEnd* cheapest(std::vector<FarEnd>& ends, const model::RowCounts& counts, std::int64_t most) {
  FarEnd* best = nullptr;
  std::int64_t least = most;
  for (FarEnd& end : ends) {
    const std::int64_t rows = end.indexed ? 0 : counts.of(*end.type);
    if (rows > least || (best != nullptr && rows == least)) continue;
    best = &end;
    least = rows;
  }
  return best;
}

/// The ids of all that a filter across edges may find, seen from its other side; nothing where that
/// would cost too much, or they are many.
Task<std::optional<std::vector<EntityId>>> found_from_far(pg::Connection& connection,
                                                          WorkspaceId workspace,
                                                          std::vector<FarEnd> ends,
                                                          ReachLimits limits) {
  const model::RowCounts counts = co_await model::row_counts(connection, workspace);
  FarEnd* const end = cheapest(ends, counts, limits.scanned);
  if (end == nullptr) co_return std::nullopt;
  const auto rows = co_await connection.query(end->query.sql, std::move(end->query.params));
  if (rows.get<std::int64_t>(0, 0) > limits.reached) co_return std::nullopt;
  std::vector<EntityId> ids;
  for (int row = 0; row < rows.rows(); ++row)
    if (!rows.is_null(row, 1)) ids.push_back(rows.get<EntityId>(row, 1));
  co_return std::move(ids);
}

/// The expansion's refusal as a value; everything else goes on.
Task<Result<void>> expand_all(pg::Connection& connection, const Catalog& catalog,
                              const StoredType& type, std::vector<Entity>& entities,
                              const std::vector<Edge>& edges) {
  ExpansionBudget budget;
  Result<void> outcome;
  try {
    co_await expand(connection, catalog, type, entities, edges, budget);
  } catch (const pg::QueryError&) {
    throw;
  } catch (const Failure& failure) {
    if (failure.error().kind != ErrorKind::bad_input) throw;
    outcome = std::unexpected(failure.error());
  }
  co_return outcome;
}

}  // namespace

Task<Result<EntityPage>> list_entities(pg::Pool& pool, model::CatalogPtr catalog,
                                       std::string type_name, ListQuery query) {
  const StoredType* type = catalog->find(type_name);
  if (!type) co_return no_type(type_name);
  if (query.limit < 1 || query.limit > kEntityPageMax) {
    co_return fail(ErrorKind::bad_input, "entity.bad_limit",
                   fmt::format("limit is {}", query.limit),
                   fmt::format("use 1 to {}", kEntityPageMax));
  }
  if (query.filters.size() > kFiltersMax)
    co_return too_many("filter.too_many", "filters", kFiltersMax);
  if (query.expand.size() > kExpandPathsMax)
    co_return too_many("expand.too_many_paths", "paths", kExpandPathsMax);
  const auto after = position_of(*type, query.sort, query.cursor);
  if (!after) co_return std::unexpected(after.error());
  const auto edges = plan_expansion(*catalog, *type, query.expand);
  if (!edges) co_return std::unexpected(edges.error());

  const auto shown = shown_of(*type, query, *edges);
  if (!shown) co_return std::unexpected(shown.error());
  Scope scope;
  auto ends = far_ends(*catalog, *type, query);
  if (!ends) co_return std::unexpected(ends.error());
  const bool walks_first =
      !ends->empty() && query.sort.empty() && !query.count &&
      std::none_of(ends->begin(), ends->end(), [](const FarEnd& end) { return end.indexed; });
  if (walks_first) scope.walked = query.reach.walked;
  auto asked = list_query(*catalog, *type, *shown, query, *after, scope);
  if (!asked) co_return std::unexpected(asked.error());
  const int column = query.sort.empty() ? 0 : 1;
  auto lease = co_await pool.acquire();
  Found found;
  if (walks_first) found = co_await read_page(*lease, *shown, std::move(*asked), column);
  if (!found.more) {
    scope.walked = 0;
    if (!ends->empty())
      scope.among =
          co_await found_from_far(*lease, catalog->workspace, std::move(*ends), query.reach);
    asked = list_query(*catalog, *type, *shown, query, *after, scope);
    if (!asked) co_return std::unexpected(asked.error());
    found = co_await read_page(*lease, *shown, std::move(*asked), column);
  }
  std::vector<Entity>& entities = found.entities;
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  EntityPage page;
  if (query.count) {
    auto counted = count_query(*catalog, *type, query, scope);
    if (!counted) co_return std::unexpected(counted.error());
    page.count = co_await count(*lease, std::move(*counted));
  }
  // The look is at living rows.
  if (entities.empty() && query.cursor.empty() && query.tombstones == Tombstones::exclude)
    page.hints = co_await hints_of_empty(*lease, *catalog, *type, query.filters);
  if (found.more) page.cursor = cursor_of(*type, query.sort, entities.back());
  for (Entity& entity : entities) {
    keep_fields(query.fields, entity.object);
    page.entities.push_back(std::move(entity.object));
  }
  co_return page;
}

Task<Result<json>> get_entity(pg::Pool& pool, model::CatalogPtr catalog, std::string type_name,
                              EntityRef reference, std::vector<std::string> paths,
                              Tombstones tombstones) {
  const StoredType* type = catalog->find(type_name);
  if (!type) co_return no_type(type_name);
  if (paths.size() > kExpandPathsMax)
    co_return too_many("expand.too_many_paths", "paths", kExpandPathsMax);
  const auto edges = plan_expansion(*catalog, *type, paths);
  if (!edges) co_return std::unexpected(edges.error());
  const auto absent =
      fail(ErrorKind::not_found, "entity.not_found",
           reference.id ? fmt::format("there is no {} {}", type->name, reference.id->value)
                        : fmt::format("there is no such {}", type->name),
           "it may have been deleted, or not have arrived yet");
  if (!reference.id && type->own) co_return absent;

  StoredType shown = *type;
  show_extra(shown);
  EntityQuery asked = get_query(*catalog, *type, shown, reference, tombstones);
  auto lease = co_await pool.acquire();
  const auto rows = co_await lease->query(asked.sql, std::move(asked.params));
  if (rows.empty()) co_return absent;
  if (rows.rows() > 1) {
    co_return fail(ErrorKind::conflict, "entity.ambiguous",
                   fmt::format("several connections have a {} with this external id", type->name),
                   "name the connection too, or use the id");
  }
  std::vector<Entity> entities = read_all(shown, rows, 0);
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  co_return std::move(entities.front().object);
}

}  // namespace sluice::feed
