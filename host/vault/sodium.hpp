// libsodium, initialised before its first use.
#pragma once

namespace sluice::vault {

/// Cheap after the first time, any thread. Breaks an invariant when libsodium cannot start (no
/// source of randomness): nothing in the vault could be trusted then.
void require_sodium();

}  // namespace sluice::vault
