// The thin line, from a vendor's page to a linked row, with real processes.
#include <signal.h>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Sync : public World {};

TEST_F(Sync, a_stripe_account_arrives_row_by_row_and_its_customers_are_linked) {
  own_email_ = OwnEmail::may_be_twice;
  start_fake(150);
  host_->start();
  connect();
  import_own(60);
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  const json expected = fake_->control("GET", "expect_links?count=60");
  const auto links = [&](const std::string& state) {
    return host_->count(
        "select count(*) from acme.link where rule = 'stripe.customer.email' and state = '" +
        state + "'");
  };
  EXPECT_EQ(links("linked"), expected["linked"]);
  EXPECT_EQ(links("pending"), expected["pending"]);
  EXPECT_EQ(links("contested"), expected["contested"]);
  EXPECT_GT(links("linked"), 0);
  EXPECT_GT(links("contested"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0);
  EXPECT_EQ(host_->stop(), 0) << host_->log();
}

TEST_F(Sync, a_change_and_a_delete_at_the_vendor_arrive_by_the_event_feed) {
  start_fake(40);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  const auto customers = fake_->truth("customer");
  const std::string changed = customers.begin()->first;
  const std::string deleted = std::next(customers.begin())->first;
  fake_->control("POST", "mutate",
                 json::parse(R"({"id":")" + changed +
                             R"(","set":{"name":"Renamed","email":"renamed@example.org"}})"));
  fake_->control("POST", "delete", json::parse(R"({"id":")" + deleted + R"("})"));
  const json created = fake_->control(
      "POST", "create", json::parse(R"({"type":"customer","set":{"email":"born@example.org"}})"));
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->sql("select name from acme.stripe_customer where external_id = '" + changed +
                      "'") == "Renamed" &&
           host_->sql(
               "select deleted_at is not null from vendor.stripe_customer where external_id = '" +
               deleted + "'") == "t" &&
           host_->sql("select email from acme.stripe_customer where external_id = '" +
                      created["id"].get<std::string>() + "'") == "born@example.org";
  })) << host_->log();
  ASSERT_TRUE(settled());
  expect_tables_equal_truth();
  EXPECT_EQ(host_->count("select count(*) from acme.change h join acme.stripe_customer c on c.id = "
                         "h.entity_id where h.op = 'insert' and (h.vendor_at >= c.created) is not "
                         "true"),
            0)
      << "an insert says when the customer was made, or an event of it that was heard of first";
  const auto told_within_minutes = [&](const std::string& op, const std::string& id) {
    return host_->sql(
        "select vendor_at <= at and vendor_at > at - interval '5 minutes' from "
        "acme.change where type = 'stripe.customer' and op = '" +
        op + "' and external_id = '" + id + "'");
  };
  EXPECT_EQ(told_within_minutes("update", changed), "t") << "the event's time";
  EXPECT_EQ(told_within_minutes("delete", deleted), "t");
}

TEST_F(Sync, a_link_follows_arrivals_on_both_sides_and_a_changed_key) {
  own_email_ = OwnEmail::may_be_twice;
  start_fake(5);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  cli::Client client = host_->client();
  const auto state_of = [&](const std::string& vendor_id) {
    return host_->sql(
        "select coalesce(max(state), 'none') from acme.link where source_external_id = '" +
        vendor_id + "'");
  };
  const auto becomes = [&](const std::string& vendor_id, const std::string& state) {
    return eventually(std::chrono::seconds(30), [&] { return state_of(vendor_id) == state; });
  };
  // The vendor's side first, the organisation's later.
  const auto made = fake_->control(
      "POST", "create", json::parse(R"({"type":"customer","set":{"email":" Ann@Example.ORG "}})"));
  const std::string ann = made["id"];
  EXPECT_TRUE(becomes(ann, "pending")) << state_of(ann);
  client.send("POST", "/entities/customer",
              json::parse(R"({"email":"ann@example.org","name":"Ann"})"));
  EXPECT_TRUE(becomes(ann, "linked")) << state_of(ann);
  // The organisation's side first.
  client.send("POST", "/entities/customer",
              json::parse(R"({"email":"zoë@example.org","name":"Zoë"})"));
  const auto late = fake_->control(
      "POST", "create", json::parse(R"({"type":"customer","set":{"email":"ZOË@example.org"}})"));
  EXPECT_TRUE(becomes(late["id"], "linked")) << state_of(late["id"]);
  // A second one that folds to the same makes it contested, never guessed.
  const json twin = client.send("POST", "/entities/customer",
                                json::parse(R"({"email":"ANN@example.org","name":"Another Ann"})"));
  EXPECT_TRUE(becomes(ann, "contested")) << state_of(ann);
  client.send("DELETE", "/entities/customer/" + twin["id"].get<std::string>(), json::object());
  EXPECT_TRUE(becomes(ann, "linked")) << state_of(ann);
  // Its key changes at the vendor: evaluated again.
  fake_->control("POST", "mutate",
                 json::parse(R"({"id":")" + ann + R"(","set":{"email":"nobody@example.org"}})"));
  EXPECT_TRUE(becomes(ann, "pending")) << state_of(ann);
}

