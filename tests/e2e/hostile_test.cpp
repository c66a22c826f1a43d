// Bad input from a vendor, and a disk that fills up: named where an admin looks, quarantined where
// it is a record; the other streams go on, and nothing is lost or deleted by mistake.
#include <algorithm>
#include <fstream>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"
#include "pg/cluster.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Hostile : public World {
 protected:
  void fault(const char* description) {
    fake_->control("POST", "faults", json::parse(description));
  }
  void mend() { fake_->control("DELETE", "faults"); }

  void settle(int customers, std::vector<std::string> more = {}) {
    start_fake(customers, std::move(more));
    host_->start();
    connect();
    ASSERT_TRUE(settled()) << unsettled();
  }

  bool fails(const std::string& name) {
    return eventually(std::chrono::seconds(60), [&] {
      return host_->count("select consecutive_failures from sluice.stream where stream = '" + name +
                          "'") >= 1;
    });
  }

  std::int64_t done_runs(const std::string& name) {
    return host_->count(
        "select count(*) from sluice.sync_run where outcome = 'done' and stream = '" + name + "'");
  }

  std::int64_t live(const std::string& type) {
    return host_->count("select count(*) from vendor.stripe_" + type + " where deleted_at is null");
  }

  std::string summary(const std::string& name) { return stream(name)["summary"]; }

  /// What an admin sees at a terminal.
  Said errors() { return run_sluice(directory_, host_->url(), host_->token(), {"errors"}); }
  bool errors_say(const std::string& text) {
    const Said said = errors();
    return said.code == 75 && said.output.find(text) != std::string::npos;
  }
  std::string error_class(const std::string& name) { return stream(name)["error_class"]; }
};

TEST_F(Hostile, a_key_that_loses_one_permission_names_it_on_its_stream_and_the_others_finish) {
  settle(40);
  const std::int64_t invoices = live("invoice");
  ASSERT_GT(invoices, 0);
  fault(R"({"match":"/v1/invoices","nth":1,"times":0,"kind":"permission"})");
  const std::int64_t before = done_runs("customers");
  read_again({"customers", "invoices"});
  ASSERT_TRUE(fails("invoices")) << host_->log();
  EXPECT_NE(summary("invoices").find("rak_invoice_read"), std::string::npos) << summary("invoices");
  EXPECT_EQ(stream("invoices")["health"], "needs_action");
  EXPECT_TRUE(errors_say("stream billing/invoices (PERMISSION)")) << errors().output;
  EXPECT_TRUE(errors_say("rak_invoice_read"));
  EXPECT_TRUE(
      eventually(std::chrono::seconds(60), [&] { return done_runs("customers") > before; }));
  EXPECT_EQ(live("invoice"), invoices);
  mend();
  read_again({"invoices"});
  ASSERT_TRUE(settled()) << unsettled();
  expect_tables_equal_truth();
}

TEST_F(Hostile, a_key_of_another_account_or_of_the_other_mode_is_refused_and_nothing_changes) {
  settle(20);
  const auto before = host_->rows("acme.stripe_customer");
  const auto refused = [&] {
    try {
      host_->client().send("POST", "/connections/billing/check", json::object());
    } catch (const Failure& failure) {
      return failure.error().code;
    }
    return std::string("it was accepted");
  };
  fake_->control("POST", "identity", json{{"account", "acct_another"}});
  EXPECT_EQ(refused(), "connection.other_account");
  fake_->control("POST", "identity", json{{"account", nullptr}, {"livemode", true}});
  EXPECT_EQ(refused(), "connection.other_mode");
  EXPECT_EQ(host_->rows("acme.stripe_customer"), before);
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), 0);
}

