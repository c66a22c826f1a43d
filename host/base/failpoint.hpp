// Marks the places where a crash would hurt, so that tests can crash there.
//   SLUICE_FAILPOINTS="ingest.before_commit=kill@3,sync.after_fetch=throw"
// kill = SIGKILL to ourselves, throw = a Failure; @n = at the n-th passage (default 1).
// Without the environment variable a passage is one branch on a constant-initialised bool.
#pragma once

namespace sluice::failpoint {
extern const bool armed;
void pass(const char* name);
}  // namespace sluice::failpoint

#define SLUICE_FAILPOINT(name)                                       \
  do {                                                               \
    if (::sluice::failpoint::armed) ::sluice::failpoint::pass(name); \
  } while (false)
