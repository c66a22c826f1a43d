#include "model/own_entities.hpp"

#include <gtest/gtest.h>

#include "link/normalise.hpp"
#include "model/own_types.hpp"
#include "pg/fenced.hpp"
#include "pg/migrate.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;
using sluice::testing::make_workspace;

class OwnEntitiesTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
  }
  Task<void> prepare() {
    workspace_ = co_await make_workspace(pool());
    const json request = json::parse(R"({"name":"customer","attributes":[
        {"name":"email","type":"text","format":"email","unique":true},
        {"name":"code","type":"integer","unique":true},
        {"name":"name","type":"text"},
        {"name":"plan","type":"text","required":true},
        {"name":"info","type":"json"}]})");
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await create_own_type(transaction, workspace_, std::move(*type));
    co_await transaction.commit();
    // Keys are queued for types that a rule names.
    co_await lease->query(
        "insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, "
        "target_type, target_attribute, key_kind, origin) "
        "values (1, 'by_email', 'customer', 'email', 'person', 'email', 1, 'admin')");
    catalog_ = co_await load_catalog(*lease, workspace_);
  }
  const StoredType& type() { return *catalog_->find("customer"); }
  Task<std::vector<OwnOutcome>> write_task(std::vector<OwnRow> rows, OwnMode mode,
                                           std::string key) {
    OwnWrite write;
    write.mode = mode;
    write.key = std::move(key);
    auto lease = co_await pool().acquire();
    co_return co_await write_own(*lease, workspace_, type(), std::move(rows), std::move(write));
  }
  std::vector<OwnOutcome> write(const std::string& rows, OwnMode mode = OwnMode::upsert,
                                std::string key = "") {
    std::vector<OwnRow> batch;
    for (const json& values : json::parse(rows)) {
      OwnRow& row = batch.emplace_back();
      row.values = values;
      if (mode == OwnMode::update) {
        row.id = EntityId(values.at("id").get<std::int64_t>());
        row.values.erase("id");
      }
    }
    return run(write_task(std::move(batch), mode, std::move(key)));
  }
  std::string actions(const std::vector<OwnOutcome>& outcomes) {
    std::string out;
    for (const OwnOutcome& outcome : outcomes) {
      out += "iu=-!"[static_cast<int>(outcome.action)];
      for (const FieldError& error : outcome.errors) {
        out += "(" + error.attribute + ":" + std::string(to_string(error.fault)) + ")";
      }
    }
    return out;
  }
  std::string text(std::string sql) {
    const auto rows = run(pool().query(sql));
    std::string out;
    for (int i = 0; i < rows.rows(); ++i) {
      out +=
          (i ? ";" : "") + (rows.is_null(i, 0) ? std::string("null") : rows.get<std::string>(i, 0));
    }
    return out;
  }
  Task<bool> remove(EntityId id) {
    auto lease = co_await pool().acquire();
    std::vector<OwnRow> rows(1);
    rows[0].id = id;
    OwnWrite how;
    how.mode = OwnMode::remove;
    const auto outcomes =
        co_await write_own(*lease, workspace_, type(), std::move(rows), std::move(how));
    co_return outcomes[0].action == OwnAction::removed;
  }
  WorkspaceId workspace_;
  CatalogPtr catalog_;
};

TEST_F(OwnEntitiesTest, RowsAreInsertedThenUpdatedThenUnchanged) {
  const auto first =
      write(R"([{"email":"a@x.com","plan":"pro","name":"A"},{"email":"b@x.com","plan":"free"}])");
  EXPECT_EQ(actions(first), "ii");
  const auto second =
      write(R"([{"email":"a@x.com","name":"B"},{"email":"b@x.com","plan":"free"}])");
  EXPECT_EQ(actions(second), "u=");
  EXPECT_EQ(second[0].id, first[0].id);
  EXPECT_EQ(
      text("select data::text from sluice.own_entity order by id"),
      R"({"name": "B", "plan": "pro", "email": "a@x.com"};{"plan": "free", "email": "b@x.com"})");
  EXPECT_EQ(
      text("select op || ' ' || coalesce(changed::text, '-') from sluice.change order by position"),
      R"(insert -;insert -;update {"name": ["A", "B"]})");
}

/// As those of a type are that requires nothing.
TEST_F(OwnEntitiesTest, OneWithoutAnyValueIsDeletedAsWell) {
  const auto made = write(R"([{"email":"a@x.com","plan":"pro"}])", OwnMode::insert);
  text("update sluice.own_entity set data = '{}'");
  EXPECT_TRUE(run(remove(made[0].id)));
  EXPECT_EQ(text("select count(*)::text from sluice.own_entity where deleted_at is null"), "0");
}