// Nobody asked for a check: it is found out before anything is compared, and by the records.
TEST_F(Hostile, an_account_that_is_not_the_one_it_was_is_named_and_nothing_of_it_is_stored) {
  settle(20, {"--subscription-percent", "0"});
  const auto before = host_->rows("acme.stripe_customer");
  json gone;
  gone["id"] = before.begin()->first;
  gone["event_type"] = nullptr;
  fake_->control("POST", "delete", gone);  // what a full read would remove
  fake_->control("POST", "identity", json{{"account", "acct_somebody_else"}});
  read_again({"customers"});
  ASSERT_TRUE(fails("customers")) << host_->log();
  EXPECT_EQ(error_class("customers"), "AUTH") << stream("customers");
  EXPECT_TRUE(fails("events")) << "events of another account are not followed either";
  EXPECT_EQ(error_class("events"), "AUTH") << stream("events");
  EXPECT_TRUE(errors_say("the key belongs to account acct_somebody_else")) << errors().output;
  EXPECT_TRUE(errors_say("to do: store a valid key")) << errors().output;
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->client().get("/connections/billing")["state"] == "FAILED";
  }));
  EXPECT_EQ(host_->rows("acme.stripe_customer"), before);
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), 0);
  // Asking by hand says the same, and changes nothing about it.
  const Said check =
      run_sluice(directory_, host_->url(), host_->token(), {"connection", "check", "billing"});
  EXPECT_NE(check.code, 0);
  EXPECT_NE(check.errors.find("connection.other_account"), std::string::npos) << check.errors;
  // Itself again: a check by hand is enough to go on.
  fake_->control("POST", "identity", json{{"account", nullptr}});
  host_->client().send("POST", "/connections/billing/check", json::object());
  ASSERT_TRUE(settled()) << unsettled();
  EXPECT_EQ(live("customer"), 19);
  expect_tables_equal_truth();
  EXPECT_EQ(errors().code, 0) << errors().output;
}

TEST_F(Hostile, a_key_that_turns_to_the_other_mode_is_named_on_its_streams_and_deletes_nothing) {
  settle(20);
  const auto before = host_->rows("acme.stripe_customer");
  fake_->control("POST", "identity", json{{"account", nullptr}, {"livemode", true}});
  read_again({"customers"});
  ASSERT_TRUE(fails("customers")) << host_->log();
  EXPECT_EQ(error_class("customers"), "AUTH") << stream("customers");
  EXPECT_TRUE(fails("events"));
  EXPECT_EQ(error_class("events"), "AUTH") << stream("events");
  EXPECT_TRUE(errors_say("stream billing/* (AUTH)")) << errors().output;
  EXPECT_TRUE(errors_say("the key is of mode 'live'")) << errors().output;
  EXPECT_EQ(host_->rows("acme.stripe_customer"), before);
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), 0);
  fake_->control("DELETE", "switches");
  host_->client().send("POST", "/connections/billing/check", json::object());
  ASSERT_TRUE(settled()) << unsettled();
  expect_tables_equal_truth();
}

TEST_F(Hostile, a_list_that_ends_too_early_or_never_ends_deletes_nothing) {
  settle(250, {"--subscription-percent", "0"});
  fault(R"({"match":"/v1/customers","page":2,"nth":1,"times":1,"kind":"end_early"})");
  read_again({"customers"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return done_runs("customers") >= 2 &&
           host_->sql("select reconcile from sluice.stream where stream = 'customers'") != "due";
  })) << host_->log();
  ASSERT_TRUE(settled()) << unsettled();
  EXPECT_EQ(live("customer"), 250);
  mend();
  fault(R"({"match":"/v1/customers","from_page":2,"nth":1,"times":0,"kind":"repeat_page"})");
  read_again({"customers"});
  ASSERT_TRUE(fails("customers")) << host_->log();
  EXPECT_EQ(stream("customers")["error_class"], "BAD_DATA") << stream("customers");
  EXPECT_TRUE(errors_say("stream billing/customers (BAD_DATA)")) << errors().output;
  EXPECT_EQ(live("customer"), 250);
  mend();
  ASSERT_TRUE(settled()) << unsettled();
  expect_tables_equal_truth();
}

