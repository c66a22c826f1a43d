// Attributes that an admin adds to a connector's type: what the vendor sent inside of JSON, such as
// Stripe's metadata.customer_number, under a name of its own; as a link key, if that is wanted.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/error.hpp"
#include "model/own_types.hpp"
#include "pg/connection.hpp"
#include "sync/audit.hpp"
#include "work/queue.hpp"

namespace sluice::sync {

inline constexpr std::size_t kPathAttributesMax = 50;  ///< of one type
inline constexpr std::size_t kPathBytesMax = 512;
inline constexpr std::size_t kPathPartsMax = 16;

struct PathAttribute {
  EntityTypeId type;
  std::string type_name;
  model::OwnAttribute attribute;
  std::optional<work::WorkId> work;  ///< that makes, or takes away, the keys of rows that are there
};

/// Adds `attribute`, whose path is set, to a connector's type. It is a text, read from the JSON
/// whenever it is asked for; with a link key rows get theirs as they are written, and those that
/// are there by durable work. The version of the catalogue, the work, the views and the audit are
/// one transaction with it. Errors:
///   type.not_found
///   attribute.path_of_own_type  the type is the organisation's own
///   attribute.bad_path          it leads into no json attribute and not into extra, or not inside;
///                               nor is it the name of a text that becomes a link key
///   attribute.cannot_have_path  required, unique, of another type than text, or with a format
///   attribute.bad_name, attribute.reserved_name, attribute.name_taken (also by a column of the
///   type's SQL view), attribute.too_many
Task<Result<PathAttribute>> add_path_attribute(pg::Connection& connection, WorkspaceId workspace,
                                               std::string type, model::OwnAttribute attribute,
                                               Actor actor);

/// Takes one away again, with its keys. What the vendor sent stays where it is. Errors:
///   type.not_found, attribute.not_found
///   attribute.of_connector  the connector declares it
///   attribute.of_own_type   the type is the organisation's own
///   attribute.in_use        rules that are on begin or end at it
Task<Result<PathAttribute>> drop_path_attribute(pg::Connection& connection, WorkspaceId workspace,
                                                std::string type, std::string name, Actor actor);

}  // namespace sluice::sync