TEST_F(OwnEntitiesTest, NullClearsAndAbsentLeaves) {
  write(R"([{"email":"a@x.com","plan":"pro","name":"A"}])");
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","name":null}])")), "u");
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","name":null}])")), "=");
  EXPECT_EQ(text("select changed::text from sluice.change where op = 'update'"),
            R"({"name": ["A", null]})");
}

TEST_F(OwnEntitiesTest, WrongRowsAreRejectedAloneWithEveryReason) {
  const auto outcomes =
      write(R"([{"email":"a@x.com","plan":5,"colour":1},{"email":"b@x.com","plan":"free"},
      {"email":"c@x.com"},{"plan":"x"},{"email":"b@x.com","plan":null}, 7])");
  EXPECT_EQ(actions(outcomes),
            "!(colour:unknown_attribute)(plan:bad_value)i!(plan:missing_value)!(email:missing_key)"
            "!(plan:missing_value)!(:bad_value)");
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "1");
}

TEST_F(OwnEntitiesTest, ABatchBehavesAsIfItsRowsCameOneAfterTheOther) {
  const auto outcomes =
      write(R"([{"email":"a@x.com","plan":"p","code":1},{"email":"a@x.com","name":"N"},
      {"email":"b@x.com","plan":"p","code":1},{"email":"a@x.com","code":2},{"email":"b@x.com","plan":"p","code":1}])");
  EXPECT_EQ(actions(outcomes), "iu!(code:duplicate_key)ui");
  EXPECT_EQ(outcomes[0].id, outcomes[1].id);
  EXPECT_EQ(outcomes[0].id, outcomes[3].id);
  EXPECT_NE(outcomes[4].id, outcomes[0].id);
  EXPECT_EQ(text("select string_agg(attribute || '=' || value, ' ' order by attribute, value) from "
                 "sluice.own_unique"),
            "code=1 code=2 email=a@x.com email=b@x.com");
}

TEST_F(OwnEntitiesTest, TwoRowsMaySwapAUniqueValueInOneBatch) {
  write(R"([{"email":"a@x.com","plan":"p","code":1},{"email":"b@x.com","plan":"p","code":2}])");
  EXPECT_EQ(
      actions(write(
          R"([{"email":"a@x.com","code":null},{"email":"b@x.com","code":1},{"email":"a@x.com","code":2}])")),
      "uuu");
  EXPECT_EQ(text("select data->>'code' from sluice.own_entity order by data->>'email'"), "2;1");
}

TEST_F(OwnEntitiesTest, AUniqueAttributeThatIsALinkKeyIsUniqueByTheKey) {
  const auto made = write(R"([{"email":"a@x.com","plan":"p"},{"email":"A@X.com ","plan":"p"},
      {"email":"a@b\u00fccher.example","plan":"p"},{"email":"a@xn--bcher-kva.example","plan":"q"}])");
  EXPECT_EQ(actions(made), "iuiu");
  EXPECT_EQ(
      text("select count(distinct digest)::text || ' ' || count(*)::text from sluice.link_key"),
      "2 2");
  const auto refused = write(R"([{"email":"A@x.com","plan":"p"}])", OwnMode::insert);
  ASSERT_EQ(actions(refused), "!(email:duplicate_key)");
  EXPECT_EQ(refused[0].errors[0].other, made[0].id);
  EXPECT_EQ(refused[0].errors[0].reason,
            "entity " + std::to_string(made[0].id.value) + " has this value, and it is unique");
  // What is no address is unique as it is written.
  EXPECT_EQ(actions(write(R"([{"email":"none","plan":"p"},{"email":"None","plan":"p"}])")), "ii");
  EXPECT_EQ(text("select string_agg(value, ' ' order by value) from sluice.own_unique"),
            "None a@x.com a@xn--bcher-kva.example none");
}

TEST_F(OwnEntitiesTest, WhoHasTheValueIsNamedAlsoWhenItCameInTheSameBatch) {
  const auto outcomes =
      write(R"([{"email":"a@x.com","code":1,"plan":"p"},{"email":"b@x.com","code":1,"plan":"p"}])");
  ASSERT_EQ(actions(outcomes), "i!(code:duplicate_key)");
  EXPECT_EQ(outcomes[1].errors[0].other, outcomes[0].id);
}

