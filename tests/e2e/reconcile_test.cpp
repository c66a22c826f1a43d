// What the vendor no longer lists: removed when that is certain, kept when it is not.
#include <set>

#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Reconcile : public World {
 protected:
  /// An account of customers, all of them stored.
  void settle(int customers, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--subscription-percent", "0"});
    start_fake(customers, std::move(more));
    host_->start();
    connect();
    ASSERT_TRUE(settled()) << host_->log();
    ASSERT_EQ(stored(), customers);
    for (const auto& [id, object] : fake_->truth("customer")) ids_.push_back(id);
  }

  std::int64_t stored() {
    return host_->count("select count(*) from vendor.stripe_customer where deleted_at is null");
  }

  /// At the vendor, and no event tells of it.
  void delete_unseen(std::size_t from, std::size_t count) {
    json calls = json::array();
    for (std::size_t n = from; n < from + count; ++n) {
      json call;
      call["do"] = "delete";
      call["with"]["id"] = ids_.at(n);
      call["with"]["event_type"] = nullptr;
      calls.push_back(std::move(call));
    }
    json batch;
    batch["calls"] = std::move(calls);
    fake_->control("POST", "batch", batch);
  }

  std::string reconcile_state() {
    return host_->sql("select reconcile from sluice.stream where stream = 'customers'");
  }

  std::vector<std::string> ids_;
};

TEST_F(Reconcile, what_was_deleted_during_a_retention_hole_disappears_after_reading_again) {
  settle(60);
  host_->kill_hard();
  delete_unseen(5, 7);
  // As after 40 days without a host: Stripe keeps events for 30.
  host_->sql(
      "update sluice.stream set checkpoint = convert_to(regexp_replace(convert_from(checkpoint, "
      "'UTF8'), '\"cursor\":[0-9]+', '\"cursor\":' || (extract(epoch from now())::bigint - 40 * "
      "86400)), 'UTF8'), consecutive_failures = 9, error_class = 'PERMISSION', next_run_at = now() "
      "where stream = 'events'");  // all that while it was not allowed to read them
  host_->start();
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == 53; }))
      << stored() << "\n"
      << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  // Nobody had to confirm a handful, and the run that found the hole is on record.
  EXPECT_EQ(reconcile_state(), "none");
  EXPECT_GE(host_->count("select count(*) from sluice.sync_run where stream = 'events' and "
                         "error->>'class' = 'CHECKPOINT_REJECTED'"),
            1)
      << host_->log();
}

TEST_F(Reconcile,
       what_hangs_on_a_test_clock_is_read_with_the_list_and_nothing_is_asked_of_a_person) {
  settle(40);
  json calls = json::array();
  for (int n = 0; n < 40; ++n) {
    json call;
    call["do"] = "create";
    call["with"]["type"] = "customer";
    call["with"]["set"]["test_clock"] = "clock_" + std::to_string(n % 3);
    calls.push_back(std::move(call));
  }
  json batch;
  batch["calls"] = std::move(calls);
  fake_->control("POST", "batch", batch);
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == 80; }))
      << stored() << host_->log();
  // One more, of which no event tells: only the list of its clock has it.
  json unseen;
  unseen["type"] = "customer";
  unseen["set"]["test_clock"] = "clock_9";
  unseen["event_type"] = nullptr;
  fake_->control("POST", "create", unseen);
  read_again({"customers"});
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return stored() == 81 || reconcile_state() == "blocked";
  })) << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  EXPECT_EQ(reconcile_state(), "none")
      << host_->sql("select reconcile_detail from sluice.stream where stream = 'customers'");
  EXPECT_EQ(stored(), 81);
}

TEST_F(Reconcile, what_no_event_told_of_is_found_by_the_read_that_comes_by_default_and_is_counted) {
  settle(30);
  EXPECT_EQ(host_->count("select count(*) from sluice.stream where mode = 'snapshot' and "
                         "(interval_seconds = 0 or next_run_at is null)"),
            0);
  EXPECT_EQ(stream("customers")["reread"], nullptr) << stream("customers");
  host_->kill_hard();
  json change;
  change["id"] = ids_.at(3);
  change["set"]["name"] = "Changed unseen";
  change["event_type"] = nullptr;
  fake_->control("POST", "mutate", change);
  delete_unseen(5, 1);
  host_->sql("update sluice.stream set next_run_at = now() where stream = 'customers'");  // a month
  host_->start();
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == 29; })) << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  const json shown = stream("customers");
  EXPECT_EQ(shown["reread"], json::parse(R"({"found":1,"missing":1,"complete":true})")) << shown;
  EXPECT_NE(shown["summary"].get<std::string>().find("read again: 1 new or changed, 1 missing"),
            std::string::npos)
      << shown;
  expect_tables_equal_truth();
}

