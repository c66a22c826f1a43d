#include "pg/holding.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

namespace sluice::pg {
namespace {

struct Held {
  const void* flow;
  std::string pool;
  std::source_location where;
};

/// All of the process: a lease may be returned on another thread than the one that acquired it.
struct Register {
  std::mutex mutex;
  std::map<std::uint64_t, Held> held;
  std::uint64_t last = 0;
};

Register& all() {
  static Register one;
  return one;
}

// What Asio awaits besides operations: it hands us the frame while the coroutine is suspended, and
// resumes it afterwards. The bottom frame of the stack is the flow.
class FindFlow {
 public:
  explicit FindFlow(const void** flow) : flow_(flow) {}
  asio::detail::awaitable_thread<Executor>* operator()(
      asio::detail::awaitable_frame_base<Executor>* frame) const {
    asio::detail::awaitable_thread<Executor>* thread = frame->detach_thread();
    *flow_ = thread->entry_point();
    frame->attach_thread(thread);
    return thread;
  }

 private:
  const void** flow_;
};

}  // namespace

Task<const void*> this_flow() {
  const void* flow = nullptr;
  const FindFlow find(&flow);
  co_await find;
  co_return flow;
}

Hold::Hold(const void* flow, std::string_view pool, std::source_location where) {
  if (!kWatchesHolding || flow == nullptr) return;
  Register& here = all();
  const std::lock_guard lock(here.mutex);
  number_ = ++here.last;
  here.held.emplace(number_, Held{flow, std::string(pool), where});
}

Hold::~Hold() {
  if (number_ == 0) return;
  Register& here = all();
  const std::lock_guard lock(here.mutex);
  here.held.erase(number_);
}

void require_nothing_held(const void* flow, std::string_view wanted, std::source_location where) {
  Register& here = all();
  const std::lock_guard lock(here.mutex);
  for (const auto& [number, held] : here.held) {
    if (held.flow != flow) continue;
    std::fprintf(stderr,
                 "%s:%u asks for %.*s while it holds a connection of the pool '%s', acquired at "
                 "%s:%u\n",
                 where.file_name(), where.line(), static_cast<int>(wanted.size()), wanted.data(),
                 held.pool.c_str(), held.where.file_name(), held.where.line());
    std::abort();
  }
}

Task<void> require_nothing_held(std::string_view wanted, std::source_location where) {
  if constexpr (kWatchesHolding) {
    const void* flow = co_await this_flow();
    require_nothing_held(flow, wanted, where);
  }
  co_return;
}

Task<void> disown_held() {
  if constexpr (kWatchesHolding) {
    const void* flow = co_await this_flow();
    Register& here = all();
    const std::lock_guard lock(here.mutex);
    for (auto& [number, held] : here.held) {
      if (held.flow == flow) held.flow = nullptr;
    }
  }
  co_return;
}

}  // namespace sluice::pg
