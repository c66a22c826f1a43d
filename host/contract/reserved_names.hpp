// Names that an attribute cannot have, because something else of an entity has them: one list for
// manifests, tables, own types and SQL views.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::contract {

/// What has the name already.
enum class ReservedBy {
  table,     ///< a column of every entity's table
  database,  ///< PostgreSQL, in every table
  view,      ///< a column that only the SQL view has; the table could hold the attribute
};

struct ReservedName {
  std::string_view name;
  ReservedBy by;
};

/// Of a connector's types.
inline constexpr std::array<ReservedName, 23> kReservedNames = {{
    {"workspace_id", ReservedBy::table},
    {"connection_id", ReservedBy::table},
    {"external_id", ReservedBy::table},
    {"id", ReservedBy::table},
    {"source_version", ReservedBy::table},
    {"observed_version", ReservedBy::table},
    {"content_hash", ReservedBy::table},
    {"deleted_at", ReservedBy::table},
    {"first_synced_at", ReservedBy::table},
    {"last_synced_at", ReservedBy::table},
    {"sync_version", ReservedBy::table},
    {"source_url", ReservedBy::table},
    {"extra", ReservedBy::table},
    {"overlay", ReservedBy::table},
    {"tableoid", ReservedBy::database},
    {"xmin", ReservedBy::database},
    {"cmin", ReservedBy::database},
    {"xmax", ReservedBy::database},
    {"cmax", ReservedBy::database},
    {"ctid", ReservedBy::database},
    {"oid", ReservedBy::database},
    {"connection_name", ReservedBy::view},
    {"sluice_connection_name", ReservedBy::view},
}};

/// What the SQL view calls the Sluice id of what an attribute, or a relationship, refers to: no
/// attribute of that type may be called so.
[[nodiscard]] inline std::string reference_column(std::string_view name) {
  return std::string(name) + "_ref";
}

/// What an amount in minor units is called in major ones. No suffix of vendors' own: Stripe's
/// unit_amount_decimal is in cents, too.
[[nodiscard]] inline std::string major_name(std::string_view name) {
  return std::string(name) + "_major";
}

/// Of an organisation's own types, whose attributes are no columns of a table.
inline constexpr std::array<std::string_view, 6> kReservedOwnNames = {
    "id", "created_at", "updated_at", "deleted_at", "type", "data"};

[[nodiscard]] constexpr std::optional<ReservedBy> reserved_by(std::string_view name) {
  for (const ReservedName& one : kReservedNames)
    if (one.name == name) return one.by;
  return std::nullopt;
}

}  // namespace sluice::contract
