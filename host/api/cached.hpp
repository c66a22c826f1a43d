// Questions to the database that many ask: one under way at a time, its answer kept for a while,
// and nobody waits for it longer than they like.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/async.hpp"
#include "base/clock.hpp"

namespace sluice::api {

/// One loop; executor and clock outlive it, and so does whatever `ask` refers to. A question that
/// is under way when this is destroyed ends with the loop.
template <class T>
class Cached {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Answer {
    std::shared_ptr<const T> value;  ///< the last one; null before the first
    TimePoint taken{};               ///< when it was
    std::string failure;  ///< why there is no newer one; empty when `value` is as fresh as wanted
  };

  Cached(Executor executor, const Clock& clock, std::function<Task<T>()> ask)
      : state_(std::make_shared<State>(
            State{std::move(executor), clock, std::move(ask), {}, {}, {}})) {}

  /// An answer that is at most `age` old, or after `wait` the one there is.
  Task<Answer> get(std::chrono::steady_clock::duration age,
                   std::chrono::steady_clock::duration wait) {
    return get_from(state_, age, wait);
  }

 private:
  struct State {
    Executor executor;
    const Clock& clock;
    std::function<Task<T>()> ask;
    Answer last;
    bool under_way = false;
    std::list<asio::steady_timer*> waiting;  ///< each removes itself
  };

  static Task<void> refresh(std::shared_ptr<State> state) {
    std::shared_ptr<const T> value;
    std::string failure;
    try {
      value = std::make_shared<const T>(co_await state->ask());
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (value) {
      state->last.value = std::move(value);
      state->last.taken = state->clock.steady();
    }
    state->last.failure = std::move(failure);
    state->under_way = false;
    for (asio::steady_timer* timer : state->waiting) timer->cancel();
  }

  static Task<Answer> get_from(std::shared_ptr<State> state,
                               std::chrono::steady_clock::duration age,
                               std::chrono::steady_clock::duration wait) {
    const TimePoint asked = state->clock.steady();
    if (state->last.value && asked - state->last.taken <= age) co_return state->last;
    if (!state->under_way) {
      state->under_way = true;
      asio::co_spawn(state->executor, refresh(state), asio::detached);
    }
    if (!state->under_way) co_return state->last;  // answered at once, before we could wait
    asio::steady_timer timer(state->executor);
    timer.expires_after(wait);
    const auto place = state->waiting.insert(state->waiting.end(), &timer);
    struct Leave {
      State& state;
      typename std::list<asio::steady_timer*>::iterator place;
      ~Leave() { state.waiting.erase(place); }
    } leave{*state, place};
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    Answer answer = state->last;
    if (state->under_way) answer.failure = "it does not answer";
    co_return answer;
  }

  std::shared_ptr<State> state_;
};

}  // namespace sluice::api
