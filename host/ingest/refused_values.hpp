// Which records of a page PostgreSQL cannot take.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "ingest/page.hpp"
#include "ingest/validate.hpp"
#include "pg/error.hpp"
#include "pg/fenced.hpp"

namespace sluice::ingest {

/// The server says no to a value (classes 22 and 54), and not to the page.
[[nodiscard]] bool is_refused_value(const pg::QueryError& error);

/// The rows whose values it refuses, with what it says. Found by halves, in a transaction that is
/// rolled back; throws pg::QueryError for anything else that it says. The trial is for a connection
/// that nobody has: a row that is there already would keep its insert from being tried.
Task<std::vector<std::pair<std::uint32_t, std::string>>> find_refused(pg::Fenced& trial,
                                                                      const PageContext& context,
                                                                      const Batch& batch);

}  // namespace sluice::ingest