TEST_F(Reconcile, events_that_stripe_forgot_early_lead_to_reading_everything_again_not_to_a_gap) {
  settle(60);
  delete_unseen(5, 7);
  // Whatever the cursor's age: Stripe says at the first page that what we ask for has aged out.
  fake_->control("POST", "faults",
                 json::parse(R"([{"match":"/v1/events?limit=100","nth":1,"times":1,
                                  "kind":"retention"}])"));
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == 53; }))
      << stored() << "\n"
      << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where stream = 'events' and "
                         "error->>'class' = 'CHECKPOINT_REJECTED'"),
            1);
  EXPECT_NE(host_->log().find("aged out of our retention policy"), std::string::npos);
  EXPECT_EQ(host_->count("select count(*) from sluice.stream where consecutive_failures > 0"), 0);
}

TEST_F(Reconcile, a_vendor_that_forgets_every_cursor_is_not_read_again_for_ever) {
  settle(30);
  fake_->control("POST", "faults",
                 json::parse(R"([{"match":"/v1/events?limit=100","nth":1,"times":0,
                                  "kind":"retention"}])"));
  // Three times in a row it may be a hole; then it is a failure with a pause.
  ASSERT_TRUE(eventually(std::chrono::seconds(90), [&] {
    return stream("events")["error_class"] == "CHECKPOINT_REJECTED" &&
           stream("events")["consecutive_failures"] > 3;
  })) << stream("events");
  EXPECT_EQ(stream("events")["health"], "failing") << stream("events");
  EXPECT_EQ(stored(), 30);
  const auto full_reads = [&] {
    return host_->count("select count(*) from sluice.sync_run where stream = 'customers'");
  };
  EXPECT_LE(full_reads(), 1 + 3);
  fake_->control("DELETE", "faults");
  ASSERT_TRUE(settled()) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return stream("events")["health"] == "ok";
  })) << stream("events");
  EXPECT_LE(full_reads(), 1 + 3);
}

TEST_F(Reconcile, forty_percent_fewer_ids_delete_nothing_until_an_admin_confirms) {
  settle(100);
  delete_unseen(0, 40);
  read_again({"customers"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return reconcile_state() == "blocked"; }))
      << host_->log();
  EXPECT_EQ(stored(), 100);
  const json shown = stream("customers");
  EXPECT_EQ(shown["health"], "blocked") << shown;
  EXPECT_NE(shown["summary"].get<std::string>().find("40 of 100"), std::string::npos) << shown;
  EXPECT_EQ(shown["summary"].get<std::string>().find_first_of("[{\""), std::string::npos) << shown;
  EXPECT_EQ(shown["reconcile_detail"]["types"][0]["examples"].size(), 5U) << shown;
  EXPECT_NE(shown["action"].get<std::string>().find("reconcile"), std::string::npos) << shown;
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->client().get("/connections/billing")["state"] == "DEGRADED";
  }));
  const json errors = host_->client().get("/errors");
  EXPECT_FALSE(errors["ok"]);
  EXPECT_NE(errors.dump().find("40 of 100"), std::string::npos) << errors;
  // Blocked is not a state that a restart forgets, nor one that the next look at the clock ends.
  host_->kill_hard();
  host_->start();
  fake_->control("POST", "mutate",
                 json{{"id", ids_.at(50)}, {"set", {{"name", "After the block"}}}});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from acme.stripe_customer where name = "
               "'After the block'") == 1;
  })) << host_->log();
  EXPECT_EQ(stored(), 100);
  EXPECT_EQ(reconcile_state(), "blocked");

  const json answer = host_->client().send(
      "POST", "/connections/billing/streams/customers/reconcile", json{{"confirm", true}});
  EXPECT_EQ(answer["missing"], 40) << answer;
  EXPECT_TRUE(eventually(std::chrono::seconds(90), [&] { return stored() == 60; }))
      << stored() << "\n"
      << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->client().get("/errors")["ok"] == true;
  })) << host_->client().get("/errors");
}

TEST_F(Reconcile, what_is_never_listed_but_can_be_fetched_stays) {
  settle(30);
  // No list shows these, whatever it is asked; a GET answers.
  fake_->control("POST", "faults",
                 json::parse(R"([{"match":"/v1/customers","nth":1,"times":0,"kind":"omit",
                                  "share":0.2,"seed":5}])"));
  delete_unseen(3, 2);
  read_again({"customers"});
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == 28; }))
      << stored() << "\n"
      << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  // The list did hide some, and it was the vendor's own answer for each that kept it.
  const std::int64_t listed = host_->count(
      "select records from sluice.sync_run where stream = 'customers' order by run_id desc limit "
      "1");
  EXPECT_LT(listed, 28);
  std::set<std::string> fetched;
  const json journal = fake_->control("GET", "requests?last=5000");
  for (const json& request : journal) {
    const std::string target = request["target"];
    if (request["status"] == 200 && target.starts_with("/v1/customers/")) fetched.insert(target);
  }
  EXPECT_GE(static_cast<std::int64_t>(fetched.size()), 28 - listed) << journal;
}

}  // namespace
}  // namespace sluice::e2e
