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
#include "pg/fenced.hpp"
#include "pg/pool.hpp"
#include "vault/format.hpp"
#include "vault/ledger.hpp"
#include "vault/purpose.hpp"
#include "vault/root_key.hpp"
#include "vault/secret.hpp"

namespace sluice::vault {

inline constexpr Micros kPreviousValidDefault = std::chrono::hours(24);
inline constexpr Micros kPreviousValidMax = std::chrono::hours(24 * 7);
/// Replaced versions that stay valid beside the current one; older ones are revoked.
inline constexpr int kPreviousVersionsMax = 4;
/// Opened data keys kept in memory.
inline constexpr std::size_t kDataKeysCachedMax = 256;

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

/// Every live version of one secret that is sealed for what it is wanted for. Requests go out with
/// `current`; on a refusal try previous.front() once. An inbound signature is checked against all
/// of them (live()).
struct SecretValue {
  Secret current;
  /// Why `current` is empty, and `previous` with it: only what is staged can be used. The current
  /// version is not there, does not open, or is sealed for something else.
  std::optional<Error> refused;
  std::int64_t version = 0;
  std::vector<Secret> previous;   ///< still valid, newest first, at most kPreviousVersionsMax
  std::optional<Secret> pending;  ///< staged, not promoted

  /// current, pending, previous; valid as long as this value.
  [[nodiscard]] std::vector<const Secret*> live() const;
};

/// Secrets of all workspaces, each sealed with its workspace's data key, which a root key wraps
/// (format.hpp), and each for a Purpose. Owned by main, outlives its users; one loop. Values leave
/// only through use(). A workspace's ledger changes with every change of a secret, in the same
/// transaction, and the data key is wrapped anew over it: what comes back by an UPDATE or from an
/// older dump does not agree with it.
///
/// Everything throws pg::QueryError for a database that is away, and Failure for these:
///   bad_input   "vault.secret.bad_name"      1 to 128 of A-Z a-z 0-9 _ . : / -
///   bad_input   "vault.secret.bad_value"     empty, or more than kSecretBytesMax
///   bad_input   "vault.secret.bad_validity"  previous_valid_for outside 0 to kPreviousValidMax
///   bad_input   "vault.secret.bad_purpose"   more than kPurposeBytesMax of text
///   not_found   "vault.workspace.not_found"
///   internal    "vault.root_key.mismatch"    a root key that we do not hold wraps a data key
///   unsupported "vault.sealed.unsupported"   a newer program wrote it
///   retry_later "vault.secret.not_stored"    the database went away in the commit; no new version
/// and, of what somebody changed in the tables behind our back, where nothing is opened:
///   denied "vault.secret.elsewhere"   it is wanted for what it was not sealed for
///   denied "vault.secret.tampered"    a stored row does not open where and as it stands
///   denied "vault.secret.put_back"    its live versions are not those that were stored last
///   denied "vault.secret.old_format"  a row of an older format, after all were sealed anew
///   denied "vault.data_key.tampered"  a data key does not open where and as it stands
///   denied "vault.data_key.put_back"  a data key's row is older than one that this host has seen
///   denied "vault.data_key.lost"      a data key that is needed is destroyed or missing
/// The secret's own ones end when it is entered again.
class Vault {
 public:
  /// Checks that every data key in use can be opened with this keyring, so that a wrong root key
  /// stops the start and not a sync at night: throws Failure(internal, "vault.root_key.mismatch").
  /// One that was changed stops its workspace only, and is logged. Writes nothing; logs of when
  /// the newest is ("vault.opened").
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

  /// Stores a new version for `purpose` and makes it current at once. The one before stays valid
  /// for `previous_valid_for` (zero: is revoked at once); a pending one is revoked. Puts of one
  /// workspace wait for each other. Putting the same value again makes a version again.
  Task<SecretInfo> put(WorkspaceId workspace, ConnectionId connection, std::string name,
                       Secret value, Purpose purpose,
                       Micros previous_valid_for = kPreviousValidDefault);
  /// Stores a new version as pending, in place of a pending one.
  Task<SecretInfo> stage(WorkspaceId workspace, ConnectionId connection, std::string name,
                         Secret value, Purpose purpose);
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

  /// One round trip to the database. Opens the versions that are sealed for what is wanted, and no
  /// other. When the current one cannot be used it throws why, or fails with not_found
  /// "vault.secret.not_found"; unless a pending one can, beside which SecretValue::refused says it.
  Task<Result<SecretValue>> use(WorkspaceId workspace, ConnectionId connection, std::string name,
                                Wanted wanted);

  /// All versions that are not revoked, by connection, name, newest first. No connection given:
  /// all.
  Task<std::vector<SecretInfo>> list(WorkspaceId workspace,
                                     std::optional<ConnectionId> connection = std::nullopt);
  /// Revokes every version of every secret of a connection: the values are gone from the tables,
  /// not from backups. Returns how many versions.
  Task<std::int64_t> remove(WorkspaceId workspace, ConnectionId connection);
  /// The same for one secret.
  Task<std::int64_t> remove(WorkspaceId workspace, ConnectionId connection, std::string name);

