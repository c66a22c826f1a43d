// The SQL views of workspaces as durable work: what changes a catalogue makes them due in its own
// transaction, and a start those that something else has left behind.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pg/pool.hpp"
#include "work/runner.hpp"

namespace sluice::sync {

/// The workspace's SQL views are made to be those of its catalogue. A view that something else uses
/// is left as it is, with a line in the log.
inline constexpr const char* kRenewViews = "views.renew";

/// Part of the transaction that changes what the views show.
Task<work::WorkId> renew_views(pg::Transaction& transaction, WorkspaceId workspace,
                               std::string actor);

/// The same at once, behind the commit, for whoever asks next; what stays the old one, in words.
/// Never throws a Failure: the change is done, and nothing that goes wrong here may look as if it
/// were not. The connection must not be inside a transaction.
Task<std::vector<std::string>> renew_views_now(pg::Connection& connection, WorkspaceId workspace,
                                               std::string workspace_name);

/// Makes due what no change of a catalogue would: the views of workspaces in which they were made
/// last by another version, as another role, or in the place that this database was restored from.
/// Returns how many those are. One statement, by an index.
Task<std::int64_t> renew_views_left_behind(pg::Pool& pool);

[[nodiscard]] std::unique_ptr<work::Kind> renew_views_kind();

}  // namespace sluice::sync
