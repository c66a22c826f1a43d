#include "vault/vault.hpp"

#include <gtest/gtest.h>

#include <set>

#include "support/pg_fixture.hpp"

namespace sluice::vault {
namespace {

using namespace std::chrono_literals;

class FakeClock final : public Clock {
 public:
  [[nodiscard]] Micros now() const override { return now_; }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override {
    return std::chrono::steady_clock::time_point(now_);
  }
  void advance(Micros by) { now_ += by; }

 private:
  Micros now_{1'790'000'000'123'456};
};

Secret text(std::string_view value) { return Secret::copy_of(as_bytes(value)); }

/// The error that `action` throws; fails the test when it throws none.
template <class Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Failure& failure) {
    return failure.error();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

class VaultTest : public testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    sql("INSERT INTO sluice.workspace (name) VALUES ('vault_one'), ('vault_two')");
    sql("ALTER TABLE sluice.secret DROP COLUMN of_connection");  // there are no connections here
    const auto rows =
        run(pool().query("SELECT workspace_id FROM sluice.workspace"
                         " WHERE name LIKE 'vault_%' ORDER BY name"));
    one_ = rows.get<WorkspaceId>(0, 0);
    two_ = rows.get<WorkspaceId>(1, 0);
    vault_ = open_with(root_);
  }
  void TearDown() override {
    vault_.reset();
    PgTest::TearDown();
  }

  void sql(const std::string& statement) { run(pool().query(statement)); }
  std::string scalar(const std::string& statement) {
    const auto rows = run(pool().query(statement));
    return std::string(rows.text(0, 0));
  }
  std::unique_ptr<Vault> open_with(const Secret& root) {
    std::vector<Secret> keys;
    keys.push_back(root.clone());
    return run(Vault::open(pool(), clock_, RootKeyring::of(std::move(keys))));
  }
  SecretInfo put(const char* name, std::string_view value,
                 Micros previous = kPreviousValidDefault) {
    return run(vault_->put(one_, kConnection, name, text(value), previous));
  }
  /// current | previous… | (pending), as text.
  std::string used(Vault& vault, WorkspaceId workspace, ConnectionId connection, const char* name) {
    const auto value = run(vault.use(workspace, connection, name));
    if (!value) return value.error().code;
    std::string all(value->current.expose_text());
    for (const Secret& previous : value->previous) all += "|" + std::string(previous.expose_text());
    if (value->pending) all += "|(" + std::string(value->pending->expose_text()) + ")";
    EXPECT_EQ(value->live().size(), 1 + value->previous.size() + (value->pending ? 1 : 0));
    return all;
  }
  std::string used(const char* name) { return used(*vault_, one_, kConnection, name); }
  /// Every row of every table of ours, as text.
  std::string dump() {
    std::string all;
    const auto tables =
        run(pool().query("SELECT schemaname || '.' || tablename FROM pg_tables"
                         " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"));
    for (int i = 0; i < tables.rows(); ++i) {
      const auto rows =
          run(pool().query("SELECT t::text FROM " + std::string(tables.text(i, 0)) + " t"));
      for (int row = 0; row < rows.rows(); ++row) all += std::string(rows.text(row, 0)) + "\n";
    }
    return all;
  }

