// Vendor credentials and webhook secrets, sealed in the database.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"
#include "vault/format.hpp"
#include "vault/root_key.hpp"
#include "vault/secret.hpp"

namespace sluice::vault {

inline constexpr Micros kPreviousValidDefault = std::chrono::hours(24);
inline constexpr Micros kPreviousValidMax = std::chrono::hours(24 * 7);
/// Replaced versions that stay valid beside the current one; older ones are revoked.
inline constexpr int kPreviousVersionsMax = 4;
/// Opened data keys kept in memory.
inline constexpr std::size_t kDataKeysCachedMax = 256;

/// The life of one version: pending → current → previous → revoked. Revoked versions have no value.
enum class SecretState { pending, current, previous, revoked };
[[nodiscard]] std::string_view to_string(SecretState state);

/// What may be shown of a stored version.
struct SecretInfo {
  ConnectionId connection;
  std::string name;
  std::int64_t version = 0;
  SecretState state = SecretState::pending;
  std::string fingerprint;  ///< 16 hex digits; equal values within a workspace have equal ones
  Micros created_at{0};
  std::optional<Micros> valid_until;  ///< previous only
  DataKeyId data_key;
};

/// Every live version of one secret. Requests go out with `current`; on a refusal try
/// previous.front() once. An inbound signature is checked against all of them (live()).
struct SecretValue {
  Secret current;
  std::int64_t version = 0;
  std::vector<Secret> previous;   ///< still valid, newest first, at most kPreviousVersionsMax
  std::optional<Secret> pending;  ///< staged, not promoted

  /// current, pending, previous; valid as long as this value.
  [[nodiscard]] std::vector<const Secret*> live() const;
};

/// Secrets of all workspaces, each sealed with its workspace's data key, which a root key wraps
/// (format.hpp). Owned by main, outlives its users; one loop. Values leave only through use().
///
/// Everything throws pg::QueryError for a database that is away, and Failure for these:
///   bad_input  "vault.secret.bad_name"      1 to 128 of A-Z a-z 0-9 _ . : / -
///   bad_input  "vault.secret.bad_value"     empty, or more than kSecretBytesMax
///   bad_input  "vault.secret.bad_validity"  previous_valid_for outside 0 to kPreviousValidMax
///   not_found  "vault.workspace.not_found"
///   internal   "vault.data_key.lost"        a data key that is needed is destroyed or missing
///   internal   "vault.root_key.mismatch"    a data key is wrapped by a root key that we do not
///   hold internal   "vault.secret.tampered"      a stored row does not open where it stands
///   internal   "vault.data_key.tampered"    a data key does not open where it stands
///   unsupported "vault.sealed.unsupported"  a newer program wrote it
///   retry_later "vault.secret.not_stored"   the database went away during the commit and has no
///   new version
class Vault {
 public:
  /// Checks that every data key in use can be opened with this keyring, so that a wrong root key
  /// stops the start and not a sync at night: throws Failure(internal, "vault.root_key.mismatch").
  /// Writes nothing.
  static Task<std::unique_ptr<Vault>> open(pg::Pool& pool, const Clock& clock, RootKeyring keyring);

  /// Makes the first data key of the database, for `workspace`, which exists: from its commit on
  /// the database names the root key that opens it, and a host without that one does not start.
  /// Nothing when any workspace has a data key.
  static Task<void> claim(pg::Transaction& transaction, const Clock& clock,
                          const RootKeyring& keyring, WorkspaceId workspace);
  /// Whether the database names a root key already.
  static Task<bool> claimed(pg::Connection& connection);
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;

  /// Stores a new version and makes it current at once. The one before stays valid for
  /// `previous_valid_for` (zero: is revoked at once); a pending one is revoked. Puts of one
  /// workspace wait for each other. Putting the same value again makes a version again.
  Task<SecretInfo> put(WorkspaceId workspace, ConnectionId connection, std::string name,
                       Secret value, Micros previous_valid_for = kPreviousValidDefault);
  /// Stores a new version as pending, in place of a pending one.
  Task<SecretInfo> stage(WorkspaceId workspace, ConnectionId connection, std::string name,
                         Secret value);
  /// pending → current. Fails with not_found "vault.secret.not_found" when `version` is not the
  /// pending one.
  Task<Result<SecretInfo>> promote(WorkspaceId workspace, ConnectionId connection, std::string name,
                                   std::int64_t version,
                                   Micros previous_valid_for = kPreviousValidDefault);
  /// The same within the caller's transaction, which commits it together with what tells of it.
  Task<Result<SecretInfo>> promote(pg::Transaction& transaction, WorkspaceId workspace,
                                   ConnectionId connection, std::string name, std::int64_t version,
                                   Micros previous_valid_for = kPreviousValidDefault);

