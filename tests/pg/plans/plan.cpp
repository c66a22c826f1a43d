#include "pg/plans/plan.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::plans {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 21> kSmall = {
    "sluice.sql_view",      "sluice.workspace",
    "sluice.token",         "sluice.connector_version",
    "sluice.installation",  "sluice.connection",
    "sluice.stream",        "sluice.entity_type",
    "sluice.attribute",     "sluice.relationship",
    "sluice.link_rule",     "sluice.lease_epoch",
    "sluice.lease_hold",    "sluice.data_key",
    "sluice.secret",        "sluice.host",
    "sluice.setting",       "sluice.migration",
    "sluice.refetch_pause", "sluice.connector_death",
    "sluice.child_set"};

/// Partial indexes that hold only what is to be done: reading all of one is reading the work.
constexpr std::array<std::string_view, 8> kWorkLists = {
    "stream_due_changes",  "stream_due_loads", "stream_due_changes_of",
    "stream_due_loads_of", "stream_reconcile", "connection_disconnecting",
    "work_waiting",        "work_due"};

/// "((workspace_id = $1) AND (id > 5))" names the column.
bool names(const std::string& condition, const std::string& column) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t at = condition.find(column); at != std::string::npos;
       at = condition.find(column, at + 1)) {
    const bool begins = at == 0 || !is_word(condition[at - 1]);
    const std::size_t end = at + column.size();
    if (begins && (end == condition.size() || !is_word(condition[end]))) return true;
  }
  return false;
}

/// How many columns from the first on are compared: what stands behind a gap bounds no scan.
std::size_t prefix_of(const Index& index, const std::string& condition) {
  std::size_t count = 0;
  while (count < index.columns.size() && names(condition, index.columns[count])) ++count;
  return count;
}

/// Workspace and kind of key, or workspace and connection, are no narrowing: all rows may be of
/// one.
std::size_t prefix_of_use(const std::string& name) {
  return name == "link_key_pkey" || name.ends_with("_by_children") ? 3 : 2;
}

/// The whole key, each column by equality.
bool is_lookup(const Index& index, const std::string& condition) {
  return condition.find_first_of("<>") == std::string::npos &&
         std::all_of(index.columns.begin(), index.columns.end(),
                     [&](const std::string& column) { return names(condition, column); });
}

/// Tombstones are passed over everywhere; what is deleted is few.
bool throws_rows_away(const std::string& filter) {
  constexpr std::string_view kAlive = "deleted_at IS NULL)";
  const bool only_tombstones =
      filter.ends_with(kAlive) && filter.find(' ') == filter.size() - kAlive.size() + 10;
  return !filter.empty() && !only_tombstones;
}

class Judge {
 public:
  explicit Judge(const Indexes& indexes) : indexes_(indexes) {}

  /// `paged`: a LIMIT above ends this node early. `filtered`: what is between throws rows away.
  void look(const json& node, bool paged, bool filtered) {
    const std::string kind = node.at("Node Type");
    const bool here_filtered = filtered || throws_rows_away(text(node, "Filter"));
    if (kind == "Seq Scan" || kind == "Parallel Seq Scan" || kind == "Sample Scan")
      fault("seq scan of " + text(node, "Schema") + "." + text(node, "Relation Name"));
    if (kind == "Index Scan" || kind == "Index Only Scan" || kind == "Bitmap Index Scan")
      scan(node, paged, here_filtered);
    for (const json& child : node.value("Plans", json::array())) {
      const std::string relation = text(child, "Parent Relationship");
      // What sorts, counts or hashes reads all of its input, whatever is above it.
      const bool streams = kind == "Nested Loop" || kind == "Subquery Scan" || kind == "Result" ||
                           kind == "LockRows" || kind == "Append" || kind == "Merge Append" ||
                           kind == "ProjectSet" || kind == "Bitmap Heap Scan";
      const bool first = relation == "Outer" || relation == "Subquery" || relation == "Member";
      const bool below = kind == "Limit" ? relation == "Outer" : paged && streams && first;
      look(child, below, kind == "Limit" ? false : here_filtered && below);
    }
  }
  std::vector<std::string> take() { return std::move(faults_); }

 private:
  static std::string text(const json& node, const char* key) { return node.value(key, ""); }

  void fault(std::string what) {
    if (std::find(faults_.begin(), faults_.end(), what) == faults_.end())
      faults_.push_back(std::move(what));
  }

  void scan(const json& node, bool paged, bool filtered) {
    const std::string name = node.at("Index Name");
    const auto found = indexes_.find(name);
    if (found == indexes_.end()) return;  // the server's own catalogue
    const Index& index = found->second;
    const std::string condition = text(node, "Index Cond");
    const bool sorted_page = paged && text(node, "Node Type") != "Bitmap Index Scan";
    if (std::find(kWorkLists.begin(), kWorkLists.end(), name) != kWorkLists.end()) return;
    if (condition.empty()) {
      if (!sorted_page || filtered) fault("whole index " + name);
      return;
    }
    if (index.columns.front() == "workspace_id" && !names(condition, "workspace_id"))
      fault("not by workspace: " + name);
    if (index.columns.front() != "workspace_id" || is_small(index.table)) return;
    if (is_lookup(index, condition)) return;
    const std::size_t prefix = prefix_of(index, condition);
    if (prefix > 1 && prefix < prefix_of_use(name)) return fault("too short a prefix: " + name);
    if (prefix > 1 && !(filtered && sorted_page)) return;
    if (!sorted_page) return fault("whole workspace: " + name);
    if (filtered) fault("filtered walk: " + name);
  }

  const Indexes& indexes_;
  std::vector<std::string> faults_;
};

}  // namespace

bool is_small(const std::string& table) {
  return std::find(kSmall.begin(), kSmall.end(), table) != kSmall.end();
}

std::vector<std::string> faults_of(const json& plan, const Indexes& indexes) {
  Judge judge(indexes);
  judge.look(plan, false, false);
  return judge.take();
}

}  // namespace sluice::plans
