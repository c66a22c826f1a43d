#include "api/places.hpp"

#include <fmt/format.h>

namespace sluice::api {

struct Places::State {
  explicit State(std::size_t requests_max) : share(requests_max) {}
  FairShare share;
};

void Places::Place::give_back() {
  if (state_) state_->share.give_back(workspace_);
  state_.reset();
}

Places::Places(std::size_t requests_max) : state_(std::make_shared<State>(requests_max)) {}

Result<void> Places::take(Place& place, WorkspaceId workspace) {
  if (place.state_ && place.workspace_ == workspace) return {};
  place.give_back();
  FairShare& share = state_->share;
  if (!share.may_take(workspace)) {
    ++refused_total_;
    const std::string whose = workspace.has_value() ? "tokens of this workspace"
                                                    : "tokens that this host has not looked up";
    return fail(ErrorKind::retry_later, "request.too_many",
                fmt::format("{} requests with {} are under way on this host, which is all that it "
                            "takes of them beside those of others",
                            share.of(workspace), whose),
                "Ask again when some of them are answered; a request whose body does not come, or "
                "whose answer is not taken, counts, too");
  }
  share.take(workspace);
  place.state_ = state_;
  place.workspace_ = workspace;
  return {};
}

std::size_t Places::under_way() const { return state_->share.taken(); }

}  // namespace sluice::api
