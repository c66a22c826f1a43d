// People who read by SQL, and stay: whoever reads a table keeps it from being changed.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "pg/connection.hpp"

namespace sluice::pg {

/// A transaction of somebody's login may be open so long, whatever limits it has lifted.
inline constexpr std::chrono::seconds kReadersKept{900};
/// … and so long where it is in somebody's way: nobody who keeps to the limits of a login comes to
/// it.
inline constexpr std::chrono::milliseconds kReadersPatience{300'000};

struct ReadersLimits {
  ReadersLimits() = default;
  ReadersLimits(std::chrono::milliseconds kept_for, std::chrono::milliseconds patience_of)
      : kept(kept_for), patience(patience_of) {}
  std::chrono::milliseconds kept = kReadersKept;
  std::chrono::milliseconds patience = kReadersPatience;
};

/// Ends sessions of people's logins, of this database, beyond these limits, by
/// sluice.end_sql_sessions; the log tells each (sql.session_ended, sql.session_stays). In the way
/// is whoever another session waits for, or who keeps one of `in_use`, tables and views as SQL
/// names them. Never waits for a lock. The connection must not be inside a transaction. Returns how
/// many it ended: they are gone a moment later. A schema that is older than the function: none.
/// Throws QueryError.
Task<int> end_sql_sessions(Connection& connection, ReadersLimits limits,
                           std::vector<std::string> in_use = {});

/// The same again and again: a session that we may not end is told once.
class SqlSessionWatch {
 public:
  explicit SqlSessionWatch(ReadersLimits limits) : limits_(limits) {}
  Task<void> look(Connection& connection);

 private:
  ReadersLimits limits_;
  std::set<int> told_;  ///< backends
};

}  // namespace sluice::pg