  static constexpr ConnectionId kConnection{7};
  FakeClock clock_;
  const Secret root_ = Secret::random(32);
  WorkspaceId one_, two_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(VaultTest, GivesBackWhatWasPut) {
  const SecretInfo info = put("api_key", "sk_test_1");
  EXPECT_EQ(info.version, 1);
  EXPECT_EQ(info.state, SecretState::current);
  EXPECT_EQ(info.created_at, clock_.now());
  EXPECT_EQ(info.fingerprint.size(), 16U);
  EXPECT_EQ(used("api_key"), "sk_test_1");
  EXPECT_EQ(used(*open_with(root_), one_, kConnection, "api_key"), "sk_test_1");
}

TEST_F(VaultTest, KeepsBytesOfAnyKindAndTheLargestSize) {
  const Secret value = Secret::random(kSecretBytesMax);
  run(vault_->put(one_, kConnection, "blob", value.clone()));
  const auto back = run(vault_->use(one_, kConnection, "blob"));
  ASSERT_TRUE(back.has_value());
  EXPECT_TRUE(back->current.equals(value));
}

TEST_F(VaultTest, WorkspaceConnectionAndNameAreSeparatePlaces) {
  const ConnectionId none, eight(8);
  run(vault_->put(one_, none, "api_key", text("own")));
  run(vault_->put(one_, kConnection, "api_key", text("seven")));
  run(vault_->put(one_, eight, "api_key", text("eight")));
  run(vault_->put(two_, kConnection, "api_key", text("other")));
  EXPECT_EQ(used(*vault_, one_, none, "api_key"), "own");
  EXPECT_EQ(used(*vault_, one_, kConnection, "api_key"), "seven");
  EXPECT_EQ(used(*vault_, one_, eight, "api_key"), "eight");
  EXPECT_EQ(used(*vault_, two_, kConnection, "api_key"), "other");
  EXPECT_EQ(used("other_name"), "vault.secret.not_found");
  EXPECT_EQ(used(*vault_, two_, eight, "api_key"), "vault.secret.not_found");
}

TEST_F(VaultTest, AReplacedSecretIsValidUntilItsTimeIsOver) {
  put("api_key", "one");
  clock_.advance(1h);
  put("api_key", "two");
  EXPECT_EQ(used("api_key"), "two|one");
  clock_.advance(24h - 1us);
  EXPECT_EQ(used("api_key"), "two|one");
  clock_.advance(1us);
  EXPECT_EQ(used("api_key"), "two");
  EXPECT_EQ(run(vault_->purge_expired()), 1);
  EXPECT_EQ(run(vault_->purge_expired()), 0);
  EXPECT_EQ(
      scalar("SELECT state || (ciphertext IS NULL)::text FROM sluice.secret WHERE version = 1"),
      "revokedtrue");
  EXPECT_EQ(used("api_key"), "two");
}

TEST_F(VaultTest, WithoutValidityTheReplacedValueIsGoneAtOnce) {
  put("api_key", "one");
  put("api_key", "two", 0s);
  EXPECT_EQ(used("api_key"), "two");
  EXPECT_EQ(scalar("SELECT count(ciphertext) FROM sluice.secret"), "1");
}

TEST_F(VaultTest, SeveralReplacedVersionsStayValidButNotMoreThanTheLimit) {
  for (const char* value : {"v1", "v2", "v3", "v4", "v5", "v6", "v7"}) put("api_key", value);
  EXPECT_EQ(used("api_key"), "v7|v6|v5|v4|v3");
  EXPECT_EQ(scalar("SELECT count(ciphertext) FROM sluice.secret"), "5");
}

TEST_F(VaultTest, AStagedVersionWaitsForItsPromotion) {
  put("api_key", "one");
  const SecretInfo staged = run(vault_->stage(one_, kConnection, "api_key", text("two")));
  EXPECT_EQ(staged.state, SecretState::pending);
  EXPECT_EQ(used("api_key"), "one|(two)");
  const SecretInfo again = run(vault_->stage(one_, kConnection, "api_key", text("three")));
  EXPECT_EQ(used("api_key"), "one|(three)");
  const auto gone = run(vault_->promote(one_, kConnection, "api_key", staged.version));
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code, "vault.secret.not_found");
  const auto promoted = run(vault_->promote(one_, kConnection, "api_key", again.version));
  ASSERT_TRUE(promoted.has_value()) << promoted.error().describe();
  EXPECT_EQ(promoted->state, SecretState::current);
  EXPECT_EQ(promoted->version, 3);
  EXPECT_EQ(used("api_key"), "three|one");
}

TEST_F(VaultTest, OnlyStagedIsNotUsable) {
  run(vault_->stage(one_, kConnection, "api_key", text("one")));
  EXPECT_EQ(used("api_key"), "vault.secret.not_found");
}

TEST_F(VaultTest, APutReplacesWhatWasStaged) {
  run(vault_->stage(one_, kConnection, "api_key", text("staged")));
  put("api_key", "put");
  EXPECT_EQ(used("api_key"), "put");
}

TEST_F(VaultTest, ListsWithoutValues) {
  const SecretInfo first = put("api_key", "same");
  put("webhook_secret", "same");
  put("api_key", "other");
  run(vault_->put(two_, kConnection, "api_key", text("same")));
  const auto infos = run(vault_->list(one_, std::optional<ConnectionId>(kConnection)));
  ASSERT_EQ(infos.size(), 3U);
  EXPECT_EQ(infos[0].name, "api_key");
  EXPECT_EQ(infos[0].version, 2);
  EXPECT_EQ(infos[0].state, SecretState::current);
  EXPECT_EQ(infos[1].state, SecretState::previous);
  EXPECT_EQ(infos[1].valid_until, clock_.now() + 24h);
  EXPECT_EQ(infos[1].fingerprint, first.fingerprint);
  EXPECT_EQ(infos[2].name, "webhook_secret");
  EXPECT_EQ(infos[2].fingerprint, first.fingerprint);
  EXPECT_NE(infos[0].fingerprint, first.fingerprint);
  const auto others = run(vault_->list(two_));
  ASSERT_EQ(others.size(), 1U);
  EXPECT_NE(others[0].fingerprint, first.fingerprint) << "fingerprints must not link workspaces";
}

TEST_F(VaultTest, RemovingAConnectionTakesItsValuesAndLeavesOthers) {
  put("api_key", "one");
  put("api_key", "two");
  put("webhook_secret", "three");
  const ConnectionId eight(8);
  run(vault_->put(one_, eight, "api_key", text("eight")));
  EXPECT_EQ(run(vault_->remove(one_, kConnection)), 3);
  EXPECT_EQ(used("api_key"), "vault.secret.not_found");
  EXPECT_EQ(used(*vault_, one_, eight, "api_key"), "eight");
  EXPECT_EQ(scalar("SELECT count(ciphertext) FROM sluice.secret"), "1");
  EXPECT_EQ(run(vault_->list(one_)).size(), 1U);
  EXPECT_EQ(put("api_key", "again").version, 3) << "version numbers are never given twice";
  EXPECT_EQ(run(vault_->remove(one_, eight, "api_key")), 1);
  EXPECT_EQ(run(vault_->remove(one_, eight, "api_key")), 0);
}

TEST_F(VaultTest, RefusesWhatCannotBeStored) {
  for (const std::string& name :
       {std::string(), std::string(129, 'a'), std::string("a b"), std::string("sk_live\n"),
        std::string("ä"), std::string("a\0b", 3)}) {
    const Error error = error_of([&] { run(vault_->put(one_, kConnection, name, text("x"))); });
    EXPECT_EQ(error.code, "vault.secret.bad_name");
    EXPECT_EQ(error.describe().find("sk_live"), std::string::npos);
  }
  EXPECT_EQ(error_of([&] { put("api_key", ""); }).code, "vault.secret.bad_value");
  EXPECT_EQ(error_of([&] { put("api_key", std::string(kSecretBytesMax + 1, 'x')); }).code,
            "vault.secret.bad_value");
  EXPECT_EQ(error_of([&] { put("api_key", "x", -1us); }).code, "vault.secret.bad_validity");
  EXPECT_EQ(error_of([&] { put("api_key", "x", 169h); }).code, "vault.secret.bad_validity");
  const WorkspaceId absent(999'999);
  EXPECT_EQ(error_of([&] { run(vault_->put(absent, kConnection, "api_key", text("x"))); }).code,
            "vault.workspace.not_found");
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.secret"), "0");
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "0");
}

// ---- somebody else writes to the tables ------------------------------------------------------

TEST_F(VaultTest, ARowMovedToAnotherPlaceDoesNotOpen) {
  const ConnectionId eight(8);
  put("api_key", "a");
  put("api_key", "b");
  put("webhook_secret", "c");
  run(vault_->put(one_, eight, "api_key", text("d")));
  run(vault_->put(two_, kConnection, "api_key", text("e")));
  struct Slot {
    WorkspaceId workspace;
    ConnectionId connection;
    const char* name;
    int version;
  };
  const std::vector<Slot> slots{{one_, kConnection, "api_key", 1},
                                {one_, kConnection, "api_key", 2},
                                {one_, kConnection, "webhook_secret", 1},
                                {one_, eight, "api_key", 1},
                                {two_, kConnection, "api_key", 1}};
  sql("CREATE TABLE public.saved AS TABLE sluice.secret");
  for (const Slot& from : slots) {
    for (const Slot& to : slots) {
      if (&from == &to) continue;
      const auto where = [](const char* alias, const Slot& slot) {
        return fmt::format(
            "{0}.workspace_id = {1} AND {0}.connection_id = {2} AND {0}.name = '{3}' AND "
            "{0}.version = {4}",
            alias, slot.workspace.value, slot.connection.value, slot.name, slot.version);
      };
      sql("UPDATE sluice.secret t SET salt = f.salt, nonce = f.nonce, commitment = f.commitment,"
          " ciphertext = f.ciphertext, fingerprint = f.fingerprint, data_key_id = f.data_key_id"
          " FROM public.saved f WHERE " +
          where("t", to) + " AND " + where("f", from));
      const Error error = error_of([&] { run(vault_->use(to.workspace, to.connection, to.name)); });
      EXPECT_EQ(error.code, "vault.secret.tampered");
      sql("UPDATE sluice.secret t SET salt = f.salt, nonce = f.nonce, commitment = f.commitment,"
          " ciphertext = f.ciphertext, fingerprint = f.fingerprint, data_key_id = f.data_key_id"
          " FROM public.saved f WHERE " +
          where("t", to) + " AND " + where("f", to));
    }
  }
  EXPECT_EQ(used("api_key"), "b|a");
}

TEST_F(VaultTest, AChangedRowDoesNotOpen) {
  put("api_key", "value");
  const std::string saved = "CREATE TABLE public.saved AS TABLE sluice.secret";
  sql(saved);
  for (const std::string change :
       {"salt = set_bit(salt, 0, 1 - get_bit(salt, 0))",
        "nonce = set_bit(nonce, 0, 1 - get_bit(nonce, 0))",
        "commitment = set_bit(commitment, 255, 1 - get_bit(commitment, 255))",
        "ciphertext = set_bit(ciphertext, 3, 1 - get_bit(ciphertext, 3))",
        "ciphertext = substr(ciphertext, 2)", "version = 2",
        "fingerprint = translate(fingerprint, '0123456789abcdef', '123456789abcdef0')"}) {
    SCOPED_TRACE(change);
    sql("UPDATE sluice.secret SET " + change);
    EXPECT_EQ(error_of([&] { run(vault_->use(one_, kConnection, "api_key")); }).code,
              "vault.secret.tampered");
    sql("DELETE FROM sluice.secret");
    sql("INSERT INTO sluice.secret TABLE public.saved");
  }
  EXPECT_EQ(used("api_key"), "value");
}

TEST_F(VaultTest, ARowOfANewerFormatSaysSo) {
  put("api_key", "value");
  sql("UPDATE sluice.secret SET alg = 2");
  const Error error = error_of([&] { run(vault_->use(one_, kConnection, "api_key")); });
  EXPECT_EQ(error.code, "vault.sealed.unsupported");
  EXPECT_EQ(error.kind, ErrorKind::unsupported);
}

TEST_F(VaultTest, AWrappedKeyMovedToAnotherWorkspaceStopsTheStart) {
  put("api_key", "a");
  run(vault_->put(two_, kConnection, "api_key", text("b")));
  sql("UPDATE sluice.data_key t SET salt = f.salt, nonce = f.nonce, commitment = f.commitment,"
      " ciphertext = f.ciphertext FROM sluice.data_key f WHERE f.workspace_id <> t.workspace_id");
  EXPECT_EQ(error_of([&] { open_with(root_); }).code, "vault.data_key.tampered");
}

TEST_F(VaultTest, ADestroyedDataKeyIsNamed) {
  put("api_key", "a");
  sql("UPDATE sluice.data_key SET state = 'destroyed', salt = NULL, nonce = NULL, commitment = "
      "NULL,"
      " ciphertext = NULL");
  const auto fresh = open_with(root_);
  const Error error = error_of([&] { run(fresh->use(one_, kConnection, "api_key")); });
  EXPECT_EQ(error.code, "vault.data_key.lost");
}

// ---- root keys -------------------------------------------------------------------------------

TEST_F(VaultTest, AnotherRootKeyStopsTheStartAndSaysWhichOneIsNeeded) {
  put("api_key", "a");
  const Secret other = Secret::random(32);
  const std::string before = dump();
  const Error error = error_of([&] { open_with(other); });
  EXPECT_EQ(error.code, "vault.root_key.mismatch");
  const std::string expected = fmt::format(
      "the root key {} (memory) does not open data key 1 of workspace {}: this database was "
      "made with root key {}",
      RootKeyId::of(other).to_string(), one_.value, RootKeyId::of(root_).to_string());
  EXPECT_EQ(error.message, expected);
  EXPECT_NE(error.hint.find("back"), std::string::npos);
  EXPECT_EQ(dump(), before);
}

TEST_F(VaultTest, AKeyringWithTheOldKeyBehindTheNewOneOpensBoth) {
  put("api_key", "old");
  std::vector<Secret> keys;
  keys.push_back(Secret::random(32));
  keys.push_back(root_.clone());
  const std::string current = RootKeyId::of(keys[0]).to_string();
  const auto both = run(Vault::open(pool(), clock_, RootKeyring::of(std::move(keys))));
  EXPECT_EQ(used(*both, one_, kConnection, "api_key"), "old");
  run(both->put(two_, kConnection, "api_key", text("new")));
  EXPECT_EQ(scalar(fmt::format("SELECT root_key_id FROM sluice.data_key WHERE workspace_id = {}",
                               two_.value)),
            current);
}

TEST_F(VaultTest, AnyRootKeyOpensAnEmptyVaultAndNothingIsWritten) {
  open_with(Secret::random(32));
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "0");
}

