#include "sync/audit.hpp"

namespace sluice::sync {
namespace {

// Of a token that is not valid any more: 1 / 0. Nothing else of such a transaction divides.
constexpr std::string_view kGuarded = R"(
  where $1::bigint is null or 1 / (
    select count(*) from sluice.token where workspace_id = $1 and token_id = $2 and revoked_at is null) = 1)";
constexpr std::string_view kGuardFails = "22012";

const pg::Statement kAudit{"audit", R"(
  insert into sluice.audit (workspace_id, actor, action, subject, detail)
  select $3::bigint, $4::text, $5::text, $6::text, $7::jsonb)" +
                                        std::string(kGuarded)};

const pg::Statement kDraw{"audit_draw",
                          "select nextval(pg_get_serial_sequence('sluice.audit', 'audit_id'))"};

const pg::Statement kSoFar{"audit_so_far", R"(
  insert into sluice.audit (workspace_id, audit_id, actor, action, subject, detail)
  overriding system value select $3::bigint, $4::bigint, $5::text, $6::text, $7::text, $8::jsonb)" +
                                               std::string(kGuarded) + R"(
  on conflict (workspace_id, audit_id) do update set detail = excluded.detail)"};

}  // namespace

bool was_revoked(const pg::QueryError& failure) { return failure.sqlstate() == kGuardFails; }

Task<void> audit(pg::Transaction& transaction, WorkspaceId workspace, Actor actor,
                 std::string action, std::string subject, nlohmann::json detail) {
  pg::Call line = audit_line(workspace, actor, action, subject, detail);
  co_await transaction.query(*line.statement, std::move(line.params));
}

pg::Call audit_line(WorkspaceId workspace, const Actor& actor, std::string_view action,
                    std::string_view subject, const nlohmann::json& detail) {
  pg::Call line;
  line.statement = &kAudit;
  line.params.add(actor.workspace()).add(actor.token());
  line.params.add(workspace).add(actor.name()).add(action).add(subject).add(detail);
  return line;
}

Task<AuditId> draw_audit_id(pg::Pool& pool) {
  const auto drawn = co_await pool.query(kDraw);
  co_return drawn.get<AuditId>(0, 0);
}

pg::Call audit_so_far(WorkspaceId workspace, AuditId id, const Actor& actor,
                      std::string_view action, std::string_view subject,
                      const nlohmann::json& detail) {
  pg::Call line;
  line.statement = &kSoFar;
  line.params.add(actor.workspace()).add(actor.token());
  line.params.add(workspace).add(id).add(actor.name()).add(action).add(subject).add(detail);
  return line;
}

}  // namespace sluice::sync
