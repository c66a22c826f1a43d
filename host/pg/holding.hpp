// Nobody asks for a second database connection while he holds one: a pool full of those who do
// stands still. Debug builds end the program when it happens, with both places.
#pragma once

#include <cstdint>
#include <source_location>
#include <string_view>
#include <utility>

#include "base/async.hpp"

namespace sluice::pg {

#ifdef NDEBUG
inline constexpr bool kWatchesHolding = false;
#else
inline constexpr bool kWatchesHolding = true;
#endif

/// Names the flow that runs: what one co_spawn began, with all that it awaits. A task that is
/// spawned, also by a TaskGroup, is a flow of its own. Only good for comparing, and only as long as
/// the flow lives.
Task<const void*> this_flow();

/// That a flow holds a connection. Part of a Pool::Lease and goes with it: a lease handed to
/// another flow still counts for the one that acquired it. Nothing in release builds.
class Hold {
 public:
  Hold() = default;
  Hold(const void* flow, std::string_view pool, std::source_location where);
  Hold(Hold&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
  Hold& operator=(Hold&&) = delete;
  ~Hold();

 private:
  std::uint64_t number_ = 0;
};

/// Ends the program when `flow` holds a connection of any pool. `wanted` and `where` are for the
/// message.
void require_nothing_held(const void* flow, std::string_view wanted, std::source_location where);

/// The same for the flow that runs; for what takes a connection only now and then, such as a cache,
/// so that the fault shows every time. Does nothing in release builds.
Task<void> require_nothing_held(std::string_view wanted,
                                std::source_location where = std::source_location::current());

/// From here on what the running flow holds does not count for it: for whoever takes several
/// connections before anybody else is there, and for a flow whose result is a lease.
Task<void> disown_held();

}  // namespace sluice::pg
