// Statements of link/ that depend on an entity type, as text. Internal to link/, and for the test
// of their plans. $1 is the workspace.
#pragma once

#include <string>

#include "model/catalog.hpp"

namespace sluice::link {

/// Which of the entities $2 (bigint[]) are there and not deleted: their ids.
[[nodiscard]] std::string alive_sql(const model::StoredType& type);

/// Which of the pairs of entities $2 and $3 (bigint[] each) are one that was deleted and one that
/// was made behind that: their places, from 1.
[[nodiscard]] std::string made_after_sql(const model::StoredType& type);

/// Of the $3 entities behind id $2 those that have no key of attribute $5 and kind $6, type $4, and
/// no link of rule $7: $8 of them at most, with the last id that was looked at, and how many were.
/// A row without id when there is none.
[[nodiscard]] std::string unkeyed_sql(const model::StoredType& type);

/// How many entities are there, up to $2.
[[nodiscard]] std::string living_sql(const model::StoredType& type);

/// Id of each of the entities $2 (bigint[]) that is there, and its value of the attribute as text.
[[nodiscard]] std::string spelling_sql(const model::StoredType& type,
                                       const model::StoredAttribute& attribute);

/// Of each of the entities $2 (bigint[]) that is there, deleted ones too: id, external id (null of
/// an own type), what it is called (null when it says nothing), its value of `key` as text (null
/// without a key), and whether it is deleted. Texts are cut to 200 characters.
[[nodiscard]] std::string face_sql(const model::StoredType& type,
                                   const model::StoredAttribute* key);

/// The next $3 entities behind id $2 with their value of the attribute as text, locked against
/// writers.
[[nodiscard]] std::string rekey_look_sql(const model::StoredType& type,
                                         const model::StoredAttribute& attribute);

}  // namespace sluice::link
