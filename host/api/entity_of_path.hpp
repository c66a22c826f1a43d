// Which entity a path means.
#pragma once

#include "api/api.hpp"
#include "feed/entities.hpp"

namespace sluice::api {

/// Of /entities/{type}/{id}: Sluice's id where it is a number above 0, unless ?by=external_id; else
/// a vendor's, of ?connection= where that is given.
[[nodiscard]] inline feed::EntityRef entity_of_path(const Call& call) {
  feed::EntityRef wanted;
  const auto number = call.part_number("id");
  if (number && *number > 0 && call.http.parameter("by") != "external_id") {
    wanted.id = EntityId(*number);
  } else {
    wanted.external_id = call.part("id");
  }
  wanted.connection = call.http.parameter("connection").value_or("");
  return wanted;
}

}  // namespace sluice::api
