// What went wrong in other systems, each as a test that is named after it. The cases that are
// proved elsewhere: a manifest that is malformed or takes a type's name (tests/e2e/toy_test.cpp,
// tests/pg/model), 500,000 records in one second (the connector's own tests; here a smaller number
// goes through the database), a late page against a newer change (tests/pg/ingest).
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

/// A measured stretch of time, not a wait for something.
void measure_for(std::chrono::milliseconds time) {
  ::poll(nullptr, 0, static_cast<int>(time.count()));
}

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

class Peers : public World {
 protected:
  void fault(const json& description) {
    fake_->control("POST", "faults", json::array({description}));
  }
  void mend() { fake_->control("DELETE", "faults"); }

  void settle(int customers, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--subscription-percent", "0"});
    start_fake(customers, std::move(more));
    host_->start();
    connect();
    ASSERT_TRUE(settled()) << host_->log();
  }

  std::int64_t stored() {
    return host_->count("select count(*) from vendor.stripe_customer where deleted_at is null");
  }

  std::int64_t failures(const std::string& name) {
    return host_->count("select consecutive_failures from sluice.stream where stream = '" + name +
                        "'");
  }

  std::int64_t asked(const std::string& path) {
    const json stats = fake_->control("GET", "stats");
    return stats["requests"].value(path, std::int64_t{0});
  }

  std::string any_customer(std::size_t n = 0) {
    return std::next(fake_->truth("customer").begin(), static_cast<std::ptrdiff_t>(n))->first;
  }

  void expect_problem(const std::string& subject, const std::string& code) {
    const json errors = host_->client().get("/errors")["errors"];
    const bool found = std::any_of(errors.begin(), errors.end(), [&](const json& one) {
      const json& about = one["subjects"];
      return one["code"] == code && std::find(about.begin(), about.end(), subject) != about.end();
    });
    EXPECT_TRUE(found) << subject << " " << code << " is not in " << errors;
  }
};

// Nango deletes what a run that ended early had not seen.
TEST_F(Peers, a_run_that_fails_on_page_7_of_9_deletes_nothing_and_is_not_shown_as_complete) {
  settle(850);  // nine pages of 100
  const std::int64_t all = stored();
  ASSERT_EQ(all, 850);
  // Three are gone, and only a complete list may say so.
  for (const std::size_t n : {0U, 400U, 800U}) {
    json gone;
    gone["id"] = any_customer(n);
    gone["event_type"] = nullptr;
    fake_->control("POST", "delete", gone);
  }
  fault(json::parse(R"({"match":"/v1/customers","nth":7,"times":0,"kind":"nonjson200"})"));
  read_again({"customers"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return failures("customers") >= 2; }))
      << host_->log();
  EXPECT_EQ(stored(), all);
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), 0);
  const json shown = stream("customers");
  EXPECT_FALSE(shown["snapshot_done"]);
  EXPECT_EQ(shown["health"], "failing") << shown;
  EXPECT_EQ(shown["error_class"], "BAD_DATA") << shown;
  expect_problem("customers", "BAD_DATA");
  EXPECT_NE(host_->client().get("/connections/billing")["state"], "HEALTHY");

  mend();
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored() == all - 3; }))
      << host_->log();
  ASSERT_TRUE(settled()) << host_->log();
  expect_tables_equal_truth();
}

