// What people decide of links, against everything that decides otherwise.
#include "sync/link_decisions.hpp"

#include <boost/asio/co_spawn.hpp>

#include "link/resolver.hpp"
#include "pg/feed/world.hpp"
#include "sync/link_rules.hpp"
#include "sync/work_kinds.hpp"
#include "work/runner.hpp"

namespace sluice::sync {
namespace {

using model::OwnMode;

pg::LeaseProof lease_of(std::string name) {
  pg::LeaseProof proof;
  proof.workspace = WorkspaceId(1);
  proof.name = std::move(name);
  proof.epoch = Epoch(1);
  return proof;
}

/// One lead with a rule to members, by e-mail.
class LinkDecisions : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
    lead_ = write("lead", OwnMode::insert, EntityId(0), "ann@x");
    one_ = write("member", OwnMode::insert, EntityId(0), "ann@x");
    two_ = write("member", OwnMode::insert, EntityId(0), "bob@x");
    settle();
    ASSERT_EQ(link(), "linked one rule");
  }

  Task<void> prepare() {
    co_await make_types();
    NewRule rule;
    rule.name = "r";
    rule.source_type = "lead";
    rule.source_attribute = "email";
    rule.target_type = "member";
    rule.target_attribute = "email";
    rule.kind = contract::KeyKind::email;
    co_await make_rule(pool(), WorkspaceId(1), std::move(rule), "t");
  }

  Task<void> make_types() {
    auto connection = co_await pool().acquire();
    co_await connection->script(
        "insert into sluice.workspace (name) values ('w');"
        "delete from sluice.work;"
        "insert into sluice.lease_epoch values (1, 'link', 1), (1, 'work', 1)");
    for (const char* name : {"lead", "member"}) {
      nlohmann::json type;
      type["name"] = name;
      type["attributes"] =
          nlohmann::json::parse(R"([{"name":"email","type":"text","format":"email"}])");
      auto wanted = model::own_type_from_json(type);
      auto transaction = co_await pg::Transaction::begin(*connection);
      co_await model::create_own_type(transaction, WorkspaceId(1), std::move(*wanted));
      co_await transaction.commit();
    }
  }

  model::CatalogPtr catalog() {
    const auto read = [](pg::Pool& pool) -> Task<model::CatalogPtr> {
      auto connection = co_await pool.acquire();
      co_return co_await model::load_catalog(*connection, WorkspaceId(1));
    };
    return run(read(pool()));
  }

  EntityId write(const char* type, OwnMode mode, EntityId id, const char* email) {
    const auto task = [](pg::Pool& pool, std::string name, OwnMode how_to, EntityId of,
                         std::string value) -> Task<EntityId> {
      auto connection = co_await pool.acquire();
      const model::CatalogPtr all = co_await model::load_catalog(*connection, WorkspaceId(1));
      std::vector<model::OwnRow> rows(1);
      rows[0].id = of;
      if (how_to != OwnMode::remove) {
        rows[0].values["email"] = value.empty() ? nlohmann::json(nullptr) : nlohmann::json(value);
      }
      model::OwnWrite how;
      how.mode = how_to;
      const auto outcomes = co_await model::write_own(*connection, WorkspaceId(1), *all->find(name),
                                                      std::move(rows), std::move(how));
      co_return outcomes[0].id;
    };
    return run(task(pool(), type, mode, id, email));
  }

  void settle() {
    link::Resolver resolver(pool());
    work::Runner runner(pool(), work_kinds());
    for (int round = 0; round < 50; ++round) {
      bool more = run(runner.run_once(lease_of("work"), [] { return true; }));
      const pg::LeaseProof proof = lease_of("link");
      more |= run(resolver.run_once(catalog(), proof)).queue_rows > 0;
      if (!more) return;
    }
    ADD_FAILURE() << "it does not end";
  }

  LinkDecision wanted(Verdict verdict, std::optional<EntityId> target) {
    LinkDecision decision;
    decision.rule = catalog()->rules.at(0);
    decision.source = lead_;
    decision.target = target;
    decision.verdict = verdict;
    return decision;
  }
  Result<DecidedLink> decide(Verdict verdict, std::optional<EntityId> target) {
    return run(decide_link(pool(), catalog(), wanted(verdict, target), "token 7"));
  }
  void forget(std::optional<EntityId> target = {}) {
    const auto gone =
        run(withdraw_decision(pool(), catalog(), catalog()->rules.at(0), lead_, target, "token 7"));
    EXPECT_TRUE(gone) << gone.error().describe();
  }
  void change(const std::string& sql) { run(superuser_pool().query(sql)); }

