// What keeps a host from its work, beside what it knows of its machine and of its database.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace sluice::api {

/// In words that anybody may read. `schema_version`: of the database that answered; none: it did
/// not, which HostFacts::reasons says.
[[nodiscard]] std::vector<std::string> not_ready_beside(bool stopping,
                                                        std::optional<int> schema_version);

}  // namespace sluice::api
