#include "fetch/budget.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <set>

#include "base/check.hpp"
#include "base/log.hpp"
#include "fetch/rate.hpp"

namespace sluice::fetch {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// What an account without a pace is assumed to bear when it says 429.
constexpr double kUnpacedRate = 16;
/// Resets that lie closer together than this are the same window, told with rounding.
constexpr milliseconds kSameWindow{1'500};
/// This part of a window is spread over the time that is left of it.
constexpr std::int64_t kSpreadDivisor = 5;
/// Askers that are remembered for a request that hung.
constexpr std::size_t kSuspectsMax = 1'000;

struct Waiter {
  Waiter(const Executor& executor, Priority p, Asker who)
      : bell(executor, TimePoint::max()), priority(p), asker(std::move(who)) {}
  asio::steady_timer bell;
  Priority priority;
  Asker asker;
  bool rung = false;  ///< look again whether it is your turn
};

/// The vendor's window, as its answers told.
struct Window {
  std::int64_t left = 0;  ///< less what was sent since
  std::optional<std::int64_t> limit;
  TimePoint resets_at{};
};

nanoseconds interval_of(double rate) { return nanoseconds(static_cast<std::int64_t>(1e9 / rate)); }

}  // namespace

struct Budget::State {
  State(BudgetOptions o, const Clock& c, Delay& d) : options(std::move(o)), clock(c), delay(d) {}

  // --- whose turn it is

  std::deque<std::shared_ptr<Waiter>>& line(Priority priority) {
    return lines[static_cast<std::size_t>(priority)];
  }
  /// Who goes next, if anybody may.
  [[nodiscard]] Waiter* first() const {
    Waiter* const change = first_in(lines[static_cast<std::size_t>(Priority::change)]);
    Waiter* const snapshot = first_in(lines[static_cast<std::size_t>(Priority::snapshot)]);
    if (change == nullptr || snapshot == nullptr) return change != nullptr ? change : snapshot;
    return changes_in_a_row >= kChangesInARow ? snapshot : change;
  }
  [[nodiscard]] Waiter* first_in(const std::deque<std::shared_ptr<Waiter>>& waiters) const {
    const auto found = std::find_if(waiters.begin(), waiters.end(),
                                    [this](const auto& one) { return has_place(*one); });
    return found == waiters.end() ? nullptr : found->get();
  }
  [[nodiscard]] bool has_place(const Waiter& waiter) const {
    if (!waiter.asker.what.empty()) {
      int of_one = 0;
      for (const Permit::Place& place : places) {
        if (place.asker != waiter.asker) continue;
        if (place.hung) return false;
        ++of_one;
      }
      const int most = waiter.priority == Priority::snapshot
                           ? options.of_one_max
                           : std::max(options.of_one_max, options.concurrency - 1);
      if (options.of_one_max > 0 && of_one >= most) return false;
      if (suspects.contains(waiter.asker)) return of_one == 0 && hung_count() < options.concurrency;
    }
    const bool gives_way =
        waiter.priority == Priority::snapshot && options.concurrency > options.kept_for_changes;
    return in_use() < options.concurrency - (gives_way ? options.kept_for_changes : 0);
  }
  [[nodiscard]] int hung_count() const {
    return static_cast<int>(
        std::count_if(places.begin(), places.end(), [](const auto& one) { return one.hung; }));
  }
  [[nodiscard]] int in_use() const { return static_cast<int>(places.size()) - hung_count(); }
  void find_hung(TimePoint now) {
    if (options.hung_after <= milliseconds::zero()) return;
    for (Permit::Place& place : places) {
      if (!place.hung && !place.waits_here && now - place.started >= options.hung_after &&
          hung_count() < options.concurrency)
        place.hung = true;
    }
  }
  /// The oldest request that may yet be found to hang.
  [[nodiscard]] std::optional<TimePoint> next_hung_at() const {
    if (hung_count() >= options.concurrency) return std::nullopt;
    for (const Permit::Place& place : places) {  // in the order of their starts
      if (!place.hung && !place.waits_here) return place.started + options.hung_after;
    }
    return std::nullopt;
  }
  void ring_first() {
    Waiter* const next = first();
    if (next == nullptr) return;
    next->rung = true;
    next->bell.cancel();
  }
  void leave(const std::shared_ptr<Waiter>& waiter) { std::erase(line(waiter->priority), waiter); }
  std::list<Permit::Place>::iterator occupy(const Waiter& waiter, TimePoint now) {
    Permit::Place place;
    place.asker = waiter.asker;
    place.started = now;
    place.hung = !waiter.asker.what.empty() && suspects.contains(waiter.asker);
    return places.insert(places.end(), std::move(place));
  }
  void release(std::list<Permit::Place>::iterator place) {
    if (place->hung && !place->answered && !place->asker.what.empty()) {
      if (suspects.size() >= kSuspectsMax) suspects.clear();
      suspects.insert(place->asker);
    }
    places.erase(place);
    ring_first();
  }

