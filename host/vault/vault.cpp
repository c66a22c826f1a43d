#include "vault/vault.hpp"

#include <fmt/format.h>

#include "base/check.hpp"

namespace sluice::vault {
namespace {

// The columns of a sealed value, in the order read_sealed wants them.
#define SLUICE_SEALED_COLUMNS "alg, salt, nonce, commitment, ciphertext"
#define SLUICE_INFO_COLUMNS \
  "connection_id, name, version, state, fingerprint, created_at, valid_until, data_key_id"
// What revoking does to a row.
#define SLUICE_REVOKE                                                                     \
  "state = 'revoked', valid_until = NULL, salt = NULL, nonce = NULL, commitment = NULL, " \
  "ciphertext = NULL"

// Writers of one workspace's vault take turns on its row: version numbers and the first data key
// need no retry, and a rotation of the data key can hold them off.
const pg::Statement kLockWorkspace{
    "vault_lock_workspace",
    "SELECT 1 FROM sluice.workspace WHERE workspace_id = $1 FOR NO KEY UPDATE"};

const pg::Statement kDataKeysInUse{
    "vault_data_keys_in_use",
    "SELECT workspace_id, data_key_id, root_key_id, " SLUICE_SEALED_COLUMNS
    " FROM sluice.data_key"
    " WHERE (workspace_id, data_key_id) > ($1, $2)"
    " AND state IN ('pending', 'active', 'decrypt_only')"
    " ORDER BY workspace_id, data_key_id LIMIT 500"};

const pg::Statement kAnyDataKey{"vault_any_data_key",
                                "SELECT EXISTS (SELECT 1 FROM sluice.data_key)"};

const pg::Statement kDataKey{
    "vault_data_key", "SELECT root_key_id, " SLUICE_SEALED_COLUMNS
                      " FROM sluice.data_key"
                      " WHERE workspace_id = $1 AND data_key_id = $2 AND state <> 'destroyed'"};

const pg::Statement kActiveDataKey{
    "vault_active_data_key",
    "SELECT data_key_id FROM sluice.data_key WHERE workspace_id = $1 AND state = 'active'"};

const pg::Statement kNextDataKeyId{
    "vault_next_data_key_id",
    "SELECT coalesce(max(data_key_id), 0) + 1 FROM sluice.data_key WHERE workspace_id = $1"};

const pg::Statement kInsertDataKey{
    "vault_insert_data_key",
    "INSERT INTO sluice.data_key (workspace_id, data_key_id, state, "
    "root_key_id, " SLUICE_SEALED_COLUMNS
    ", created_at, state_changed_at) VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, $9, $9)"};

const pg::Statement kNextVersion{"vault_next_version",
                                 "SELECT coalesce(max(version), 0) + 1 FROM sluice.secret"
                                 " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"};

const pg::Statement kRevokePending{
    "vault_revoke_pending",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $4"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND state = 'pending'"};

const pg::Statement kDiscardPending{
    "vault_discard_pending",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $4"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND version = $5"
    " AND state = 'pending'"};

const pg::Statement kInsertPending{
    "vault_insert_pending",
    "INSERT INTO sluice.secret (workspace_id, connection_id, name, version, state, data_key_id,"
    " " SLUICE_SEALED_COLUMNS
    ", fingerprint, created_at, state_changed_at)"
    " VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $12)"};

const pg::Statement kCurrentToPrevious{
    "vault_current_to_previous",
    "UPDATE sluice.secret SET state = 'previous', valid_until = $5, state_changed_at = $4"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND state = 'current'"};

const pg::Statement kPendingToCurrent{
    "vault_pending_to_current",
    "UPDATE sluice.secret SET state = 'current', state_changed_at = $5"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND version = $4"
    " AND state = 'pending' RETURNING " SLUICE_INFO_COLUMNS};

// Previous versions whose time is over, and those beyond the newest few.
const pg::Statement kRevokeOldPrevious{
    "vault_revoke_old_previous",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $4"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND state = 'previous'"
    " AND (valid_until <= $4 OR version NOT IN"
    "  (SELECT version FROM sluice.secret WHERE workspace_id = $1 AND connection_id = $2"
    "   AND name = $3 AND state = 'previous' ORDER BY version DESC LIMIT $5))"};

const pg::Statement kLive{
    "vault_live",
    "SELECT version, state, data_key_id, fingerprint, " SLUICE_SEALED_COLUMNS
    " FROM sluice.secret"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"
    " AND (state IN ('pending', 'current') OR (state = 'previous' AND valid_until > $4))"
    " ORDER BY version DESC"};

const pg::Statement kIsStored{
    "vault_is_stored",
    "SELECT 1 FROM sluice.secret WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"
    " AND version = $4 AND fingerprint = $5 AND created_at = $6"};

const pg::Statement kList{
    "vault_list",
    "SELECT " SLUICE_INFO_COLUMNS
    " FROM sluice.secret"
    " WHERE workspace_id = $1 AND ($2::bigint IS NULL OR connection_id = $2) AND state <> 'revoked'"
    " ORDER BY connection_id, name, version DESC"};

const pg::Statement kRemove{
    "vault_remove",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $4"
    " WHERE workspace_id = $1 AND connection_id = $2 AND ($3::text IS NULL OR name = $3)"
    " AND state <> 'revoked'"};

const pg::Statement kPurgeExpired{
    "vault_purge_expired",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $1"
    " WHERE (workspace_id, connection_id, name, version) IN"
    "  (SELECT workspace_id, connection_id, name, version FROM sluice.secret"
    "   WHERE state = 'previous' AND valid_until <= $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)"};

SecretState state_of(std::string_view text) {
  if (text == "pending") return SecretState::pending;
  if (text == "current") return SecretState::current;
  if (text == "previous") return SecretState::previous;
  SLUICE_INVARIANT(text == "revoked");
  return SecretState::revoked;
}

template <std::size_t N>
bool copy_exactly(const Bytes& from, std::array<std::uint8_t, N>& to) {
  if (from.size() != N) return false;
  std::ranges::copy(from, to.begin());
  return true;
}

/// Five columns from `column` on. Sizes are the table's checks; a row that breaks them breaks an
/// invariant.
Sealed read_sealed(const pg::QueryResult& rows, int row, int column) {
  Sealed sealed;
  const auto alg = rows.get<std::int32_t>(row, column);
  SLUICE_INVARIANT(alg > 0 && alg <= 255);
  sealed.alg = static_cast<std::uint8_t>(alg);
  SLUICE_INVARIANT(copy_exactly(rows.get<Bytes>(row, column + 1), sealed.salt));
  SLUICE_INVARIANT(copy_exactly(rows.get<Bytes>(row, column + 2), sealed.nonce));
  SLUICE_INVARIANT(copy_exactly(rows.get<Bytes>(row, column + 3), sealed.commitment));
  sealed.ciphertext = rows.get<Bytes>(row, column + 4);
  return sealed;
}

void add_sealed(pg::Params& params, const Sealed& sealed) {
  params.add(std::int32_t{sealed.alg});
  params.add(ByteView(sealed.salt));
  params.add(ByteView(sealed.nonce));
  params.add(ByteView(sealed.commitment));
  params.add(ByteView(sealed.ciphertext));
}

SecretInfo read_info(const pg::QueryResult& rows, int row) {
  SecretInfo info;
  info.connection = rows.get<ConnectionId>(row, 0);
  info.name = rows.get<std::string>(row, 1);
  info.version = rows.get<std::int64_t>(row, 2);
  info.state = state_of(rows.text(row, 3));
  info.fingerprint = rows.get<std::string>(row, 4);
  info.created_at = rows.get<Micros>(row, 5);
  info.valid_until = rows.get<std::optional<Micros>>(row, 6);
  info.data_key = rows.get<DataKeyId>(row, 7);
  return info;
}

std::string describe(WorkspaceId workspace, ConnectionId connection, std::string_view name) {
  if (!connection.has_value())
    return fmt::format("workspace {}: secret '{}'", workspace.value, name);
  return fmt::format("workspace {}, connection {}: secret '{}'", workspace.value, connection.value,
                     name);
}

bool is_name(std::string_view name) {
  constexpr std::string_view kOther = "_.:/-";
  return !name.empty() && name.size() <= kSecretNameBytesMax &&
         std::ranges::all_of(name, [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  kOther.find(c) != std::string_view::npos;
         });
}

void require_name(std::string_view name) {
  if (is_name(name)) return;
  // Not quoted: whoever mixes up name and value must not find the value in a log.
  throw Failure(
      Error(ErrorKind::bad_input, "vault.secret.bad_name",
            fmt::format("a secret's name of {} bytes cannot be used", name.size()),
            fmt::format("1 to {} of the characters A-Z a-z 0-9 _ . : / -", kSecretNameBytesMax)));
}

void require_value(const Secret& value, const std::string& where) {
  if (!value.empty() && value.size() <= kSecretBytesMax) return;
  throw Failure(Error(ErrorKind::bad_input, "vault.secret.bad_value",
                      fmt::format("{} would have {} bytes", where, value.size()),
                      fmt::format("A secret has 1 to {} bytes", kSecretBytesMax)));
}

void require_validity(Micros validity) {
  if (validity >= Micros(0) && validity <= kPreviousValidMax) return;
  throw Failure(
      Error(ErrorKind::bad_input, "vault.secret.bad_validity",
            fmt::format("a replaced secret cannot stay valid for {} s",
                        std::chrono::duration_cast<std::chrono::seconds>(validity).count()),
            "0 s to 7 days"));
}

std::unexpected<Error> not_found(WorkspaceId workspace, ConnectionId connection,
                                 std::string_view name, std::string_view what) {
  return fail(ErrorKind::not_found, "vault.secret.not_found",
              fmt::format("{} {}", describe(workspace, connection, name), what),
              "Store the credential (again)");
}

}  // namespace

std::string_view to_string(SecretState state) {
  switch (state) {
    case SecretState::pending:
      return "pending";
    case SecretState::current:
      return "current";
    case SecretState::previous:
      return "previous";
    case SecretState::revoked:
      return "revoked";
  }
  return "revoked";
}

std::vector<const Secret*> SecretValue::live() const {
  std::vector<const Secret*> all{&current};
  if (pending) all.push_back(&*pending);
  for (const Secret& secret : previous) all.push_back(&secret);
  return all;
}

// ---- data keys -------------------------------------------------------------------------------

Vault::Vault(pg::Pool& pool, const Clock& clock, RootKeyring keyring)
    : pool_(pool), clock_(clock), keyring_(std::move(keyring)) {}

Task<std::unique_ptr<Vault>> Vault::open(pg::Pool& pool, const Clock& clock, RootKeyring keyring) {
  std::unique_ptr<Vault> vault(new Vault(pool, clock, std::move(keyring)));
  co_await vault->verify_data_keys();
  co_return vault;
}

Task<void> Vault::verify_data_keys() {
  WorkspaceId workspace;
  DataKeyId id;
  for (;;) {
    pg::Params params(workspace, id);
    const pg::QueryResult rows = co_await pool_.query(kDataKeysInUse, std::move(params));
    if (rows.empty()) co_return;
    for (int row = 0; row < rows.rows(); ++row) {
      workspace = rows.get<WorkspaceId>(row, 0);
      id = rows.get<DataKeyId>(row, 1);
      (void)unwrap(workspace, id, rows.text(row, 2), read_sealed(rows, row, 3));
    }
  }
}

Secret Vault::unwrap(WorkspaceId workspace, DataKeyId id, std::string_view root_key,
                     const Sealed& sealed) const {
  const auto root_key_id = RootKeyId::from_hex(root_key);
  SLUICE_INVARIANT(root_key_id.has_value());
  const RootKeyring::Key* wrapping = keyring_.find(*root_key_id);
  const std::string what = fmt::format("data key {} of workspace {}", id.value, workspace.value);
  if (wrapping == nullptr) {
    throw Failure(Error(
        ErrorKind::internal, "vault.root_key.mismatch",
        fmt::format(
            "the root key {} ({}) does not open {}: this database was made with root key {}",
            keyring_.ids(), keyring_.source(), what, root_key),
        fmt::format(
            "Put the key file with {} back, or add its line below the current one; without it the "
            "stored secrets are lost and every credential must be entered again in a new database",
            root_key)));
  }
  auto key = vault::open(wrapping->bytes, bind_data_key(workspace, id, *root_key_id), sealed);
  if (key && key->size() == kKeyBytes) return std::move(*key);
  if (!key && key.error().kind == ErrorKind::unsupported) throw Failure(key.error());
  throw Failure(Error(ErrorKind::internal, "vault.data_key.tampered",
                      fmt::format("{} does not open with its root key {}: {}", what, root_key,
                                  key ? "it has not the size of a key" : key.error().message),
                      "The row in sluice.data_key was changed: restore it from a backup"));
}

std::shared_ptr<const Secret> Vault::cached(const DataKeyPlace& place) {
  const auto found = cache_index_.find(place);
  if (found == cache_index_.end()) return nullptr;
  cache_.splice(cache_.begin(), cache_, found->second);
  return found->second->key;
}

std::shared_ptr<const Secret> Vault::keep(const DataKeyPlace& place, Secret key) {
  if (auto known = cached(place)) return known;  // two calls fetched it at once
  auto shared = std::make_shared<const Secret>(std::move(key));
  cache_.push_front(CachedKey{place, shared});
  cache_index_.emplace(place, cache_.begin());
  if (cache_.size() > kDataKeysCachedMax) {
    cache_index_.erase(cache_.back().place);
    cache_.pop_back();
  }
  return shared;
}

Task<std::shared_ptr<const Secret>> Vault::data_key(pg::Connection& connection,
                                                    WorkspaceId workspace, DataKeyId id) {
  const DataKeyPlace place(workspace, id);
  if (auto key = cached(place)) co_return key;
  pg::Params params(workspace, id);
  const pg::QueryResult rows = co_await connection.query(kDataKey, std::move(params));
  if (rows.empty()) {
    throw Failure(Error(ErrorKind::internal, "vault.data_key.lost",
                        fmt::format("data key {} of workspace {} is destroyed or missing", id.value,
                                    workspace.value),
                        "What was sealed with it cannot be read: store those credentials again"));
  }
  Secret key = unwrap(workspace, id, rows.text(0, 0), read_sealed(rows, 0, 1));
  co_return keep(place, std::move(key));
}

Task<Vault::KeyInUse> Vault::active_data_key(pg::Transaction& transaction, WorkspaceId workspace) {
  pg::Params params(workspace);
  const pg::QueryResult rows = co_await transaction.query(kActiveDataKey, std::move(params));
  if (rows.empty()) co_return co_await create_data_key(transaction, clock_, keyring_, workspace);
  KeyInUse found;
  found.id = rows.get<DataKeyId>(0, 0);
  found.key = co_await data_key(transaction.connection(), workspace, found.id);
  co_return found;
}

/// The new key is not put into the cache: if this transaction fails, another key gets its number.
Task<Vault::KeyInUse> Vault::create_data_key(pg::Transaction& transaction, const Clock& clock,
                                             const RootKeyring& keyring, WorkspaceId workspace) {
  pg::Params which(workspace);
  const pg::QueryResult next = co_await transaction.query(kNextDataKeyId, std::move(which));
  KeyInUse made;
  made.id = next.get<DataKeyId>(0, 0);
  made.key = std::make_shared<const Secret>(Secret::random(kKeyBytes));
  const RootKeyring::Key& root = keyring.current();
  pg::Params params(workspace, made.id, root.id.to_string());
  add_sealed(params, seal(root.bytes, bind_data_key(workspace, made.id, root.id), *made.key));
  params.add(clock.now());
  co_await transaction.query(kInsertDataKey, std::move(params));
  co_return made;
}

Task<bool> Vault::claimed(pg::Connection& connection) {
  const pg::QueryResult any = co_await connection.query(kAnyDataKey);
  co_return any.get<bool>(0, 0);
}

Task<void> Vault::claim(pg::Transaction& transaction, const Clock& clock,
                        const RootKeyring& keyring, WorkspaceId workspace) {
  const bool is_claimed = co_await claimed(transaction.connection());
  if (is_claimed) co_return;
  co_await create_data_key(transaction, clock, keyring, workspace);
}

// ---- writing ---------------------------------------------------------------------------------

struct Vault::NewVersion {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string name;
  Secret value;
  std::optional<Micros> promote_with_validity;
};

struct Vault::Written {
  SecretInfo info;
  bool in_doubt = false;  ///< the answer to COMMIT was lost
};

Task<SecretInfo> Vault::put(WorkspaceId workspace, ConnectionId connection, std::string name,
                            Secret value, Micros previous_valid_for) {
  require_validity(previous_valid_for);
  const std::optional<Micros> validity(previous_valid_for);
  co_return co_await store(workspace, connection, std::move(name), std::move(value), validity);
}

Task<SecretInfo> Vault::stage(WorkspaceId workspace, ConnectionId connection, std::string name,
                              Secret value) {
  const std::optional<Micros> stays_pending;
  co_return co_await store(workspace, connection, std::move(name), std::move(value), stays_pending);
}

Task<SecretInfo> Vault::store(WorkspaceId workspace, ConnectionId connection, std::string name,
                              Secret value, std::optional<Micros> promote_with_validity) {
  require_name(name);
  require_value(value, describe(workspace, connection, name));
  NewVersion wanted{workspace, connection, std::move(name), std::move(value),
                    promote_with_validity};
  const Written written = co_await write_and_commit(std::move(wanted));
  // Looked up on a connection of its own, after ours went back: waiting for a second one while
  // holding the first would let a pool of such waiters stand still.
  if (written.in_doubt) co_await require_stored(workspace, written.info);
  co_return written.info;
}

Task<Vault::Written> Vault::write_and_commit(NewVersion wanted) {
  const WorkspaceId workspace = wanted.workspace;
  const std::optional<Micros> validity = wanted.promote_with_validity;
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Transaction transaction = co_await pg::Transaction::begin(*lease);
  Written written;
  written.info = co_await write_version(transaction, std::move(wanted));
  if (validity)
    written.info = co_await make_current(transaction, workspace, written.info, *validity);
  try {
    co_await transaction.commit();
  } catch (const pg::QueryError& error) {
    if (error.kind() != ErrorKind::unknown_outcome) throw;
    written.in_doubt = true;
  }
  co_return written;
}

Task<void> Vault::lock_workspace(pg::Transaction& transaction, WorkspaceId workspace) {
  pg::Params which(workspace);
  const pg::QueryResult locked = co_await transaction.query(kLockWorkspace, std::move(which));
  if (locked.empty()) {
    throw Failure(Error(ErrorKind::not_found, "vault.workspace.not_found",
                        fmt::format("there is no workspace {}", workspace.value)));
  }
}

Task<SecretInfo> Vault::write_version(pg::Transaction& transaction, NewVersion wanted) {
  co_await lock_workspace(transaction, wanted.workspace);
  const KeyInUse in_use = co_await active_data_key(transaction, wanted.workspace);

  pg::Params which(wanted.workspace, wanted.connection, wanted.name);
  const pg::QueryResult next = co_await transaction.query(kNextVersion, std::move(which));
  SecretInfo info;
  info.connection = wanted.connection;
  info.name = wanted.name;
  info.version = next.get<std::int64_t>(0, 0);
  info.state = SecretState::pending;
  info.fingerprint = Fingerprint::of(wanted.value, *in_use.key).to_string();
  info.created_at = clock_.now();
  info.data_key = in_use.id;

  pg::Params pending(wanted.workspace, wanted.connection, wanted.name, info.created_at);
  co_await transaction.query(kRevokePending, std::move(pending));

  const SecretPlace place{wanted.workspace, wanted.connection, wanted.name, info.version};
  pg::Params row(wanted.workspace, wanted.connection, wanted.name, info.version, in_use.id);
  add_sealed(row, seal(*in_use.key, bind_secret(place, in_use.id), wanted.value));
  row.add(info.fingerprint);
  row.add(info.created_at);
  co_await transaction.query(kInsertPending, std::move(row));
  co_return info;
}

Task<SecretInfo> Vault::make_current(pg::Transaction& transaction, WorkspaceId workspace,
                                     SecretInfo info, Micros previous_valid_for) {
  const Micros now = clock_.now();
  pg::Params current(workspace, info.connection, info.name, now, now + previous_valid_for);
  co_await transaction.query(kCurrentToPrevious, std::move(current));
  pg::Params old(workspace, info.connection, info.name, now, std::int64_t{kPreviousVersionsMax});
  co_await transaction.query(kRevokeOldPrevious, std::move(old));
  pg::Params promoted(workspace, info.connection, info.name, info.version, now);
  const pg::QueryResult rows = co_await transaction.query(kPendingToCurrent, std::move(promoted));
  SLUICE_INVARIANT(rows.rows() == 1);
  co_return read_info(rows, 0);
}

/// After a COMMIT whose answer was lost: is our version there?
Task<void> Vault::require_stored(WorkspaceId workspace, SecretInfo info) {
  pg::Params params(workspace, info.connection, info.name, info.version, info.fingerprint,
                    info.created_at);
  const pg::QueryResult rows = co_await pool_.query(kIsStored, std::move(params));
  if (!rows.empty()) co_return;
  throw Failure(Error(ErrorKind::retry_later, "vault.secret.not_stored",
                      fmt::format("{} was not stored: the database went away during the commit",
                                  describe(workspace, info.connection, info.name)),
                      "Store it again"));
}

Task<Result<SecretInfo>> Vault::promote(WorkspaceId workspace, ConnectionId connection,
                                        std::string name, std::int64_t version,
                                        Micros previous_valid_for) {
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Transaction transaction = co_await pg::Transaction::begin(*lease);
  Result<SecretInfo> promoted = co_await promote(transaction, workspace, connection,
                                                 std::move(name), version, previous_valid_for);
  if (promoted) co_await transaction.commit();
  co_return promoted;
}

Task<Result<SecretInfo>> Vault::promote(pg::Transaction& transaction, WorkspaceId workspace,
                                        ConnectionId connection, std::string name,
                                        std::int64_t version, Micros previous_valid_for) {
  require_name(name);
  require_validity(previous_valid_for);
  co_await lock_workspace(transaction, workspace);
  pg::Params which(workspace, connection, name, clock_.now());
  const pg::QueryResult live = co_await transaction.query(kLive, std::move(which));
  bool is_pending = false;
  for (int row = 0; row < live.rows(); ++row) {
    is_pending |= live.get<std::int64_t>(row, 0) == version && live.text(row, 1) == "pending";
  }
  if (!is_pending) {
    const std::string what = fmt::format("has no pending version {}", version);
    co_return not_found(workspace, connection, name, what);
  }
  SecretInfo info;
  info.connection = connection;
  info.name = name;
  info.version = version;
  info = co_await make_current(transaction, workspace, info, previous_valid_for);
  co_return info;
}

// ---- reading ---------------------------------------------------------------------------------

Task<Result<SecretValue>> Vault::use(WorkspaceId workspace, ConnectionId connection,
                                     std::string name) {
  require_name(name);
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Params which(workspace, connection, name, clock_.now());
  const pg::QueryResult rows = co_await lease->query(kLive, std::move(which));
  SecretValue value;
  bool has_current = false;
  for (int row = 0; row < rows.rows(); ++row) {
    const SecretPlace place{workspace, connection, name, rows.get<std::int64_t>(row, 0)};
    const auto key_id = rows.get<DataKeyId>(row, 2);
    const auto key = co_await data_key(*lease, workspace, key_id);
    Result<Secret> secret =
        vault::open(*key, bind_secret(place, key_id), read_sealed(rows, row, 4));
    if (!secret && secret.error().kind == ErrorKind::unsupported) throw Failure(secret.error());
    if (!secret || Fingerprint::of(*secret, *key).to_string() != rows.text(row, 3)) {
      throw Failure(
          Error(ErrorKind::internal, "vault.secret.tampered",
                fmt::format("{} version {} does not open: {}",
                            describe(workspace, connection, name), place.version,
                            secret ? "its fingerprint is another" : secret.error().message),
                "The row in sluice.secret was changed. Store the credential again, and find "
                "out who can write to the database"));
    }
    switch (state_of(rows.text(row, 1))) {
      case SecretState::pending:
        value.pending = std::move(*secret);
        break;
      case SecretState::current:
        value.current = std::move(*secret);
        value.version = place.version;
        has_current = true;
        break;
      case SecretState::previous:
        value.previous.push_back(std::move(*secret));
        break;
      case SecretState::revoked:
        break;
    }
  }
  if (!has_current) co_return not_found(workspace, connection, name, "is not stored");
  co_return value;
}

Task<std::vector<SecretInfo>> Vault::list(WorkspaceId workspace,
                                          std::optional<ConnectionId> connection) {
  pg::Params params(workspace, connection);
  const pg::QueryResult rows = co_await pool_.query(kList, std::move(params));
  std::vector<SecretInfo> infos;
  for (int row = 0; row < rows.rows(); ++row) infos.push_back(read_info(rows, row));
  co_return infos;
}

Task<void> Vault::discard(WorkspaceId workspace, ConnectionId connection, std::string name,
                          std::int64_t version) {
  require_name(name);
  pg::Params which(workspace, connection, name, clock_.now(), version);
  co_await pool_.query(kDiscardPending, std::move(which));
}

Task<void> Vault::discard(pg::Transaction& transaction, WorkspaceId workspace,
                          ConnectionId connection, std::string name, std::int64_t version) {
  require_name(name);
  pg::Params which(workspace, connection, name, clock_.now(), version);
  co_await transaction.query(kDiscardPending, std::move(which));
}

Task<std::int64_t> Vault::remove(WorkspaceId workspace, ConnectionId connection) {
  std::optional<std::string> every_name;
  co_return co_await revoke(workspace, connection, std::move(every_name));
}

Task<std::int64_t> Vault::remove(WorkspaceId workspace, ConnectionId connection, std::string name) {
  require_name(name);
  std::optional<std::string> only(std::move(name));
  co_return co_await revoke(workspace, connection, std::move(only));
}

Task<std::int64_t> Vault::revoke(WorkspaceId workspace, ConnectionId connection,
                                 std::optional<std::string> name) {
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Transaction transaction = co_await pg::Transaction::begin(*lease);
  co_await lock_workspace(transaction, workspace);
  pg::Params params(workspace, connection, name, clock_.now());
  const pg::QueryResult rows = co_await transaction.query(kRemove, std::move(params));
  const std::int64_t revoked = rows.affected();
  co_await transaction.commit();
  co_return revoked;
}

Task<std::int64_t> Vault::purge_expired() {
  pg::Params params(clock_.now());
  const pg::QueryResult rows = co_await pool_.query(kPurgeExpired, std::move(params));
  co_return rows.affected();
}

}  // namespace sluice::vault
