#include "feed/entities.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "base/bytes.hpp"
#include "feed/expansion.hpp"
#include "feed/relation.hpp"
#include "model/columns.hpp"
#include "model/own_values.hpp"

namespace sluice::feed {
namespace {

using contract::AttributeType;
using model::Catalog;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;
using nlohmann::json;

constexpr std::array<std::string_view, 8> kOps = {"eq", "ne",  "gt", "gte",
                                                  "lt", "lte", "in", "is_null"};
constexpr std::array<std::string_view, 6> kComparisons = {"=", "<>", ">", ">=", "<", "<="};

// References are indexed behind the connection: naming the few connections lets the index be used.
constexpr std::string_view kInAnyConnection =
    "e.connection_id in (select c.connection_id from sluice.connection c where c.workspace_id = "
    "$1)";

std::unexpected<Error> bad_filter(std::string code, const Filter& filter, std::string what,
                                  std::string hint) {
  return fail(ErrorKind::bad_input, std::move(code),
              fmt::format("filter {}[{}]: {}", filter.attribute,
                          kOps[static_cast<std::size_t>(filter.op)], what),
              std::move(hint));
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Builds the WHERE clause; $1 is the workspace.
class Conditions {
 public:
  Conditions(const Catalog& catalog, const StoredType& type)
      : catalog_(catalog), type_(type), params_(catalog.workspace), sql_(confined(type)) {}

  void require(std::string_view condition) { sql_ += fmt::format(" and {}", condition); }
  template <class T>
  std::string parameter(T value) {
    params_.add(std::move(value));
    return fmt::format("${}", params_.size());
  }

  Result<void> add(const Filter& filter) {
    if (filter.values.empty() || (filter.op != FilterOp::in && filter.values.size() > 1)) {
      return bad_filter("filter.bad_value", filter, "it takes one value", "use [in] for several");
    }
    if (filter.values.size() > kFilterValuesMax) {
      return bad_filter("filter.too_many_values", filter,
                        fmt::format("{} values", filter.values.size()),
                        fmt::format("use at most {}", kFilterValuesMax));
    }
    if (filter.attribute == "id") return add_number(filter, "e.id");
    if (filter.attribute.starts_with("link.")) return add_link(filter);
    if (const StoredAttribute* attribute = type_.find(filter.attribute))
      return add_attribute(filter, *attribute);
    if (!type_.own && filter.attribute == "external_id") {
      require(kInAnyConnection);
      return compare(filter, text_attribute(), "e.external_id");
    }
    if (!type_.own && filter.attribute == "connection") {
      return compare(filter, text_attribute(),
                     "(select c.name from sluice.connection c where c.workspace_id = $1"
                     " and c.connection_id = e.connection_id)");
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such attribute", type_.name),
                      fmt::format("it has {}", names()));
  }

  [[nodiscard]] const std::string& sql() const { return sql_; }
  [[nodiscard]] pg::Params take_params() { return std::move(params_); }

 private:
  static const StoredAttribute& text_attribute() {
    static const StoredAttribute kText;
    return kText;
  }

  [[nodiscard]] std::string names() const {
    std::string out = type_.own ? "id" : "id, external_id, connection";
    for (const StoredAttribute& attribute : type_.attributes) out += ", " + attribute.name;
    return out;
  }

  Result<void> add_attribute(const Filter& filter, const StoredAttribute& attribute) {
    const std::string expression =
        fmt::format("({})", model::value_expression(type_, attribute, "e"));
    if (filter.op == FilterOp::is_null) {
      if (filter.values[0] != "true" && filter.values[0] != "false") {
        return bad_filter("filter.bad_value", filter, "the value must be true or false", "");
      }
      require(expression + (filter.values[0] == "true" ? " is null" : " is not null"));
      return {};
    }
    if (attribute.type == AttributeType::json || attribute.type == AttributeType::bytes) {
      return bad_filter(
          "filter.unsupported", filter,
          fmt::format("{} attributes cannot be compared", contract::to_string(attribute.type)),
          "only [is_null] works on them");
    }
    const bool refers = std::any_of(type_.relationships.begin(), type_.relationships.end(),
                                    [&](const auto& r) { return r.attribute == attribute.name; });
    if (refers) require(kInAnyConnection);
    if (type_.own && attribute.unique && filter.op == FilterOp::eq) {
      const auto value = model::stored_value_of_text(attribute, filter.values[0]);
      if (!value) return bad_value(filter, value.error());
      const std::string wanted = parameter(model::raw_text(*value));
      require(
          fmt::format("e.id = (select u.id from sluice.own_unique u where u.workspace_id = $1"
                      " and u.type_id = {} and u.attribute = {} and u.value = {})",
                      type_.id.value, model::quote_text(attribute.name), wanted));
      return {};
    }
    return compare(filter, attribute, expression);
  }

  Result<void> add_number(const Filter& filter, std::string_view expression) {
    StoredAttribute integer;
    integer.name = filter.attribute;
    integer.type = AttributeType::integer;
    return compare(filter, integer, expression);
  }

  Result<void> add_link(const Filter& filter) {
    const std::string_view name = std::string_view(filter.attribute).substr(5);
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.name != name || rule.source_type != type_.id) continue;
      if (filter.op != FilterOp::eq && filter.op != FilterOp::in) {
        return bad_filter("filter.bad_operator", filter, "a link is compared with ids",
                          "use eq or [in]");
      }
      pg::Array ids(pg::Oid::int8);
      for (const std::string& value : filter.values) {
        const auto id = whole_number(value);
        if (!id)
          return bad_filter("filter.bad_value", filter, "the value is no id",
                            "use the target's id");
        ids.add(*id);
      }
      const std::string wanted = parameter(std::move(ids));
      require(
          fmt::format("e.id in (select l.source_id from sluice.link l where l.workspace_id = $1"
                      " and l.rule_id = {} and l.target_id = any ({}::bigint[])"
                      " and l.state in ('linked', 'confirmed'))",
                      rule.id.value, wanted));
      return {};
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such link rule", type_.name),
                      "GET the workspace's link rules for their names");
  }

