// A number of places that workspaces share without one having to wait for what another keeps.
#pragma once

#include <cstddef>
#include <map>

#include "base/check.hpp"
#include "base/ids.hpp"

namespace sluice {

/// Counts who has how many of `whole` places, and says who may have one more. What is taken cannot
/// be taken back (a vendor may hold it for a minute), so some always stay free for whoever has
/// fewer: a workspace may take one more while it has fewer than kBorrow times as many as are free.
/// Alone it gets three quarters of them, two get three sevenths each, eight an eighth less a
/// little; who has none gets one while there is one. Of one, two or three places one workspace may
/// have all.
///
/// Counts only: who waits asks again when something was given back. One loop.
class FairShare {
 public:
  static constexpr std::size_t kBorrow = 3;

  explicit FairShare(std::size_t whole) : whole_(whole) {}

  [[nodiscard]] bool may_take(WorkspaceId workspace) const {
    return of(workspace) < kBorrow * free();
  }
  /// Also when it may not: who comes back from a pause goes on, and nobody new begins meanwhile.
  void take(WorkspaceId workspace) {
    ++taken_;
    ++by_workspace_[workspace];
  }
  void give_back(WorkspaceId workspace) {
    const auto found = by_workspace_.find(workspace);
    SLUICE_INVARIANT(found != by_workspace_.end());
    --taken_;
    if (--found->second == 0) by_workspace_.erase(found);
  }

  [[nodiscard]] std::size_t whole() const { return whole_; }
  [[nodiscard]] std::size_t taken() const { return taken_; }
  [[nodiscard]] std::size_t free() const { return whole_ > taken_ ? whole_ - taken_ : 0; }
  [[nodiscard]] std::size_t of(WorkspaceId workspace) const {
    const auto found = by_workspace_.find(workspace);
    return found == by_workspace_.end() ? 0 : found->second;
  }

 private:
  std::size_t whole_;
  std::size_t taken_ = 0;
  std::map<WorkspaceId, std::size_t> by_workspace_;
};

}  // namespace sluice