TEST_F(VaultTest, EveryDataKeyIsCheckedAtTheStart) {
  put("api_key", "a");
  sql("INSERT INTO sluice.workspace (name) SELECT 'many_' || i FROM generate_series(1, 1100) i");
  sql("INSERT INTO sluice.data_key SELECT w.workspace_id, k.data_key_id, 'retired', k.root_key_id, "
      "k.alg,"
      " k.salt, k.nonce, k.commitment, k.ciphertext, k.created_at, k.created_at"
      " FROM sluice.data_key k, sluice.workspace w WHERE w.name LIKE 'many_%'");
  EXPECT_NO_THROW(open_with(root_));
  sql("UPDATE sluice.data_key SET state = 'decrypt_only', root_key_id = '00000000' WHERE "
      "workspace_id ="
      " (SELECT max(workspace_id) FROM sluice.workspace)");
  EXPECT_EQ(error_of([&] { open_with(root_); }).code, "vault.root_key.mismatch");
}

// ---- data keys -------------------------------------------------------------------------------

TEST_F(VaultTest, AWorkspaceGetsOneDataKeyAtItsFirstSecret) {
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "0");
  put("api_key", "a");
  put("webhook_secret", "b");
  run(vault_->put(two_, kConnection, "api_key", text("c")));
  EXPECT_EQ(scalar("SELECT string_agg(data_key_id || state, ',') FROM sluice.data_key"),
            "1active,1active");
}

