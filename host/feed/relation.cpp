#include "feed/relation.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <vector>

#include "base/decimal.hpp"
#include "base/error_json.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "feed/money.hpp"
#include "feed/reference.hpp"
#include "model/columns.hpp"
#include "model/own_values.hpp"

namespace sluice::feed {
namespace {

using contract::AttributeType;
using model::StoredAttribute;
using model::StoredType;
using nlohmann::json;

/// How a value's size becomes known.
enum class Width {
  fixed,    ///< a few bytes
  text,     ///< known without reading it
  bytes,    ///< the same, two digits each
  printed,  ///< JSON and numeric: by printing it
};

struct Column {
  std::string expression;
  Width width = Width::fixed;
};

constexpr int kPresetColumnCount = 9;
const std::array<Column, kPresetColumnCount> kPresetColumns = {{
    {"e.id", Width::fixed},
    {"e.external_id", Width::text},
    {"e.connection_id", Width::fixed},
    {"(select c.name from sluice.connection c"
     " where c.workspace_id = e.workspace_id and c.connection_id = e.connection_id)",
     Width::text},
    {"e.source_url", Width::text},
    {"e.first_synced_at", Width::fixed},
    {"e.last_synced_at", Width::fixed},
    {"e.sync_version", Width::fixed},
    {"e.deleted_at", Width::fixed},
}};

const std::array<Column, 5> kOwnColumns = {{
    {"e.id", Width::fixed},
    {"e.data", Width::printed},
    {"e.created_at", Width::fixed},
    {"e.updated_at", Width::fixed},
    {"e.deleted_at", Width::fixed},
}};

/// Of each entity, whatever it holds: the names in "provenance", and values of a few bytes.
constexpr std::size_t kFixedBytes = 400;
constexpr std::size_t kFixedValueBytes = 24;

Width width_of(AttributeType type) {
  switch (type) {
    case AttributeType::text:
      return Width::text;
    case AttributeType::bytes:
      return Width::bytes;
    case AttributeType::json:
    case AttributeType::decimal:
      return Width::printed;
    default:
      return Width::fixed;
  }
}

std::vector<Column> select_list(const model::Catalog& catalog, const StoredType& type) {
  if (type.own) return {kOwnColumns.begin(), kOwnColumns.end()};
  std::vector<Column> all(kPresetColumns.begin(), kPresetColumns.end());
  for (const StoredAttribute& attribute : type.attributes)
    all.push_back({model::value_expression(type, attribute, "e"), width_of(attribute.type)});
  for (const Reference& reference : references_of(type))
    all.push_back({reference_lookup(catalog, type, reference), Width::fixed});
  for (const MajorUnits& amount : major_units_of(type))
    all.push_back({amount.expression, Width::printed});
  return all;
}

std::size_t fixed_bytes(const StoredType& type) {
  std::size_t bytes = kFixedBytes;
  for (const StoredAttribute& attribute : type.attributes)
    bytes += attribute.name.size() + kFixedValueBytes;
  for (const Reference& reference : references_of(type))
    bytes += reference.name.size() + kFixedValueBytes;
  for (const MajorUnits& amount : major_units_of(type))
    bytes += amount.name.size() + kFixedValueBytes;
  return bytes;
}

/// What the value takes where it is stored, which is known without reading it.
std::string stored_bytes(const Column& column, std::string_view value) {
  switch (column.width) {
    case Width::fixed:
      return {};
    case Width::text:
      return fmt::format(" + coalesce(octet_length({}), 0)", value);
    case Width::bytes:
      return fmt::format(" + 2 * coalesce(octet_length({}), 0)", value);
    case Width::printed:
      return fmt::format(" + coalesce(pg_column_size({}), 0)", value);
  }
  return {};
}

/// RFC 3339, or what PostgreSQL wrote where that cannot say it (infinity, before the year 1).
json time_of(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return nullptr;
  const auto time = pg::detail::timestamptz_from_text(rows.text(row, column));
  return time ? json(to_rfc3339(*time)) : json(rows.get<std::string>(row, column));
}

json text_of(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return nullptr;
  return rows.get<std::string>(row, column);
}

/// JSON has no NaN and no infinity: as PostgreSQL writes them.
json number_of(double number, std::string_view text) {
  return std::isfinite(number) ? json(number) : json(std::string(text));
}

json value_of(AttributeType type, const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return nullptr;
  switch (type) {
    case AttributeType::integer:
      return rows.get<std::int64_t>(row, column);
    case AttributeType::number:
      return number_of(rows.get<double>(row, column), rows.text(row, column));
    case AttributeType::boolean:
      return rows.get<bool>(row, column);
    case AttributeType::timestamp:
      return time_of(rows, row, column);
    case AttributeType::json:
      return ready_json(rows.text(row, column));
    case AttributeType::bytes:
      return to_hex(rows.get<Bytes>(row, column));
    case AttributeType::decimal:
      return plain_decimal(rows.text(row, column));
    case AttributeType::text:
    case AttributeType::date:
      break;
  }
  return rows.get<std::string>(row, column);
}

void read_preset(const StoredType& type, const pg::QueryResult& rows, int row, int column,
                 Entity& entity) {
  entity.external_id = rows.get<std::string>(row, column + 1);
  entity.connection = rows.get<ConnectionId>(row, column + 2);
  entity.object["external_id"] = entity.external_id;
  json provenance = json::object();
  provenance["source_type"] = type.connector;
  provenance["connection"] = text_of(rows, row, column + 3);
  provenance["connection_id"] = id_text(entity.connection);
  provenance["source_url"] = text_of(rows, row, column + 4);
  provenance["first_synced_at"] = time_of(rows, row, column + 5);
  provenance["last_synced_at"] = time_of(rows, row, column + 6);
  provenance["sync_version"] = rows.get<std::int64_t>(row, column + 7);
  provenance["deleted_at"] = time_of(rows, row, column + 8);
  json attributes = json::object();
  int at = column + kPresetColumnCount;
  for (const StoredAttribute& attribute : type.attributes) {
    json& place = attribute.name == kExtra ? entity.object[kExtra] : attributes[attribute.name];
    place = value_of(attribute.type, rows, row, at++);
  }
  json references = json::object();
  for (const Reference& reference : references_of(type)) {
    json& id = references[reference.name];
    if (!rows.is_null(row, at)) id = id_text(rows.get<EntityId>(row, at));
    ++at;
  }
  // With the digits of the currency, as the view has it: 20.00, not 20.
  for (const MajorUnits& amount : major_units_of(type))
    attributes[amount.name] = text_of(rows, row, at++);
  entity.object["attributes"] = std::move(attributes);
  entity.object["references"] = std::move(references);
  entity.object["provenance"] = std::move(provenance);
}

/// JSON attributes as they are printed; what else there is, as stored_values() reads it.
json own_attributes(const StoredType& type, std::string_view data) {
  auto values = model::stored_values(type, data);
  if (!values) {
    // Sluice writes objects alone; but an older one took what is beyond the limits of today.
    const JsonCheck check = check_json(data);
    throw Failure(Error(
        ErrorKind::internal, "entity.unreadable",
        fmt::format("what is stored of this {} {}", type.name,
                    check.ok() ? "is no JSON object"
                               : fmt::format("is not read any more: {}", check.problem)),
        fmt::format("{} PATCH it with all its values, or delete it",
                    check.ok() ? "Somebody else wrote it into sluice.own_entity;"
                               : "An older Sluice may have taken it, which had other limits;")));
  }
  json attributes = json::object();
  for (const StoredAttribute& attribute : type.attributes) {
    json& value = attributes[attribute.name];
    if (attribute.type != AttributeType::json) value = values->value(attribute.name, json(nullptr));
  }
  for (const auto& [name, text] : members(data)) {
    const StoredAttribute* const attribute = type.find(name);
    if (attribute != nullptr && attribute->type == AttributeType::json)
      attributes[std::string(name)] = ready_json(text);
  }
  return attributes;
}

void read_own(const StoredType& type, const pg::QueryResult& rows, int row, int column,
              Entity& entity) {
  entity.object["external_id"] = nullptr;
  json provenance = json::object();
  provenance["source_type"] = "own";
  provenance["created_at"] = time_of(rows, row, column + 2);
  provenance["updated_at"] = time_of(rows, row, column + 3);
  provenance["deleted_at"] = time_of(rows, row, column + 4);
  entity.object["provenance"] = std::move(provenance);
  entity.object["attributes"] = own_attributes(type, rows.text(row, column + 1));
}

/// What is wrong with a row, in its place.
void tell_problem(const StoredType& type, const std::exception& error, Entity& entity) {
  const auto* const failure = dynamic_cast<const Failure*>(&error);
  Error told = failure != nullptr ? failure->error()
                                  : Error(ErrorKind::internal, "entity.unreadable", error.what(),
                                          "the other rows are complete; report this one");
  log::error("entity.unreadable",
             {{"type", type.name}, {"entity", entity.id.value}, {"reason", told.message}});
  entity.object["attributes"] = nullptr;
  entity.object["problem"] = error_json(told);
}

}  // namespace

std::string relation_of(const StoredType& type) {
  if (type.own) return "sluice.own_entity";
  return fmt::format("vendor.{}", model::quote_name(type.table));
}

std::string confined(const StoredType& type) {
  if (!type.own) return "e.workspace_id = $1";
  return fmt::format("e.workspace_id = $1 and e.type_id = {}", type.id.value);
}

void show_extra(StoredType& type) {
  if (type.own) return;
  StoredAttribute& extra = type.attributes.emplace_back();
  extra.name = kExtra;
  extra.type = AttributeType::json;
  extra.is_protected = true;  // it has no overlay
}

std::string columns_of(const model::Catalog& catalog, const StoredType& type) {
  std::string out;
  for (const Column& column : select_list(catalog, type))
    out += (out.empty() ? "" : ", ") + column.expression;
  return out;
}

std::string named_columns_of(const model::Catalog& catalog, const StoredType& type) {
  std::string out;
  std::size_t n = 0;
  for (const Column& column : select_list(catalog, type)) {
    out += fmt::format("{}{} as c{}", n == 0 ? "" : ", ", column.expression, n);
    ++n;
  }
  return out;
}

std::string within_bytes(const model::Catalog& catalog, const StoredType& type, const Rows& rows,
                         std::size_t bytes) {
  const std::string base = std::to_string(fixed_bytes(type));
  std::string stored = base;
  std::string printed = base;
  std::string shown;  // as text, where that has to be made anyway: once
  std::string out;
  std::size_t n = 0;
  for (const Column& column : select_list(catalog, type)) {
    const std::string_view comma = n == 0 ? "" : ", ";
    const std::string name = fmt::format("c{}", n++);
    const bool prints = column.width == Width::printed;
    stored += stored_bytes(column, "r." + name);
    Column as_text = column;
    if (prints) as_text.width = Width::text;
    printed += stored_bytes(as_text, "b." + name);
    shown += fmt::format("{0}a.{1}{2} as {1}", comma, name, prints ? "::text" : "");
    out += fmt::format("{}p.{}", comma, name);
  }
  const auto place = [&](std::string_view alias) {
    return rows.by_parent ? fmt::format("{0}.n, {0}.c0", alias) : fmt::format("{}.c0", alias);
  };
  const auto parent = [&](std::string_view alias) {
    return rows.by_parent ? fmt::format("{}.n, ", alias) : std::string();
  };
  constexpr std::string_view kBefore = "rows between unbounded preceding and 1 preceding";
  const std::string weighed = fmt::format(
      "select r.*, lead(r.c0) over w is not null as more, row_number() over w as nth,"
      " coalesce(sum({}) over (w {}), 0) as stored from ({}) r window w as (order by {})",
      stored, kBefore, rows.sql, place("r"));
  // OFFSET 0: printed once, and not again for its length.
  const std::string as_text = fmt::format(
      "select {}{}, a.more from ({}) a where a.stored <= {} and a.nth <= {} order by {} offset 0",
      parent("a"), shown, weighed, bytes, rows.most, place("a"));
  return fmt::format(
      "select {}{}, p.bytes, p.more from (select b.*, {} as bytes,"
      " coalesce(sum({}) over (order by {} {}), 0) as before from ({}) b) p"
      " where p.before <= {} order by {}",
      parent("p"), out, printed, printed, place("b"), kBefore, as_text, bytes, place("p"));
}

Entity read_entity(const StoredType& type, const pg::QueryResult& rows, int row, int column) {
  Entity entity;
  entity.id = rows.get<EntityId>(row, column);
  entity.object["id"] = id_text(entity.id);
  entity.object["type"] = type.name;
  entity.object["links"] = json::object();
  try {
    if (type.own) {
      read_own(type, rows, row, column, entity);
    } else {
      read_preset(type, rows, row, column, entity);
    }
  } catch (const std::exception& error) {
    tell_problem(type, error, entity);
  }
  return entity;
}

}  // namespace sluice::feed
