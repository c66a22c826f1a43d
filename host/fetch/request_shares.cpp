#include "fetch/request_shares.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::fetch {
namespace {

/// In the frame of the coroutine that waits.
struct Waiter {
  Waiter(const Executor& executor, WorkspaceId of)
      : workspace(of), bell(executor, std::chrono::steady_clock::time_point::max()) {}
  WorkspaceId workspace;
  asio::steady_timer bell;  ///< cancelled when it has a place
  bool waits = true;
};

}  // namespace

struct RequestShares::State {
  explicit State(std::size_t requests_max) : share(requests_max) {}

  void give_back(WorkspaceId workspace) {
    share.give_back(workspace);
    serve();
  }
  void serve() {
    for (auto next = queue.begin(); next != queue.end() && share.free() > 0;) {
      Waiter& waiter = **next;
      if (!share.may_take(waiter.workspace)) {
        ++next;
        continue;
      }
      share.take(waiter.workspace);
      waiter.waits = false;
      waiter.bell.cancel();
      next = queue.erase(next);
    }
  }

  FairShare share;
  std::list<Waiter*> queue;
};

RequestShares::Place::~Place() {
  if (state_) state_->give_back(workspace_);
}

RequestShares::RequestShares(std::size_t requests_max)
    : state_(std::make_shared<State>(requests_max)) {}

Task<RequestShares::Place> RequestShares::acquire(WorkspaceId workspace) {
  return acquire_from(state_, workspace);
}

Task<RequestShares::Place> RequestShares::acquire_from(std::shared_ptr<State> state,
                                                       WorkspaceId workspace) {
  Place place;
  place.workspace_ = workspace;
  if (state->share.may_take(workspace)) {
    state->share.take(workspace);
    place.state_ = state;
    co_return std::move(place);
  }
  Waiter waiter(co_await asio::this_coro::executor, workspace);
  state->queue.push_back(&waiter);
  struct Leaves {
    State& state;
    Waiter& waiter;
    ~Leaves() {
      if (waiter.waits) state.queue.remove(&waiter);
    }
  } leaves{*state, waiter};
  while (waiter.waits) {
    boost::system::error_code ignored;
    co_await waiter.bell.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const auto cancelled = co_await asio::this_coro::cancellation_state;
    if (cancelled.cancelled() == asio::cancellation_type::none) continue;
    if (!waiter.waits) place.state_ = state;  // given at the same moment: back it goes
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  place.state_ = state;
  co_return std::move(place);
}

std::size_t RequestShares::under_way() const { return state_->share.taken(); }

std::size_t RequestShares::waiting() const { return state_->queue.size(); }

}  // namespace sluice::fetch
