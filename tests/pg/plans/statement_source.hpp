// The SQL that the host's sources hold, found by reading them: so that no statement can be
// forgotten.
#pragma once

#include <string>
#include <vector>

namespace sluice::plans {

struct SourceStatement {
  std::string place;  ///< "host/sync/lease.cpp:24"
  std::string name;   ///< pg::Statement's; else the constant's, as "link/living.cpp kLook"
  std::string sql;
};

struct SourceStatements {
  std::vector<SourceStatement> found;
  std::vector<std::string> unread;  ///< definitions that this reader does not understand
};

/// Every `pg::Statement kName{"name", <literals>}`, and every string_view constant whose text
/// begins with a verb of SQL, below `root`/host. Literals may be ordinary or raw, several in a row,
/// and a text may begin with std::string(kOther) +.
SourceStatements statements_of_host(const std::string& root);

}  // namespace sluice::plans