// The number of a data key whose transaction failed is given to another key.
TEST_F(VaultTest, ADataKeyThatWasNotCommittedIsForgotten) {
  sql("ALTER TABLE sluice.secret ADD CONSTRAINT refuse_all CHECK (false) NOT VALID");
  error_of([&] { put("api_key", "lost"); });
  sql("ALTER TABLE sluice.secret DROP CONSTRAINT refuse_all");
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "0");
  put("api_key", "kept");
  EXPECT_EQ(used("api_key"), "kept");
  EXPECT_EQ(used(*open_with(root_), one_, kConnection, "api_key"), "kept");
}

TEST_F(VaultTest, OldRowsStayReadableUnderTheirDataKey) {
  put("api_key", "old");
  sql("UPDATE sluice.data_key SET state = 'decrypt_only'");
  const SecretInfo info = put("api_key", "new");
  EXPECT_EQ(info.data_key, DataKeyId(2));
  EXPECT_EQ(used("api_key"), "new|old");
  EXPECT_EQ(used(*open_with(root_), one_, kConnection, "api_key"), "new|old");
}

TEST_F(VaultTest, OpenedDataKeysAreBounded) {
  sql("INSERT INTO sluice.workspace (name) SELECT 'many_' || i FROM generate_series(1, 300) i");
  const auto ids =
      run(pool().query("SELECT workspace_id FROM sluice.workspace WHERE name LIKE 'many_%'"));
  for (int pass = 0; pass < 2; ++pass) {
    for (int row = 0; row < ids.rows(); ++row) {
      const auto workspace = ids.get<WorkspaceId>(row, 0);
      if (pass == 0) run(vault_->put(workspace, kConnection, "api_key", text(ids.text(row, 0))));
      EXPECT_EQ(used(*vault_, workspace, kConnection, "api_key"), ids.text(row, 0));
      EXPECT_LE(vault_->data_keys_cached(), kDataKeysCachedMax);
    }
  }
  EXPECT_EQ(vault_->data_keys_cached(), kDataKeysCachedMax);
}

