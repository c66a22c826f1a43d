// What of a row is another than before, as jsonb compares it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/catalog.hpp"

namespace sluice::ingest {

/// {"attribute":[before,after]} of what differs between two images of a row (jsonb objects, as
/// PostgreSQL writes them); empty when nothing does. Attributes that one of the two does not have
/// are left out. Decimals are strings in their one form, as answers have them.
[[nodiscard]] std::string difference(const model::StoredType& type, std::string_view before,
                                     std::string_view after);

/// The value of a name among the members of an image; empty when it is not there.
[[nodiscard]] std::string_view member(
    const std::vector<std::pair<std::string_view, std::string_view>>& all, std::string_view name);

}  // namespace sluice::ingest
