// The audit: who changed what in a workspace.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"

namespace sluice::sync {

/// One line of the workspace's audit, in the transaction that makes the change it tells of: there
/// is no change without its line, and no line of what did not happen. `action` is "noun.verb",
/// `subject` what it was done to, `actor` "token 3". Never a secret in `detail`.
Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, std::string actor,
                 std::string action, std::string subject, nlohmann::json detail);

/// The same, as a statement for whoever sends it with what else belongs to that transaction.
[[nodiscard]] pg::Call audit_line(WorkspaceId workspace, std::string_view actor,
                                  std::string_view action, std::string_view subject,
                                  const nlohmann::json& detail);

/// For what takes several transactions: one line, which each of them brings up to date. Its id is
/// drawn before the first.
using AuditId = Id<struct AuditTag>;
Task<AuditId> draw_audit_id(pg::Pool& pool);
[[nodiscard]] pg::Call audit_so_far(WorkspaceId workspace, AuditId id, std::string_view actor,
                                    std::string_view action, std::string_view subject,
                                    const nlohmann::json& detail);

}  // namespace sluice::sync
