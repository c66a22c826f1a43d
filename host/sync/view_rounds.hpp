// SQL views are made anew once for all who ask at the same time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "sync/view_work.hpp"

namespace sluice::sync {

/// Each change of a catalogue makes the workspace's views anew before it is answered, and each
/// making looks at all of them: of 48 changes at once the last would wait for 48. Whoever comes
/// while one is being made waits for the next, which begins after all of their commits and stands
/// for all of them:
///
///   nobody --renew()--> making --renew(), by any number--> making, and one to come
///      ^                  |                                     |
///      +-----ended--------+<------------ended, the next begins--+
///
/// One per host, on one loop; hosts do not know of each other's.
class ViewRounds {
 public:
  /// As renew_views_now(). Who waits for somebody else's round keeps the connection meanwhile,
  /// which is two rounds at most.
  Task<std::vector<std::string>> renew(pg::Connection& connection, WorkspaceId workspace,
                                       std::string workspace_name);

  [[nodiscard]] std::int64_t rounds() const { return rounds_; }  ///< made since the start

 private:
  struct Round;
  struct Standing {
    std::shared_ptr<Round> making, to_come;
  };
  struct Turn;

  static Task<void> ended(std::shared_ptr<Round> round);

  std::map<std::int64_t, Standing> workspaces_;  ///< in which one is being made
  std::int64_t rounds_ = 0;
};

}  // namespace sluice::sync