/// Rows as they were stored when an e-mail address was unique as it is written.
class FormerlyRaw : public OwnEntitiesTest {
 protected:
  void SetUp() override {
    OwnEntitiesTest::SetUp();
    for (const char* email : {"Dup@X.example", "dup@x.example", "Solo@X.example"}) {
      const auto made = write(fmt::format(R"([{{"email":"n@x.example","plan":"p"}}])"));
      ids_.push_back(made[0].id.value);
      run(
          pool().query(fmt::format("update sluice.own_entity set data = jsonb_set(data, "
                                   "'{{email}}', '\"{}\"') where id = {}",
                                   email, ids_.back())));
      run(pool().query(fmt::format("update sluice.own_unique set value = '{}' where id = {}", email,
                                   ids_.back())));
    }
  }
  void remake() {
    const auto all = [](pg::Connection& connection, WorkspaceId workspace, const StoredType& type,
                        std::vector<EntityId> ids) -> Task<void> {
      pg::LeaseProof proof;
      proof.workspace = workspace;
      proof.name = "work";
      proof.epoch = Epoch(1);
      pg::Fenced fenced(connection, std::move(proof));
      co_await remake_unique(fenced, workspace, type, *type.find("email"), std::move(ids));
      co_await fenced.commit();
    };
    run(pool().query(
        fmt::format("insert into sluice.lease_epoch values ({}, 'work', 1) on conflict do nothing",
                    workspace_.value)));
    std::vector<EntityId> ids;
    for (const std::int64_t id : ids_) ids.emplace_back(id);
    const auto connection = connect();
    run(all(*connection, workspace_, type(), std::move(ids)));
  }
  std::string shared() {
    const auto connection = connect();
    const auto list = [](pg::Connection& on, const Catalog& catalog) -> Task<std::string> {
      std::string out;
      const auto found = co_await shared_keys(on, catalog);
      for (const SharedKey& one : found)
        out += fmt::format("{}.{} {} {};", one.type, one.attribute, one.id.value, one.other.value);
      co_return out;
    };
    return run(list(*connection, *catalog_));
  }
  std::vector<std::int64_t> ids_;
};

TEST_F(FormerlyRaw, RowsThatAreOneByNowStayAndOnlyNewOnesAreRefused) {
  remake();
  const std::string pair = fmt::format("customer.email {} {};", ids_[0], ids_[1]);
  EXPECT_EQ(shared(), pair);
  EXPECT_EQ(text("select string_agg(value, ' ' order by value) from sluice.own_unique"),
            "dup@x.example solo@x.example");
  remake();
  EXPECT_EQ(shared(), pair) << "done twice";
  // Each is still found by what it says itself, and written.
  const auto again = write(
      R"([{"email":"Dup@X.example","plan":"one"},{"email":"dup@x.example","plan":"two"},
          {"email":"SOLO@x.example","plan":"three"}])");
  EXPECT_EQ(actions(again), "uuu");
  EXPECT_EQ(again[0].id.value, ids_[0]);
  EXPECT_EQ(again[1].id.value, ids_[1]);
  EXPECT_EQ(again[2].id.value, ids_[2]);
  // Who writes it otherwise means neither, and a new one is refused.
  const auto other = write(R"([{"email":"DUP@X.example","plan":"p"}])");
  ASSERT_EQ(actions(other), "!(email:ambiguous_key)");
  EXPECT_NE(other[0].errors[0].reason.find(fmt::format("{} and {}", ids_[0], ids_[1])),
            std::string::npos)
      << other[0].errors[0].reason;
  EXPECT_EQ(actions(write(R"([{"email":"DUP@X.example","plan":"p"}])", OwnMode::insert)),
            "!(email:duplicate_key)");
  const auto by_id = write(fmt::format(R"([{{"id":{},"plan":"four"}}])", ids_[0]), OwnMode::update);
  EXPECT_EQ(actions(by_id), "u") << "an update that leaves the address";
}

TEST_F(FormerlyRaw, WhenOneOfTwoGoesTheOtherHasTheKeyAlone) {
  remake();
  ASSERT_TRUE(run(remove(EntityId(ids_[1]))));
  EXPECT_EQ(shared(), "");
  const auto found = write(R"([{"email":"DUP@X.example","plan":"p"}])");
  EXPECT_EQ(actions(found), "u");
  EXPECT_EQ(found[0].id.value, ids_[0]);
  const auto moved =
      write(fmt::format(R"([{{"id":{},"email":"other@x.example"}}])", ids_[0]), OwnMode::update);
  EXPECT_EQ(actions(moved), "u");
  EXPECT_EQ(text("select count(*)::text from sluice.own_shared"), "0");
  EXPECT_EQ(actions(write(R"([{"email":"dup@x.example","plan":"p"}])")), "i");
}

