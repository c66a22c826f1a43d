#include "sync/audit.hpp"

namespace sluice::sync {
namespace {

const pg::Statement kAudit{"audit", R"(
  insert into sluice.audit (workspace_id, actor, action, subject, detail)
  values ($1, $2, $3, $4, $5))"};

}  // namespace

Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, std::string actor,
                 std::string action, std::string subject, nlohmann::json detail) {
  pg::Params params(workspace, actor, action, subject, detail);
  co_await transaction.query(kAudit, std::move(params));
}

}  // namespace sluice::sync