/// By what an organisation writes into Stripe's metadata, and by what Stripe sends that no
/// attribute is for; both by the tool, as an admin does it.
TEST_F(Sync, a_customer_is_linked_by_a_number_in_its_metadata_whichever_side_came_first) {
  start_fake(5);
  host_->start();
  connect();
  cli::Client client = host_->client();
  client.send("POST", "/types/customer/attributes",
              json::parse(R"({"name":"number","type":"text","link_key":"exact"})"));
  ASSERT_TRUE(settled()) << host_->log();
  const auto tool = [&](std::vector<std::string> words) {
    return run_sluice(directory_, host_->url(), host_->token(), std::move(words));
  };
  const auto vendor = [&](const std::string& set) {
    const json made =
        fake_->control("POST", "create", json::parse(R"({"type":"customer","set":)" + set + "}"));
    return made.at("id").get<std::string>();
  };
  const auto own = [&](const std::string& number) {
    client.send("POST", "/entities/customer",
                json{{"email", number + "@example.org"}, {"number", number}});
  };
  const auto becomes = [&](const std::string& id, const std::string& rule, const char* state) {
    return eventually(std::chrono::seconds(30), [&] {
      return host_->sql("select coalesce(max(state), 'none') from acme.link where rule = '" + rule +
                        "' and source_external_id = '" + id + "'") == state;
    });
  };
  const auto arrived = [&](const std::string& id) {
    return eventually(std::chrono::seconds(30), [&] {
      return host_->count("select count(*) from acme.stripe_customer where external_id = '" + id +
                          "'") == 1;
    });
  };
  const std::string ann = vendor(R"({"metadata":{"customer_number":"C-1"},"loyalty":{"card":7}})");
  ASSERT_TRUE(arrived(ann)) << host_->log();
  // Somebody tries it the short way, and is told the other.
  Said said =
      tool({"link", "add-rule", "by_number", "--from", "stripe.customer.metadata.customer_number",
            "--to", "customer.number", "--by", "exact"});
  EXPECT_NE(said.code, 0);
  const std::string way =
      "sluice entity add-attribute stripe.customer NAME:key=exact --path "
      "metadata.customer_number";
  EXPECT_NE(said.errors.find(way), std::string::npos) << said.errors;
  said = tool({"entity", "add-attribute", "stripe.customer", "customer_number"});
  EXPECT_NE(said.errors.find("--path"), std::string::npos) << said.errors;
  for (const auto& [name, path] : {std::pair("customer_number", "metadata.customer_number"),
                                   std::pair("card_number", "extra.loyalty.card")}) {
    said = tool({"entity", "add-attribute", "stripe.customer", std::string(name) + ":key=exact",
                 "--path", path});
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_NE(said.output.find("follow, as work"), std::string::npos) << said.output;
    said =
        tool({"link", "add-rule", std::string("by_") + name, "--from",
              std::string("stripe.customer.") + name, "--to", "customer.number", "--by", "exact"});
    EXPECT_EQ(said.code, 0) << said.errors;
  }
  const std::string by_number = "by_customer_number", by_card = "by_card_number";
  // The vendor's side first, also before there was an attribute of it.
  EXPECT_TRUE(becomes(ann, by_number, "pending")) << host_->log();
  EXPECT_TRUE(becomes(ann, by_card, "pending")) << host_->log();
  own("C-1");
  own("7");
  EXPECT_TRUE(becomes(ann, by_number, "linked")) << host_->log();
  EXPECT_TRUE(becomes(ann, by_card, "linked")) << host_->log();
  // The organisation's side first.
  own("C-2");
  const std::string bea = vendor(R"({"metadata":{"customer_number":"C-2"}})");
  EXPECT_TRUE(becomes(bea, by_number, "linked")) << host_->log();
  // It is shown, filtered by and named like any other.
  EXPECT_EQ(host_->sql("select customer_number || '/' || card_number from acme.stripe_customer "
                       "where external_id = '" +
                       ann + "'"),
            "C-1/7");
  said = tool({"entity", "list", "stripe.customer", "--filter", "customer_number=C-2"});
  EXPECT_NE(said.output.find(bea), std::string::npos) << said.output << said.errors;
  EXPECT_EQ(said.output.find(ann), std::string::npos) << said.output;
  said = tool({"entity", "type", "stripe.customer"});
  EXPECT_NE(said.output.find("extra.loyalty.card"), std::string::npos) << said.output;
  said = tool({"link", "why", "stripe.customer", ann});
  EXPECT_NE(said.output.find("customer_number"), std::string::npos) << said.output;
  EXPECT_NE(said.output.find("C-1"), std::string::npos) << said.output;
  // Another number at the vendor is another key.
  fake_->control(
      "POST", "mutate",
      json::parse(R"({"id":")" + bea + R"(","set":{"metadata":{"customer_number":"C-9"}}})"));
  EXPECT_TRUE(becomes(bea, by_number, "pending")) << host_->log();
  // It goes when no rule goes by it any more.
  said = tool({"entity", "drop-attribute", "stripe.customer", "customer_number"});
  EXPECT_NE(said.errors.find(by_number), std::string::npos) << said.errors;
  EXPECT_EQ(tool({"link", "remove-rule", by_number}).code, 0);
  EXPECT_EQ(tool({"entity", "drop-attribute", "stripe.customer", "customer_number"}).code, 0);
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from sluice.link_key where attribute = 10000") == 0;
  }));
  EXPECT_EQ(host_->count("select count(*) from sluice.link_key where attribute = 10001"), 1);
  EXPECT_EQ(host_->count("select count(*) from information_schema.columns where table_schema = "
                         "'acme' and column_name = 'customer_number'"),
            0);
  EXPECT_EQ(host_->stop(), 0) << host_->log();
}

