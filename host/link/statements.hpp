// Statements of link/ that depend on an entity type, as text. Internal to link/, and for the test
// of their plans. $1 is the workspace.
#pragma once

#include <string>

#include "model/catalog.hpp"

namespace sluice::link {

/// Which of the entities $2 (bigint[]) are there and not deleted: their ids.
[[nodiscard]] std::string alive_sql(const model::StoredType& type);

/// Id and external id of the entities $2 (bigint[]) of a preset type.
[[nodiscard]] std::string external_ids_sql(const model::StoredType& type);

/// Id of each of the entities $2 (bigint[]) that is there, and its value of the attribute as text.
[[nodiscard]] std::string spelling_sql(const model::StoredType& type,
                                       const model::StoredAttribute& attribute);

/// The next $3 entities behind id $2 with their value of the attribute as text, locked against
/// writers.
[[nodiscard]] std::string rekey_look_sql(const model::StoredType& type,
                                         const model::StoredAttribute& attribute);

}  // namespace sluice::link