  // --- the pace

  /// The declared rate, or less after a 429; 0: not paced.
  [[nodiscard]] double rate_at(TimePoint now) const {
    const double declared = options.requests_per_second;
    const double part = share_at(now);
    if (part >= 1) return declared;
    return (declared > 0 ? declared : kUnpacedRate) * part;
  }
  [[nodiscard]] double share_at(TimePoint now) const {
    if (share >= 1) return 1;
    const auto steps = (now - slowed_at) / options.recover_every;
    return std::min(1.0, share + options.recover_share * static_cast<double>(steps));
  }
  /// Between two requests; zero: none.
  [[nodiscard]] nanoseconds interval_at(TimePoint now) const {
    return std::max(own_interval_at(now), spread_at(now));
  }
  /// By the declared rate, or what is left of it after a 429.
  [[nodiscard]] nanoseconds own_interval_at(TimePoint now) const {
    const double rate = rate_at(now);
    return rate > 0 ? interval_of(rate) : nanoseconds::zero();
  }
  /// By what the vendor's window has left; zero: enough.
  [[nodiscard]] nanoseconds spread_at(TimePoint now) const {
    if (!window || now >= window->resets_at || window->left <= 0 || !window->limit ||
        window->left > *window->limit / kSpreadDivisor)
      return nanoseconds::zero();
    return (window->resets_at - now) / window->left;
  }
  /// Until when the vendor wants nothing; a time that has passed when it may be asked.
  [[nodiscard]] TimePoint vendor_wants_at(TimePoint now) const {
    TimePoint at = held_until;
    if (window && window->left <= 0 && now < window->resets_at)
      at = std::max(at, window->resets_at);
    return at;
  }
  [[nodiscard]] TimePoint next_start(TimePoint now) const {
    const TimePoint open = std::max(now, vendor_wants_at(now));
    const nanoseconds interval = interval_at(now);
    if (interval <= nanoseconds::zero()) return open;
    // The pause since the last start counts by the interval of now, so that a pace that has just
    // become slower holds at once.
    const TimePoint at =
        std::max({open, last_start + interval, next_even - interval * burst_more()});
    // A window that begins anew ends what its predecessor asked for.
    return is_spread(now) ? std::max(open, std::min(at, window->resets_at)) : at;
  }
  /// The vendor's window is what the pace comes from.
  [[nodiscard]] bool is_spread(TimePoint now) const {
    return spread_at(now) > own_interval_at(now);
  }
  /// When the request that is first may go, as far as the vendor has a word in it; a time that has
  /// passed when it may be asked.
  [[nodiscard]] TimePoint vendor_lets_go_at(TimePoint now) const {
    return is_spread(now) ? next_start(now) : vendor_wants_at(now);
  }
  [[nodiscard]] int burst_more() const { return share >= 1 ? options.burst - 1 : 0; }
  void spend(TimePoint now) {
    const nanoseconds interval = interval_at(now);
    if (interval > nanoseconds::zero()) next_even = std::max(now, next_even) + interval;
    if (is_spread(now)) next_even = std::min(next_even, window->resets_at);
    last_start = burst_more() > 0 ? TimePoint::min() : now;
    if (window && now < window->resets_at) --window->left;
  }

  void hold(TimePoint until) {
    const TimePoint now = clock.steady();
    if (until > now + options.hold_max) {
      log::warning(
          "fetch.budget.hold_max",
          {{"asked_s", std::chrono::duration_cast<std::chrono::seconds>(until - now).count()},
           {"held_s", options.hold_max.count() / 1000}});
      until = now + options.hold_max;
    }
    held_until = std::max(held_until, until);
    // What was saved up before the hold is no burst behind it.
    const nanoseconds interval = interval_at(now);
    next_even = std::max(next_even, held_until + interval * (options.burst - 1));
  }

  void slow_down(TimePoint now) {
    const double before = share_at(now);
    share = std::max(options.rate_share_min, before / 2);
    slowed_at = now;
    ++counted.slowdowns;
    log::info("fetch.budget.slower", {{"rate", fmt::format("{:.3f}", rate_at(now))}});
  }

