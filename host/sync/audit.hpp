// The audit: who changed what in a workspace.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"

namespace sluice::sync {

/// One line of the workspace's audit, in the transaction that makes the change it tells of: there
/// is no change without its line, and no line of what did not happen. `action` is "noun.verb",
/// `subject` what it was done to, `actor` "token 3". Never a secret in `detail`.
Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, std::string actor,
                 std::string action, std::string subject, nlohmann::json detail);

}  // namespace sluice::sync
