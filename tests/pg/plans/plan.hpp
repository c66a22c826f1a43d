// What is wrong with a plan, for a host whose every lookup is one by an index.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sluice::plans {

/// An index as the catalogue has it.
struct Index {
  std::string table;                 ///< "sluice.link"
  std::vector<std::string> columns;  ///< its key, in order; "" for an expression
  bool partial = false;
};
using Indexes = std::map<std::string, Index>;  ///< by name

/// Tables whose rows are counted by what an organisation sets up, not by what its vendors hold: of
/// them a statement may read all rows of one workspace.
[[nodiscard]] bool is_small(const std::string& table);

/// One line each:
///   "seq scan of sluice.link"            whatever the settings say
///   "whole index link_pkey"              an index scan without a condition
///   "not by workspace: link_pkey"        its first column is workspace_id, and not compared
///   "too short a prefix: link_key_pkey"  leading columns that do not narrow, or a gap behind them
///   "whole workspace: link_pkey"         of a large table, by nothing but the workspace
///   "filtered walk: link_pkey"           the same under a LIMIT, with a filter: may read any
///                                        number of rows for a page
/// A scan in the index's order under a LIMIT is a page, and no fault. `plan` is what EXPLAIN
/// (FORMAT JSON) says: the object under "Plan".
[[nodiscard]] std::vector<std::string> faults_of(const nlohmann::json& plan,
                                                 const Indexes& indexes);

}  // namespace sluice::plans
