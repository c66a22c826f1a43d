// How connections and their streams are, for the routes that show it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "api/api.hpp"

namespace sluice::api {

inline constexpr std::int64_t kConnectionsPageMax = 500;

struct StatusQuery {
  std::optional<std::string> name;   ///< only this one
  std::optional<std::string> after;  ///< those whose names come later
  std::int64_t limit = 1;
};

/// One object a connection, with its streams, in the order of names; shapes as
/// docs/operating/rest.md gives them. Index lookups per connection and stream, backlogs counted to
/// a bound.
Task<nlohmann::json> statuses(Call& call, StatusQuery wanted);

}  // namespace sluice::api
