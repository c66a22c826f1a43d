// The organisation's own entity types: made, extended and listed by its admins.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "contract/manifest.hpp"
#include "pg/connection.hpp"
#include "pg/pool.hpp"

namespace sluice::model {

inline constexpr std::size_t kOwnTypesMax = 200;       ///< own types in one workspace
inline constexpr std::size_t kOwnAttributesMax = 200;  ///< attributes of one own type

struct OwnAttribute {
  std::string name;  ///< [a-z][a-z0-9_]{0,62}, not id, created_at, updated_at, …
  contract::AttributeType type = contract::AttributeType::text;
  std::string format;
  std::string description;
  bool required = false;
  bool unique = false;  ///< text, integer, decimal, date or timestamp only
  bool personal = false;
  /// Makes it a link key. Text only, except exact and external_id, which may be integer too. When
  /// absent, a text attribute with format "email" is an email key, unique or not, so that what a
  /// connector links by email finds it; `no_key` prevents that.
  std::optional<contract::KeyKind> key_kind;
  bool no_key = false;
  /// "metadata.customer_number": of a text that is added to a connector's type and read there
  /// (sync/path_attributes.hpp). An own type's have none.
  std::string path;
};

/// Whether a type or an attribute may be called so: [a-z][a-z0-9_]{0,62}
[[nodiscard]] bool is_own_name(std::string_view name);

struct OwnType {
  EntityTypeId id;   ///< 0 in a request
  std::string name;  ///< [a-z][a-z0-9_]{0,62}, no dot
  std::string display_name;
  std::string display_attribute;
  std::vector<OwnAttribute> attributes;
};

/// {"name", "display_name"?, "display_attribute"?, "attributes": [{"name", "type", "format"?,
/// "description"?, "required"?, "unique"?, "personal"?, "link_key"?: "email" | … | null,
/// "path"?}]}. Unknown members are refused. Errors: bad_input "type.bad_request",
/// "attribute.unknown_type", "attribute.unknown_format", "attribute.unknown_key_kind".
Result<OwnType> own_type_from_json(const nlohmann::json& document);
Result<OwnAttribute> own_attribute_from_json(const nlohmann::json& document);
[[nodiscard]] nlohmann::json to_json(const OwnType& type);
[[nodiscard]] nlohmann::json to_json(const OwnAttribute& attribute);

/// Stores a new type, within the caller's transaction: after an error nothing is written, and the
/// transaction can only be rolled back. One that was dropped is made anew under its id, with these
/// attributes and no entities. Errors:
///   type.bad_name, type.reserved_name, type.too_many, type.no_attributes,
///   type.unknown_display_attribute
///   type.name_taken     (conflict)
///   type.being_dropped  (conflict) one of that name is, and not all of it is gone
///   attribute.bad_name, attribute.reserved_name, attribute.name_taken, attribute.too_many,
///   attribute.cannot_be_unique, attribute.cannot_be_key, attribute.path_of_own_type
Task<Result<OwnType>> create_own_type(pg::Transaction& transaction, WorkspaceId workspace,
                                      OwnType type);

/// Adds one attribute to a type. Besides the above: type.not_found; attribute.required_with_rows
/// when the type has rows, none of which could have the value.
Task<Result<OwnType>> add_own_attribute(pg::Transaction& transaction, WorkspaceId workspace,
                                        std::string type_name, OwnAttribute attribute);

/// Takes a type out of the catalogue, within the caller's transaction, which makes the durable work
/// due that takes its entities (sync/type_drop.hpp) and raises the catalogue's version. Its name
/// and id stay for the change feed. Errors: type.not_found, type.read_only (a connector's),
/// type.being_dropped.
Task<Result<EntityTypeId>> drop_own_type(pg::Transaction& transaction, WorkspaceId workspace,
                                         std::string name);

struct DroppedType {
  EntityTypeId id;
  bool going = false;  ///< some of it may still be there
};
/// A type that is in no catalogue, and of which the change feed may tell.
Task<std::optional<DroppedType>> find_dropped_type(pg::Pool& pool, WorkspaceId workspace,
                                                   std::string name);
/// not_found "type.not_found"
[[nodiscard]] Error no_such_type(std::string_view name);
/// conflict "type.being_dropped"
[[nodiscard]] Error being_dropped(std::string_view name);

/// By name, attributes in the order in which they were declared.
Task<std::vector<OwnType>> list_own_types(pg::Connection& connection, WorkspaceId workspace);

}  // namespace sluice::model