  std::string ask(const std::string& text) {
    const auto rows = run(pool().query(text));
    return rows.empty() ? "" : rows.get<std::string>(0, 0);
  }
  /// "linked one rule"
  std::string link() {
    std::string text =
        ask("select concat_ws(' ', state, coalesce(target_id::text, 'nobody'), decided_by) from "
            "sluice.link where source_id = " +
            std::to_string(lead_.value));
    for (const auto& [id, name] : {std::pair(one_, "one"), std::pair(two_, "two")}) {
      const std::string number = " " + std::to_string(id.value) + " ";
      const auto at = text.find(number);
      if (at != std::string::npos) text.replace(at, number.size(), fmt::format(" {} ", name));
    }
    return text;
  }

  EntityId lead_, one_, two_;
};

TEST_F(LinkDecisions, whatever_comes_a_decision_stands_until_it_is_taken_back) {
  struct Case {
    Verdict verdict;
    bool names_nobody;
    std::string stands;
    std::string then;  ///< after everything that came, with the decision taken back
  };
  // At the end one, two and a third have the lead's address.
  const Case cases[] = {
      {Verdict::confirmed, false, "confirmed two human", "contested nobody rule"},
      {Verdict::rejected, true, "rejected nobody human", "contested nobody rule"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.stands);
    std::optional<EntityId> target;
    if (!one.names_nobody) target = two_;
    ASSERT_TRUE(decide(one.verdict, target));
    EXPECT_EQ(link(), one.stands) << "at once";
    settle();
    EXPECT_EQ(link(), one.stands);
    write("lead", OwnMode::update, lead_, "");
    settle();
    EXPECT_EQ(link(), one.stands) << "without a key";
    write("lead", OwnMode::update, lead_, "ANN@x");
    settle();
    EXPECT_EQ(link(), one.stands) << "with a key again";
    const EntityId third = write("member", OwnMode::insert, EntityId(0), "Ann@x");
    settle();
    EXPECT_EQ(link(), one.stands) << "with another candidate";
    for (const bool on : {false, true}) {
      ASSERT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "r", on, "t")));
      settle();
      EXPECT_EQ(link(), one.stands) << "with the rule " << (on ? "on again" : "off");
    }
    forget();
    settle();
    EXPECT_EQ(link(), one.then);
    write("member", OwnMode::remove, third, "");
    settle();
    EXPECT_EQ(link(), "linked one rule");
  }
}

TEST_F(LinkDecisions, who_is_rejected_is_nobodys_and_another_is_found) {
  ASSERT_TRUE(decide(Verdict::rejected, one_));
  EXPECT_EQ(link(), "rejected nobody human") << "at once";
  settle();
  EXPECT_EQ(link(), "rejected nobody human");
  write("member", OwnMode::update, two_, "ann@x");
  settle();
  EXPECT_EQ(link(), "linked two rule");
  write("member", OwnMode::update, two_, "bob@x");
  settle();
  EXPECT_EQ(link(), "rejected nobody human");
  // Nobody has the key any more, rejected or not.
  write("member", OwnMode::update, one_, "other@x");
  settle();
  EXPECT_EQ(link(), "pending nobody rule");
  write("member", OwnMode::update, one_, "ann@x");
  settle();
  EXPECT_EQ(link(), "rejected nobody human");
  forget(one_);
  settle();
  EXPECT_EQ(link(), "linked one rule");
}