  void learn(const RateWindow& told, TimePoint now) {
    const TimePoint resets_at = now + std::min<milliseconds>(told.resets_in, options.hold_max);
    // Requests under way may not be in the vendor's count yet; the one that was answered is.
    const std::int64_t others = std::max<std::int64_t>(0, std::ssize(places) - 1);
    const std::int64_t left = told.remaining - others;
    const bool same = window && now < window->resets_at &&
                      resets_at - window->resets_at < kSameWindow &&
                      window->resets_at - resets_at < kSameWindow;
    if (!same) {
      window.emplace();
      window->resets_at = resets_at;
      window->left = left;
    }
    // Alone on its way, an answer tells exactly what is left.
    window->left = others == 0 ? told.remaining : std::min(window->left, left);
    window->limit = told.limit;
  }

  BudgetOptions options;
  const Clock& clock;
  Delay& delay;
  std::list<Permit::Place> places;  ///< of the requests under way, in the order of their starts
  std::set<Asker> suspects;         ///< whose last request hung, and was never answered
  bool watching = false;
  std::array<std::deque<std::shared_ptr<Waiter>>, 2> lines;
  int changes_in_a_row = 0;
  TimePoint next_even{};  ///< when the bucket would be full again, less its burst
  TimePoint last_start = TimePoint::min();
  TimePoint held_until{};
  double share = 1;  ///< of the declared rate, at `slowed_at`
  TimePoint slowed_at{};
  std::optional<Window> window;
  BudgetStats counted;
};

Budget::Permit::~Permit() {
  if (state_) state_->release(place_);
}

Budget::Permit& Budget::Permit::operator=(Permit&& other) noexcept {
  if (this != &other) {
    if (state_) state_->release(place_);
    state_ = std::move(other.state_);
    place_ = other.place_;
    waited_ = other.waited_;
    waited_for_ = other.waited_for_;
    held_for_ = other.held_for_;
  }
  return *this;
}

void Budget::Permit::waits_here() { place_->waits_here = true; }

void Budget::Permit::goes() {
  place_->waits_here = false;
  place_->started = state_->clock.steady();
  state_->places.splice(state_->places.end(), state_->places, place_);
  begin_to_watch(state_);
}

Budget::Budget(BudgetOptions options, const Clock& clock, Delay& delay) {
  options.concurrency = std::max(1, options.concurrency);
  options.burst = std::max(1, options.burst);
  state_ = std::make_shared<State>(std::move(options), clock, delay);
}

Task<Budget::Permit> Budget::acquire(Priority priority, milliseconds patience) {
  return acquire_from(state_, priority, patience, Asker());
}

Task<Budget::Permit> Budget::acquire(Priority priority, milliseconds patience, Asker asker) {
  return acquire_from(state_, priority, patience, std::move(asker));
}

void Budget::begin_to_watch(const std::shared_ptr<State>& state) {
  if (state->options.hung_after <= milliseconds::zero() || state->watching) return;
  for (const auto& line : state->lines) {
    if (line.empty()) continue;
    state->watching = true;
    asio::co_spawn(line.front()->bell.get_executor(), watch(state), asio::detached);
    return;
  }
}

Task<void> Budget::watch(std::shared_ptr<State> state) {
  struct Ends {
    State& state;
    ~Ends() { state.watching = false; }
  } ends{*state};
  while (!state->lines[0].empty() || !state->lines[1].empty()) {
    const std::optional<TimePoint> at = state->next_hung_at();
    if (!at) co_return;
    co_await state->delay.wait(*at - state->clock.steady());
    state->find_hung(state->clock.steady());
    state->ring_first();
  }
}

Task<Budget::Permit> Budget::acquire_from(std::shared_ptr<State> state, Priority priority,
                                          milliseconds patience, Asker asker) {
  const Executor executor = co_await asio::this_coro::executor;
  const TimePoint asked_at = state->clock.steady();
  auto waiter = std::make_shared<Waiter>(executor, priority, std::move(asker));
  state->line(priority).push_back(waiter);
  // Leaves the line however this frame ends, also when it is destroyed while it waits.
  struct Place {
    State& state;
    std::shared_ptr<Waiter> waiter;
    bool left = false;
    void leave() {
      if (std::exchange(left, true)) return;
      state.leave(waiter);
      state.ring_first();
    }
    ~Place() { leave(); }
  } place{*state, waiter};
  Permit permit;
  for (;;) {
    const TimePoint now = state->clock.steady();
    const bool is_first = state->first() == waiter.get();
    const TimePoint open = is_first ? state->vendor_lets_go_at(now) : state->vendor_wants_at(now);
    if (open > now && open - now > patience) {
      permit.held_for_ = std::chrono::ceil<milliseconds>(open - now);
      ++state->counted.held_back;
      break;
    }
    state->find_hung(now);
    if (state->first() == waiter.get()) {
      const nanoseconds span = state->next_start(now) - now;
      if (span <= nanoseconds::zero()) {
        state->spend(now);
        state->changes_in_a_row = priority == Priority::change ? state->changes_in_a_row + 1 : 0;
        permit.state_ = state;
        permit.place_ = state->occupy(*waiter, now);
        permit.waited_for_ = now - asked_at;
        ++state->counted.granted;
        state->counted.waited += permit.waited() ? 1 : 0;
        state->counted.wait_us += static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(permit.waited_for_).count());
        break;
      }
      permit.waited_ = true;
      co_await state->delay.wait(span);
      continue;
    }
    permit.waited_ = true;
    begin_to_watch(state);
    if (!waiter->rung) {
      state->ring_first();  // whoever has a place now, if it was this one's turn a moment ago
      boost::system::error_code ended;
      co_await waiter->bell.async_wait(asio::redirect_error(asio::use_awaitable, ended));
      if (!waiter->rung) throw boost::system::system_error(asio::error::operation_aborted);
    }
    waiter->rung = false;
  }
  place.leave();
  co_return std::move(permit);
}

