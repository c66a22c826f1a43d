// How many requests of clients this host has under way, and how many of them one workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/error.hpp"
#include "base/fair_share.hpp"

namespace sluice::api {

/// Places for requests, shared by workspaces (FairShare): as many as there may be clients
/// (listen.clients_max). A request keeps its place from before its token is looked up until its
/// answer is sent, whatever it waits for meanwhile: a body that does not come, a connection to the
/// database, a client that does not take its answer. So a workspace's tokens fill their share, and
/// the others' requests still find connections free.
///
///   before the token is looked up   a place of the workspace that it is known to be of, else one
///                                   of nobody's (WorkspaceId()), who has a share like a workspace
///   after that                      one of the token's workspace, wherever it asks
///
/// Nobody waits: one waiting would keep the very connection that there is too little of. One loop;
/// owned by Api. May be destroyed while places are out.
class Places {
 private:
  struct State;

 public:
  /// Of one request, or of none; given back when destroyed.
  class Place {
   public:
    Place() = default;
    ~Place() { give_back(); }
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) = delete;

   private:
    friend class Places;
    void give_back();
    std::shared_ptr<State> state_;
    WorkspaceId workspace_;
  };

  explicit Places(std::size_t requests_max);

  /// Makes it a place of `workspace`. Error: request.too_many (retry_later), when that has its
  /// share; `place` is none then, whatever it was.
  Result<void> take(Place& place, WorkspaceId workspace);

  [[nodiscard]] std::size_t under_way() const;
  [[nodiscard]] std::int64_t refused_total() const { return refused_total_; }

 private:
  std::shared_ptr<State> state_;
  std::int64_t refused_total_ = 0;
};

}  // namespace sluice::api