// Airbyte's Stripe source ignores each of these.
TEST_F(Peers, answers_400_403_and_404_on_one_path_are_counted_and_shown_and_the_others_finish) {
  start_fake(40);
  host_->start();
  install();
  host_->client().send("POST", "/connections", billing());
  fault(json::parse(R"({"match":"/v1/products","nth":1,"times":0,"kind":"status","status":400})"));
  fault(json::parse(R"({"match":"/v1/prices","nth":1,"times":0,"kind":"403"})"));
  fault(json::parse(R"({"match":"/v1/invoices","nth":1,"times":0,"kind":"status","status":404})"));
  read_again({"products", "prices", "invoices"});
  for (const char* name : {"products", "prices", "invoices"}) {
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return failures(name) >= 1; }))
        << name << ": " << host_->log();
  }
  expect_problem("products", "UPSTREAM_PERMANENT");
  expect_problem("prices", "PERMISSION");
  expect_problem("invoices", "UPSTREAM_PERMANENT");
  EXPECT_NE(stream("products")["summary"].get<std::string>().find("400"), std::string::npos)
      << stream("products");
  EXPECT_NE(stream("invoices")["summary"].get<std::string>().find("404"), std::string::npos)
      << stream("invoices");
  EXPECT_GE(host_->count("select count(*) from sluice.sync_run where outcome = 'failed' and stream "
                         "in ('products','prices','invoices')"),
            3);
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from sluice.stream where mode = 'snapshot' and not "
               "snapshot_done and stream not in ('products','prices','invoices')") == 0;
  })) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->client().get("/connections/billing")["state"] == "DEGRADED";
  }));
}

// Airbyte #12782: the tables were emptied before the source was asked.
TEST_F(Peers, a_full_refresh_whose_vendor_cannot_be_reached_keeps_the_old_rows) {
  settle(40);
  const json about = fake_->control("GET", "about");
  const auto before = host_->rows("acme.stripe_customer");
  const std::string port = fake_->url().substr(fake_->url().rfind(':') + 1);
  fake_.reset();
  read_again({"customers", "products"});
  ASSERT_TRUE(eventually(std::chrono::seconds(90), [&] { return failures("customers") >= 1; }))
      << host_->log();
  EXPECT_EQ(host_->rows("acme.stripe_customer"), before);
  EXPECT_EQ(stream("customers")["error_class"], "UPSTREAM_TRANSIENT") << stream("customers");
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), 0);
  start_fake(40, {"--subscription-percent", "0", "--port", port, "--now",
                  std::to_string(about["now"].get<std::int64_t>())});
  ASSERT_TRUE(settled()) << host_->log();
}

// dlt #4030: the ids of a cursor's second were kept in the state, tens of megabytes of them.
TEST_F(Peers, thousands_of_records_in_one_cursor_second_keep_every_checkpoint_under_4_kB) {
  constexpr int kCustomers = 1500;
  constexpr int kEvents = 2500;
  start_fake(3, {"--freeze-clock", "--subscription-percent", "0"});
  const auto batch = [&](const json& one, int count) {
    json calls;
    calls["calls"] = json::array();
    for (int n = 0; n < count; ++n) calls["calls"].push_back(one);
    fake_->control("POST", "batch", calls);
  };
  batch(json::parse(R"({"do":"create","with":{"type":"customer","event_type":null}})"), kCustomers);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  ASSERT_EQ(stored(), kCustomers + 3);
  json touch;
  touch["do"] = "mutate";
  touch["with"]["id"] = any_customer();
  touch["with"]["set"]["name"] = "Touched often";
  batch(touch, kEvents);
  fake_->control("POST", "advance", json{{"seconds", 30}});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count("select count(*) from acme.stripe_customer where name = 'Touched often'") ==
           1;
  })) << host_->log();
  ASSERT_TRUE(settled());
  const std::int64_t changes = host_->count("select count(*) from sluice.change");
  EXPECT_LT(host_->count("select max(length(checkpoint)) from sluice.stream"), 4096);
  // The next runs meet them again in the overlap, and have nothing to say.
  const std::int64_t runs =
      host_->count("select count(*) from sluice.sync_run where stream = 'events'");
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count(
               "select count(*) from sluice.sync_run where stream = 'events' and "
               "outcome = 'done'") >= runs + 2;
  }));
  EXPECT_EQ(host_->count("select count(*) from sluice.change"), changes);
  EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0);
}