TEST_F(FormerlyRaw, UntilItsKeysAreMadeAnewARowIsFoundAsItIsWritten) {
  const auto same =
      write(R"([{"email":"Dup@X.example","plan":"one"},{"email":"dup@x.example","plan":"two"}])");
  EXPECT_EQ(actions(same), "uu");
  EXPECT_EQ(same[0].id.value, ids_[0]);
  EXPECT_EQ(same[1].id.value, ids_[1]);
  ASSERT_TRUE(run(remove(EntityId(ids_[2]))));
  EXPECT_EQ(text("select count(*)::text from sluice.own_unique"), "2") << "its raw value went";
}

TEST_F(OwnEntitiesTest, KeysGainedAndLostAreQueuedInTheSameTransaction) {
  const auto made = write(R"([{"email":"a@x.com","plan":"p"}])");
  const auto digest_of = [](std::string_view email) {
    return to_hex(
        link::digest(contract::KeyKind::email, *link::normalise(contract::KeyKind::email, email))
            .bytes);
  };
  const std::string keys = "select replace(digest::text, '-', '') from sluice.link_key";
  const std::string queue =
      "select replace(digest::text, '-', '') from sluice.link_queue order by seq";
  EXPECT_EQ(text(keys), digest_of("a@x.com"));
  EXPECT_EQ(text(queue), digest_of("a@x.com"));
  EXPECT_EQ(text("select kind::text || ' ' || attribute::text from sluice.link_key"), "1 0");
  run(pool().query("delete from sluice.link_queue"));
  EXPECT_EQ(
      actions(write(R"([{"id":)" + std::to_string(made[0].id.value) + R"(,"email":"b@x.com"}])",
                    OwnMode::update)),
      "u");
  EXPECT_EQ(text(keys), digest_of("b@x.com"));
  EXPECT_EQ(text(queue), digest_of("a@x.com") + ";" + digest_of("b@x.com"));
  run(pool().query("delete from sluice.link_queue"));
  EXPECT_TRUE(run(remove(made[0].id)));
  EXPECT_EQ(text(keys), "");
  EXPECT_EQ(text(queue), digest_of("b@x.com"));
  EXPECT_EQ(text("select op from sluice.change order by position desc limit 1"), "delete");
}

TEST_F(OwnEntitiesTest, ADeletedEntityFreesItsValues) {
  const auto first = write(R"([{"email":"a@x.com","plan":"p"}])");
  EXPECT_TRUE(run(remove(first[0].id)));
  EXPECT_FALSE(run(remove(first[0].id)));
  const auto second = write(R"([{"email":"a@x.com","plan":"p"}])");
  EXPECT_EQ(actions(second), "i");
  EXPECT_NE(second[0].id, first[0].id);
}

/// A row that somebody else nested deeper than we read: what it was is known by its keys.
class Unreadable : public OwnEntitiesTest {
 protected:
  void SetUp() override {
    OwnEntitiesTest::SetUp();
    id_ = write(R"([{"email":"A@x.com","code":7,"plan":"p"}])")[0].id;
    run(
        pool().query("update sluice.own_entity set data = data || jsonb_build_object('info', "
                     "(repeat('[', 600) || repeat(']', 600))::jsonb)"));
    run(pool().query("delete from sluice.link_queue"));
  }
  std::string keys() {
    return text("select attribute || '=' || value from sluice.own_unique order by 1") + " and " +
           text("select count(*)::text from sluice.link_key");
  }
  EntityId id_;
};

TEST_F(Unreadable, WhatIsDeletedLeavesNoKey) {
  ASSERT_TRUE(run(remove(id_)));
  EXPECT_EQ(keys(), " and 0");
  EXPECT_EQ(text("select count(*)::text from sluice.link_queue"), "1") << "the key that went";
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","code":7,"plan":"q"}])")), "i");
}

TEST_F(Unreadable, WhatIsReplacedLeavesNoKey) {
  const auto update = write(fmt::format(R"([{{"id":{},"email":"b@x.com","plan":"q"}}])", id_.value),
                            OwnMode::update);
  EXPECT_EQ(actions(update), "u");
  EXPECT_EQ(keys(), "email=b@x.com and 1");
  EXPECT_EQ(text("select count(*)::text from sluice.link_queue"), "2");
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","code":7,"plan":"q"}])")), "i");
}

