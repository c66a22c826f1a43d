// What there is at the host, by name: for completion, and for who misspelt one.
#pragma once

#include <string>
#include <vector>

#include "cli/client.hpp"
#include "cli/command_line.hpp"

namespace sluice::cli {

/// Names of that kind (kind_of()), of the first page where there are many: a stream's are those of
/// the connection in `place`. Throws Failure; empty for a kind that no host knows.
[[nodiscard]] std::vector<std::string> names_at_host(Client& client, const std::string& kind,
                                                     const Place& place);

/// The name that a value of the line most likely stands for, where the host knows none like it:
/// "Did you mean 'billing'?". Empty when each is known or like nothing. Throws Failure.
[[nodiscard]] std::string meant_at_host(Client& client, const Place& place);

}  // namespace sluice::cli