// ---- at once ---------------------------------------------------------------------------------

Task<void> put_and_count(Vault& vault, WorkspaceId workspace, std::string value, int& done) {
  Secret secret = Secret::take(std::move(value));
  co_await vault.put(workspace, ConnectionId(7), "api_key", std::move(secret));
  ++done;
}

Task<void> promote_and_count(Vault& vault, WorkspaceId workspace, SecretInfo staged, int& done) {
  const Result<SecretInfo> promoted =
      co_await vault.promote(workspace, staged.connection, staged.name, staged.version);
  EXPECT_TRUE(promoted.has_value());
  ++done;
}

TEST_F(VaultTest, PutsAtOnceFromTwoHostsGetEachAVersionAndOneDataKey) {
  const auto other_host = open_with(root_);
  constexpr int kPuts = 40;
  int done = 0;
  for (int i = 0; i < kPuts; ++i) {
    Vault& vault = i % 2 == 0 ? *vault_ : *other_host;
    asio::co_spawn(executor(), put_and_count(vault, one_, "value" + std::to_string(i), done),
                   asio::detached);
  }
  ASSERT_TRUE(run_until_true([&] { return done == kPuts; }));
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "1");
  EXPECT_EQ(scalar("SELECT count(DISTINCT version) || ',' || max(version) FROM sluice.secret"),
            "40,40");
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.secret WHERE state = 'current' AND version = 40"),
            "1");
  const auto mine = run(vault_->use(one_, kConnection, "api_key"));
  const auto theirs = run(other_host->use(one_, kConnection, "api_key"));
  ASSERT_TRUE(mine.has_value() && theirs.has_value());
  EXPECT_EQ(mine->previous.size(), static_cast<std::size_t>(kPreviousVersionsMax));
  EXPECT_TRUE(mine->current.equals(theirs->current));
}

