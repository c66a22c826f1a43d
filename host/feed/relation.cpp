#include "feed/relation.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/decimal.hpp"
#include "base/error_json.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "feed/reference.hpp"
#include "model/columns.hpp"
#include "model/own_values.hpp"

namespace sluice::feed {
namespace {

using contract::AttributeType;
using model::StoredAttribute;
using model::StoredType;
using nlohmann::json;

constexpr std::string_view kPresetColumns =
    "e.id, e.external_id, e.connection_id,"
    " (select c.name from sluice.connection c"
    "   where c.workspace_id = e.workspace_id and c.connection_id = e.connection_id),"
    " e.source_url, e.first_synced_at, e.last_synced_at, e.sync_version, e.deleted_at";
constexpr int kPresetColumnCount = 9;

constexpr std::string_view kOwnColumns = "e.id, e.data, e.created_at, e.updated_at, e.deleted_at";

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
  provenance["connection_id"] = entity.connection.value;
  provenance["source_url"] = text_of(rows, row, column + 4);
  provenance["first_synced_at"] = time_of(rows, row, column + 5);
  provenance["last_synced_at"] = time_of(rows, row, column + 6);
  provenance["sync_version"] = rows.get<std::int64_t>(row, column + 7);
  provenance["deleted_at"] = time_of(rows, row, column + 8);
  json attributes = json::object();
  int at = column + kPresetColumnCount;
  for (const StoredAttribute& attribute : type.attributes) {
    attributes[attribute.name] = value_of(attribute.type, rows, row, at++);
  }
  json references = json::object();
  for (const Reference& reference : references_of(type)) {
    json& id = references[reference.name];
    if (!rows.is_null(row, at)) id = rows.get<std::int64_t>(row, at);
    ++at;
  }
  entity.object["attributes"] = std::move(attributes);
  entity.object["references"] = std::move(references);
  entity.object["provenance"] = std::move(provenance);
}

/// JSON attributes as they are printed; what else there is, as stored_values() reads it.
json own_attributes(const StoredType& type, std::string_view data) {
  auto values = model::stored_values(type, data);
  if (!values) {
    throw Failure(Error(ErrorKind::internal, "entity.unreadable",
                        fmt::format("what is stored of this {} is no JSON object", type.name),
                        "somebody else wrote it into sluice.own_entity; PATCH it with all its "
                        "values, or delete it"));
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

std::string columns_of(const model::Catalog& catalog, const StoredType& type) {
  if (type.own) return std::string(kOwnColumns);
  std::string out(kPresetColumns);
  for (const StoredAttribute& attribute : type.attributes) {
    out += ", " + model::value_expression(type, attribute, "e");
  }
  for (const Reference& reference : references_of(type))
    out += ", " + reference_lookup(catalog, type, reference);
  return out;
}

Entity read_entity(const StoredType& type, const pg::QueryResult& rows, int row, int column) {
  Entity entity;
  entity.id = rows.get<EntityId>(row, column);
  entity.object["id"] = entity.id.value;
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
