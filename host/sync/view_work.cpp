#include "sync/view_work.hpp"

#include <optional>
#include <vector>

#include "base/failpoint.hpp"
#include "base/log.hpp"
#include "feed/view_owners.hpp"
#include "feed/views.hpp"

namespace sluice::sync {
namespace {

const pg::Statement kWorkspaceName{"work_workspace", R"(
  select name from sluice.workspace where workspace_id = $1)"};

const pg::Statement kLeftBehind{"views_left_behind", R"(
  insert into sluice.work (workspace_id, kind, subject)
  select w.workspace_id, $2, '' from sluice.workspace w
  where (w.views_made < $1 or w.views_made > $1)
    and not exists (select 1 from sluice.work k where k.workspace_id = w.workspace_id and k.kind = $2
                    and k.subject = '' and k.state = 'waiting'))"};

/// Of all own types that are no more; what is in use is tried again.
Task<void> close_all_owners(pg::Connection& connection, WorkspaceId workspace) {
  feed::ClosedOwners closed;
  while (closed.more) {
    closed = co_await feed::close_owners(connection, workspace, closed.last);
    if (closed.busy) {
      throw Failure(Error(ErrorKind::retry_later, std::string(feed::kOwnerBusyCode),
                          "roles and policies of own types that were dropped stay for now: the "
                          "table of own rows is in use",
                          "nothing: it is tried again"));
    }
  }
}

class RenewViews final : public work::Outside {
 public:
  Task<void> before(pg::Connection& connection, const work::Item& item) override {
    const auto name = co_await connection.query(kWorkspaceName, pg::Params(item.workspace));
    const model::CatalogPtr catalog = co_await model::load_catalog(connection, item.workspace);
    std::optional<std::string> left;
    std::vector<feed::StaleView> stale;
    try {
      stale = co_await feed::refresh_views(connection, *catalog, name.get<std::string>(0, 0));
    } catch (const Failure& failure) {
      // The schema is somebody else's. Trying for ever mends nothing.
      if (failure.error().kind != ErrorKind::conflict) throw;
      left = failure.what();
    }
    // What is only busy is tried again; what something depends on is remembered as stale.
    for (const feed::StaleView& one : stale)
      if (one.error.kind == ErrorKind::retry_later) throw Failure(one.error);
    co_await close_all_owners(connection, item.workspace);
    if (!left) co_return;
    log::warning("work.views_left", {{"workspace", item.workspace.value}, {"error", *left}});
    if (connection.in_transaction()) co_await connection.query("rollback");
  }
};

}  // namespace

Task<work::WorkId> renew_views(pg::Transaction& transaction, WorkspaceId workspace,
                               std::string actor) {
  work::NewWork work;
  work.kind = kRenewViews;
  work.actor = std::move(actor);
  return work::put(transaction, workspace, std::move(work));
}

Task<std::vector<std::string>> renew_views_now(pg::Connection& connection, WorkspaceId workspace,
                                               std::string workspace_name) {
  std::vector<std::string> notes;
  try {
    SLUICE_FAILPOINT("views.now");
    const model::CatalogPtr catalog = co_await model::load_catalog(connection, workspace);
    const auto stale = co_await feed::refresh_views(connection, *catalog, workspace_name);
    for (const feed::StaleView& one : stale) {
      if (one.error.code == feed::kOwnerBusyCode) continue;  // durable work does it in a moment
      const bool stands = one.error.code == feed::kNoOwnerCode;
      notes.push_back(stands ? one.error.describe()
                             : "the SQL view " + one.name +
                                   " is the old one: " + one.error.describe());
    }
  } catch (const Failure& failure) {
    notes.push_back("the SQL views are the old ones: " + failure.error().describe());
  }
  co_return notes;
}

Task<std::int64_t> renew_views_left_behind(pg::Pool& pool) {
  auto connection = co_await pool.acquire();
  const std::string here = co_await feed::views_made_here(*connection);
  pg::Params params(here, std::string_view(kRenewViews));
  const auto put = co_await connection->query(kLeftBehind, std::move(params));
  const std::int64_t workspaces = put.affected();
  if (workspaces > 0) log::info("views.due", {{"workspaces", workspaces}});
  co_return workspaces;
}

std::unique_ptr<work::Kind> renew_views_kind() { return std::make_unique<RenewViews>(); }

}  // namespace sluice::sync
