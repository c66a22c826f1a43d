// The audit: who changed what in a workspace.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"

namespace sluice::sync {

/// Who does it: the host itself, or whoever holds a token, by "token 3". What a token does is done
/// only while it is valid: the line of the audit is refused after it was revoked, and so is the
/// transaction that it stands in ("token.revoked" by was_revoked()).
class Actor {
 public:
  Actor(std::string name) : name_(std::move(name)) {}  // NOLINT: "sluiced" is who it is
  Actor(const char* name) : name_(name) {}             // NOLINT
  Actor(std::string name, WorkspaceId workspace, std::int64_t token)
      : name_(std::move(name)), workspace_(workspace), token_(token) {}
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::optional<WorkspaceId> workspace() const { return workspace_; }
  [[nodiscard]] std::optional<std::int64_t> token() const { return token_; }

 private:
  std::string name_;
  std::optional<WorkspaceId> workspace_;  ///< where the token is at home
  std::optional<std::int64_t> token_;
};

/// Whether a transaction failed because its actor's token is not valid any more.
[[nodiscard]] bool was_revoked(const pg::QueryError& failure);

/// One line of the workspace's audit, in the transaction that makes the change it tells of: there
/// is no change without its line, and no line of what did not happen. `action` is "noun.verb",
/// `subject` what it was done to. Never a secret in `detail`.
Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, Actor actor,
                 std::string action, std::string subject, nlohmann::json detail);

/// The same, as a statement for whoever sends it with what else belongs to that transaction.
[[nodiscard]] pg::Call audit_line(WorkspaceId workspace, const Actor& actor,
                                  std::string_view action, std::string_view subject,
                                  const nlohmann::json& detail);

/// For what takes several transactions: one line, which each of them brings up to date. Its id is
/// drawn before the first.
using AuditId = Id<struct AuditTag>;
Task<AuditId> draw_audit_id(pg::Pool& pool);
[[nodiscard]] pg::Call audit_so_far(WorkspaceId workspace, AuditId id, const Actor& actor,
                                    std::string_view action, std::string_view subject,
                                    const nlohmann::json& detail);

}  // namespace sluice::sync