TEST_F(LinkDecisions, a_target_that_is_deleted_and_made_again_is_the_same) {
  ASSERT_TRUE(decide(Verdict::confirmed, two_));  // who has another address than the lead
  write("member", OwnMode::remove, two_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody human");
  two_ = write("member", OwnMode::insert, EntityId(0), "bob@x");
  settle();
  EXPECT_EQ(link(), "confirmed two human");
  // It is known by the key that it has, and not by the one that it had when somebody decided.
  write("member", OwnMode::update, two_, "bob@new");
  settle();
  write("member", OwnMode::remove, two_, "");
  const EntityId stranger = write("member", OwnMode::insert, EntityId(0), "bob@x");
  settle();
  EXPECT_EQ(link(), "pending nobody human") << "somebody else has the former address";
  two_ = write("member", OwnMode::insert, EntityId(0), "bob@new");
  settle();
  EXPECT_EQ(link(), "confirmed two human");
  write("member", OwnMode::remove, stranger, "");
  forget();
}

TEST_F(LinkDecisions, a_rejection_is_of_one_target_and_not_of_who_is_made_with_its_key) {
  ASSERT_TRUE(decide(Verdict::rejected, one_));
  settle();
  ASSERT_EQ(link(), "rejected nobody human");
  write("member", OwnMode::remove, one_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody rule");
  one_ = write("member", OwnMode::insert, EntityId(0), "ann@x");
  settle();
  EXPECT_EQ(link(), "linked one rule");
  // Who stays the same may change its key, and stays rejected.
  ASSERT_TRUE(decide(Verdict::rejected, one_));
  write("member", OwnMode::update, one_, "ann@new");
  settle();
  write("member", OwnMode::update, one_, "ann@x");
  settle();
  EXPECT_EQ(link(), "rejected nobody human");
}

TEST_F(LinkDecisions, who_is_rejected_before_the_rule_finds_him_is_told_so) {
  const auto now = decide(Verdict::rejected, one_);
  ASSERT_TRUE(now);
  EXPECT_FALSE(now->in_advance) << "he has the lead's address";
  const auto later = decide(Verdict::rejected, two_);
  ASSERT_TRUE(later);
  EXPECT_TRUE(later->in_advance) << "he has another one";
  write("member", OwnMode::update, two_, "ann@x");
  settle();
  EXPECT_EQ(link(), "rejected nobody human") << "and it counts when he is found";
}

TEST_F(LinkDecisions, who_had_the_key_all_the_time_is_not_who_was_deleted) {
  // Both have the lead's address. Rejected is one of them, who is deleted then.
  write("member", OwnMode::update, two_, "ann@x");
  settle();
  ASSERT_TRUE(decide(Verdict::rejected, one_));
  settle();
  ASSERT_EQ(link(), "linked two rule");
  write("member", OwnMode::remove, one_, "");
  settle();
  EXPECT_EQ(link(), "linked two rule") << "a rejection says nothing of others";
  forget();
  // Confirmed is one, and the other rejected; the confirmed one is deleted.
  one_ = write("member", OwnMode::insert, EntityId(0), "ann@x");
  settle();
  ASSERT_TRUE(decide(Verdict::confirmed, one_));
  ASSERT_TRUE(decide(Verdict::rejected, two_));
  forget(two_);
  EXPECT_EQ(link(), "confirmed one human") << "another word of the same source stands";
  ASSERT_TRUE(decide(Verdict::rejected, two_));
  write("member", OwnMode::remove, one_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody human") << "nobody has confirmed the other";
  one_ = write("member", OwnMode::insert, EntityId(0), "ann@x");
  settle();
  EXPECT_EQ(link(), "confirmed one human") << "made again, beside the other";
  write("member", OwnMode::remove, one_, "");
  settle();
  // Of contested ones the confirmed one is deleted: the other is a guess.
  forget();
  one_ = write("member", OwnMode::insert, EntityId(0), "ann@x");
  settle();
  ASSERT_TRUE(decide(Verdict::confirmed, one_));
  write("member", OwnMode::remove, one_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody human");
  // Who was there with another key is not who was deleted either.
  write("member", OwnMode::update, two_, "bob@x");
  settle();
  write("member", OwnMode::update, two_, "ann@x");
  settle();
  EXPECT_EQ(link(), "pending nobody human");
}

TEST_F(LinkDecisions, a_target_without_a_key_is_followed_as_one_with) {
  two_ = write("member", OwnMode::insert, EntityId(0), "");
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  settle();
  ASSERT_EQ(link(), "confirmed two human");
  write("member", OwnMode::remove, two_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody human");
  // With a key that came after the decision it is known by that.
  forget();
  two_ = write("member", OwnMode::insert, EntityId(0), "");
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  write("member", OwnMode::update, two_, "two@x");
  settle();
  write("member", OwnMode::remove, two_, "");
  settle();
  EXPECT_EQ(link(), "pending nobody human");
  two_ = write("member", OwnMode::insert, EntityId(0), "two@x");
  settle();
  EXPECT_EQ(link(), "confirmed two human");
}

TEST_F(LinkDecisions, what_went_while_the_rule_was_off_is_seen_when_it_is_on_again) {
  write("lead", OwnMode::update, lead_, "");  // no key of its own brings it back
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  settle();
  ASSERT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "r", false, "t")));
  settle();
  write("member", OwnMode::remove, two_, "");
  settle();
  ASSERT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "r", true, "t")));
  settle();
  EXPECT_EQ(link(), "pending nobody human");
}

TEST_F(LinkDecisions, a_decided_link_is_inactive_with_its_source) {
  for (const char* email : {"ann@x", ""}) {
    SCOPED_TRACE(email);
    lead_ = write("lead", OwnMode::insert, EntityId(0), email);
    ASSERT_TRUE(decide(Verdict::confirmed, two_));
    settle();
    ASSERT_EQ(link(), "confirmed two human");
    write("lead", OwnMode::remove, lead_, "");
    settle();
    EXPECT_EQ(link(), "inactive nobody human");
    EXPECT_EQ(ask("select op from sluice.change order by position desc limit 1"), "unlink");
  }
}

