// What an operation has stored when it ends in the middle, and how that is taken back.
#pragma once

#include <exception>
#include <string_view>
#include <vector>

#include "sync/connections.hpp"
#include "vault/vault.hpp"

namespace sluice::sync {

/// Reason of a connection from its first row to the vendor's answer; nothing reads it yet.
inline constexpr std::string_view kBeingMade =
    "is being made; when it stays so, its host died meanwhile, and it can be deleted";

/// After everything was taken back: throws `surprise`, or, where that is a lost answer, which
/// leaves no doubt then, Failure(retry_later, "connection.not_stored").
[[noreturn]] void rethrow_as_known(const std::exception_ptr& surprise);

/// Values that were only staged are gone.
Task<void> take_back(vault::Vault& vault, const LoadedConnection& connection,
                     const std::vector<vault::SecretInfo>& staged);

/// After the transaction that was to decide about `staged` ended with a surprise: comes back when
/// it was committed all the same; else takes them back and throws.
Task<void> settle(vault::Vault& vault, const LoadedConnection& connection,
                  const std::vector<vault::SecretInfo>& staged, std::exception_ptr surprise);

}  // namespace sluice::sync