// More calls than connections, each in need of a second one, would stand still.
TEST_F(VaultTest, ManyPromotionsAtOnceDoNotStarveEachOther) {
  constexpr int kNames = 24;
  std::vector<SecretInfo> staged;
  for (int i = 0; i < kNames; ++i) {
    staged.push_back(run(vault_->stage(one_, kConnection, "name" + std::to_string(i), text("x"))));
  }
  int done = 0;
  for (const SecretInfo& info : staged) {
    asio::co_spawn(executor(), promote_and_count(*vault_, one_, info, done), asio::detached);
  }
  ASSERT_TRUE(run_until_true([&] { return done == kNames; }));
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.secret WHERE state = 'current'"), "24");
}

TEST_F(VaultTest, ACommitThatTheServerDiedInIsLookedUp) {
  put("api_key", "one");
  sql("CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS"
      " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'");
  sql("CREATE CONSTRAINT TRIGGER die AFTER INSERT ON sluice.secret DEFERRABLE INITIALLY DEFERRED"
      " FOR EACH ROW EXECUTE FUNCTION public.die()");
  const Error error = error_of([&] { put("api_key", "two"); });
  EXPECT_EQ(error.code, "vault.secret.not_stored") << error.describe();
  EXPECT_EQ(error.kind, ErrorKind::retry_later);
  sql("DROP TRIGGER die ON sluice.secret");
  EXPECT_EQ(used("api_key"), "one");
  EXPECT_EQ(put("api_key", "two").version, 2);
}

