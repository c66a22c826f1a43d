// Ids that PostgreSQL gave as an array.
#pragma once

#include <charconv>
#include <string_view>
#include <vector>

#include "base/ids.hpp"

namespace sluice::link {

/// Of "{1,2}".
[[nodiscard]] inline std::vector<EntityId> ids_of(std::string_view array) {
  std::vector<EntityId> ids;
  const char* at = array.data() + 1;
  const char* end = array.data() + array.size() - 1;
  while (at < end) {
    EntityId id;
    at = std::from_chars(at, end, id.value).ptr + 1;
    ids.push_back(id);
  }
  return ids;
}

}  // namespace sluice::link