TEST_F(Unreadable, ItsValuesAreTakenUntilItIsReplacedAndItIsFoundByThem) {
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","plan":"q"}])", OwnMode::insert)),
            "!(email:duplicate_key)");
  const auto found = write(R"([{"email":"a@x.com","plan":"q"}])");
  EXPECT_EQ(actions(found), "u");
  EXPECT_EQ(found[0].id, id_);
  EXPECT_EQ(keys(), "email=a@x.com and 1") << "its code is not known any more";
  EXPECT_EQ(text("select data::text from sluice.own_entity"),
            R"({"plan": "q", "email": "a@x.com"})");
}

TEST_F(Unreadable, OneThatIsLeftAsItIsKeepsItsKeys) {
  const auto outcomes =
      write(fmt::format(R"([{{"id":{},"name":null}}])", id_.value), OwnMode::update);
  EXPECT_EQ(actions(outcomes), "!(plan:missing_value)");
  EXPECT_EQ(actions(write(R"([{"email":"b@x.com","code":7,"plan":"q"}])")),
            "!(code:duplicate_key)");
  EXPECT_EQ(keys(), "code=7;email=a@x.com and 1");
}

/// What hosts of before left of rows that they could not read.
class LeftKeys : public sluice::testing::PgTest {
 protected:
  LeftKeys() : PgTest(Database::empty) {}
};

TEST_F(LeftKeys, OfDeletedRowsGoWithTheMigration) {
  const auto owner = connect();
  run(pg::migrate(*owner, pg::migrations().first(29)));
  run(owner->script(
      "insert into sluice.workspace (name) values ('w');"
      "insert into sluice.entity_type (workspace_id, type_id, name, origin, relation, declaration)"
      " overriding system value values (1, 5, 'customer', 'own', 'sluice.own_entity', '{}');"
      "insert into sluice.own_entity (workspace_id, type_id, id, data, deleted_at)"
      " values (1, 5, 1, '{}', now()), (1, 5, 2, '{}', null);"
      "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
      " values (1, 5, 'code', '7', 1), (1, 5, 'code', '8', 2);"
      "insert into sluice.own_shared (workspace_id, type_id, attribute, value, id)"
      " values (1, 5, 'code', '9', 1), (1, 5, 'code', '9', 2);"
      "insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, entity_id)"
      " values (1, 1, gen_random_uuid(), 5, 0, 1), (1, 1, gen_random_uuid(), 5, 0, 2),"
      " (1, 1, gen_random_uuid(), 6, 0, 1)"));
  run(pg::migrate(*owner, pg::migrations()));
  const auto one = [&](const std::string& sql) {
    return run(owner->query(sql)).get<std::string>(0, 0);
  };
  EXPECT_EQ(one("select string_agg(value, ' ') from sluice.own_unique"), "8");
  EXPECT_EQ(one("select string_agg(id::text, ' ') from sluice.own_shared"), "2");
  EXPECT_EQ(one("select string_agg(type_id || '/' || entity_id, ' ' order by type_id) from "
                "sluice.link_key"),
            "5/2 6/1")
      << "6/1 is a vendor's";
  EXPECT_EQ(one("select string_agg(type_id || '/' || entity_id, ' ') from sluice.link_queue"),
            "5/1");
}

/// Views show addresses as they are indexed, so no longer than that: what is longer is plain text.
TEST_F(LeftKeys, WhatHoldsALongerTextIsNoAddress) {
  const auto owner = connect();
  std::size_t before = 0;
  while (!pg::migrations()[before].name.ends_with("_addresses")) ++before;
  run(pg::migrate(*owner, pg::migrations().first(before)));
  run(owner->script(
      "insert into sluice.workspace (name) values ('w');"
      "insert into sluice.catalog_version (workspace_id, version) values (1, 4);"
      "insert into sluice.entity_type (workspace_id, type_id, name, origin, relation, declaration)"
      " overriding system value values (1, 5, 'customer', 'own', 'sluice.own_entity', '{}');"
      "insert into sluice.attribute (workspace_id, type_id, name, position, type, format)"
      " values (1, 5, 'email', 0, 'text', 'email'), (1, 5, 'other', 1, 'text', 'email');"
      "insert into sluice.own_entity (workspace_id, type_id, id, data) values"
      " (1, 5, 1, jsonb_build_object('email', repeat('x', 1024), 'other', repeat('x', 1025)))"));
  run(pg::migrate(*owner, pg::migrations()));
  const auto one = [&](const std::string& sql) {
    return run(owner->query(sql)).get<std::string>(0, 0);
  };
  EXPECT_EQ(one("select string_agg(name || ' ' || format, ',' order by name) from "
                "sluice.attribute"),
            "email email,other ");
  EXPECT_EQ(one("select version::text from sluice.catalog_version"), "5");
}

