#include "vault/vault.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"
#include "base/log.hpp"

namespace sluice::vault {
namespace {

// The columns of a sealed value, in the order read_sealed wants them.
#define SLUICE_SEALED_COLUMNS "alg, salt, nonce, commitment, ciphertext"
#define SLUICE_INFO_COLUMNS \
  "connection_id, name, version, state, fingerprint, created_at, valid_until, data_key_id"
// What revoking does to a row.
#define SLUICE_REVOKE                                                                     \
  "state = 'revoked', valid_until = NULL, salt = NULL, nonce = NULL, commitment = NULL, " \
  "ciphertext = NULL, bound_to = ''"

// Writers of one workspace's vault take turns on its row: version numbers and the first data key
// need no retry, and a rotation of the data key can hold them off.
const pg::Statement kLockWorkspace{
    "vault_lock_workspace",
    "SELECT 1 FROM sluice.workspace WHERE workspace_id = $1 FOR NO KEY UPDATE"};

#define SLUICE_DATA_KEY_COLUMNS                                                                 \
  "k.data_key_id, k.state, k.root_key_id, k.alg, k.salt, k.nonce, k.commitment, k.ciphertext, " \
  "k.oldest_alg, k.generation, k.as_of, sha256(k.ledger)"

const pg::Statement kDataKeysInUse{"vault_data_keys_in_use",
                                   "SELECT " SLUICE_DATA_KEY_COLUMNS
                                   ", k.ledger, k.workspace_id FROM sluice.data_key k"
                                   " WHERE (k.workspace_id, k.data_key_id) > ($1, $2)"
                                   " AND k.state IN ('pending', 'active', 'decrypt_only')"
                                   " ORDER BY k.workspace_id, k.data_key_id LIMIT 500"};

const pg::Statement kAnyDataKey{"vault_any_data_key",
                                "SELECT EXISTS (SELECT 1 FROM sluice.data_key)"};

const pg::Statement kDataKey{
    "vault_data_key",
    "SELECT " SLUICE_DATA_KEY_COLUMNS
    ", k.ledger FROM sluice.data_key k"
    " WHERE k.workspace_id = $1 AND k.data_key_id = $2 AND k.state <> 'destroyed'"};

// Its ledger only when it is another than the one we know, $2.
const pg::Statement kActiveDataKey{
    "vault_active_data_key",
    "SELECT " SLUICE_DATA_KEY_COLUMNS
    ", CASE WHEN sha256(k.ledger) = $2 THEN NULL ELSE k.ledger END"
    " FROM sluice.data_key k WHERE k.workspace_id = $1 AND k.state = 'active'"};

const pg::Statement kNextDataKeyId{
    "vault_next_data_key_id",
    "SELECT coalesce(max(data_key_id), 0) + 1, count(*) FILTER (WHERE state <> 'destroyed')"
    " FROM sluice.data_key WHERE workspace_id = $1"};

const pg::Statement kInsertDataKey{
    "vault_insert_data_key",
    "INSERT INTO sluice.data_key (workspace_id, data_key_id, state, "
    "root_key_id, " SLUICE_SEALED_COLUMNS
    ", oldest_alg, generation, as_of, created_at, state_changed_at)"
    " VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11)"};

const pg::Statement kWrapDataKey{
    "vault_wrap_data_key",
    "UPDATE sluice.data_key SET alg = $3, salt = $4, nonce = $5, commitment = $6, ciphertext = $7,"
    " oldest_alg = $8, generation = $9, as_of = $10, ledger = $11"
    " WHERE workspace_id = $1 AND data_key_id = $2"};

const pg::Statement kNextVersion{"vault_next_version",
                                 "SELECT coalesce(max(version), 0) + 1 FROM sluice.secret"
                                 " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"};

const pg::Statement kInsertPending{
    "vault_insert_pending",
    "INSERT INTO sluice.secret (workspace_id, connection_id, name, version, state, data_key_id,"
    " " SLUICE_SEALED_COLUMNS
    ", fingerprint, bound_to, created_at, state_changed_at)"
    " VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)"};

const pg::Statement kSealAgain{
    "vault_seal_again",
    "UPDATE sluice.secret SET alg = $5, salt = $6, nonce = $7, commitment = $8, ciphertext = $9,"
    " fingerprint = $10, data_key_id = $11, state = $12, valid_until = $13, bound_to = $14,"
    " state_changed_at = $15"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND version = $4"};

const pg::Statement kRevokeVersion{
    "vault_revoke_version",
    "UPDATE sluice.secret SET " SLUICE_REVOKE
    ", state_changed_at = $5"
    " WHERE workspace_id = $1 AND connection_id = $2 AND name = $3 AND version = $4"};

#define SLUICE_ROW_COLUMNS                                                               \
  "s.version, s.state, s.data_key_id, s.fingerprint, s.valid_until, s.bound_to, s.alg, " \
  "s.salt, s.nonce, s.commitment, s.ciphertext"

const pg::Statement kLiveRows{
    "vault_live_rows",
    "SELECT " SLUICE_ROW_COLUMNS
    ", s.created_at FROM sluice.secret s"
    " WHERE s.workspace_id = $1 AND s.connection_id = $2 AND s.name = $3 AND s.state <> 'revoked'"
    " ORDER BY s.version DESC"};

// One moment of both: the ledger tells of these very rows.
const pg::Statement kUse{
    "vault_use",
    "SELECT " SLUICE_DATA_KEY_COLUMNS
    ", CASE WHEN sha256(k.ledger) = $4 THEN NULL ELSE k.ledger END, " SLUICE_ROW_COLUMNS
    " FROM sluice.data_key k LEFT JOIN sluice.secret s ON s.workspace_id = $1"
    " AND s.connection_id = $2 AND s.name = $3 AND s.state <> 'revoked'"
    " WHERE k.workspace_id = $1 AND k.state = 'active' ORDER BY s.version DESC"};
constexpr int kFirstRowColumn = 13;  ///< of kUse

const pg::Statement kIsStored{
    "vault_is_stored",
    "SELECT 1 FROM sluice.secret WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"
    " AND version = $4 AND fingerprint = $5 AND created_at = $6"};

const pg::Statement kNames{
    "vault_names",
    "SELECT DISTINCT connection_id, name FROM sluice.secret"
    " WHERE workspace_id = $1 AND ($2::bigint IS NULL OR connection_id = $2)"
    " AND ($3::text IS NULL OR name = $3) AND state <> 'revoked' ORDER BY connection_id, name"};

const pg::Statement kOfFormatBefore{
    "vault_of_format_before",
    "SELECT DISTINCT connection_id, name FROM sluice.secret"
    " WHERE workspace_id = $1 AND (connection_id, name) > ($2, $3) AND alg = 1"
    " AND state <> 'revoked' ORDER BY connection_id, name LIMIT $4"};

const pg::Statement kExpired{"vault_expired",
                             "SELECT DISTINCT connection_id, name FROM sluice.secret"
                             " WHERE workspace_id = $1 AND state = 'previous' AND valid_until <= $2"
                             " ORDER BY connection_id, name LIMIT 1000"};

const pg::Statement kList{
    "vault_list",
    "SELECT " SLUICE_INFO_COLUMNS
    " FROM sluice.secret"
    " WHERE workspace_id = $1 AND ($2::bigint IS NULL OR connection_id = $2) AND state <> 'revoked'"
    " ORDER BY connection_id, name, version DESC"};

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

// ---- one connection, in a transaction of either kind -------------------------------------------

class Vault::Within {
 public:
  explicit Within(pg::Transaction& transaction) : transaction_(&transaction) {}
  explicit Within(pg::Fenced& fenced) : fenced_(&fenced) {}
  Task<pg::QueryResult> query(const pg::Statement& statement, pg::Params params) {
    return transaction_ != nullptr ? transaction_->query(statement, std::move(params))
                                   : fenced_->query(statement, std::move(params));
  }

 private:
  pg::Transaction* transaction_ = nullptr;
  pg::Fenced* fenced_ = nullptr;
};

// ---- data keys -------------------------------------------------------------------------------

/// As it is stored. Of alg 1 `terms` says what that means: nothing is in the ledger.
struct Vault::KeyRow {
  WorkspaceId workspace;
  DataKeyId id;
  std::string root_key;
  Sealed sealed;
  DataKeyTerms terms;
  std::optional<Bytes> ledger;  ///< nullopt: the one that we know
  Binding binding;
};

struct Vault::OpenKey {
  DataKeyId id;
  std::string root_key;
  Sealed sealed;
  Bytes aad;
  DataKeyTerms terms;
  Secret key;
  Ledger ledger;
};

namespace {

std::optional<DataKeyState> data_key_state_of(std::string_view text) {
  if (text == "pending") return DataKeyState::pending;
  if (text == "active") return DataKeyState::active;
  if (text == "decrypt_only") return DataKeyState::decrypt_only;
  if (text == "retired") return DataKeyState::retired;
  return std::nullopt;
}

std::string describe_key(WorkspaceId workspace, DataKeyId id) {
  return fmt::format("data key {} of workspace {}", id.value, workspace.value);
}

Error key_tampered(WorkspaceId workspace, DataKeyId id, std::string_view why) {
  return Error(ErrorKind::denied, "vault.data_key.tampered",
               fmt::format("{} does not open: {}", describe_key(workspace, id), why),
               "The row in sluice.data_key was changed: restore it as it was, from a backup, and "
               "find out who can write to the database");
}

}  // namespace

Vault::Vault(pg::Pool& pool, const Clock& clock, RootKeyring keyring)
    : pool_(pool), clock_(clock), keyring_(std::move(keyring)) {}

Task<std::unique_ptr<Vault>> Vault::open(pg::Pool& pool, const Clock& clock, RootKeyring keyring) {
  std::unique_ptr<Vault> vault(new Vault(pool, clock, std::move(keyring)));
  co_await vault->verify_data_keys();
  co_return vault;
}

namespace {

/// The columns of SLUICE_DATA_KEY_COLUMNS, and the ledger behind them.
template <class KeyRow>
void read_key_row(KeyRow& made, const pg::QueryResult& rows, int row) {
  made.id = rows.get<DataKeyId>(row, 0);
  made.root_key = rows.template get<std::string>(row, 2);
  made.sealed = read_sealed(rows, row, 3);
  const auto state = data_key_state_of(rows.text(row, 1));
  const auto root_key = RootKeyId::from_hex(made.root_key);
  SLUICE_INVARIANT(state.has_value() && root_key.has_value());
  made.terms.state = *state;
  if (made.sealed.alg == kAlgBefore) {
    made.terms.oldest_alg = kAlgBefore;
    made.ledger.emplace();
    made.binding = bind_data_key_before(made.workspace, made.id, *root_key);
    return;
  }
  made.terms.oldest_alg = static_cast<std::uint8_t>(rows.template get<std::int32_t>(row, 8));
  made.terms.generation = rows.template get<std::int64_t>(row, 9);
  made.terms.as_of = rows.template get<std::optional<Micros>>(row, 10).value_or(Micros(0));
  SLUICE_INVARIANT(copy_exactly(rows.template get<Bytes>(row, 11), made.terms.ledger_digest));
  made.ledger = rows.template get<std::optional<Bytes>>(row, 12);
  made.binding = bind_data_key(made.workspace, made.id, *root_key, made.terms);
}

}  // namespace

Task<void> Vault::verify_data_keys() {
  WorkspaceId workspace;
  DataKeyId id;
  std::int64_t keys = 0, closed = 0;
  Micros as_of{0};
  for (;;) {
    pg::Params params(workspace, id);
    const pg::QueryResult rows = co_await pool_.query(kDataKeysInUse, std::move(params));
    if (rows.empty()) break;
    for (int row = 0; row < rows.rows(); ++row) {
      workspace = rows.get<WorkspaceId>(row, 13);
      id = rows.get<DataKeyId>(row, 0);
      ++keys;
      try {
        KeyRow stored;
        stored.workspace = workspace;
        read_key_row(stored, rows, row);
        const OpenKeyPtr key = open_key(std::move(stored), nullptr);
        saw(workspace, key->terms);
        as_of = std::max(as_of, key->terms.as_of);
      } catch (const Failure& failure) {
        if (failure.error().code != "vault.data_key.tampered") throw;
        // One workspace's row keeps no other from its secrets.
        ++closed;
        log::error("vault.data_key.tampered",
                   {{"workspace", workspace.value}, {"error", failure.error().describe()}});
      }
    }
  }
  if (keys == 0) co_return;
  log::info("vault.opened", {{"as_of", as_of == Micros(0) ? std::string() : to_rfc3339(as_of)},
                             {"data_keys", keys},
                             {"closed", closed}});
}

Secret Vault::unwrap(const KeyRow& row, const Binding& binding) const {
  const auto root_key_id = RootKeyId::from_hex(row.root_key);
  SLUICE_INVARIANT(root_key_id.has_value());
  const RootKeyring::Key* wrapping = keyring_.find(*root_key_id);
  if (wrapping == nullptr) {
    throw Failure(Error(
        ErrorKind::internal, "vault.root_key.mismatch",
        fmt::format(
            "the root key {} ({}) does not open {}: this database was made with root key {}",
            keyring_.ids(), keyring_.source(), describe_key(row.workspace, row.id), row.root_key),
        fmt::format(
            "Put the key file with {} back, or add its line below the current one; without it the "
            "stored secrets are lost and every credential must be entered again in a new database",
            row.root_key)));
  }
  auto key = vault::open(wrapping->bytes, binding, row.sealed);
  if (key && key->size() == kKeyBytes) return std::move(*key);
  if (!key && key.error().kind == ErrorKind::unsupported) throw Failure(key.error());
  throw Failure(
      key_tampered(row.workspace, row.id,
                   fmt::format("with its root key {}, {}", row.root_key,
                               key ? "it has not the size of a key" : key.error().message)));
}

Vault::OpenKeyPtr Vault::open_key(KeyRow row, const OpenKeyPtr& known) {
  const DataKeyPlace place(row.workspace, row.id);
  if (const auto found = cache_index_.find(place); found != cache_index_.end()) {
    cache_.splice(cache_.begin(), cache_, found->second);
    const OpenKeyPtr cached = found->second->key;
    if (cached->sealed == row.sealed && cached->aad == row.binding.aad) return cached;
  }
  OpenKey opened;
  opened.key = unwrap(row, row.binding);
  if (!row.ledger) {
    // Left out, because it is the one that we know: by its digest, which the key has just proved.
    if (known == nullptr || known->terms.ledger_digest != row.terms.ledger_digest)
      throw Failure(key_tampered(row.workspace, row.id, "its ledger is another"));
    opened.ledger = known->ledger;
  } else {
    auto ledger = Ledger::parse(*row.ledger);
    if (!ledger) throw Failure(key_tampered(row.workspace, row.id, "its ledger cannot be read"));
    opened.ledger = std::move(*ledger);
  }
  opened.id = row.id;
  opened.root_key = std::move(row.root_key);
  opened.sealed = std::move(row.sealed);
  opened.aad = std::move(row.binding.aad);
  opened.terms = row.terms;
  auto shared = std::make_shared<const OpenKey>(std::move(opened));
  keep(place, shared);
  return shared;
}

void Vault::keep(const DataKeyPlace& place, OpenKeyPtr key) {
  if (const auto found = cache_index_.find(place); found != cache_index_.end()) {
    found->second->key = std::move(key);
    return;
  }
  cache_.push_front(CachedKey{place, std::move(key)});
  cache_index_.emplace(place, cache_.begin());
  if (cache_.size() > kDataKeysCachedMax) {
    cache_index_.erase(cache_.back().place);
    cache_.pop_back();
  }
}

Vault::OpenKeyPtr Vault::known_key(WorkspaceId workspace) const {
  const auto first = cache_index_.lower_bound(DataKeyPlace(workspace, DataKeyId()));
  for (auto at = first; at != cache_index_.end() && at->first.first == workspace; ++at) {
    if (at->second->key->terms.state == DataKeyState::active) return at->second->key;
  }
  return nullptr;
}

bool Vault::is_older(WorkspaceId workspace, const OpenKey& key) const {
  const auto highest = seen_.find(workspace);
  return highest != seen_.end() && key.terms.generation < highest->second;
}

void Vault::saw(WorkspaceId workspace, const DataKeyTerms& terms) {
  if (terms.state != DataKeyState::active) return;
  std::int64_t& highest = seen_[workspace];
  highest = std::max(highest, terms.generation);
}

namespace {

std::array<std::uint8_t, 32> ledger_of(const auto& known) {
  return known == nullptr ? std::array<std::uint8_t, 32>() : known->terms.ledger_digest;
}

Error key_put_back(WorkspaceId workspace, DataKeyId id) {
  return Error(
      ErrorKind::denied, "vault.data_key.put_back",
      fmt::format("{} is an older row than one that was there", describe_key(workspace, id)),
      "Somebody put it back into sluice.data_key. Put back the newer one; when the whole "
      "database was restored, restart this host");
}

Error key_lost(WorkspaceId workspace, std::string_view what) {
  return Error(ErrorKind::denied, "vault.data_key.lost",
               fmt::format("{} of workspace {} is destroyed or missing", what, workspace.value),
               "What was sealed with it cannot be read: restore the row in sluice.data_key, or "
               "store those credentials again");
}

}  // namespace

/// Another key than the active one, by its number.
Task<Vault::OpenKeyPtr> Vault::key_of_row(Within& within, WorkspaceId workspace,
                                          const OpenKeyPtr& active, DataKeyId id) {
  if (active->id == id) co_return active;
  pg::Params params(workspace, id);
  const pg::QueryResult rows = co_await within.query(kDataKey, std::move(params));
  if (rows.empty()) throw Failure(key_lost(workspace, fmt::format("data key {}", id.value)));
  KeyRow stored;
  stored.workspace = workspace;
  read_key_row(stored, rows, 0);
  co_return open_key(std::move(stored), nullptr);
}

/// Under the workspace's lock. The key that it makes is not put into the cache: if this transaction
/// fails, another key gets its number.
Task<Vault::OpenKeyPtr> Vault::active_key(Within& within, WorkspaceId workspace) {
  const OpenKeyPtr known = known_key(workspace);
  const std::array<std::uint8_t, 32> ledger = ledger_of(known);
  pg::Params params(workspace, ByteView(ledger));
  const pg::QueryResult rows = co_await within.query(kActiveDataKey, std::move(params));
  KeyRow stored;
  stored.workspace = workspace;
  if (rows.empty()) {
    stored = co_await create_data_key(within, clock_, keyring_, workspace);
    OpenKey made;
    made.key = unwrap(stored, stored.binding);
    made.id = stored.id;
    made.root_key = stored.root_key;
    made.sealed = stored.sealed;
    made.aad = stored.binding.aad;
    made.terms = stored.terms;
    co_return std::make_shared<const OpenKey>(std::move(made));
  }
  read_key_row(stored, rows, 0);
  OpenKeyPtr key = open_key(std::move(stored), known);
  if (is_older(workspace, *key)) throw Failure(key_put_back(workspace, key->id));
  co_return key;
}

Task<Vault::KeyRow> Vault::create_data_key(Within& within, const Clock& clock,
                                           const RootKeyring& keyring, WorkspaceId workspace) {
  pg::Params which(workspace);
  const pg::QueryResult next = co_await within.query(kNextDataKeyId, std::move(which));
  // A key that is there and not in force was put out of it by somebody else: we never do.
  if (next.get<std::int64_t>(0, 1) > 0) throw Failure(key_lost(workspace, "the data key in force"));
  KeyRow made;
  made.workspace = workspace;
  made.id = next.get<DataKeyId>(0, 0);
  const RootKeyring::Key& root = keyring.current();
  made.root_key = root.id.to_string();
  made.terms.generation = 1;
  made.terms.as_of = clock.now();
  made.terms.ledger_digest = Ledger::digest({});
  made.ledger.emplace();
  made.binding = bind_data_key(workspace, made.id, root.id, made.terms);
  made.sealed = seal(root.bytes, made.binding, Secret::random(kKeyBytes));
  pg::Params params(workspace, made.id, made.root_key);
  add_sealed(params, made.sealed);
  params.add(std::int32_t{made.terms.oldest_alg});
  params.add(made.terms.generation);
  params.add(made.terms.as_of);
  co_await within.query(kInsertDataKey, std::move(params));
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
  Within within(transaction);
  co_await create_data_key(within, clock, keyring, workspace);
}

Task<void> Vault::lock_workspace(Within& within, WorkspaceId workspace) {
  pg::Params which(workspace);
  const pg::QueryResult locked = co_await within.query(kLockWorkspace, std::move(which));
  if (locked.empty()) {
    throw Failure(Error(ErrorKind::not_found, "vault.workspace.not_found",
                        fmt::format("there is no workspace {}", workspace.value)));
  }
}

// ---- the rows of one secret --------------------------------------------------------------------

struct Vault::Row {
  std::int64_t version = 0;
  DataKeyId data_key;
  std::string fingerprint;
  SecretTerms terms;
  Sealed sealed;
  Micros created_at{0};
};

namespace {

/// The columns of SLUICE_ROW_COLUMNS, from `first` on.
template <class Row>
Row read_row(const pg::QueryResult& rows, int row, int first) {
  Row made;
  made.version = rows.template get<std::int64_t>(row, first);
  made.terms.state = state_of(rows.text(row, first + 1));
  made.data_key = rows.template get<DataKeyId>(row, first + 2);
  made.fingerprint = rows.template get<std::string>(row, first + 3);
  made.terms.valid_until = rows.template get<std::optional<Micros>>(row, first + 4);
  made.terms.bound_to = rows.template get<std::string>(row, first + 5);
  made.sealed = read_sealed(rows, row, first + 6);
  return made;
}

template <class Rows>
std::vector<LedgerVersion> versions_of(const Rows& rows) {
  std::vector<LedgerVersion> versions;
  for (const auto& row : rows) {
    LedgerVersion one;
    one.version = row.version;
    one.commitment = row.sealed.commitment;
    versions.push_back(one);
  }
  return versions;
}

/// Whether these are the live versions that were stored last.
template <class Rows>
Result<void> check_ledger(const Ledger& ledger, std::uint8_t oldest_alg, ConnectionId connection,
                          const std::string& name, const Rows& rows, const std::string& where) {
  const Ledger::Head* const head = ledger.find(connection, name);
  if (head != nullptr && *head == Ledger::head_of(versions_of(rows))) return {};
  const bool all_before =
      std::ranges::all_of(rows, [](const auto& row) { return row.sealed.alg == kAlgBefore; });
  if (head == nullptr && all_before && oldest_alg == kAlgBefore) return {};
  return fail(ErrorKind::denied, "vault.secret.put_back",
              fmt::format("the live versions of {} are not those that were stored last: rows of "
                          "sluice.secret were put back or taken away",
                          where),
              "Enter the secret again, and find out who can write to the database");
}

Error of_old_format(const std::string& where, std::int64_t version) {
  return Error(ErrorKind::denied, "vault.secret.old_format",
               fmt::format("{} version {} is stored in an older format, and all of this workspace "
                           "were sealed anew: the row was put back",
                           where, version),
               "Enter the secret again, and find out who can write to the database");
}

Error secret_tampered(const std::string& where, std::int64_t version, const std::string& why) {
  return Error(ErrorKind::denied, "vault.secret.tampered",
               fmt::format("{} version {} does not open: {}", where, version, why),
               "The row in sluice.secret was changed. Enter the secret again, and find out who can "
               "write to the database");
}

}  // namespace

/// `key` is the row's own data key; `active` says which formats are opened still.
Result<Secret> Vault::open_row(const OpenKey& active, const OpenKey& key, WorkspaceId workspace,
                               ConnectionId connection, const std::string& name,
                               const Row& row) const {
  const SecretPlace place{workspace, connection, name, row.version};
  const std::string where = describe(workspace, connection, name);
  const bool before = row.sealed.alg == kAlgBefore;
  if (before && active.terms.oldest_alg != kAlgBefore)
    return std::unexpected(of_old_format(where, row.version));
  Result<Secret> secret = vault::open(
      key.key, before ? bind_secret_before(place, key.id) : bind_secret(place, key.id, row.terms),
      row.sealed);
  if (!secret && secret.error().kind == ErrorKind::unsupported) throw Failure(secret.error());
  if (!secret) return std::unexpected(secret_tampered(where, row.version, secret.error().message));
  if (Fingerprint::of(*secret, key.key).to_string() != row.fingerprint)
    return std::unexpected(secret_tampered(where, row.version, "its fingerprint is another"));
  return secret;
}

// ---- writing ---------------------------------------------------------------------------------

struct Vault::Change {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string name;
  OpenKeyPtr key;
  DataKeyTerms terms;       ///< of the key, as it will be
  Ledger ledger;            ///< as it will be
  std::vector<Row> rows;    ///< live, newest first, as they will be
  std::size_t dropped = 0;  ///< versions that were not carried on
};

struct Vault::NewVersion {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string name;
  Secret value;
  std::string bound_to;
  std::optional<Micros> promote_with_validity;
};

struct Vault::Written {
  SecretInfo info;
  bool in_doubt = false;  ///< the answer to COMMIT was lost
};

namespace {

template <class Change, class Row>
SecretInfo info_of(const Change& change, const Row& row) {
  SecretInfo info;
  info.connection = change.connection;
  info.name = change.name;
  info.version = row.version;
  info.state = row.terms.state;
  info.fingerprint = row.fingerprint;
  info.created_at = row.created_at;
  info.valid_until = row.terms.valid_until;
  info.data_key = row.data_key;
  return info;
}

std::string checked_text(const Purpose& purpose, const std::string& where) {
  std::string text = purpose.text();
  if (text.size() <= kPurposeBytesMax) return text;
  throw Failure(
      Error(ErrorKind::bad_input, "vault.secret.bad_purpose",
            fmt::format("{} would be bound to {} bytes of destinations", where, text.size()),
            fmt::format("{} at most: a connector has fewer hosts", kPurposeBytesMax)));
}

}  // namespace

Task<SecretInfo> Vault::put(WorkspaceId workspace, ConnectionId connection, std::string name,
                            Secret value, Purpose purpose, Micros previous_valid_for) {
  require_validity(previous_valid_for);
  const std::optional<Micros> validity(previous_valid_for);
  co_return co_await store(workspace, connection, std::move(name), std::move(value),
                           std::move(purpose), validity);
}

Task<SecretInfo> Vault::stage(WorkspaceId workspace, ConnectionId connection, std::string name,
                              Secret value, Purpose purpose) {
  const std::optional<Micros> stays_pending;
  co_return co_await store(workspace, connection, std::move(name), std::move(value),
                           std::move(purpose), stays_pending);
}

Task<SecretInfo> Vault::store(WorkspaceId workspace, ConnectionId connection, std::string name,
                              Secret value, Purpose purpose,
                              std::optional<Micros> promote_with_validity) {
  require_name(name);
  const std::string where = describe(workspace, connection, name);
  require_value(value, where);
  std::string bound_to = checked_text(purpose, where);
  NewVersion wanted{workspace,        connection,          std::move(name),
                    std::move(value), std::move(bound_to), promote_with_validity};
  const Written written = co_await write_and_commit(std::move(wanted));
  // Looked up on a connection of its own, after ours went back: waiting for a second one while
  // holding the first would let a pool of such waiters stand still.
  if (written.in_doubt) co_await require_stored(workspace, written.info);
  co_return written.info;
}

Task<Vault::Written> Vault::write_and_commit(NewVersion wanted) {
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Transaction transaction = co_await pg::Transaction::begin(*lease);
  Within within(transaction);
  Change change = co_await begin_change(within, wanted.workspace, wanted.connection, wanted.name);
  Written written;
  written.info = co_await add_pending(within, change, wanted);
  if (wanted.promote_with_validity) {
    written.info =
        co_await make_current(within, change, written.info.version, *wanted.promote_with_validity);
  }
  co_await finish_change(within, change);
  try {
    co_await transaction.commit();
  } catch (const pg::QueryError& error) {
    if (error.kind() != ErrorKind::unknown_outcome) throw;
    written.in_doubt = true;
  }
  if (!written.in_doubt) saw(wanted.workspace, change.terms);
  co_return written;
}

/// What does not open, or is not what was stored last, is not carried on: it is revoked.
Task<Vault::Change> Vault::begin_change(Within& within, WorkspaceId workspace,
                                        ConnectionId connection, std::string name) {
  co_await lock_workspace(within, workspace);
  Change change;
  change.workspace = workspace;
  change.connection = connection;
  change.name = std::move(name);
  change.key = co_await active_key(within, workspace);
  change.terms = change.key->terms;
  change.ledger = change.key->ledger;
  pg::Params which(workspace, connection, change.name);
  const pg::QueryResult rows = co_await within.query(kLiveRows, std::move(which));
  for (int row = 0; row < rows.rows(); ++row) {
    change.rows.push_back(read_row<Row>(rows, row, 0));
    change.rows.back().created_at = rows.get<Micros>(row, 11);
  }
  if (change.rows.empty()) co_return change;
  const std::string where = describe(workspace, connection, change.name);
  std::optional<Error> dropped;
  std::vector<std::size_t> doomed;  // from the last to the first
  for (std::size_t row = change.rows.size(); row-- > 0;) {
    const OpenKeyPtr key =
        co_await key_of_row(within, workspace, change.key, change.rows[row].data_key);
    const auto value =
        open_row(*change.key, *key, workspace, connection, change.name, change.rows[row]);
    if (value) continue;
    dropped = value.error();
    doomed.push_back(row);
  }
  const auto agrees = check_ledger(change.ledger, change.terms.oldest_alg, connection, change.name,
                                   change.rows, where);
  if (!agrees) {
    dropped = agrees.error();
    doomed.clear();
    for (std::size_t row = change.rows.size(); row-- > 0;) doomed.push_back(row);
  }
  for (const std::size_t row : doomed) co_await revoke_row(within, change, row);
  change.dropped = doomed.size();
  if (dropped) {
    log::warning("vault.secret.revoked", {{"workspace", workspace.value},
                                          {"connection_id", connection.value},
                                          {"name", change.name},
                                          {"versions", static_cast<std::int64_t>(doomed.size())},
                                          {"reason", dropped->describe()}});
  }
  co_return change;
}

Task<void> Vault::finish_change(Within& within, Change& change) {
  change.ledger.set(change.connection, change.name, versions_of(change.rows));
  co_await wrap(within, change);
}

/// The data key again, over the ledger as it is now.
Task<void> Vault::wrap(Within& within, Change& change) {
  const auto root_key = RootKeyId::from_hex(change.key->root_key);
  const RootKeyring::Key* const root = keyring_.find(*root_key);
  SLUICE_INVARIANT(root != nullptr);  // it has opened the key
  const Bytes ledger = change.ledger.bytes();
  change.terms.state = DataKeyState::active;
  change.terms.generation = change.key->terms.generation + 1;
  change.terms.as_of = clock_.now();
  change.terms.ledger_digest = Ledger::digest(ledger);
  const Binding binding = bind_data_key(change.workspace, change.key->id, *root_key, change.terms);
  pg::Params params(change.workspace, change.key->id);
  add_sealed(params, seal(root->bytes, binding, change.key->key));
  params.add(std::int32_t{change.terms.oldest_alg});
  params.add(change.terms.generation);
  params.add(change.terms.as_of);
  params.add(ledger);
  co_await within.query(kWrapDataKey, std::move(params));
}

Task<SecretInfo> Vault::add_pending(Within& within, Change& change, const NewVersion& wanted) {
  for (std::size_t row = change.rows.size(); row-- > 0;) {
    if (change.rows[row].terms.state == SecretState::pending)
      co_await revoke_row(within, change, row);
  }
  pg::Params which(change.workspace, change.connection, change.name);
  const pg::QueryResult next = co_await within.query(kNextVersion, std::move(which));
  Row made;
  made.version = next.get<std::int64_t>(0, 0);
  made.data_key = change.key->id;
  made.fingerprint = Fingerprint::of(wanted.value, change.key->key).to_string();
  made.created_at = clock_.now();
  made.terms.bound_to = wanted.bound_to;
  const SecretPlace place{change.workspace, change.connection, change.name, made.version};
  const Binding binding = bind_secret(place, made.data_key, made.terms);
  made.sealed = seal(change.key->key, binding, wanted.value);
  pg::Params params(change.workspace, change.connection, change.name, made.version, made.data_key);
  add_sealed(params, made.sealed);
  params.add(made.fingerprint);
  params.add(made.terms.bound_to);
  params.add(made.created_at);
  co_await within.query(kInsertPending, std::move(params));
  change.rows.insert(change.rows.begin(), std::move(made));
  co_return info_of(change, change.rows.front());
}

/// `version` is pending.
Task<SecretInfo> Vault::make_current(Within& within, Change& change, std::int64_t version,
                                     Micros previous_valid_for) {
  const Micros now = clock_.now();
  std::string bound_to;  // for rows of the format before, which do not say
  for (const Row& row : change.rows)
    if (row.version == version) bound_to = row.terms.bound_to;
  int kept = 0;
  // Each statement leaves at most one current version: the one before first.
  for (std::size_t row = 0; row < change.rows.size();) {
    const SecretTerms was = change.rows[row].terms;
    bool stays = true;
    if (was.state == SecretState::current) {
      SecretTerms terms = was;
      terms.state = SecretState::previous;
      terms.valid_until = now + previous_valid_for;
      if (terms.bound_to.empty()) terms.bound_to = bound_to;
      stays = previous_valid_for > Micros(0);
      if (stays) stays = co_await seal_again(within, change, row, terms);
    } else if (was.state == SecretState::previous) {
      stays = was.valid_until && *was.valid_until > now;
    }
    if (stays && change.rows[row].terms.state == SecretState::previous)
      stays = ++kept <= kPreviousVersionsMax;
    if (!stays) co_await revoke_row(within, change, row);
    if (stays) ++row;
  }
  const auto promoted = std::ranges::find(change.rows, version, &Row::version);
  SLUICE_INVARIANT(promoted != change.rows.end());
  SecretTerms terms = promoted->terms;
  terms.state = SecretState::current;
  const auto index = static_cast<std::size_t>(promoted - change.rows.begin());
  const bool sealed = co_await seal_again(within, change, index, terms);
  if (!sealed) {
    throw Failure(secret_tampered(describe(change.workspace, change.connection, change.name),
                                  version, "it was changed while it was pending"));
  }
  co_return info_of(change, change.rows[index]);
}

/// With other terms. False: the row does not open; it is as it was.
Task<bool> Vault::seal_again(Within& within, Change& change, std::size_t index,
                             const SecretTerms& terms) {
  const OpenKeyPtr key =
      co_await key_of_row(within, change.workspace, change.key, change.rows[index].data_key);
  Row& row = change.rows[index];
  const Result<Secret> value =
      open_row(*change.key, *key, change.workspace, change.connection, change.name, row);
  if (!value) co_return false;
  row.terms = terms;
  row.data_key = change.key->id;
  row.fingerprint = Fingerprint::of(*value, change.key->key).to_string();
  const SecretPlace place{change.workspace, change.connection, change.name, row.version};
  const Binding binding = bind_secret(place, row.data_key, row.terms);
  row.sealed = seal(change.key->key, binding, *value);
  pg::Params params(change.workspace, change.connection, change.name, row.version);
  add_sealed(params, row.sealed);
  params.add(row.fingerprint);
  params.add(row.data_key);
  params.add(to_string(row.terms.state));
  params.add(row.terms.valid_until);
  params.add(row.terms.bound_to);
  params.add(clock_.now());
  co_await within.query(kSealAgain, std::move(params));
  co_return true;
}

Task<void> Vault::revoke_row(Within& within, Change& change, std::size_t row) {
  pg::Params params(change.workspace, change.connection, change.name, change.rows[row].version,
                    clock_.now());
  co_await within.query(kRevokeVersion, std::move(params));
  change.rows.erase(change.rows.begin() + static_cast<std::ptrdiff_t>(row));
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
  Within within(transaction);
  Change change = co_await begin_change(within, workspace, connection, name);
  const bool is_pending = std::ranges::any_of(change.rows, [version](const Row& row) {
    return row.version == version && row.terms.state == SecretState::pending;
  });
  if (!is_pending) {
    const std::string what = fmt::format("has no pending version {}", version);
    co_return not_found(workspace, connection, name, what);
  }
  SecretInfo info = co_await make_current(within, change, version, previous_valid_for);
  co_await finish_change(within, change);
  co_return info;
}

// ---- reading ---------------------------------------------------------------------------------

namespace {

Error sealed_for_something_else(const std::string& where, const Purpose& purpose,
                                const Wanted& wanted) {
  return Error(ErrorKind::denied, "vault.secret.elsewhere",
               fmt::format("{} was sealed for {}, and is wanted for {}: it was not opened", where,
                           purpose.describe(), wanted.describe()),
               "When that is where it is to go, enter the secret again and say so "
               "(to_new_destination); else find out who changed the connection");
}

constexpr int kLooksMax = 3;  ///< at a row that another connection's answer overtook

const pg::Statement kAnyLive{
    "vault_any_live",
    "SELECT 1 FROM sluice.secret WHERE workspace_id = $1 AND connection_id = $2 AND name = $3"
    " AND state <> 'revoked' LIMIT 1"};

}  // namespace

Task<Result<SecretValue>> Vault::use(WorkspaceId workspace, ConnectionId connection,
                                     std::string name, Wanted wanted) {
  require_name(name);
  const std::string where = describe(workspace, connection, name);
  pg::Pool::Lease lease = co_await pool_.acquire();
  OpenKeyPtr active;
  std::vector<Row> stored;
  for (int look = 0; active == nullptr; ++look) {
    const OpenKeyPtr known = known_key(workspace);
    const std::array<std::uint8_t, 32> ledger = ledger_of(known);
    pg::Params which(workspace, connection, name, ByteView(ledger));
    const pg::QueryResult rows = co_await lease->query(kUse, std::move(which));
    if (rows.empty()) {
      pg::Params live(workspace, connection, name);
      const pg::QueryResult any = co_await lease->query(kAnyLive, std::move(live));
      if (!any.empty()) throw Failure(key_lost(workspace, "the data key in force"));
      co_return not_found(workspace, connection, name, "is not stored");
    }
    KeyRow key_row;
    key_row.workspace = workspace;
    read_key_row(key_row, rows, 0);
    OpenKeyPtr key = open_key(std::move(key_row), known);
    if (is_older(workspace, *key)) {
      if (look < kLooksMax) continue;
      throw Failure(key_put_back(workspace, key->id));
    }
    saw(workspace, key->terms);
    active = std::move(key);
    for (int row = 0; row < rows.rows(); ++row) {
      if (!rows.is_null(row, kFirstRowColumn))
        stored.push_back(read_row<Row>(rows, row, kFirstRowColumn));
    }
  }
  if (stored.empty()) co_return not_found(workspace, connection, name, "is not stored");
  const auto agrees =
      check_ledger(active->ledger, active->terms.oldest_alg, connection, name, stored, where);
  SecretValue value;
  std::optional<Error> changed;  // of the newest row that does not open
  const Micros now = clock_.now();
  for (const Row& row : stored) {
    if (row.terms.state == SecretState::previous && *row.terms.valid_until <= now) continue;
    OpenKeyPtr key = active;
    if (row.data_key != active->id) {
      pg::Params params(workspace, row.data_key);
      const pg::QueryResult rows = co_await lease->query(kDataKey, std::move(params));
      if (rows.empty())
        throw Failure(key_lost(workspace, fmt::format("data key {}", row.data_key.value)));
      KeyRow other;
      other.workspace = workspace;
      read_key_row(other, rows, 0);
      key = open_key(std::move(other), nullptr);
    }
    // What it is bound to is believed only when the row has opened with it.
    Result<Secret> secret = open_row(*active, *key, workspace, connection, name, row);
    if (!secret) {
      if (!changed) changed = std::move(secret.error());
      if (!value.refused) value.refused = *changed;
      continue;
    }
    if (row.sealed.alg != kAlgBefore) {
      const std::optional<Purpose> purpose = Purpose::parse(row.terms.bound_to);
      SLUICE_INVARIANT(purpose.has_value());
      if (!purpose->allows(wanted)) {
        if (row.terms.state == SecretState::current && !value.refused)
          value.refused = sealed_for_something_else(where, *purpose, wanted);
        continue;
      }
    }
    switch (row.terms.state) {
      case SecretState::pending:
        value.pending = std::move(*secret);
        break;
      case SecretState::current:
        value.current = std::move(*secret);
        value.version = row.version;
        break;
      case SecretState::previous:
        value.previous.push_back(std::move(*secret));
        break;
      case SecretState::revoked:
        break;
    }
  }
  if (!agrees) {  // a row that was changed says more than that they do not agree
    throw Failure(changed ? *changed : agrees.error());
  }
  const bool only_staged = !value.refused && value.current.empty();
  if (only_staged && !value.pending)
    co_return not_found(workspace, connection, name, "is not stored");
  if (only_staged) value.refused = not_found(workspace, connection, name, "is not stored").error();
  if (!value.refused) co_return value;
  if (!value.pending) throw Failure(*value.refused);
  value.current = Secret();
  value.previous.clear();
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

// ---- taking back -------------------------------------------------------------------------------

/// False: it is not the pending one.
Task<bool> Vault::discard_pending(Within& within, Change& change, std::int64_t version) {
  const auto found = std::ranges::find(change.rows, version, &Row::version);
  if (found == change.rows.end() || found->terms.state != SecretState::pending) co_return false;
  const auto index = static_cast<std::size_t>(found - change.rows.begin());
  co_await revoke_row(within, change, index);
  co_return true;
}

Task<void> Vault::discard(WorkspaceId workspace, ConnectionId connection, std::string name,
                          std::int64_t version) {
  pg::Pool::Lease lease = co_await pool_.acquire();
  pg::Transaction transaction = co_await pg::Transaction::begin(*lease);
  co_await discard(transaction, workspace, connection, std::move(name), version);
  co_await transaction.commit();
}

Task<void> Vault::discard(pg::Transaction& transaction, WorkspaceId workspace,
                          ConnectionId connection, std::string name, std::int64_t version) {
  require_name(name);
  Within within(transaction);
  Change change = co_await begin_change(within, workspace, connection, std::move(name));
  const bool discarded = co_await discard_pending(within, change, version);
  if (discarded || change.dropped > 0) co_await finish_change(within, change);
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
  Within within(transaction);
  co_await lock_workspace(within, workspace);
  pg::Params which(workspace, connection, name);
  const pg::QueryResult names = co_await within.query(kNames, std::move(which));
  std::int64_t revoked = 0;
  for (int row = 0; row < names.rows(); ++row) {
    auto one = names.get<std::string>(row, 1);
    Change change = co_await begin_change(within, workspace, connection, std::move(one));
    revoked += static_cast<std::int64_t>(change.rows.size());
    while (!change.rows.empty()) co_await revoke_row(within, change, change.rows.size() - 1);
    co_await finish_change(within, change);
  }
  co_await transaction.commit();
  co_return revoked;
}

// ---- looking after it --------------------------------------------------------------------------

Task<bool> Vault::needs_sealing(pg::Connection& connection, WorkspaceId workspace) {
  const OpenKeyPtr known = known_key(workspace);
  const std::array<std::uint8_t, 32> ledger = ledger_of(known);
  pg::Params which(workspace, ByteView(ledger));
  const pg::QueryResult rows = co_await connection.query(kActiveDataKey, std::move(which));
  if (rows.empty()) co_return false;
  KeyRow stored;
  stored.workspace = workspace;
  read_key_row(stored, rows, 0);
  co_return stored.terms.oldest_alg == kAlgBefore;
}

Task<std::vector<Ledger::Name>> Vault::of_format_before(pg::Connection& connection,
                                                        WorkspaceId workspace, Ledger::Name after,
                                                        std::int64_t limit) {
  pg::Params params(workspace, after.first, after.second, limit);
  const pg::QueryResult rows = co_await connection.query(kOfFormatBefore, std::move(params));
  std::vector<Ledger::Name> names;
  for (int row = 0; row < rows.rows(); ++row)
    names.emplace_back(rows.get<ConnectionId>(row, 0), rows.get<std::string>(row, 1));
  co_return names;
}

Task<bool> Vault::seal_anew(pg::Fenced& fenced, WorkspaceId workspace, ConnectionId connection,
                            std::string name, Purpose purpose) {
  const std::string bound_to = checked_text(purpose, describe(workspace, connection, name));
  Within within(fenced);
  Change change = co_await begin_change(within, workspace, connection, std::move(name));
  bool all = change.dropped == 0;
  for (std::size_t row = 0; row < change.rows.size(); ++row) {
    if (change.rows[row].sealed.alg != kAlgBefore) continue;
    SecretTerms terms = change.rows[row].terms;
    terms.bound_to = bound_to;
    const bool sealed = co_await seal_again(within, change, row, terms);
    all = all && sealed;
  }
  co_await finish_change(within, change);
  co_return all;
}

Task<void> Vault::end_sealing(pg::Fenced& fenced, WorkspaceId workspace) {
  Within within(fenced);
  co_await lock_workspace(within, workspace);
  Change change;
  change.workspace = workspace;
  change.key = co_await active_key(within, workspace);
  change.terms = change.key->terms;
  change.terms.oldest_alg = kAlg;
  change.ledger = change.key->ledger;
  co_await wrap(within, change);
}

Task<std::int64_t> Vault::tidy(pg::Fenced& fenced, WorkspaceId workspace) {
  Within within(fenced);
  co_await lock_workspace(within, workspace);
  const OpenKeyPtr known = known_key(workspace);
  const std::array<std::uint8_t, 32> ledger = ledger_of(known);
  pg::Params which(workspace, ByteView(ledger));
  const pg::QueryResult any = co_await within.query(kActiveDataKey, std::move(which));
  if (any.empty()) co_return 0;
  const Micros now = clock_.now();
  pg::Params expired(workspace, now);
  const pg::QueryResult ended = co_await within.query(kExpired, std::move(expired));
  std::int64_t purged = 0;
  for (int at = 0; at < ended.rows(); ++at) {
    const auto whose = ended.get<ConnectionId>(at, 0);
    auto name = ended.get<std::string>(at, 1);
    Change change = co_await begin_change(within, workspace, whose, std::move(name));
    for (std::size_t row = change.rows.size(); row-- > 0;) {
      const SecretTerms& terms = change.rows[row].terms;
      if (terms.state != SecretState::previous || *terms.valid_until > now) continue;
      co_await revoke_row(within, change, row);
      ++purged;
    }
    co_await finish_change(within, change);
  }
  Change change;
  change.workspace = workspace;
  change.key = co_await active_key(within, workspace);
  change.terms = change.key->terms;
  std::optional<ConnectionId> every_connection;
  std::optional<std::string> every_name;
  pg::Params all(workspace, every_connection, every_name);
  const pg::QueryResult names = co_await within.query(kNames, std::move(all));
  for (int row = 0; row < names.rows(); ++row) {
    const auto whose = names.get<ConnectionId>(row, 0);
    const auto name = names.get<std::string>(row, 1);
    const Ledger::Head* const head = change.key->ledger.find(whose, name);
    if (head != nullptr) change.ledger.keep(whose, name, *head);
  }
  co_await wrap(within, change);
  co_return purged;
}

}  // namespace sluice::vault