  // Looking after a workspace's secrets, in batches of whoever holds the lease for it.

  /// True while rows of the format before are opened still.
  Task<bool> needs_sealing(pg::Connection& connection, WorkspaceId workspace);
  /// The next secrets behind `after` with live versions of the format before, by connection and
  /// name.
  Task<std::vector<Ledger::Name>> of_format_before(pg::Connection& connection,
                                                   WorkspaceId workspace, Ledger::Name after,
                                                   std::int64_t limit);
  /// Seals those versions of one secret anew, for `purpose`. False: one did not open, and was
  /// revoked.
  Task<bool> seal_anew(pg::Fenced& fenced, WorkspaceId workspace, ConnectionId connection,
                       std::string name, Purpose purpose);
  /// From the commit on no row of the format before is opened in this workspace.
  Task<void> end_sealing(pg::Fenced& fenced, WorkspaceId workspace);
  /// Takes the value out of previous versions whose time is over, forgets secrets that went with
  /// their connection, and wraps the data key as of now. Returns how many versions, at most 1000 a
  /// call.
  Task<std::int64_t> tidy(pg::Fenced& fenced, WorkspaceId workspace);

  [[nodiscard]] const RootKeyring& keyring() const { return keyring_; }
  [[nodiscard]] std::size_t data_keys_cached() const { return cache_.size(); }

 private:
  class Within;
  struct KeyRow;
  struct OpenKey;
  struct Row;
  struct Change;
  struct NewVersion;
  struct Written;
  using DataKeyPlace = std::pair<WorkspaceId, DataKeyId>;
  using OpenKeyPtr = std::shared_ptr<const OpenKey>;
  struct CachedKey {
    DataKeyPlace place;
    OpenKeyPtr key;  ///< shared with calls that use it while it is put out
  };

  Vault(pg::Pool& pool, const Clock& clock, RootKeyring keyring);
  Task<void> verify_data_keys();
  Task<SecretInfo> store(WorkspaceId workspace, ConnectionId connection, std::string name,
                         Secret value, Purpose purpose,
                         std::optional<Micros> promote_with_validity);
  Task<Written> write_and_commit(NewVersion wanted);
  Task<void> require_stored(WorkspaceId workspace, SecretInfo info);
  Task<std::int64_t> revoke(WorkspaceId workspace, ConnectionId connection,
                            std::optional<std::string> name);

  // One secret within a transaction that changes it.
  Task<Change> begin_change(Within& within, WorkspaceId workspace, ConnectionId connection,
                            std::string name);
  Task<SecretInfo> add_pending(Within& within, Change& change, const NewVersion& wanted);
  Task<SecretInfo> make_current(Within& within, Change& change, std::int64_t version,
                                Micros previous_valid_for);
  Task<bool> seal_again(Within& within, Change& change, std::size_t row, const SecretTerms& terms);
  Task<void> revoke_row(Within& within, Change& change, std::size_t row);
  Task<bool> discard_pending(Within& within, Change& change, std::int64_t version);
  Task<void> finish_change(Within& within, Change& change);
  Task<void> wrap(Within& within, Change& change);

  static Task<void> lock_workspace(Within& within, WorkspaceId workspace);
  Task<OpenKeyPtr> active_key(Within& within, WorkspaceId workspace);
  static Task<KeyRow> create_data_key(Within& within, const Clock& clock,
                                      const RootKeyring& keyring, WorkspaceId workspace);
  Task<OpenKeyPtr> key_of_row(Within& within, WorkspaceId workspace, const OpenKeyPtr& active,
                              DataKeyId id);
  [[nodiscard]] Result<Secret> open_row(const OpenKey& active, const OpenKey& key,
                                        WorkspaceId workspace, ConnectionId connection,
                                        const std::string& name, const Row& row) const;
  Secret unwrap(const KeyRow& row, const Binding& binding) const;
  /// `known`: whose ledger it has when it was read without one.
  OpenKeyPtr open_key(KeyRow row, const OpenKeyPtr& known);
  [[nodiscard]] bool is_older(WorkspaceId workspace, const OpenKey& key) const;
  /// It is committed.
  void saw(WorkspaceId workspace, const DataKeyTerms& terms);
  /// The active one as we had it last, or null.
  [[nodiscard]] OpenKeyPtr known_key(WorkspaceId workspace) const;
  void keep(const DataKeyPlace& place, OpenKeyPtr key);

  pg::Pool& pool_;
  const Clock& clock_;
  RootKeyring keyring_;
  std::list<CachedKey> cache_;  // most recently used first
  std::map<DataKeyPlace, std::list<CachedKey>::iterator> cache_index_;
  std::map<WorkspaceId, std::int64_t> seen_;  ///< the highest generation of each workspace
};

}  // namespace sluice::vault