void Budget::heed(const Permit& permit, int status, const contract::Headers& headers, Micros now) {
  State& state = *state_;
  const TimePoint at = state.clock.steady();
  if (permit.granted()) {
    permit.place_->answered = true;
    state.suspects.erase(permit.place_->asker);
  }
  if (const auto told = rate_window(state.options.headers, headers, now)) state.learn(*told, at);
  const bool too_fast = says_too_fast(status, headers, now);
  if (too_fast) ++state.counted.rate_limited;
  if (!too_fast && status != 503) return;
  const auto asked = retry_after(headers, now);
  if (asked && asked->count() > 0) return state.hold(at + *asked);
  if (!too_fast || state.vendor_wants_at(at) > at) return;
  // Those that were under way when the rate was halved were too many by the old rate, not by this.
  const bool counted_already = state.share < 1 && permit.place_->started <= state.slowed_at;
  if (!counted_already) state.slow_down(at);
}

void Budget::hold_until(TimePoint until) { state_->hold(until); }

void Budget::hold_for(milliseconds span) {
  // No vendor's number may turn the clock round.
  hold_until(state_->clock.steady() + std::min(span, kPatient));
}

void Budget::set_requests_per_second(double requests_per_second) {
  state_->options.requests_per_second = requests_per_second;
}

int Budget::in_use() const { return state_->in_use(); }

std::vector<HungRequest> Budget::hung() const {
  std::vector<HungRequest> all;
  if (state_->options.hung_after <= milliseconds::zero()) return all;
  const TimePoint now = state_->clock.steady();
  for (const Permit::Place& place : state_->places) {
    if (place.answered || place.waits_here || now - place.started < state_->options.hung_after)
      continue;
    HungRequest& one = all.emplace_back();
    one.asker = place.asker;
    one.since = std::chrono::duration_cast<milliseconds>(now - place.started);
  }
  return all;
}

std::vector<HeldRequest> Budget::held() const {
  constexpr milliseconds kWorthSaying{1'000};
  std::vector<HeldRequest> all;
  const TimePoint now = state_->clock.steady();
  const TimePoint open = state_->vendor_lets_go_at(now);
  if (open < now + kWorthSaying) return all;
  for (const auto& line : state_->lines) {
    for (const auto& waiter : line) {
      HeldRequest& one = all.emplace_back();
      one.asker = waiter->asker;
      one.left = std::chrono::ceil<milliseconds>(open - now);
    }
  }
  return all;
}

std::size_t Budget::waiting() const { return state_->lines[0].size() + state_->lines[1].size(); }

BudgetStats Budget::stats() const {
  BudgetStats out = state_->counted;
  const TimePoint now = state_->clock.steady();
  out.rate = state_->rate_at(now);
  if (state_->window && now < state_->window->resets_at)
    out.left = std::max<std::int64_t>(0, state_->window->left);
  const TimePoint open = state_->vendor_wants_at(now);
  if (open > now) out.held_for = std::chrono::ceil<milliseconds>(open - now);
  out.in_use = in_use();
  out.waiting = waiting();
  return out;
}

}  // namespace sluice::fetch
