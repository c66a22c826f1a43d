// Who asks: API tokens, "slc_<workspace>_<token>_<secret>". The database holds a BLAKE2b hash of
// the secret.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "pg/error.hpp"
#include "pg/fenced.hpp"
#include "pg/pool.hpp"

namespace sluice::api {

/// reader asks, admin also changes its workspace, operator does both in every workspace and makes
/// new ones.
enum class Role { reader = 1, admin = 2, operator_ = 3 };
[[nodiscard]] std::string_view to_string(Role role);
[[nodiscard]] std::optional<Role> role_of(std::string_view name);

struct Principal {
  WorkspaceId workspace;
  std::int64_t token_id = 0;
  Role role = Role::reader;
  std::string name;
  std::string peer;  ///< where it asks from

  /// For the audit: "token 3 'dashboard' from 192.0.2.7".
  [[nodiscard]] std::string text() const;
};

/// What is kept of a secret: BLAKE2b, 32 bytes.
[[nodiscard]] Bytes token_hash(std::string_view secret);

/// Which token: workspace, number in it.
using TokenKey = std::pair<std::int64_t, std::int64_t>;

/// What a token says of itself. Nothing of it is proved.
struct TokenClaim {
  TokenKey key;
  Bytes hash;  ///< token_hash() of its secret
};
/// `authorization` is the header's value. Nothing when it is no token of ours by its form.
[[nodiscard]] std::optional<TokenClaim> claim_of(std::string_view authorization);
/// In constant time.
[[nodiscard]] bool is_same_hash(const Bytes& a, const Bytes& b);

/// What the database has of those tokens that are valid; others are left out. One statement, by the
/// primary key.
Task<std::map<TokenKey, Bytes>> hashes_of(pg::Pool& pool, std::vector<TokenKey> tokens);

/// Makes a token; the returned text is the only copy.
Task<std::string> create_token(pg::Connection& connection, WorkspaceId workspace, std::string name,
                               Role role);

/// `authorization` is the header's value. Errors: token.missing (no "Bearer …"), token.unknown
/// (wrong, revoked or malformed: one answer for all, in constant time over the secret).
Task<Result<Principal>> authenticate(pg::Pool& pool, std::string authorization);

/// For refusals that whoever has lost the only operator token may meet.
inline constexpr std::string_view kLostOperatorToken =
    "whoever has lost the only operator token makes a new one where sluiced runs: sluiced "
    "--reset-operator-token";

/// Error(denied, "token.revoked"): for a transaction of which sync::was_revoked() is true.
[[nodiscard]] Error revoked_meanwhile();

}  // namespace sluice::api
