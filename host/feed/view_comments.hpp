// What a SQL client shows of a view and its columns: the manifest's and the declaration's words.
#pragma once

#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::feed {

/// Comments on the workspace's views that stand, and on their columns, where there is none or one
/// that we wrote before: people's own stay. Writes only what differs. What cannot be written is
/// left for the next refresh.
Task<void> comment_views(pg::Transaction& transaction, const model::Catalog& catalog,
                         std::string schema);

}  // namespace sluice::feed