// dlt #2928: 600 columns in a schema that is discovered on the way took 20 GB.
TEST_F(Peers, objects_of_600_attributes_leave_memory_flat) {
  start_fake(60, {"--subscription-percent", "0"});
  // The sanitizer keeps freed memory for a while; that is not what is measured.
  host_->environment["ASAN_OPTIONS"] = "quarantine_size_mb=1";
  json set;
  for (int n = 0; n < 600; ++n) {
    set["metadata"]["key_" + std::to_string(n)] = "value " + std::to_string(n * 7919);
    set["unheard_of_" + std::to_string(n)] = n;
  }
  json churn;
  churn["type"] = "customer";
  churn["count"] = 60;
  churn["set"] = set;
  churn["event_type"] = nullptr;
  fake_->control("POST", "churn", churn);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  const auto resident_kb = [&] {
    std::ifstream status("/proc/" + std::to_string(host_->process().pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
    }
    return -1LL;
  };
  const auto once_more = [&] {
    const std::int64_t before = host_->count(
        "select count(*) from sluice.sync_run where stream = 'customers' and outcome = 'done'");
    read_again({"customers"});
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
      return host_->count(
                 "select count(*) from sluice.sync_run where stream = 'customers' and "
                 "outcome = 'done'") > before;
    })) << host_->log();
  };
  once_more();
  const long long early = resident_kb();
  for (int round = 0; round < 6; ++round) once_more();
  const long long late = resident_kb();
  std::printf("resident: %lld kB, and %lld kB six readings later\n", early, late);
  EXPECT_LT(late, early + 64 * 1024) << "each reading holds 60 objects of 1,200 attributes";
  EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0);
  EXPECT_EQ(host_->sql("select max((select count(*) from jsonb_object_keys(metadata))) from "
                       "acme.stripe_customer"),
            "603");  // three of its own
}

// webhookdb: PostgreSQL's text takes no NUL, and replacing it damaged text that only spelled it.
TEST_F(Peers, a_nul_escaped_once_is_stored_and_one_escaped_twice_is_left_as_it_is) {
  settle(3);
  const std::string id = any_customer();
  json change;
  change["id"] = id;
  change["set"]["name"] = std::string("before\0after", 12);
  change["set"]["description"] = "spelled \\u0000 and \\\\u0000";
  change["set"]["metadata"]["note"] = std::string("in json\0too", 11);
  change["set"]["metadata"]["spelled"] = "\\u0000";
  fake_->control("POST", "mutate", change);
  const auto value = [&](const std::string& what) {
    return host_->sql("select " + what + " from acme.stripe_customer where external_id = '" + id +
                      "'");
  };
  ASSERT_TRUE(eventually(std::chrono::seconds(60),
                         [&] { return value("description") == "spelled \\u0000 and \\\\u0000"; }))
      << value("description") << host_->log();
  EXPECT_TRUE(value("name").starts_with("before") && value("name").ends_with("after"))
      << value("name");
  EXPECT_EQ(value("metadata->>'spelled'"), "\\u0000");
  EXPECT_TRUE(value("metadata->>'note'").starts_with("in json") &&
              value("metadata->>'note'").ends_with("too"))
      << value("metadata->>'note'");
  // Stored, and said: a value is not as it came.
  EXPECT_EQ(host_->sql("select string_agg(code, ' ') from sluice.quarantine"),
            "value.nul_replaced");
}

