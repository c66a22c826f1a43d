#include "sync/view_rounds.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/bell.hpp"

namespace sluice::sync {

struct ViewRounds::Round {
  explicit Round(const Executor& executor)
      : changed(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer changed;  // cancelled when it has ended
  bool has_ended = false;
  bool is_made = false;  // false: whoever made it was stopped
  std::vector<std::string> notes;
};

/// Its maker's hold on a round: however he ends, those who wait hear of it.
struct ViewRounds::Turn {
  Turn(ViewRounds& all_, WorkspaceId workspace_, std::shared_ptr<Round> round_)
      : all(all_), workspace(workspace_.value), round(std::move(round_)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    round->has_ended = true;
    round->changed.cancel();
    const auto at = all.workspaces_.find(workspace);
    if (at->second.making == round) at->second.making = nullptr;
    if (at->second.to_come == round) at->second.to_come = nullptr;
    if (!at->second.making && !at->second.to_come) all.workspaces_.erase(at);
  }
  ViewRounds& all;
  std::int64_t workspace;
  std::shared_ptr<Round> round;
};

Task<void> ViewRounds::ended(std::shared_ptr<Round> round) {
  while (!round->has_ended) co_await rung(round->changed);
}

Task<std::vector<std::string>> ViewRounds::renew(pg::Connection& connection, WorkspaceId workspace,
                                                 std::string workspace_name) {
  const auto executor = co_await asio::this_coro::executor;
  for (;;) {
    const std::shared_ptr<Round> to_come = workspaces_[workspace.value].to_come;
    if (!to_come) break;
    co_await ended(to_come);
    if (to_come->is_made) co_return to_come->notes;
  }
  const auto round = std::make_shared<Round>(executor);
  const Turn turn(*this, workspace, round);
  workspaces_[workspace.value].to_come = round;
  while (const std::shared_ptr<Round> before = workspaces_[workspace.value].making)
    co_await ended(before);
  workspaces_[workspace.value].to_come = nullptr;
  workspaces_[workspace.value].making = round;
  ++rounds_;
  std::vector<std::string> notes =
      co_await renew_views_now(connection, workspace, std::move(workspace_name));
  const auto asked = co_await asio::this_coro::cancellation_state;
  round->notes = notes;
  round->is_made = asked.cancelled() == asio::cancellation_type::none;
  co_return notes;
}

}  // namespace sluice::sync
