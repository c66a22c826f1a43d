// Why a list may be empty: what its filters name, and rows do not have. Internal to feed/.
#pragma once

#include <string>
#include <vector>

#include "base/async.hpp"
#include "feed/entities.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::feed {

/// Sentences for people, none where each filter names something that some of the first rows have:
///   "status: none of the 425 stripe.invoice that were looked at is 'opne'; they are draft, open,
///    paid. Did you mean 'open'?"
///   "extra: none of the 425 stripe.invoice that were looked at has 'metadta' there; they have
///    lines, metadata. Did you mean 'metadata'?"
///   "the workspace has no stripe.invoice"
/// A look at kSampledRowsMax living rows for each filter, as long as that does not take long: then
/// the rest is not said. Throws pg::QueryError for a connection that broke.
Task<std::vector<std::string>> hints_of_empty(pg::Connection& connection,
                                              const model::Catalog& catalog,
                                              const model::StoredType& type,
                                              const std::vector<Filter>& filters);

}  // namespace sluice::feed
