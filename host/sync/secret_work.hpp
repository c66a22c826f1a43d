// Looking after a workspace's secrets.
#pragma once

#include <memory>

#include "vault/vault.hpp"
#include "work/runner.hpp"

namespace sluice::sync {

/// Each workspace has one piece of this work from its first moment (migration 0022), and it comes
/// back every hour. First whatever is sealed in an older format is sealed anew, for where its
/// connection leads now, batch by batch; once that is done no row of it is opened any more. Then
/// values whose time is over go, and the wrapped data key says that it is of now.
inline constexpr const char* kTidySecrets = "secrets.tidy";
/// `vault` outlives it.
[[nodiscard]] std::unique_ptr<work::Kind> tidy_secrets_kind(vault::Vault& vault);

}  // namespace sluice::sync
