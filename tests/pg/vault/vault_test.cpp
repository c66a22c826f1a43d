#include "vault/vault.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

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

Purpose purpose(const char* to = "https://api.stripe.com") {
  Purpose made = Purpose::of_connector("stripe");
  made.may_go_to(to).may_be_put_on_as("bearer");
  return made;
}
Wanted wanted(const char* to = "https://api.stripe.com") {
  return Wanted::at("stripe", to, "bearer");
}

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

  /// One statement, or several with ';' between them.
  void sql(const std::string& text) {
    std::istringstream statements(text);
    for (std::string one; std::getline(statements, one, ';');) run(superuser_pool().query(one));
  }
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
    return run(vault_->put(one_, kConnection, name, text(value), purpose(), previous));
  }
  /// current | previous… | (pending), as text.
  std::string used(Vault& vault, WorkspaceId workspace, ConnectionId connection, const char* name) {
    const auto value = run(vault.use(workspace, connection, name, wanted()));
    if (!value) return value.error().code;
    if (value->refused) return value->refused->code;
    std::string all(value->current.expose_text());
    for (const Secret& previous : value->previous) all += "|" + std::string(previous.expose_text());
    if (value->pending) all += "|(" + std::string(value->pending->expose_text()) + ")";
    EXPECT_EQ(value->live().size(), 1 + value->previous.size() + (value->pending ? 1 : 0));
    return all;
  }
  std::string used(const char* name) { return used(*vault_, one_, kConnection, name); }
  /// Under a lease, as the runner of durable work does.
  template <class Do>
  void fenced(Do&& action) {
    sql(fmt::format(
        "INSERT INTO sluice.lease_epoch (workspace_id, name, epoch) VALUES ({}, 'work', "
        "1) ON CONFLICT DO NOTHING",
        one_.value));
    auto connection = run(pool().acquire());
    pg::LeaseProof proof;
    proof.workspace = one_;
    proof.name = "work";
    proof.epoch = Epoch(1);
    pg::Fenced transaction(*connection, proof);
    action(*connection, transaction);
    run(transaction.commit());
  }
  std::int64_t tidy() {
    std::int64_t purged = 0;
    fenced([&](pg::Connection&, pg::Fenced& transaction) {
      purged = run(vault_->tidy(transaction, one_));
    });
    return purged;
  }
  /// What use() says of what somebody did, and what it hands out.
  std::string told(Vault& vault, const char* name = "api_key") {
    try {
      return used(vault, one_, kConnection, name);
    } catch (const Failure& failure) {
      EXPECT_FALSE(failure.error().hint.empty());
      return failure.error().code;
    }
  }
  std::string told() { return told(*vault_); }
  /// As the format before had it: the rows of a workspace with one secret of two versions.
  void make_rows_of_the_format_before();
  /// Every row of every table of ours, as text.
  std::string dump() {
    std::string all;
    const auto tables = run(
        superuser_pool().query("SELECT schemaname || '.' || tablename FROM pg_tables"
                               " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"));
    for (int i = 0; i < tables.rows(); ++i) {
      const auto rows = run(
          superuser_pool().query("SELECT t::text FROM " + std::string(tables.text(i, 0)) + " t"));
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
  run(vault_->put(one_, kConnection, "blob", value.clone(), purpose()));
  const auto back = run(vault_->use(one_, kConnection, "blob", wanted()));
  ASSERT_TRUE(back.has_value());
  EXPECT_TRUE(back->current.equals(value));
}

TEST_F(VaultTest, WorkspaceConnectionAndNameAreSeparatePlaces) {
  const ConnectionId none, eight(8);
  run(vault_->put(one_, none, "api_key", text("own"), purpose()));
  run(vault_->put(one_, kConnection, "api_key", text("seven"), purpose()));
  run(vault_->put(one_, eight, "api_key", text("eight"), purpose()));
  run(vault_->put(two_, kConnection, "api_key", text("other"), purpose()));
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
  EXPECT_EQ(tidy(), 1);
  EXPECT_EQ(tidy(), 0);
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
  const SecretInfo staged =
      run(vault_->stage(one_, kConnection, "api_key", text("two"), purpose()));
  EXPECT_EQ(staged.state, SecretState::pending);
  EXPECT_EQ(used("api_key"), "one|(two)");
  const SecretInfo again =
      run(vault_->stage(one_, kConnection, "api_key", text("three"), purpose()));
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
  run(vault_->stage(one_, kConnection, "api_key", text("one"), purpose()));
  EXPECT_EQ(used("api_key"), "vault.secret.not_found");
}

TEST_F(VaultTest, APutReplacesWhatWasStaged) {
  run(vault_->stage(one_, kConnection, "api_key", text("staged"), purpose()));
  put("api_key", "put");
  EXPECT_EQ(used("api_key"), "put");
}

TEST_F(VaultTest, ListsWithoutValues) {
  const SecretInfo first = put("api_key", "same");
  put("webhook_secret", "same");
  put("api_key", "other");
  run(vault_->put(two_, kConnection, "api_key", text("same"), purpose()));
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
  run(vault_->put(one_, eight, "api_key", text("eight"), purpose()));
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
    const Error error =
        error_of([&] { run(vault_->put(one_, kConnection, name, text("x"), purpose())); });
    EXPECT_EQ(error.code, "vault.secret.bad_name");
    EXPECT_EQ(error.describe().find("sk_live"), std::string::npos);
  }
  EXPECT_EQ(error_of([&] { put("api_key", ""); }).code, "vault.secret.bad_value");
  EXPECT_EQ(error_of([&] { put("api_key", std::string(kSecretBytesMax + 1, 'x')); }).code,
            "vault.secret.bad_value");
  EXPECT_EQ(error_of([&] { put("api_key", "x", -1us); }).code, "vault.secret.bad_validity");
  EXPECT_EQ(error_of([&] { put("api_key", "x", 169h); }).code, "vault.secret.bad_validity");
  const WorkspaceId absent(999'999);
  EXPECT_EQ(error_of([&] {
              run(vault_->put(absent, kConnection, "api_key", text("x"), purpose()));
            }).code,
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
  run(vault_->put(one_, eight, "api_key", text("d"), purpose()));
  run(vault_->put(two_, kConnection, "api_key", text("e"), purpose()));
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
      const Error error =
          error_of([&] { run(vault_->use(to.workspace, to.connection, to.name, wanted())); });
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
    EXPECT_EQ(error_of([&] { run(vault_->use(one_, kConnection, "api_key", wanted())); }).code,
              "vault.secret.tampered");
    sql("DELETE FROM sluice.secret");
    sql("INSERT INTO sluice.secret TABLE public.saved");
  }
  EXPECT_EQ(used("api_key"), "value");
}

TEST_F(VaultTest, ARowOfANewerFormatSaysSo) {
  put("api_key", "value");
  sql("UPDATE sluice.secret SET alg = 3");
  const Error error = error_of([&] { run(vault_->use(one_, kConnection, "api_key", wanted())); });
  EXPECT_EQ(error.code, "vault.sealed.unsupported");
  EXPECT_EQ(error.kind, ErrorKind::unsupported);
}

TEST_F(VaultTest, AWrappedKeyMovedToAnotherWorkspaceOpensNothingAndKeepsNobodyElseFromItsOwn) {
  put("api_key", "a");
  run(vault_->put(two_, kConnection, "api_key", text("b"), purpose()));
  sql(
      fmt::format("UPDATE sluice.data_key t SET salt = f.salt, nonce = f.nonce, commitment = "
                  "f.commitment, ciphertext = f.ciphertext FROM sluice.data_key f"
                  " WHERE f.workspace_id = {} AND t.workspace_id = {}",
                  two_.value, one_.value));
  EXPECT_EQ(told(), "vault.data_key.tampered");
  const auto fresh = open_with(root_);
  EXPECT_EQ(told(*fresh), "vault.data_key.tampered");
  EXPECT_EQ(used(*fresh, two_, kConnection, "api_key"), "b");
}

TEST_F(VaultTest, ASecretGoesWhereItWasSealedForAndNowhereElse) {
  put("api_key", "value");
  EXPECT_EQ(used("api_key"), "value");
  const auto elsewhere = [&](Wanted other) {
    const Error error =
        error_of([&] { run(vault_->use(one_, kConnection, "api_key", std::move(other))); });
    EXPECT_EQ(error.code, "vault.secret.elsewhere");
    EXPECT_EQ(error.kind, ErrorKind::denied);
    return error.message;
  };
  EXPECT_EQ(elsewhere(wanted("http://127.0.0.1:4010")),
            fmt::format("workspace {}, connection 7: secret 'api_key' was sealed for "
                        "https://api.stripe.com by stripe (bearer), and is wanted for "
                        "http://127.0.0.1:4010 by stripe (bearer): it was not opened",
                        one_.value));
  elsewhere(Wanted::at("toy", "https://api.stripe.com", "bearer"));
  elsewhere(Wanted::at("stripe", "https://api.stripe.com", "query key"));
  elsewhere(Wanted::within("webhook.signature"));
  Wanted loopback = wanted();
  loopback.over_loopback(true);
  elsewhere(std::move(loopback));
  EXPECT_EQ(used("api_key"), "value");
}

TEST_F(VaultTest, ThePreviousVersionDoesNotFollowToANewDestination) {
  put("api_key", "old");
  run(vault_->put(one_, kConnection, "api_key", text("new"), purpose("https://eu.stripe.com")));
  const auto value =
      run(vault_->use(one_, kConnection, "api_key", wanted("https://eu.stripe.com")));
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(value->current.expose_text(), "new");
  EXPECT_TRUE(value->previous.empty());
  EXPECT_EQ(told(), "vault.secret.elsewhere");
}

TEST_F(VaultTest, SeveralLiveVersionsOfASecretThatGoesNowhereAreBoundToTheirUse) {
  const auto use_for = [&](const char* use) {
    return run(vault_->use(one_, kConnection, "whsec", Wanted::within(use)));
  };
  for (const char* value : {"first", "second", "third"}) {
    run(vault_->put(one_, kConnection, "whsec", text(value), Purpose::of_use("webhook.signature")));
  }
  run(vault_->stage(one_, kConnection, "whsec", text("next"),
                    Purpose::of_use("webhook.signature")));
  const auto value = use_for("webhook.signature");
  ASSERT_TRUE(value.has_value());
  std::string live;
  for (const Secret* one : value->live()) live += std::string(one->expose_text()) + " ";
  EXPECT_EQ(live, "third next second first ");
  EXPECT_EQ(error_of([&] { use_for("webhook.other"); }).code, "vault.secret.elsewhere");
  EXPECT_EQ(told(*vault_, "whsec"), "vault.secret.elsewhere");
}

TEST_F(VaultTest, WhatWasStagedForANewPlaceIsUsableThereBesideACurrentVersionThatIsNot) {
  put("api_key", "old");
  run(vault_->stage(one_, kConnection, "api_key", text("new"), purpose("https://eu.stripe.com")));
  const auto value =
      run(vault_->use(one_, kConnection, "api_key", wanted("https://eu.stripe.com")));
  ASSERT_TRUE(value.has_value());
  EXPECT_TRUE(value->current.empty());
  ASSERT_TRUE(value->refused.has_value());
  EXPECT_EQ(value->refused->code, "vault.secret.elsewhere");
  ASSERT_TRUE(value->pending.has_value());
  EXPECT_EQ(value->pending->expose_text(), "new");
}

struct Rollback {
  const char* how;
  const char* change;
  const char* code;
};

// Saved before the rotation: public.dump_secret, dump_key. After it: "new" is current, "old"
// revoked or previous.
TEST_F(VaultTest, NothingThatWasRotatedOutComesBack) {
  put("other", "other");
  put("api_key", "old");
  sql("CREATE TABLE public.dump_secret AS TABLE sluice.secret");
  sql("CREATE TABLE public.dump_key AS TABLE sluice.data_key");
  put("api_key", "new");
  sql("CREATE TABLE public.now_secret AS TABLE sluice.secret");
  sql("CREATE TABLE public.now_key AS TABLE sluice.data_key");
  sql("ALTER TABLE sluice.secret DROP COLUMN IF EXISTS of_connection");
  const std::vector<Rollback> cases = {
      {"states swapped",
       "UPDATE sluice.secret SET state = 'pending' WHERE name = 'api_key' AND version = 2;"
       "UPDATE sluice.secret SET state = 'current', valid_until = NULL WHERE name = 'api_key' AND "
       "version = 1",
       "vault.secret.tampered"},
      {"more time for the previous one",
       "UPDATE sluice.secret SET valid_until = valid_until + interval '1 year' WHERE state = "
       "'previous'",
       "vault.secret.tampered"},
      {"one deleted, the other as it was in the dump",
       "DELETE FROM sluice.secret WHERE name = 'api_key';"
       "INSERT INTO sluice.secret SELECT * FROM public.dump_secret WHERE name = 'api_key'",
       "vault.secret.put_back"},
      {"the newest deleted", "DELETE FROM sluice.secret WHERE name = 'api_key' AND version = 2",
       "vault.secret.put_back"},
      {"the previous one deleted",
       "DELETE FROM sluice.secret WHERE name = 'api_key' AND version = 1", "vault.secret.put_back"},
      {"the newest revoked, the other as it was in the dump",
       "UPDATE sluice.secret SET state = 'revoked', salt = NULL, nonce = NULL, commitment = NULL, "
       "ciphertext = NULL WHERE name = 'api_key' AND version = 2;"
       "UPDATE sluice.secret t SET state = f.state, valid_until = NULL, salt = f.salt, nonce = "
       "f.nonce, commitment = f.commitment, ciphertext = f.ciphertext FROM public.dump_secret f "
       "WHERE t.name = 'api_key' AND f.name = 'api_key' AND t.version = 1",
       "vault.secret.put_back"},
      {"the data key's row, too, while the other secret is newer",
       "DELETE FROM sluice.secret WHERE name = 'api_key';"
       "INSERT INTO sluice.secret SELECT * FROM public.dump_secret WHERE name = 'api_key';"
       "UPDATE sluice.data_key k SET salt = f.salt, nonce = f.nonce, commitment = f.commitment, "
       "ciphertext = f.ciphertext, generation = f.generation, as_of = f.as_of, ledger = f.ledger "
       "FROM public.dump_key f WHERE f.workspace_id = k.workspace_id",
       "vault.data_key.put_back"},
  };
  for (const Rollback& one : cases) {
    SCOPED_TRACE(one.how);
    EXPECT_EQ(told(), "new|old");
    sql(one.change);
    EXPECT_EQ(told(), one.code);
    if (std::string_view(one.code) != "vault.data_key.put_back") {
      const auto fresh = open_with(root_);
      EXPECT_EQ(told(*fresh), one.code) << "by a host that has seen nothing before";
      EXPECT_EQ(used(*fresh, one_, kConnection, "other"), "other");
    }
    sql("DELETE FROM sluice.secret; INSERT INTO sluice.secret SELECT * FROM public.now_secret;"
        "UPDATE sluice.data_key k SET salt = f.salt, nonce = f.nonce, commitment = f.commitment, "
        "ciphertext = f.ciphertext, generation = f.generation, as_of = f.as_of, ledger = f.ledger "
        "FROM public.now_key f WHERE f.workspace_id = k.workspace_id");
  }
}

TEST_F(VaultTest, AnOldDataKeyRowKnowsNothingOfWhatIsNewer) {
  put("api_key", "old");
  sql("CREATE TABLE public.dump_key AS TABLE sluice.data_key");
  put("api_key", "new");
  sql("UPDATE sluice.data_key k SET salt = f.salt, nonce = f.nonce, commitment = f.commitment, "
      "ciphertext = f.ciphertext, generation = f.generation, as_of = f.as_of, ledger = f.ledger "
      "FROM public.dump_key f WHERE f.workspace_id = k.workspace_id");
  EXPECT_EQ(told(), "vault.data_key.put_back");
  EXPECT_EQ(told(*open_with(root_)), "vault.secret.put_back");
}

TEST_F(VaultTest, AWholeDatabasePutBackOpensAtTheNextStart) {
  put("api_key", "old");
  sql("CREATE TABLE public.dump_secret AS TABLE sluice.secret");
  sql("CREATE TABLE public.dump_key AS TABLE sluice.data_key");
  clock_.advance(1h);
  put("api_key", "new");
  sql("DELETE FROM sluice.secret; DELETE FROM sluice.data_key;"
      "INSERT INTO sluice.data_key SELECT * FROM public.dump_key;"
      "INSERT INTO sluice.secret SELECT * FROM public.dump_secret");
  EXPECT_EQ(told(*open_with(root_)), "old");
}

TEST_F(VaultTest, WhatWasTamperedWithIsWellAgainOnceItIsEnteredAgain) {
  for (const char* change :
       {"UPDATE sluice.secret SET state = 'pending' WHERE state = 'current'",
        "UPDATE sluice.secret SET bound_to = replace(bound_to, 'https', 'http')",
        "UPDATE sluice.secret SET ciphertext = substr(ciphertext, 2)",
        "DELETE FROM sluice.secret WHERE state = 'current'"}) {
    SCOPED_TRACE(change);
    put("api_key", "one");
    put("api_key", "two");
    sql(change);
    EXPECT_NE(told().find("vault.secret."), std::string::npos);
    const SecretInfo staged =
        run(vault_->stage(one_, kConnection, "api_key", text("three"), purpose()));
    const auto value = run(vault_->use(one_, kConnection, "api_key", wanted()));
    ASSERT_TRUE(value.has_value() && value->pending);
    ASSERT_TRUE(run(vault_->promote(one_, kConnection, "api_key", staged.version, 0s)).has_value());
    EXPECT_TRUE(told().starts_with("three")) << told();
    EXPECT_EQ(told(*open_with(root_)), told());
    run(vault_->remove(one_, kConnection));
  }
}

// What one UPDATE of each column does. Whoever adds a column says it here.
TEST_F(VaultTest, OneUpdateOfAnyColumnOpensNothingThatItShouldNot) {
  struct Column {
    const char* change;  ///< of the row of api_key version 2, or of the data key
    const char* told;
  };
  const char* const kTampered = "vault.secret.tampered";
  const char* const kKeyTampered = "vault.data_key.tampered";
  const char* const kUnharmed = "new|old";
  const std::map<std::string, Column> columns = {
      {"secret.workspace_id",
       {"workspace_id = (SELECT max(workspace_id) FROM sluice.workspace)", "refused"}},
      {"secret.connection_id", {"connection_id = 8", "vault.secret.put_back"}},
      {"secret.name", {"name = 'other'", "vault.secret.put_back"}},
      {"secret.version", {"version = 9", kTampered}},
      {"secret.state", {"state = 'pending'", kTampered}},
      {"secret.data_key_id", {"data_key_id = 2", "refused"}},
      {"secret.alg", {"alg = 1", "vault.secret.old_format"}},
      {"secret.salt", {"salt = set_bit(salt, 0, 1 - get_bit(salt, 0))", kTampered}},
      {"secret.nonce", {"nonce = set_bit(nonce, 0, 1 - get_bit(nonce, 0))", kTampered}},
      {"secret.commitment",
       {"commitment = set_bit(commitment, 0, 1 - get_bit(commitment, 0))", kTampered}},
      {"secret.ciphertext", {"ciphertext = substr(ciphertext, 2)", kTampered}},
      {"secret.fingerprint", {"fingerprint = reverse(fingerprint)", kTampered}},
      {"secret.created_at", {"created_at = created_at - interval '1 year'", kUnharmed}},
      {"secret.state_changed_at", {"state_changed_at = now() - interval '1 year'", kUnharmed}},
      {"secret.valid_until", {"valid_until = now()", "refused"}},
      {"secret.bound_to",
       {"bound_to = replace(bound_to, 'api.stripe.com', 'evil.example')", kTampered}},
      {"data_key.workspace_id",
       {"workspace_id = (SELECT max(workspace_id) FROM sluice.workspace)", "refused"}},
      {"data_key.data_key_id", {"data_key_id = 2", "refused"}},
      {"data_key.state", {"state = 'decrypt_only'", "vault.data_key.lost"}},
      {"data_key.root_key_id", {"root_key_id = '00000000'", "vault.root_key.mismatch"}},
      {"data_key.alg", {"alg = 1", kKeyTampered}},
      {"data_key.salt", {"salt = set_bit(salt, 0, 1 - get_bit(salt, 0))", kKeyTampered}},
      {"data_key.nonce", {"nonce = set_bit(nonce, 0, 1 - get_bit(nonce, 0))", kKeyTampered}},
      {"data_key.commitment",
       {"commitment = set_bit(commitment, 0, 1 - get_bit(commitment, 0))", kKeyTampered}},
      {"data_key.ciphertext", {"ciphertext = substr(ciphertext, 2)", kKeyTampered}},
      {"data_key.created_at", {"created_at = created_at - interval '1 year'", kUnharmed}},
      {"data_key.state_changed_at", {"state_changed_at = now() - interval '1 year'", kUnharmed}},
      {"data_key.oldest_alg", {"oldest_alg = 1", kKeyTampered}},
      {"data_key.generation", {"generation = generation - 1", kKeyTampered}},
      {"data_key.as_of", {"as_of = as_of + interval '1 day'", kKeyTampered}},
      {"data_key.ledger", {"ledger = ''", kKeyTampered}},
  };
  put("api_key", "old");
  put("api_key", "new");
  EXPECT_EQ(told(), kUnharmed);
  sql("CREATE TABLE public.now_secret AS TABLE sluice.secret");
  sql("CREATE TABLE public.now_key AS TABLE sluice.data_key");
  const auto there =
      run(pool().query("SELECT table_name || '.' || column_name FROM information_schema.columns"
                       " WHERE table_schema = 'sluice' AND table_name IN ('secret', 'data_key')"));
  EXPECT_EQ(static_cast<std::size_t>(there.rows()), columns.size());
  for (int row = 0; row < there.rows(); ++row) {
    const std::string name(there.text(row, 0));
    SCOPED_TRACE(name);
    ASSERT_TRUE(columns.contains(name)) << "say what an UPDATE of it does";
    const Column& column = columns.at(name);
    std::string said;
    try {
      sql("UPDATE sluice." + name.substr(0, name.find('.')) + " SET " + column.change +
          (name.starts_with("secret.") ? " WHERE version = 2" : ""));
      said = told();
    } catch (const pg::QueryError&) {
      said = "refused";  // by the table itself
    }
    EXPECT_EQ(said, column.told);
    if (said != "refused" && said != "vault.root_key.mismatch") {
      EXPECT_EQ(told(*open_with(root_)), column.told) << "by a host that has just started";
    }
    sql("DELETE FROM sluice.secret; DELETE FROM sluice.data_key;"
        "INSERT INTO sluice.data_key SELECT * FROM public.now_key;"
        "INSERT INTO sluice.secret SELECT * FROM public.now_secret");
    EXPECT_EQ(told(), kUnharmed);
  }
}

// ---- the format before -------------------------------------------------------------------------

void VaultTest::make_rows_of_the_format_before() {
  const Secret data_key = Secret::random(32);
  const DataKeyId id(1);
  const RootKeyId root_id = RootKeyId::of(root_);
  const auto add = [](pg::Params& params, const Sealed& sealed) {
    params.add(std::int32_t{sealed.alg});
    params.add(ByteView(sealed.salt)).add(ByteView(sealed.nonce)).add(ByteView(sealed.commitment));
    params.add(ByteView(sealed.ciphertext));
  };
  pg::Params key(one_, id, root_id.to_string());
  add(key, seal(root_, bind_data_key_before(one_, id, root_id), data_key));
  run(pool().query(
      "INSERT INTO sluice.data_key (workspace_id, data_key_id, state, root_key_id, alg,"
      " salt, nonce, commitment, ciphertext, created_at, state_changed_at)"
      " VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, now(), now())",
      std::move(key)));
  for (const std::int64_t version : {1, 2}) {
    const SecretPlace place{one_, kConnection, "api_key", version};
    const Secret value = text(version == 1 ? "old" : "new");
    pg::Params row(one_, kConnection, version, version == 1 ? "previous" : "current",
                   Fingerprint::of(value, data_key).to_string());
    row.add(version == 1 ? std::optional<Micros>(clock_.now() + 1h) : std::nullopt);
    add(row, seal(data_key, bind_secret_before(place, id), value));
    run(
        pool().query("INSERT INTO sluice.secret (workspace_id, connection_id, name, version, state,"
                     " data_key_id, fingerprint, valid_until, alg, salt, nonce, commitment,"
                     " ciphertext, created_at, state_changed_at)"
                     " VALUES ($1, $2, 'api_key', $3, $4, 1, $5, $6, $7, $8, $9, $10, $11, now(), "
                     "now())",
                     std::move(row)));
  }
  sql("CREATE TABLE public.dump_secret AS TABLE sluice.secret");
  sql("CREATE TABLE public.dump_key AS TABLE sluice.data_key");
}

TEST_F(VaultTest, RowsOfTheFormatBeforeOpenUntilAllAreSealedAnewAndNeverAfter) {
  make_rows_of_the_format_before();
  EXPECT_EQ(told(), "new|old");
  EXPECT_EQ(told(*open_with(root_)), "new|old");
  put("other", "beside them");
  EXPECT_EQ(told(), "new|old");
  fenced([&](pg::Connection& connection, pg::Fenced& transaction) {
    EXPECT_TRUE(run(vault_->needs_sealing(connection, one_)));
    const auto names = run(vault_->of_format_before(connection, one_, Ledger::Name(), 10));
    ASSERT_EQ(names.size(), 1U);
    EXPECT_EQ(names[0], Ledger::Name(kConnection, "api_key"));
    EXPECT_TRUE(run(vault_->seal_anew(transaction, one_, kConnection, "api_key", purpose())));
  });
  EXPECT_EQ(told(), "new|old");
  EXPECT_EQ(scalar("SELECT string_agg(DISTINCT alg::text, ',') FROM sluice.secret"), "2");
  fenced([&](pg::Connection& connection, pg::Fenced& transaction) {
    EXPECT_TRUE(run(vault_->of_format_before(connection, one_, Ledger::Name(), 10)).empty());
    run(vault_->end_sealing(transaction, one_));
    EXPECT_FALSE(run(vault_->needs_sealing(connection, one_)));
  });
  EXPECT_EQ(told(), "new|old");
  EXPECT_EQ(error_of([&] {
              run(vault_->use(one_, kConnection, "api_key", wanted("http://127.0.0.1:1")));
            }).code,
            "vault.secret.elsewhere");
  // Its row put back, alone and as the whole secret.
  sql("CREATE TABLE public.now_secret AS TABLE sluice.secret");
  sql("DELETE FROM sluice.secret WHERE name = 'api_key';"
      "INSERT INTO sluice.secret SELECT * FROM public.dump_secret");
  EXPECT_EQ(told(), "vault.secret.old_format");
  sql("DELETE FROM sluice.secret WHERE name = 'api_key'");
  tidy();  // forgets that there was one
  EXPECT_EQ(told(), "vault.secret.not_found");
  sql("INSERT INTO sluice.secret SELECT * FROM public.dump_secret");
  EXPECT_EQ(told(), "vault.secret.old_format");
  EXPECT_EQ(told(*open_with(root_)), "vault.secret.old_format");
  // And with the data key's row of then, while this host runs.
  sql("UPDATE sluice.data_key k SET alg = f.alg, salt = f.salt, nonce = f.nonce, commitment = "
      "f.commitment, ciphertext = f.ciphertext, oldest_alg = 1, generation = 0, as_of = NULL, "
      "ledger "
      "= '' FROM public.dump_key f WHERE f.workspace_id = k.workspace_id");
  EXPECT_EQ(told(), "vault.data_key.put_back");
}

// The host that seals ends before its commit, and behind it: whoever comes next goes on, and both
// open what there is.
TEST_F(VaultTest, APassThatEndsInItsMiddleIsGoneOnWithByWhoeverComesNext) {
  make_rows_of_the_format_before();
  EXPECT_EQ(told(), "new|old");
  const auto algs = [&] {
    return scalar("SELECT string_agg(DISTINCT alg::text, ',') FROM sluice.secret");
  };
  const auto seal = [&](pg::Fenced& transaction) {
    EXPECT_TRUE(run(vault_->seal_anew(transaction, one_, kConnection, "api_key", purpose())));
  };
  EXPECT_THROW(fenced([&](pg::Connection&, pg::Fenced& transaction) {
                 seal(transaction);
                 throw std::runtime_error("killed before the commit");
               }),
               std::runtime_error);
  EXPECT_EQ(algs(), "1");
  EXPECT_EQ(told(), "new|old");
  auto next = open_with(root_);
  EXPECT_EQ(told(*next), "new|old");
  fenced([&](pg::Connection&, pg::Fenced& transaction) { seal(transaction); });
  // Killed behind the commit, before the end of the pass was said.
  EXPECT_EQ(algs(), "2");
  EXPECT_EQ(told(), "new|old");
  EXPECT_EQ(told(*next), "new|old");
  EXPECT_EQ(told(*open_with(root_)), "new|old");
  fenced([&](pg::Connection& connection, pg::Fenced& transaction) {
    EXPECT_TRUE(run(next->needs_sealing(connection, one_)));
    EXPECT_TRUE(run(next->of_format_before(connection, one_, Ledger::Name(), 10)).empty());
    run(next->end_sealing(transaction, one_));
  });
  EXPECT_EQ(told(), "new|old");
  EXPECT_EQ(told(*next), "new|old");
  sql("DELETE FROM sluice.secret; INSERT INTO sluice.secret SELECT * FROM public.dump_secret");
  EXPECT_EQ(told(), "vault.secret.old_format");
  EXPECT_EQ(told(*next), "vault.secret.old_format");
}

TEST_F(VaultTest, ARotationBeforeAllIsSealedAnewSealsWhatItTouches) {
  make_rows_of_the_format_before();
  put("api_key", "newest");
  EXPECT_EQ(told(), "newest|new|old");
  EXPECT_EQ(scalar("SELECT string_agg(alg::text, ',' ORDER BY version DESC) FROM sluice.secret"),
            "2,2,1");
  EXPECT_EQ(told(*open_with(root_)), "newest|new|old");
  sql("UPDATE sluice.secret SET state = 'revoked', salt = NULL, nonce = NULL, commitment = NULL, "
      "ciphertext = NULL, valid_until = NULL WHERE version = 1");
  EXPECT_EQ(told(), "vault.secret.put_back");
}

TEST_F(VaultTest, ARowOfTheFormatBeforeThatDoesNotOpenIsRevoked) {
  make_rows_of_the_format_before();
  sql("UPDATE sluice.secret SET ciphertext = substr(ciphertext, 2) WHERE version = 2");
  fenced([&](pg::Connection&, pg::Fenced& transaction) {
    EXPECT_FALSE(run(vault_->seal_anew(transaction, one_, kConnection, "api_key", purpose())));
    run(vault_->end_sealing(transaction, one_));
  });
  EXPECT_EQ(told(), "vault.secret.not_found");
}

TEST_F(VaultTest, TidyingForgetsWhatIsGoneAndSaysThatTheKeyIsOfNow) {
  put("api_key", "a");
  put("other", "b");
  const std::string before = scalar("SELECT as_of::text FROM sluice.data_key");
  sql("DELETE FROM sluice.secret WHERE name = 'other'");  // as with its connection
  clock_.advance(1h);
  EXPECT_EQ(tidy(), 0);
  EXPECT_NE(scalar("SELECT as_of::text FROM sluice.data_key"), before);
  EXPECT_EQ(scalar("SELECT position('other' in encode(ledger, 'escape'))::text || ' ' || "
                   "(position('api_key' in encode(ledger, 'escape')) > 0)::text "
                   "FROM sluice.data_key"),
            "0 true");
  EXPECT_EQ(told(), "a");
  EXPECT_EQ(told(*open_with(root_)), "a");
}

TEST_F(VaultTest, ADestroyedDataKeyIsNamed) {
  put("api_key", "a");
  sql("UPDATE sluice.data_key SET state = 'destroyed', salt = NULL, nonce = NULL, commitment = "
      "NULL,"
      " ciphertext = NULL");
  const auto fresh = open_with(root_);
  const Error error = error_of([&] { run(fresh->use(one_, kConnection, "api_key", wanted())); });
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
  run(both->put(two_, kConnection, "api_key", text("new"), purpose()));
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
  run(vault_->put(two_, kConnection, "api_key", text("c"), purpose()));
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

TEST_F(VaultTest, ADataKeyThatSomebodyPutOutOfForceGetsNoSuccessor) {
  put("api_key", "old");
  sql("UPDATE sluice.data_key SET state = 'decrypt_only'");
  EXPECT_EQ(error_of([&] { put("api_key", "new"); }).code, "vault.data_key.lost");
  EXPECT_EQ(told(), "vault.data_key.lost");
  EXPECT_EQ(scalar("SELECT count(*) FROM sluice.data_key"), "1");
}

TEST_F(VaultTest, OpenedDataKeysAreBounded) {
  sql("INSERT INTO sluice.workspace (name) SELECT 'many_' || i FROM generate_series(1, 300) i");
  const auto ids =
      run(pool().query("SELECT workspace_id FROM sluice.workspace WHERE name LIKE 'many_%'"));
  for (int pass = 0; pass < 2; ++pass) {
    for (int row = 0; row < ids.rows(); ++row) {
      const auto workspace = ids.get<WorkspaceId>(row, 0);
      if (pass == 0)
        run(vault_->put(workspace, kConnection, "api_key", text(ids.text(row, 0)), purpose()));
      EXPECT_EQ(used(*vault_, workspace, kConnection, "api_key"), ids.text(row, 0));
      EXPECT_LE(vault_->data_keys_cached(), kDataKeysCachedMax);
    }
  }
  EXPECT_EQ(vault_->data_keys_cached(), kDataKeysCachedMax);
}

// ---- at once ---------------------------------------------------------------------------------

Task<void> put_and_count(Vault& vault, WorkspaceId workspace, std::string value, int& done) {
  Secret secret = Secret::take(std::move(value));
  Purpose to = purpose();
  co_await vault.put(workspace, ConnectionId(7), "api_key", std::move(secret), std::move(to));
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
  const auto mine = run(vault_->use(one_, kConnection, "api_key", wanted()));
  const auto theirs = run(other_host->use(one_, kConnection, "api_key", wanted()));
  ASSERT_TRUE(mine.has_value() && theirs.has_value());
  EXPECT_EQ(mine->previous.size(), static_cast<std::size_t>(kPreviousVersionsMax));
  EXPECT_TRUE(mine->current.equals(theirs->current));
}

// More calls than connections, each in need of a second one, would stand still.
TEST_F(VaultTest, ManyPromotionsAtOnceDoNotStarveEachOther) {
  constexpr int kNames = 24;
  std::vector<SecretInfo> staged;
  for (int i = 0; i < kNames; ++i) {
    staged.push_back(
        run(vault_->stage(one_, kConnection, "name" + std::to_string(i), text("x"), purpose())));
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
  run(superuser_pool().query(
      "CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS"
      " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"));
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
    Wanted at = wanted();
    const Result<SecretValue> value =
        co_await vault.use(workspace, ConnectionId(7), "api_key", std::move(at));
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
  run(vault_->stage(one_, kConnection, "api_key", text(canary + "3"), purpose()));
  run(vault_->put(two_, kConnection, "webhook_secret", text(canary), purpose()));
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
