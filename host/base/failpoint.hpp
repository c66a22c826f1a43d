// Marks the places where a crash would hurt, so that tests can crash there.
//   SLUICE_FAILPOINTS="ingest.before_commit=kill@3,fenced.before.fence_commit=stop"
// kill = SIGKILL to ourselves, stop = SIGSTOP (somebody else continues us), throw = a Failure;
// @n = at the n-th passage (default 1). Each statement that is sent under a lease is two of them,
// fenced.before.<its name> and fenced.after.<its name>: see pg/fenced.hpp.
// Without the environment variable, and unobserved, a passage is one branch on a bool.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>

namespace sluice::failpoint {
extern std::atomic<bool> armed;
void pass(std::string_view name);

/// Called at each passage while it lives, for tests in one process: may look, throw, or hold the
/// thread up. One at a time; made and destroyed while nothing passes.
class Observer {
 public:
  explicit Observer(std::function<void(std::string_view)> passed);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
};
}  // namespace sluice::failpoint

#ifndef SLUICE_NO_FAILPOINTS
#define SLUICE_FAILPOINT(name)                                                   \
  do {                                                                           \
    if (::sluice::failpoint::armed.load(std::memory_order_relaxed)) [[unlikely]] \
      ::sluice::failpoint::pass(name);                                           \
  } while (false)
#else
// A package has none (CMake's SLUICE_FAILPOINTS=OFF), and a host that is given the variable there
// does not start.
#define SLUICE_FAILPOINT(name) static_cast<void>(0)
#endif
