#include "model/gathered_writes.hpp"

#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>

#include "base/bell.hpp"
#include "base/check.hpp"

namespace sluice::model {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

/// Whether it may be the fault of one, and nothing of any was stored.
bool is_of_one(const Error& error) {
  if (error.kind == ErrorKind::unknown_outcome || error.kind == ErrorKind::cancelled) return false;
  return error.code == "pg.refused" || error.code == "pg.lost" ||
         error.code == "entity.contended" || error.code == "type.not_found";
}

}  // namespace

/// One write on its way:
///   waiting --its turn--> taken, with others --> settled | alone
struct GatheredWrites::Member {
  enum class At { waiting, taken, settled, alone };

  Member(const Executor& executor, CatalogPtr catalog_, OwnItem item_)
      : catalog(std::move(catalog_)), item(std::move(item_)), timer(executor) {}

  CatalogPtr catalog;
  OwnItem item;
  asio::steady_timer timer;
  At at = At::waiting;
  bool called = false;  ///< the one before has ended: it is its turn
  OwnOutcome outcome;
  std::exception_ptr error;

  void end(At how) {
    at = how;
    timer.cancel();
  }

  /// Until somebody changes it, or the time comes.
  static Task<void> wait(std::shared_ptr<Member> member, TimePoint until) {
    member->timer.expires_at(until);
    co_await rung(member->timer);
  }
};

/// Of one workspace.
struct GatheredWrites::Line {
  std::deque<std::shared_ptr<Member>> waiting;
  bool under_way = false;    ///< the last group
  std::uint64_t groups = 0;  ///< its number
  TimePoint begun{};         ///< … and when it began
};

struct GatheredWrites::State {
  using Group = std::vector<std::shared_ptr<Member>>;
  using At = Member::At;

  explicit State(pg::Pool& pool_) : pool(pool_) {}
  pg::Pool& pool;
  std::map<WorkspaceId, Line> lines;  ///< of every workspace that was ever written to

  /// A group that is under way; whatever ends it, the next one is called.
  struct Turn {
    explicit Turn(Line& line_) : line(line_), number(++line_.groups) {
      line.under_way = true;
      line.begun = std::chrono::steady_clock::now();
    }
    ~Turn() {
      if (line.groups != number) return;  // it took so long that others did not wait for it
      line.under_way = false;
      if (line.waiting.empty()) return;
      line.waiting.front()->called = true;
      line.waiting.front()->timer.cancel();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    Line& line;
    std::uint64_t number;
  };

  /// The first in line and who has the same catalogue.
  static Group take(Line& line) {
    Group group;
    const CatalogPtr catalog = line.waiting.front()->catalog;
    for (auto at = line.waiting.begin(); at != line.waiting.end() && group.size() < kGroupMax;) {
      if ((*at)->catalog != catalog) {
        ++at;
        continue;
      }
      (*at)->at = At::taken;
      group.push_back(std::move(*at));
      at = line.waiting.erase(at);
    }
    return group;
  }

  static Task<std::vector<OwnOutcome>> write_all(State& state, const Group& group,
                                                 std::chrono::milliseconds lock_patience) {
    const WorkspaceId workspace = group.front()->catalog->workspace;
    std::vector<OwnItem> items;
    items.reserve(group.size());
    for (const auto& member : group) items.push_back(member->item);
    pg::Pool shared = state.pool.share(workspace.value);
    const pg::Pool::Lease connection = co_await shared.acquire();
    co_return co_await write_own(*connection, workspace, std::move(items), RunId(), lock_patience);
  }

  static Task<void> lead(std::shared_ptr<State> state, Line& line) {
    const Turn turn(line);
    const Group group = take(line);
    const bool several = group.size() > 1;
    std::exception_ptr error;
    bool each_alone = false;
    std::vector<OwnOutcome> outcomes;
    try {
      outcomes =
          co_await write_all(*state, group, several ? kLockPatience : std::chrono::milliseconds(0));
    } catch (const Failure& failure) {
      each_alone = several && is_of_one(failure.error());
      error = std::current_exception();
    } catch (...) {
      error = std::current_exception();
    }
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (!error) group[i]->outcome = std::move(outcomes[i]);
      group[i]->error = error;
      group[i]->end(each_alone ? At::alone : At::settled);
    }
  }

  /// Takes who does not wait any more out of line.
  struct InLine {
    Line& line;
    std::shared_ptr<Member> member;
    ~InLine() {
      if (member->at == At::waiting) std::erase(line.waiting, member);
    }
  };

  static Task<OwnOutcome> write(std::shared_ptr<State> state, std::shared_ptr<Member> member) {
    Line& line = state->lines[member->catalog->workspace];
    line.waiting.push_back(member);
    const InLine in_line(line, member);
    // Who leads takes the first in line and who goes with it: not always itself, then it waits on.
    while (member->at == At::waiting) {
      const TimePoint until = line.begun + kTurnMax;
      const bool waits = !member->called && line.under_way;
      if (waits && until > std::chrono::steady_clock::now()) {
        co_await Member::wait(member, until);
      } else {
        member->called = false;
        co_await lead(state, line);
      }
    }
    while (member->at == At::taken) co_await Member::wait(member, TimePoint::max());
    if (member->at == At::alone) {
      const Group alone(1, member);
      std::vector<OwnOutcome> outcomes =
          co_await write_all(*state, alone, std::chrono::milliseconds(0));
      co_return std::move(outcomes.front());
    }
    SLUICE_INVARIANT(member->at == At::settled);
    if (member->error) std::rethrow_exception(member->error);
    co_return std::move(member->outcome);
  }
};

GatheredWrites::GatheredWrites(pg::Pool& pool) : state_(std::make_shared<State>(pool)) {}
GatheredWrites::~GatheredWrites() = default;

Task<OwnOutcome> GatheredWrites::write(CatalogPtr catalog, OwnItem item) {
  auto member =
      std::make_shared<Member>(state_->pool.executor(), std::move(catalog), std::move(item));
  return State::write(state_, std::move(member));
}

}  // namespace sluice::model
