// Invariants that hold in release builds too: when one breaks, the process stops before it writes
// anything wrong. Never for input from outside, which gets an Error.
#pragma once

namespace sluice {
[[noreturn]] void invariant_broken(const char* condition, const char* file, int line,
                                   const char* function);
}

#define SLUICE_INVARIANT(condition)                                                         \
  do {                                                                                      \
    if (!(condition)) ::sluice::invariant_broken(#condition, __FILE__, __LINE__, __func__); \
  } while (false)