// Airbyte #37837: the orchestrator burnt a core on a lock while a slow source sent nothing.
TEST_F(Peers, a_vendor_that_is_silent_for_an_hour_costs_no_cpu) {
  host_->settings = {"sync.poll_ms=500", "sync.lease_ttl_ms=12000"};
  settle(5);
  // 200 more connections whose next look at the vendor is an hour away, and one request that hangs.
  host_->sql(
      "insert into sluice.connection (workspace_id, connector, name, config, egress, state, "
      "vendor_account, mode) select workspace_id, connector, 'idle_' || n, config, egress, "
      "'HEALTHY', vendor_account, mode from sluice.connection, generate_series(1, 200) n");
  host_->sql(
      "insert into sluice.stream (workspace_id, connection_id, stream, mode, interval_seconds, "
      "state, checkpoint, checkpoint_format, snapshot_done, next_run_at) select s.workspace_id, "
      "c.connection_id, s.stream, s.mode, 3600, 'idle', s.checkpoint, s.checkpoint_format, "
      "s.snapshot_done, now() + interval '1 hour' from sluice.stream s, sluice.connection c where "
      "c.name like 'idle_%'");
  fault(
      json::parse(R"({"match":"/v1/events","nth":1,"times":0,"kind":"slow","delay_ms":3600000})"));
  const std::int64_t before = asked("/v1/events");
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count(
               "select count(*) from sluice.sync_run where stream = 'events' and "
               "finished_at is null and started_at < now() - interval '1.5 seconds'") == 1;
  })) << before;
  const auto cpu_seconds = [&] {
    std::ifstream file("/proc/" + std::to_string(host_->process().pid()) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int n = 0; n < 11; ++n) rest >> skipped;
    long long user = 0;
    long long system = 0;
    rest >> user >> system;
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  };
  const double cpu = cpu_seconds();
  const auto start = steady_clock::now();
  measure_for(std::chrono::seconds(8));
  const double share = (cpu_seconds() - cpu) / seconds_since(start);
  std::printf("201 connections and a request that hangs: %.2f %% of a core\n", share * 100);
  RecordProperty("cpu_percent", std::to_string(share * 100));
  // Sanitizers cost a factor of two to three; without them it is below 1 %.
#ifdef __SANITIZE_ADDRESS__
  EXPECT_LT(share, 0.03);
#else
  EXPECT_LT(share, 0.01);
#endif
}

// Airbyte #38617: one connection at 100 % CPU, and the others failed.
TEST_F(Peers, a_busy_connection_does_not_slow_another) {
  settle(5, {"--seed", "11"});
  const std::string id = any_customer();
  int renamed = 0;
  const auto latency = [&] {
    const std::string name = "Renamed " + std::to_string(++renamed);
    json change;
    change["id"] = id;
    change["set"]["name"] = name;
    const auto start = steady_clock::now();
    fake_->control("POST", "mutate", change);
    EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
      return host_->sql("select name from acme.stripe_customer where external_id = '" + id + "'") ==
             name;
    })) << host_->log();
    return seconds_since(start);
  };
  const auto median_of_five = [&] {
    std::vector<double> all;
    for (int n = 0; n < 5; ++n) all.push_back(latency());
    std::sort(all.begin(), all.end());
    return all[2];
  };
  const double idle = median_of_five();

  // Another account: pages of 100 objects of 12 kB each, as many as its budget lets through.
  const std::filesystem::path other = directory_ / "other";
  std::filesystem::create_directory(other);
  FakeStripe busy(other, 10, {"--seed", "12", "--subscription-percent", "0"});
  busy.control(
      "POST", "generate",
      json::parse(R"({"type":"customer","count":5000,"created":1700000000,"bytes":12000})"));
  json body = billing();
  body["name"] = "busy";
  body["egress"]["base_urls"]["api"] = busy.url();
  host_->client().send("POST", "/connections", body);
  const auto busy_records = [&] {
    return host_->count(
        "select coalesce(sum(records_total), 0) from sluice.stream s join sluice.connection c "
        "using (workspace_id, connection_id) where c.name = 'busy' and s.stream = 'customers'");
  };
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return busy_records() > 0; }))
      << host_->log();
  const double beside = median_of_five();
  const std::int64_t read = busy_records();
  std::printf("latency: %.2f s alone, %.2f s beside a connection that read %lld records\n", idle,
              beside, static_cast<long long>(read));
  EXPECT_GT(read, 100) << "the other connection was not busy";
  // A change waits for the next poll of events, once a second.
  EXPECT_LT(beside, 3 * std::max(idle, 1.0));
}