TEST_F(Hostile, a_record_without_a_required_attribute_is_quarantined_shown_and_stored_when_mended) {
  start_fake(60, {"--subscription-percent", "0"});
  host_->start();
  install();
  fault(
      R"({"match":"/v1/customers*","nth":1,"times":0,"kind":"rewrite","field":"created","share":0.2})");
  host_->client().send("POST", "/connections", billing());
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return done_runs("customers") >= 1; }))
      << host_->log();
  const std::int64_t parked =
      host_->count("select count(*) from sluice.quarantine where code like 'record.required%'");
  EXPECT_GT(parked, 0) << host_->log();
  EXPECT_EQ(live("customer") + parked, 60) << "nobody is lost, nobody counts twice";
  EXPECT_TRUE(errors_say("quarantine billing/stripe.customer (record.required")) << errors().output;
  EXPECT_TRUE(errors_say("created")) << errors().output;
  EXPECT_TRUE(errors_say("sluice quarantine replay --connection billing --code record.required"))
      << errors().output;
  mend();
  const std::string code = host_->sql("select code from sluice.quarantine limit 1");
  host_->client().send("POST", "/quarantine/replay",
                       json{{"connection", "billing"}, {"code", code}});
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return live("customer") == 60; }))
      << live("customer") << "\n"
      << host_->client().get("/errors");
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->count("select count(*) from sluice.quarantine") == 0;
  }));
}

TEST_F(Hostile, a_page_of_50_MB_and_an_html_error_are_named_and_do_not_hold_up_the_others) {
  start_fake(30);
  host_->start();
  install();
  host_->client().send("POST", "/connections", billing());
  fault(R"([{"match":"/v1/products","nth":1,"times":0,"kind":"inflate","bytes":52428800},
            {"match":"/v1/prices","nth":1,"times":0,"kind":"html502"}])");
  read_again({"products", "prices"});
  ASSERT_TRUE(fails("products")) << host_->log();
  ASSERT_TRUE(fails("prices")) << host_->log();
  EXPECT_NE(summary("products").find("bytes_max"), std::string::npos) << summary("products");
  EXPECT_TRUE(errors_say("bytes_max")) << errors().output;
  EXPECT_NE(summary("prices").find("502"), std::string::npos) << summary("prices");
  EXPECT_EQ(summary("prices").find("<html"), std::string::npos) << summary("prices");
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from sluice.stream where mode = 'snapshot' and not "
               "snapshot_done and stream not in ('products','prices')") == 0;
  })) << unsettled();
  mend();
  ASSERT_TRUE(settled()) << unsettled();
  expect_tables_equal_truth();
}

TEST_F(Hostile, a_vendor_that_never_answers_does_not_keep_the_host_from_stopping) {
  settle(20);
  fault(R"({"match":"/v1/customers?limit=100","nth":1,"times":0,"kind":"hang"})");
  read_again({"customers"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from sluice.sync_run where stream = 'customers' and "
               "finished_at is null and started_at < now() - interval '1 second'") == 1;
  })) << host_->log();
  const auto asked = std::chrono::steady_clock::now();
  EXPECT_EQ(host_->stop(), 0) << host_->log();
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(18));
  EXPECT_EQ(host_->log().find("host.stop_forced"), std::string::npos);
  mend();
  host_->start();
  ASSERT_TRUE(settled()) << unsettled();
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where stream = 'customers' and "
                         "outcome = 'cancelled'"),
            1);
  expect_tables_equal_truth();
}