  /// Takes a staged version back: its value is gone. Nothing when `version` is not the pending one.
  Task<void> discard(WorkspaceId workspace, ConnectionId connection, std::string name,
                     std::int64_t version);
  Task<void> discard(pg::Transaction& transaction, WorkspaceId workspace, ConnectionId connection,
                     std::string name, std::int64_t version);

  /// One round trip to the database (two when the data key is not in memory). Fails with not_found
  /// "vault.secret.not_found" when there is no current version.
  Task<Result<SecretValue>> use(WorkspaceId workspace, ConnectionId connection, std::string name);

  /// All versions that are not revoked, by connection, name, newest first. No connection given:
  /// all.
  Task<std::vector<SecretInfo>> list(WorkspaceId workspace,
                                     std::optional<ConnectionId> connection = std::nullopt);
  /// Revokes every version of every secret of a connection: the values are gone from the tables,
  /// not from backups. Returns how many versions.
  Task<std::int64_t> remove(WorkspaceId workspace, ConnectionId connection);
  /// The same for one secret.
  Task<std::int64_t> remove(WorkspaceId workspace, ConnectionId connection, std::string name);
  /// Takes the value out of previous versions whose time is over. They are not used any more in any
  /// case; call now and then. Returns how many versions, at most 1000 a call.
  Task<std::int64_t> purge_expired();

  [[nodiscard]] const RootKeyring& keyring() const { return keyring_; }
  [[nodiscard]] std::size_t data_keys_cached() const { return cache_.size(); }

 private:
  using DataKeyPlace = std::pair<WorkspaceId, DataKeyId>;
  struct CachedKey {
    DataKeyPlace place;
    std::shared_ptr<const Secret> key;  ///< shared with calls that use it while it is put out
  };
  struct NewVersion;
  struct Written;
  struct KeyInUse {
    DataKeyId id;
    std::shared_ptr<const Secret> key;
  };

  Vault(pg::Pool& pool, const Clock& clock, RootKeyring keyring);
  Task<void> verify_data_keys();
  Task<SecretInfo> store(WorkspaceId workspace, ConnectionId connection, std::string name,
                         Secret value, std::optional<Micros> promote_with_validity);
  Task<SecretInfo> write_version(pg::Transaction& transaction, NewVersion wanted);
  Task<SecretInfo> make_current(pg::Transaction& transaction, WorkspaceId workspace,
                                SecretInfo info, Micros previous_valid_for);
  Task<Written> write_and_commit(NewVersion wanted);
  Task<void> require_stored(WorkspaceId workspace, SecretInfo info);
  Task<std::int64_t> revoke(WorkspaceId workspace, ConnectionId connection,
                            std::optional<std::string> name);
  Task<void> lock_workspace(pg::Transaction& transaction, WorkspaceId workspace);
  Task<KeyInUse> active_data_key(pg::Transaction& transaction, WorkspaceId workspace);
  static Task<KeyInUse> create_data_key(pg::Transaction& transaction, const Clock& clock,
                                        const RootKeyring& keyring, WorkspaceId workspace);
  Task<std::shared_ptr<const Secret>> data_key(pg::Connection& connection, WorkspaceId workspace,
                                               DataKeyId id);
  Secret unwrap(WorkspaceId workspace, DataKeyId id, std::string_view root_key,
                const Sealed& sealed) const;
  [[nodiscard]] std::shared_ptr<const Secret> cached(const DataKeyPlace& place);
  std::shared_ptr<const Secret> keep(const DataKeyPlace& place, Secret key);

  pg::Pool& pool_;
  const Clock& clock_;
  RootKeyring keyring_;
  std::list<CachedKey> cache_;  // most recently used first
  std::map<DataKeyPlace, std::list<CachedKey>::iterator> cache_index_;
};

}  // namespace sluice::vault
