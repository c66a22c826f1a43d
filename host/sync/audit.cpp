#include "sync/audit.hpp"

namespace sluice::sync {
namespace {

const pg::Statement kAudit{"audit", R"(
  insert into sluice.audit (workspace_id, actor, action, subject, detail)
  values ($1, $2, $3, $4, $5))"};

const pg::Statement kDraw{"audit_draw",
                          "select nextval(pg_get_serial_sequence('sluice.audit', 'audit_id'))"};

const pg::Statement kSoFar{"audit_so_far", R"(
  insert into sluice.audit (workspace_id, audit_id, actor, action, subject, detail)
  overriding system value values ($1, $2, $3, $4, $5, $6)
  on conflict (workspace_id, audit_id) do update set detail = excluded.detail)"};

}  // namespace

Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, std::string actor,
                 std::string action, std::string subject, nlohmann::json detail) {
  pg::Call line = audit_line(workspace, actor, action, subject, detail);
  co_await transaction.query(*line.statement, std::move(line.params));
}

pg::Call audit_line(WorkspaceId workspace, std::string_view actor, std::string_view action,
                    std::string_view subject, const nlohmann::json& detail) {
  pg::Call line;
  line.statement = &kAudit;
  line.params.add(workspace).add(actor).add(action).add(subject).add(detail);
  return line;
}

Task<AuditId> draw_audit_id(pg::Pool& pool) {
  const auto drawn = co_await pool.query(kDraw);
  co_return drawn.get<AuditId>(0, 0);
}

pg::Call audit_so_far(WorkspaceId workspace, AuditId id, std::string_view actor,
                      std::string_view action, std::string_view subject,
                      const nlohmann::json& detail) {
  pg::Call line;
  line.statement = &kSoFar;
  line.params.add(workspace).add(id).add(actor).add(action).add(subject).add(detail);
  return line;
}

}  // namespace sluice::sync
