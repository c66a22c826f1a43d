#include "feed/entities.hpp"

#include <fmt/format.h>

#include <charconv>

#include "base/bytes.hpp"
#include "feed/entity_query.hpp"
#include "feed/expansion.hpp"
#include "feed/relation.hpp"

namespace sluice::feed {
namespace {

using model::Catalog;
using model::StoredType;
using nlohmann::json;

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string cursor_of(const StoredType& type, EntityId id) {
  const std::string text = fmt::format("1:{}:{}", type.id.value, id.value);
  return to_base64url(as_bytes(text));
}

Result<EntityId> position_of(const StoredType& type, const std::string& cursor) {
  if (cursor.empty()) return EntityId(0);
  const std::string prefix = fmt::format("1:{}:", type.id.value);
  const auto bytes = from_base64url(cursor);
  std::string_view text;
  if (bytes) text = as_text(*bytes);
  const bool ours = text.starts_with(prefix);
  const auto id = ours ? whole_number(text.substr(prefix.size())) : std::nullopt;
  if (id) return EntityId(*id);
  return fail(ErrorKind::bad_input, "entity.bad_cursor",
              fmt::format("this is no cursor of a list of {}", type.name),
              "send a cursor exactly as a page gave it, or none for the first page");
}

std::unexpected<Error> no_type(std::string_view name) {
  return fail(ErrorKind::not_found, "type.not_found",
              fmt::format("the workspace has no type {}", name),
              "GET the workspace's types for their names");
}

std::unexpected<Error> too_many(std::string code, std::string_view what, std::size_t max) {
  return fail(ErrorKind::bad_input, std::move(code), fmt::format("too many {}", what),
              fmt::format("use at most {}", max));
}

std::vector<Entity> read_all(const StoredType& type, const pg::QueryResult& rows) {
  std::vector<Entity> entities;
  for (int row = 0; row < rows.rows(); ++row) entities.push_back(read_entity(type, rows, row, 0));
  return entities;
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
  const auto after = position_of(*type, query.cursor);
  if (!after) co_return std::unexpected(after.error());
  const auto edges = plan_expansion(*catalog, *type, query.expand);
  if (!edges) co_return std::unexpected(edges.error());

  auto asked = list_query(*catalog, *type, query, *after);
  if (!asked) co_return std::unexpected(asked.error());
  auto lease = co_await pool.acquire();
  std::vector<Entity> entities;
  bool more = false;
  {
    const auto rows = co_await lease->query(asked->sql, std::move(asked->params));
    entities = read_all(*type, rows);
    more = !rows.empty() && rows.get<bool>(rows.rows() - 1, rows.columns() - 1);
  }
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  EntityPage page;
  if (more) page.cursor = cursor_of(*type, entities.back().id);
  for (Entity& entity : entities) page.entities.push_back(std::move(entity.object));
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

  EntityQuery asked = get_query(*catalog, *type, reference, tombstones);
  auto lease = co_await pool.acquire();
  const auto rows = co_await lease->query(asked.sql, std::move(asked.params));
  if (rows.empty()) co_return absent;
  if (rows.rows() > 1) {
    co_return fail(ErrorKind::conflict, "entity.ambiguous",
                   fmt::format("several connections have a {} with this external id", type->name),
                   "name the connection too, or use the id");
  }
  std::vector<Entity> entities = read_all(*type, rows);
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  co_return std::move(entities.front().object);
}

}  // namespace sluice::feed