Task<void> read_until(Vault& vault, WorkspaceId workspace, const int& writes_done, int writes,
                      int& reads, std::set<std::string>& seen) {
  while (writes_done < writes) {
    const Result<SecretValue> value = co_await vault.use(workspace, ConnectionId(7), "api_key");
    EXPECT_TRUE(value.has_value());
    if (value) seen.insert(std::string(value->current.expose_text()));
    ++reads;
  }
}

TEST_F(VaultTest, ReadersAlwaysFindOneCurrentVersionWhileItIsReplaced) {
  put("api_key", "value");
  int done = 0, reads = 0;
  std::set<std::string> seen;
  constexpr int kPuts = 30;
  asio::co_spawn(executor(), read_until(*vault_, one_, done, kPuts, reads, seen), asio::detached);
  for (int i = 0; i < kPuts; ++i) {
    asio::co_spawn(executor(), put_and_count(*vault_, one_, "value" + std::to_string(i), done),
                   asio::detached);
  }
  ASSERT_TRUE(run_until_true([&] { return done == kPuts; }));
  run(pool().query("SELECT 1"));  // lets the reader end
  EXPECT_GT(reads, 0);
  for (const std::string& value : seen) EXPECT_EQ(value.substr(0, 5), "value");
}

// ---- nothing in clear ------------------------------------------------------------------------

TEST_F(VaultTest, NothingOfAValueOrAKeyIsInTheTables) {
  const std::string canary = "CANARY-sk_live_51Hq9ZzPlaintext~value";
  put("api_key", canary);
  put("api_key", canary + "2");
  run(vault_->stage(one_, kConnection, "api_key", text(canary + "3")));
  run(vault_->put(two_, kConnection, "webhook_secret", text(canary)));
  const std::string tables = dump();
  ASSERT_NE(tables.find("webhook_secret"), std::string::npos) << "the dump must see the rows";
  const std::string root(root_.expose_text());
  for (const std::string& secret : {canary, root}) {
    // Base64 depends on the position modulo 3: leave out what the neighbours change.
    std::vector<std::string> forms{secret, to_hex(as_bytes(secret))};
    for (std::size_t skip = 0; skip < 3; ++skip) {
      const std::string encoded = to_base64url(as_bytes(secret.substr(skip)));
      forms.push_back(encoded.substr(0, encoded.size() / 4 * 4 - 4));
      std::string plain = forms.back();
      std::ranges::replace(plain, '-', '+');
      std::ranges::replace(plain, '_', '/');
      forms.push_back(plain);
    }
    for (const std::string& form : forms) EXPECT_EQ(tables.find(form), std::string::npos);
  }
}

TEST_F(VaultTest, EqualValuesAreStoredAsDifferentBytes) {
  put("api_key", "same");
  put("api_key", "same");
  put("webhook_secret", "same");
  EXPECT_EQ(
      scalar("SELECT count(DISTINCT ciphertext) || ',' || count(DISTINCT commitment) || ',' ||"
             " count(DISTINCT salt) || ',' || count(DISTINCT nonce) FROM sluice.secret"),
      "3,3,3,3");
}

}  // namespace
}  // namespace sluice::vault