  Result<void> compare(const Filter& filter, const StoredAttribute& attribute,
                       std::string_view expression) {
    if (filter.op == FilterOp::is_null) {
      return bad_filter("filter.bad_operator", filter, "it is never null", "");
    }
    if (filter.op == FilterOp::in) {
      std::string list;
      for (const std::string& value : filter.values) {
        const auto bound = bind(filter, attribute, value);
        if (!bound) return std::unexpected(bound.error());
        list += (list.empty() ? "" : ", ") + *bound;
      }
      require(fmt::format("{} in ({})", expression, list));
      return {};
    }
    const auto bound = bind(filter, attribute, filter.values[0]);
    if (!bound) return std::unexpected(bound.error());
    require(fmt::format("{} {} {}", expression, kComparisons[static_cast<std::size_t>(filter.op)],
                        *bound));
    return {};
  }

  static std::unexpected<Error> bad_value(const Filter& filter, const model::FieldError& error) {
    return bad_filter("filter.bad_value", filter, error.reason, "");
  }

  /// The value as a parameter of the column's type.
  Result<std::string> bind(const Filter& filter, const StoredAttribute& attribute,
                           const std::string& text) {
    const auto value = model::stored_value_of_text(attribute, text);
    if (!value) return bad_value(filter, value.error());
    switch (attribute.type) {
      case AttributeType::integer:
        return parameter(value->get<std::int64_t>());
      case AttributeType::number:
        return parameter(value->get<double>());
      case AttributeType::boolean:
        return parameter(value->get<bool>());
      case AttributeType::timestamp:
        return parameter(*from_rfc3339(text));
      case AttributeType::decimal:
        return parameter(text) + "::text::numeric";
      case AttributeType::date:
        return parameter(text) + "::text::date";
      default:
        return parameter(text);
    }
  }

