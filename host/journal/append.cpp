#include "journal/append.hpp"

#include <fmt/format.h>

namespace sluice::journal {
namespace {

// The head's row is locked and, but for retention and a new generation, never written: the last
// transaction that locked it stands in its xmax. A transaction id has a lock of its own as long as
// its transaction runs. Of another role's session we may see whose it is, and no more.
const pg::Statement kHolder{
    "journal_holder",
    "select l.pid, a.application_name, coalesce(host(a.client_addr), 'a local socket'), a.state, "
    "extract(epoch from clock_timestamp() - a.xact_start)::bigint, a.usename::text "
    "from sluice.feed_head h join pg_locks l on l.locktype = 'transactionid' and l.granted "
    "and l.transactionid = h.xmax join pg_stat_activity a on a.pid = l.pid "
    "where h.workspace_id = $1"};

}  // namespace

const pg::Statement kAppend{
    "journal_append",
    "select sluice.append_changes($1, $2, $3, $4::bigint[], $5::bigint[], $6::text[], $7::text[], "
    "$8::jsonb[], $9::timestamptz[])"};

const pg::Statement kAppendParts{"journal_append_parts",
                                 "select sluice.append_change_parts($1, $2, $3)"};

const pg::Statement kPutPart{
    "journal_put_part",
    "insert into sluice.change_part (workspace_id, run_id, types, entities, ops, ids, changes, "
    "vendor_times) values ($1, $2, $3::bigint[], $4::bigint[], $5::text[], $6::text[], "
    "$7::jsonb[], $8::timestamptz[])"};

bool is_busy(const pg::QueryError& error) {
  return error.sqlstate() == "55P03" &&
         error.error().message.find("append_change") != std::string::npos;
}

void Changes::add(std::int64_t type, std::int64_t entity, std::string_view op,
                  std::string_view external_id, std::string_view changed,
                  std::optional<Micros> vendor_at) {
  types_.add(type);
  entities_.add(entity);
  ops_.add(op);
  ids_.add(external_id);
  if (changed.empty()) {
    changed_.add_null();
  } else {
    changed_.add(changed);
  }
  if (vendor_at) {
    vendor_times_.add(vendor_at->count());
  } else {
    vendor_times_.add_null();
  }
}

pg::Params Changes::take(pg::Params params) {
  params.add(std::move(types_)).add(std::move(entities_)).add(std::move(ops_));
  params.add(std::move(ids_)).add(std::move(changed_)).add(std::move(vendor_times_));
  return params;
}

void Changes::append_to(pg::Pipeline& pipeline, const Source& source) {
  if (empty()) return;
  pipeline.add(kAppend, take(pg::Params(source.workspace, source.connection, source.run)));
}

void Changes::put_aside(pg::Pipeline& pipeline, const Source& source) {
  if (empty()) return;
  pipeline.add(kPutPart, take(pg::Params(source.workspace, source.run)));
}

Task<Error> who_holds_the_head(pg::Connection& connection, WorkspaceId workspace) {
  if (connection.in_transaction()) co_await connection.query("rollback");
  pg::Params params(workspace);
  const pg::QueryResult holder = co_await connection.query(kHolder, std::move(params));
  std::string who = "whoever held it has let it go since";
  if (!holder.empty() && holder.is_null(0, 4)) {
    who = fmt::format("process {} of the database ('{}', of the role {}) holds it",
                      holder.get<std::int64_t>(0, 0), holder.text(0, 1),
                      holder.is_null(0, 5) ? "?" : holder.text(0, 5));
  } else if (!holder.empty()) {
    who =
        fmt::format("process {} of the database ('{}' from {}, {}) has held it for {} s",
                    holder.get<std::int64_t>(0, 0), holder.text(0, 1), holder.text(0, 2),
                    holder.is_null(0, 3) ? "" : holder.text(0, 3), holder.get<std::int64_t>(0, 4));
  }
  co_return Error(ErrorKind::retry_later, "feed.busy",
                  fmt::format("the head of workspace {}'s change feed was not free in time: {}",
                              workspace.value, who),
                  "nothing was written; it is tried again. A process that keeps it can be ended: "
                  "select pg_terminate_backend(<process>)");
}

}  // namespace sluice::journal
