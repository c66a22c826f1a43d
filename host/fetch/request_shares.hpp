// How many requests this host has at vendors at once, and how many of them one workspace.
#pragma once

#include <list>
#include <memory>

#include "base/async.hpp"
#include "base/fair_share.hpp"

namespace sluice::fetch {

/// Places for requests under way, shared by workspaces (FairShare): a vendor that does not answer
/// costs its workspace its share, and nobody else anything. First come first served among those
/// whose workspace may have one more. One loop; owned by the Client. May be destroyed while places
/// are out and callers wait: they keep what they need and finish.
class RequestShares {
 private:
  struct State;

 public:
  static constexpr std::size_t kRequestsMaxDefault = 256;

  explicit RequestShares(std::size_t requests_max = kRequestsMaxDefault);

  /// Given back when destroyed.
  class Place {
   public:
    Place() = default;
    ~Place();
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) = delete;

   private:
    friend class RequestShares;
    std::shared_ptr<State> state_;
    WorkspaceId workspace_;
  };

  /// Cancelled: throws boost::system::system_error(operation_aborted) and holds nothing.
  Task<Place> acquire(WorkspaceId workspace);
  [[nodiscard]] std::size_t under_way() const;
  [[nodiscard]] std::size_t waiting() const;

 private:
  static Task<Place> acquire_from(std::shared_ptr<State> state, WorkspaceId workspace);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::fetch