  const Catalog& catalog_;
  const StoredType& type_;
  pg::Params params_;
  std::string sql_;
};

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

void add_tombstones(Conditions& conditions, Tombstones tombstones) {
  if (tombstones == Tombstones::exclude) conditions.require("e.deleted_at is null");
  if (tombstones == Tombstones::only) conditions.require("e.deleted_at is not null");
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

std::vector<Entity> read_all(const StoredType& type, const pg::QueryResult& rows, int count) {
  std::vector<Entity> entities;
  for (int row = 0; row < count; ++row) entities.push_back(read_entity(type, rows, row, 0));
  return entities;
}

/// The expansion's refusal as a value; everything else goes on.
Task<Result<void>> expand_all(pg::Connection& connection, const Catalog& catalog,
                              const StoredType& type, std::vector<Entity>& entities,
                              const std::vector<Edge>& edges) {
  std::size_t budget = kExpandedEntitiesMax;
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

std::optional<FilterOp> filter_op(std::string_view name) {
  const auto* found = std::find(kOps.begin(), kOps.end(), name);
  if (found == kOps.end()) return std::nullopt;
  return static_cast<FilterOp>(found - kOps.begin());
}

Result<Filter> parse_filter(std::string_view parameter, std::vector<std::string> values) {
  Filter filter;
  filter.values = std::move(values);
  const std::size_t open = parameter.find('[');
  filter.attribute = parameter.substr(0, open);
  if (open == std::string_view::npos) return filter;
  std::optional<FilterOp> op;
  if (parameter.ends_with(']'))
    op = filter_op(parameter.substr(open + 1, parameter.size() - open - 2));
  if (!op) {
    return fail(ErrorKind::bad_input, "filter.bad_operator",
                fmt::format("filter {}: unknown operator", parameter.substr(0, 100)),
                fmt::format("use one of {}", fmt::join(kOps, ", ")));
  }
  filter.op = *op;
  return filter;
}

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

  Conditions conditions(*catalog, *type);
  conditions.require(fmt::format("e.id > {}", conditions.parameter(after->value)));
  add_tombstones(conditions, query.tombstones);
  for (const Filter& filter : query.filters) {
    const auto added = conditions.add(filter);
    if (!added) co_return std::unexpected(added.error());
  }
  const std::string sql =
      fmt::format("select {} from {} e where {} order by e.id limit {}", columns_of(*type),
                  relation_of(*type), conditions.sql(), query.limit + 1);
  auto lease = co_await pool.acquire();
  pg::Params params = conditions.take_params();
  const auto rows = co_await lease->query(sql, std::move(params));
  const int count = std::min(rows.rows(), query.limit);
  std::vector<Entity> entities = read_all(*type, rows, count);
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  EntityPage page;
  if (rows.rows() > count) page.cursor = cursor_of(*type, entities.back().id);
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

  Conditions conditions(*catalog, *type);
  add_tombstones(conditions, tombstones);
  if (reference.id) {
    conditions.require(fmt::format("e.id = {}", conditions.parameter(reference.id->value)));
  } else {
    conditions.require(kInAnyConnection);
    conditions.require(
        fmt::format("e.external_id = {}", conditions.parameter(reference.external_id)));
  }
  if (!reference.connection.empty() && !type->own) {
    conditions.require(
        fmt::format("e.connection_id = (select c.connection_id from sluice.connection c"
                    " where c.workspace_id = $1 and c.name = {})",
                    conditions.parameter(reference.connection)));
  }
  const std::string sql = fmt::format("select {} from {} e where {} limit 2", columns_of(*type),
                                      relation_of(*type), conditions.sql());
  auto lease = co_await pool.acquire();
  pg::Params params = conditions.take_params();
  const auto rows = co_await lease->query(sql, std::move(params));
  if (rows.empty()) co_return absent;
  if (rows.rows() > 1) {
    co_return fail(ErrorKind::conflict, "entity.ambiguous",
                   fmt::format("several connections have a {} with this external id", type->name),
                   "name the connection too, or use the id");
  }
  std::vector<Entity> entities = read_all(*type, rows, 1);
  const auto expanded = co_await expand_all(*lease, *catalog, *type, entities, *edges);
  if (!expanded) co_return std::unexpected(expanded.error());
  co_return std::move(entities.front().object);
}

}  // namespace sluice::feed