TEST_F(Sync, a_host_killed_in_a_full_sync_resumes_and_ends_with_the_vendors_truth) {
  own_email_ = OwnEmail::may_be_twice;
  start_fake(400);
  host_->start();
  connect();
  import_own(60);
  // Killed at moments that are spread over the sync, and once it has gone on for a while.
  for (const int rows : {1, 150, 300}) {
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
      return host_->count("select coalesce(sum(records_total), 0) from sluice.stream") >= rows;
    })) << host_->log();
    host_->kill_hard();
    host_->start();
  }
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
}

struct Crash {
  const char* name;
  const char* failpoint;
};

class CrashAt : public World, public ::testing::WithParamInterface<Crash> {};

TEST_P(CrashAt, a_crash_there_loses_nothing_and_stores_nothing_twice) {
  start_fake(120);
  host_->start();
  connect();
  host_->kill_hard();
  bool alive = true;
  try {
    host_->start(GetParam().failpoint);
  } catch (const std::runtime_error&) {
    alive = false;  // it crashed before it listened
  }
  if (alive) {
    ASSERT_TRUE(eventually(std::chrono::seconds(90), [&] { return !host_->process().running(); }))
        << "the failpoint was not passed: " << host_->log();
  }
  host_->start();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
  EXPECT_EQ(host_->count("select count(*) - count(distinct (entity_id, op)) from sluice.change "
                         "where op = 'insert'"),
            0);
}

INSTANTIATE_TEST_SUITE_P(Failpoints, CrashAt,
                         ::testing::Values(Crash{"before_page", "sync.before_page=kill@3"},
                                           Crash{"after_upsert", "ingest.after_upsert=kill@2"},
                                           Crash{"before_commit", "ingest.before_commit=kill@2"},
                                           Crash{"after_commit", "ingest.after_commit=kill@2"}),
                         [](const auto& crash) { return std::string(crash.param.name); });

TEST_F(World, an_import_that_a_crash_cut_off_is_sent_again_and_stores_every_row_once) {
  start_fake(1);
  host_->start();
  connect();
  host_->kill_hard();
  host_->start("model.own.before_commit=kill@1");
  const std::string csv = "email,name\nann@example.org,Ann\nbob@example.org,Bob\n";
  const auto import = [&] {
    std::string piece = csv;
    return host_->client().upload("/types/customer/import", {}, "text/csv",
                                  [&piece] { return std::exchange(piece, {}); });
  };
  EXPECT_THROW(import(), Failure);
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] { return !host_->process().running(); }));
  host_->start();
  EXPECT_EQ(import()["inserted"], 2);
  EXPECT_EQ(import()["unchanged"], 2);
  EXPECT_EQ(host_->count("select count(*) from acme.customer"), 2);
}

}  // namespace
}  // namespace sluice::e2e