// Kafka Connect (strimzi #2621, #3425): failed tasks stay failed until somebody calls REST.
TEST_F(Peers, a_failed_run_is_tried_again_by_itself_with_growing_pauses_and_shown_meanwhile) {
  start_fake(20, {"--subscription-percent", "0"});
  host_->start();
  install();
  fault(json::parse(R"({"match":"/v1/products","nth":2,"times":3,"kind":"nonjson200"})"));
  host_->client().send("POST", "/connections", billing());  // CHECK asks once
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] { return failures("products") == 2; }))
      << host_->log();
  expect_problem("products", "BAD_DATA");
  const json shown = stream("products");
  EXPECT_EQ(shown["consecutive_failures"], 2) << shown;
  EXPECT_NE(shown["action"].get<std::string>().find("tried again"), std::string::npos) << shown;
  ASSERT_TRUE(settled()) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where stream = 'products'"), 4);
  EXPECT_EQ(asked("/v1/products"), 5) << "CHECK, three that failed, one that did not";
  EXPECT_EQ(failures("products"), 0);
  // 1 to 2 s, then 2 to 4, then 4 to 8.
  for (int pause = 1; pause <= 3; ++pause) {
    const std::int64_t ms = host_->count(
        "select (extract(epoch from b.started_at - a.finished_at) * 1000)::bigint from (select *, "
        "row_number() over (order by run_id) n from sluice.sync_run where stream = 'products') a "
        "join (select *, row_number() over (order by run_id) n from sluice.sync_run where stream = "
        "'products') b on b.n = a.n + 1 where a.n = " +
        std::to_string(pause));
    EXPECT_GE(ms, 500 << pause) << pause;
    EXPECT_LE(ms, (1000 << pause) + 2000) << pause;
  }
}

// Airbyte #12918, #55770: adding or re-enabling a stream cleared what was there.
TEST_F(Peers, a_stream_that_is_paused_and_goes_on_clears_nothing_and_reads_nothing_again) {
  settle(30);
  const auto row = [&] {
    return host_->sql(
        "select md5(string_agg(s::text, ',' order by stream)) from (select stream, "
        "checkpoint, snapshot_done, records_total from sluice.stream where stream <> "
        "'events') s");
  };
  const std::string before = row();
  const auto rows = host_->rows("acme.stripe_customer");
  const std::int64_t lists = asked("/v1/customers");
  const auto set = [&](const char* name, bool enabled) {
    host_->client().send("PATCH", std::string("/connections/billing/streams/") + name,
                         json{{"enabled", enabled}});
  };
  set("customers", false);
  set("events", false);
  EXPECT_EQ(stream("customers")["health"], "off") << stream("customers");
  // What changes meanwhile is not lost either.
  json change;
  change["id"] = any_customer();
  change["set"]["name"] = "While it was paused";
  fake_->control("POST", "mutate", change);
  const std::int64_t polls = asked("/v1/events");
  measure_for(std::chrono::milliseconds(2500));
  EXPECT_LE(asked("/v1/events"), polls + 1) << "paused, and read";
  EXPECT_EQ(host_->rows("acme.stripe_customer").size(), rows.size());
  set("customers", true);
  set("events", true);
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from acme.stripe_customer where name = "
               "'While it was paused'") == 1;
  })) << host_->log();
  EXPECT_EQ(row(), before);
  EXPECT_EQ(asked("/v1/customers"), lists);
  EXPECT_EQ(host_->count("select count(*) from sluice.change where op in ('delete','restore')"), 0);
}