/// Whatever a row's values are by now, another may have those that it has not.
TEST_F(OwnEntitiesTest, AKeyThatItsRowDoesNotHaveAnyMoreKeepsNobodyOut) {
  write(R"([{"email":"a@x.com","code":7,"plan":"p"}])");
  run(pool().query("update sluice.own_entity set data = data || '{\"code\": 8}'"));
  EXPECT_EQ(actions(write(R"([{"email":"b@x.com","code":7,"plan":"q"}])")), "i");
  EXPECT_EQ(
      text("select o.value || ' ' || (e.data->>'email') from sluice.own_unique o join "
           "sluice.own_entity e using (workspace_id, type_id, id) where o.attribute = 'code'"),
      "7 b@x.com");
}

TEST_F(OwnEntitiesTest, InsertModeRefusesWhatExistsAndUpdateModeWhatDoesNot) {
  write(R"([{"email":"a@x.com","plan":"p"}])");
  EXPECT_EQ(actions(write(R"([{"email":"a@x.com","plan":"p"},{"plan":"q"}])", OwnMode::insert)),
            "!(email:duplicate_key)i");
  EXPECT_EQ(actions(write(R"([{"id":999999,"plan":"p"}])", OwnMode::update)), "!(:missing_key)");
}

TEST_F(OwnEntitiesTest, ABatchOfTheLargestSizeIsWrittenAtOnce) {
  json rows = json::array();
  for (std::size_t i = 0; i < kOwnBatchMax; ++i) {
    json row = json::object();
    row["email"] = "user" + std::to_string(i) + "@x.com";
    row["plan"] = "p";
    rows.push_back(row);
  }
  EXPECT_EQ(actions(write(rows.dump())), std::string(kOwnBatchMax, 'i'));
  EXPECT_EQ(actions(write(rows.dump())), std::string(kOwnBatchMax, '='));
  EXPECT_EQ(text("select count(*) from sluice.link_key"), std::to_string(kOwnBatchMax));
}

TEST_F(OwnEntitiesTest, TwoWritersOfTheSameValueBothSucceedWithOneEntity) {
  int done = 0;
  std::string seen;
  const auto record = [&](std::exception_ptr error, std::vector<OwnOutcome> outcomes) {
    ++done;
    seen += error ? "X" : actions(outcomes);
  };
  for (int i = 0; i < 4; ++i) {
    std::vector<OwnRow> rows(1);
    rows[0].values["email"] = "a@x.com";
    rows[0].values["plan"] = "p";
    asio::co_spawn(io(), write_task(std::move(rows), OwnMode::upsert, ""), record);
  }
  run_until_true([&] { return done == 4; });
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, "===i");
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "1");
}

TEST_F(OwnEntitiesTest, AnEntityThatLostTheValueWhileWeWaitedForItIsNotOverwritten) {
  write(R"([{"email":"a@x.com","plan":"p","name":"Ann"}])");
  const auto other = connect();
  run(other->query("begin"));
  run(other->query("update sluice.own_entity set data = data || '{\"email\":\"b@x.com\"}'"));
  run(other->query("update sluice.own_unique set value = 'b@x.com' where attribute = 'email'"));
  std::string seen;
  const auto record = [&](std::exception_ptr error, std::vector<OwnOutcome> outcomes) {
    seen = error ? "X" : actions(outcomes);
  };
  std::vector<OwnRow> rows(1);
  rows[0].values["email"] = "a@x.com";
  rows[0].values["plan"] = "q";
  asio::co_spawn(io(), write_task(std::move(rows), OwnMode::upsert, ""), record);
  const auto watch = connect();
  const std::string blocked =
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = "
      "'Lock'";
  for (int i = 0; i < 10'000 && run(watch->query(blocked)).empty(); ++i) {
  }
  run(other->query("commit"));
  run_until_true([&] { return !seen.empty(); });
  EXPECT_EQ(seen, "i");
  EXPECT_EQ(
      text("select data->>'email' || ' ' || (data->>'plan') from sluice.own_entity order by id"),
      "b@x.com p;a@x.com q");
}

}  // namespace
}  // namespace sluice::model