TEST_F(LinkDecisions, the_feed_and_the_audit_tell_each_decision_once) {
  change("delete from sluice.audit");
  const std::string before = ask("select max(position)::text from sluice.change");
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  settle();
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  settle();
  forget();
  settle();
  EXPECT_EQ(ask("select string_agg(op || ' ' || (changed->'r')::text, ', ' order by position) "
                "from sluice.change where position > " +
                before),
            fmt::format("unlink [{0}, null], link [null, {1}], unlink [{1}, null], link [null, "
                        "{0}]",
                        one_.value, two_.value));
  EXPECT_EQ(ask("select string_agg(concat_ws(' ', action, subject, detail->>'decision', "
                "detail->>'target'), ', ' order by audit_id) from sluice.audit"),
            fmt::format("link.decide lead/{0} confirmed {1}, link.decide lead/{0} confirmed {1}, "
                        "link.withdraw lead/{0}",
                        lead_.value, two_.value));
}

TEST_F(LinkDecisions, what_cannot_be_decided_is_refused_and_nothing_is_stored) {
  const auto code = [&](Verdict verdict, std::optional<EntityId> target) {
    const auto decided = decide(verdict, target);
    return decided ? std::string("done") : decided.error().code;
  };
  EXPECT_EQ(code(Verdict::confirmed, EntityId(999'999)), "link.unknown_target");
  EXPECT_EQ(code(Verdict::confirmed, lead_), "link.itself");
  write("member", OwnMode::remove, two_, "");
  EXPECT_EQ(code(Verdict::rejected, two_), "link.unknown_target");
  const auto none =
      run(withdraw_decision(pool(), catalog(), catalog()->rules.at(0), lead_, {}, "token 7"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "link.not_decided");
  change(
      fmt::format("insert into sluice.link_decision select 1, 1, {}, 100000 + n, 1, 2, "
                  "'rejected', null, now(), 't', '' from generate_series(1, {}) n",
                  lead_.value, kDecisionsOfSourceMax));
  EXPECT_EQ(code(Verdict::rejected, one_), "link.too_many_decisions");
  write("lead", OwnMode::remove, lead_, "");
  EXPECT_EQ(code(Verdict::rejected, std::nullopt), "link.unknown_source");
  EXPECT_EQ(ask("select count(*)::text from sluice.audit where action like 'link.%'"), "0");
}

TEST_F(LinkDecisions, with_the_rule_its_decisions_go) {
  ASSERT_TRUE(decide(Verdict::confirmed, two_));
  change("update sluice.link_rule set enabled = false, going = true");
  const auto apply = [](pg::Pool& pool) -> Task<void> {
    auto connection = co_await pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    co_await apply_rule(transaction, WorkspaceId(1), "r", "t");
    co_await transaction.commit();
  };
  run(apply(pool()));
  settle();
  EXPECT_EQ(ask("select (select count(*) from sluice.link_rule) || '/' || (select count(*) from "
                "sluice.link_decision) || '/' || (select count(*) from sluice.link)"),
            "0/0/0");
}

/// A resolver and somebody who decides, at once, over and over: whoever is first.
TEST_F(LinkDecisions, beside_a_resolver_no_decision_is_written_over) {
  constexpr int kRounds = 60;
  link::Resolver resolver(pool());
  const model::CatalogPtr all = catalog();
  for (int round = 0; round < kRounds; ++round) {
    const bool confirms = round % 2 == 0;
    // The resolver has something to say of the lead, and more to do before and behind it.
    write("member", OwnMode::update, two_, round % 4 < 2 ? "ann@x" : "bob@x");
    change(
        "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, "
        "entity_id) select workspace_id, kind, digest, type_id, attribute, entity_id from "
        "sluice.link_key, generate_series(1, 30)");
    int done = 0;
    const auto count = [&done](std::exception_ptr error, auto&&...) {
      EXPECT_FALSE(error);
      ++done;
    };
    std::optional<EntityId> target;
    if (confirms) target = two_;
    const pg::LeaseProof proof = lease_of("link");
    const auto resolve = [&] { asio::co_spawn(io(), resolver.run_once(all, proof), count); };
    if (round % 3 != 0) resolve();
    if (round % 3 == 2) io().run_for(std::chrono::milliseconds(round % 7));
    io().restart();
    LinkDecision decision;
    decision.rule = all->rules.at(0);
    decision.source = lead_;
    decision.target = target;
    decision.verdict = confirms ? Verdict::confirmed : Verdict::rejected;
    asio::co_spawn(io(), decide_link(pool(), all, std::move(decision), "token 7"), count);
    if (round % 3 == 0) resolve();
    ASSERT_TRUE(run_until_true([&] { return done == 2; }));
    EXPECT_EQ(link(), confirms ? "confirmed two human" : "rejected nobody human") << round;
    settle();
    EXPECT_EQ(link(), confirms ? "confirmed two human" : "rejected nobody human") << round;
    forget();
    settle();
  }
}

}  // namespace
}  // namespace sluice::sync