// Airbyte #4818, #7818: each connection retried on its own, and together they kept the limit hit.
TEST_F(Peers, many_connections_of_one_account_that_meet_429_stay_within_one_budget) {
  constexpr int kConnections = 5;
  settle(3);
  for (int n = 1; n < kConnections; ++n) {
    json body = billing();
    body["name"] = "billing_" + std::to_string(n);
    body["second_connection"] = true;
    host_->client().send("POST", "/connections", body);
  }
  ASSERT_TRUE(settled()) << host_->log();
  fault(json::parse(R"({"match":"/v1/*","nth":1,"times":0,"kind":"429"})"));
  for (int n = 0; n < kConnections; ++n) {
    const std::string name = n == 0 ? "billing" : "billing_" + std::to_string(n);
    host_->client().send("POST", "/connections/" + name + "/sync", json{{"full", true}});
  }
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return fake_->control("GET", "stats")["statuses"].value("429", 0) > 3;
  })) << host_->log();
  const std::int64_t before = fake_->control("GET", "stats")["total"];
  const auto start = steady_clock::now();
  measure_for(std::chrono::seconds(6));
  const std::int64_t during = fake_->control("GET", "stats")["total"].get<std::int64_t>() - before;
  const double rate = static_cast<double>(during) / seconds_since(start);
  std::printf("%d connections under 429: %.1f requests a second\n", kConnections, rate);
  // The manifest's rate for a test account, and what was under way at the ends of the measurement.
  EXPECT_LE(rate, 8.0 + 4.0 / 6.0);
  EXPECT_GT(rate, 0.1) << "it gave up altogether";
}

// strimzi #12542: a failed connector could not be stopped while its task still ran.
// A vendor's Retry-After of three years, taken at its word.
TEST_F(Peers, a_retry_after_of_years_keeps_a_stream_for_an_hour_at_most) {
  settle(10);
  fault(json::parse(R"({"match":"/v1/products?limit=100","nth":1,"times":1,"kind":"429",
                        "headers":{"Retry-After":"100000000"}})"));
  read_again({"products"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return failures("products") >= 1; }))
      << host_->log();
  EXPECT_EQ(host_->sql("select next_run_at between now() + interval '1 minute' and now() + "
                       "interval '61 minutes' from sluice.stream where stream = 'products'"),
            "t");
}

// Rules whose own side was made after the connector linked nothing that had been read before.
TEST_F(Peers, an_own_type_that_is_made_after_the_connector_is_linked_as_if_it_had_come_first) {
  start_fake(30, {"--subscription-percent", "0"});
  host_->start();
  host_->client().send("POST", "/connectors/stripe/install", json::object());
  host_->client().send("POST", "/connections", billing());
  ASSERT_TRUE(settled()) << host_->log();
  ASSERT_EQ(host_->count("select count(*) from sluice.link"), 0);
  host_->client().send(
      "POST", "/types",
      json::parse(R"({"name":"customer","attributes":[{"name":"name","type":"text"}]})"));
  host_->client().send(
      "POST", "/types/customer/attributes",
      json::parse(R"({"name":"email","type":"text","format":"email","unique":true})"));
  const std::int64_t with_email = host_->count(
      "select count(distinct k.entity_id) from sluice.link_key k join vendor.stripe_customer c on "
      "c.id = k.entity_id and c.deleted_at is null");
  ASSERT_GT(with_email, 0);
  EXPECT_TRUE(eventually(std::chrono::seconds(30),
                         [&] {
                           return host_->count(
                                      "select count(*) from sluice.link where state = 'pending'") ==
                                  with_email;
                         }))
      << host_->count("select count(*) from sluice.link") << " of " << with_email;
}

TEST_F(Peers, a_failed_connection_that_is_told_to_stop_really_stops) {
  settle(30);
  fault(
      json::parse(R"({"match":"/v1/customers","nth":1,"times":0,"kind":"slow","delay_ms":20000})"));
  read_again({"customers"});  // under way, and hanging
  fake_->control("POST", "keys", json{{"remove", kKey}});
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->sql("select state from sluice.connection") == "FAILED";
  })) << host_->log();
  host_->client().send("POST", "/connections/billing/disable", json::object());
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->sql("select state from sluice.connection") == "DISCONNECTED";
  })) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where finished_at is null"), 0);
  EXPECT_EQ(stored(), 0);
  const std::int64_t before = fake_->control("GET", "stats")["total"];
  measure_for(std::chrono::seconds(3));
  EXPECT_EQ(fake_->control("GET", "stats")["total"], before) << "stopped, and the vendor is asked";
}

}  // namespace
}  // namespace sluice::e2e
