#include "sync/half_made.hpp"

#include <algorithm>

namespace sluice::sync {

void rethrow_as_known(const std::exception_ptr& surprise) {
  try {
    std::rethrow_exception(surprise);
  } catch (const Failure& failure) {
    if (failure.error().kind != ErrorKind::unknown_outcome) throw;
  }
  throw Failure(
      Error(ErrorKind::retry_later, "connection.not_stored",
            "the connection to the database broke before all was stored; nothing was done",
            "Ask again in a moment"));
}

Task<void> take_back(vault::Vault& vault, const LoadedConnection& connection,
                     const std::vector<vault::SecretInfo>& staged) {
  for (const vault::SecretInfo& one : staged) {
    co_await vault.discard(connection.workspace, connection.id, one.name, one.version);
  }
}

Task<void> settle(vault::Vault& vault, const LoadedConnection& connection,
                  const std::vector<vault::SecretInfo>& staged, std::exception_ptr surprise) {
  if (staged.empty()) std::rethrow_exception(surprise);
  const std::vector<vault::SecretInfo> live =
      co_await vault.list(connection.workspace, connection.id);
  const vault::SecretInfo& first = staged.front();
  const bool waits = std::any_of(live.begin(), live.end(), [&](const vault::SecretInfo& one) {
    return one.state == vault::SecretState::pending && one.name == first.name &&
           one.version == first.version;
  });
  if (!waits) co_return;
  co_await take_back(vault, connection, staged);
  rethrow_as_known(surprise);
}

}  // namespace sluice::sync