TEST_F(Hostile, a_value_too_large_costs_its_record_only_and_one_of_some_megabytes_is_stored) {
  settle(5, {"--subscription-percent", "0"});
  const auto grown = [&](const std::string& id, std::int64_t bytes) {
    json change;
    change["id"] = id;
    change["set"]["description"] = "@@poison:big:" + std::to_string(bytes) + "@@";
    fake_->control("POST", "mutate", change);
  };
  const auto truth = fake_->truth("customer");
  const std::string large = truth.begin()->first;
  const std::string too_large = std::next(truth.begin())->first;
  grown(large, 3 << 20);
  grown(too_large, 17 << 20);
  const auto length = [&](const std::string& id) {
    return host_->count(
        "select coalesce(length(description), 0) from acme.stripe_customer where "
        "external_id = '" +
        id + "'");
  };
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return length(large) >= 3 << 20; }))
      << host_->log() << errors().output;
  ASSERT_TRUE(eventually(
      std::chrono::seconds(60),
      [&] {
        return host_->count("select count(*) from sluice.quarantine where external_id = '" +
                            too_large + "'") == 1;
      }))
      << host_->log() << errors().output;
  EXPECT_LT(length(too_large), 1 << 20) << "the row stays as it was";
  EXPECT_EQ(live("customer"), 5);
  EXPECT_TRUE(errors_say("stripe.customer (")) << errors().output;
  const std::string reason = host_->sql("select code || ': ' || reason from sluice.quarantine");
  EXPECT_TRUE(reason.find("bytes") != std::string::npos) << reason;
  EXPECT_EQ(stream("customers")["health"], "ok");
}

class DiskFull : public Hostile {
 protected:
  /// A server whose disk is full while the file exists.
  void start_database() {
    const std::filesystem::path place = directory_ / "own";
    std::filesystem::create_directory(place);
    std::filesystem::permissions(place, static_cast<std::filesystem::perms>(0711));
    trigger_ = directory_ / "disk_is_full";
    pg::ClusterOptions options;
    options.directory = place / "postgres";
    options.socket_directory = place / "run";
    options.binaries = wrapped_binaries(place / "bin");
    auto started = pg::Cluster::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().describe();
    cluster_.emplace(std::move(*started));
    host_->database = cluster_->conninfo();
  }
  /// PostgreSQL's programs, with the shim in front: the server gets an environment of its own, so
  /// it cannot be handed over in ours.
  std::filesystem::path wrapped_binaries(const std::filesystem::path& place) {
    std::filesystem::path real;
    for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql")) {
      if (std::filesystem::exists(entry.path() / "bin/postgres"))
        real = std::max(real, entry.path() / "bin");
    }
    std::filesystem::create_directory(place);
    for (const char* name : {"initdb", "postgres"}) {
      const std::filesystem::path script = place / name;
      std::ofstream(script) << "#!/bin/sh\n"
                            << "LD_PRELOAD=" << SLUICE_DISK_FULL_SHIM
                            << " DISK_FULL_WHILE=" << trigger_.string() << " exec "
                            << (real / name).string() << " \"$@\"\n";
      std::filesystem::permissions(script, static_cast<std::filesystem::perms>(0755));
    }
    std::filesystem::permissions(place, static_cast<std::filesystem::perms>(0755));
    return place;
  }

  void TearDown() override {
    std::filesystem::remove(trigger_);
    host_.reset();  // before its database
  }

  std::filesystem::path trigger_;
  std::optional<pg::Cluster> cluster_;
};

TEST_F(DiskFull, a_disk_that_fills_up_is_named_loses_nothing_and_work_goes_on_when_there_is_room) {
  start_database();
  start_fake(200, {"--latency-ms", "40"});
  host_->start();
  connect();
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count("select coalesce(sum(records_total), 0) from sluice.stream") > 200;
  })) << host_->log();
  std::ofstream(trigger_) << "full\n";
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->log().find("No space left on device") != std::string::npos;
  })) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return errors_say("No space left on device");
  })) << errors().output;
  EXPECT_TRUE(host_->process().running()) << host_->log();
  std::filesystem::remove(trigger_);
  ASSERT_TRUE(settled()) << unsettled();
  expect_tables_equal_truth();
  EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0);
}

}  // namespace
}  // namespace sluice::e2e
