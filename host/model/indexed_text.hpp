// Texts of own types that are looked for by themselves, and so are shown as they are indexed.
#pragma once

#include <cstddef>

#include "model/catalog.hpp"

namespace sluice::model {

inline constexpr std::size_t kEmailBytesMax = 1024;  ///< a text of format "email"

/// A text of at most 1,024 bytes, being unique or an e-mail address: views of own types show it as
/// it is indexed (migration 0018).
[[nodiscard]] inline bool is_indexed_text(const StoredAttribute& attribute) {
  return attribute.type == contract::AttributeType::text &&
         (attribute.unique || attribute.format == "email");
}

}  // namespace sluice::model
