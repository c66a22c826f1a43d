// What the process does to itself before it touches a key.
#pragma once

#include "base/error.hpp"

namespace sluice::vault {

struct Hardening {
  bool core_dumps_off =
      false;  ///< RLIMIT_CORE 0 and not dumpable (which also refuses ptrace by the same user)
  bool memory_locks =
      false;  ///< a page of guarded memory could be locked; otherwise keys may reach swap
};

/// Called first thing in main, before the root key is read and before any thread. Initialises
/// libsodium, switches core dumps off, lets OpenSSL use memory that is wiped when it is freed.
/// Fails (internal, "vault.hardening") when core dumps cannot be switched off, or OpenSSL is in use
/// already. A memory lock limit that is too low is not fatal: it is logged as a warning
/// ("vault.memory_not_locked") and returned, for /health.
Result<Hardening> harden_process();

}  // namespace sluice::vault
