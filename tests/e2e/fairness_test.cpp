// Who gets a turn when there are more who want one than turns: hosts, workspaces, streams of one
// account, types of one connection.
#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "e2e/neighbour.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr const char* kHung[] = {"invoices", "charges", "prices", "products", "coupons"};

class Fairness : public World {
 protected:
  void fault(const json& description) {
    fake_->control("POST", "faults", json::array({description}));
  }

  /// In the workspace "acme"; with further settings of the connection.
  void connect_as(const std::string& name, const std::string& url) {
    json body = billing();
    body["name"] = name;
    body["second_connection"] = true;
    body["egress"]["base_urls"]["api"] = url;
    host_->client().send("POST", "/connections", body);
  }

  /// How many runs of `stream` have ended well, of a connection.
  std::int64_t runs(const std::string& connection, const std::string& stream) {
    return host_->count(
        "select count(*) from sluice.sync_run r join sluice.connection c using (workspace_id, "
        "connection_id) where c.name = '" +
        connection + "' and r.stream = '" + stream + "' and r.outcome = 'done'");
  }

  /// An entry of `sluice errors`, as text; empty when there is none that holds `words`.
  std::string problem(const std::string& words) {
    const json document = host_->client().get("/errors");
    for (const json& one : document["errors"]) {
      const std::string text = one.dump();
      if (text.find(words) != std::string::npos) return text;
    }
    return {};
  }

  std::vector<std::string> some_ids(const std::string& type, std::size_t count) {
    std::vector<std::string> ids;
    for (const auto& [id, object] : fake_->truth(type)) {
      if (ids.size() < count) ids.push_back(id);
    }
    return ids;
  }

  void note(const std::string& type, const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      host_->sql(
          "insert into sluice.refetch (workspace_id, connection_id, type, external_id) select "
          "workspace_id, connection_id, '" +
          type + "', '" + id + "' from sluice.connection where name = 'billing'");
    }
  }
};

TEST_F(Fairness, a_host_looks_past_what_another_holds_and_takes_the_next_connection) {
  start_fake(200);
  host_->settings = {"sync.connections_max=1"};
  host_->start();
  install();
  connect_as("one", fake_->url());
  connect_as("two", fake_->url());
  fake_->control("POST", "latency", json{{"ms", 700}});
  json all = json::object();
  all["full"] = true;
  host_->client().send("POST", "/connections/one/sync", all);
  host_->client().send("POST", "/connections/two/sync", all);
  std::filesystem::create_directory(directory_ / "b");
  Host other(directory_ / "b");
  other.database = "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice";
  other.settings = {"sync.connections_max=1",
                    "vault.root_key_file=" + (directory_ / "data/root.key").string()};
  other.start();
  EXPECT_TRUE(eventually(seconds(6), [&] {
    return host_->count(
               "select count(distinct holder) from sluice.lease_hold where name like "
               "'connection/%' and expires_at > now()") == 2;
  })) << "one of the two hosts has nothing to do, and a connection waits";
  other.stop();
}

TEST_F(Fairness, a_paused_stream_stops_at_its_next_step) {
  start_fake(3000, {"--subscription-percent", "0"});
  fake_->control("POST", "latency", json{{"ms", 150}});
  host_->start();
  connect();
  const auto read = [&] {
    return host_->count("select records_total from sluice.stream where stream = 'customers'");
  };
  ASSERT_TRUE(eventually(seconds(60), [&] { return read() > 100; })) << host_->log();
  json pause;
  pause["enabled"] = false;
  host_->client().send("PATCH", "/connections/billing/streams/customers", pause);
  const std::int64_t at_pause = read();
  const std::string unfinished =
      "select count(*) from sluice.sync_run where stream = 'customers' and finished_at is null";
  EXPECT_TRUE(eventually(seconds(4), [&] { return host_->count(unfinished) == 0; }))
      << "it goes on: " << at_pause << " records at the pause, now " << read();
  EXPECT_LE(read(), at_pause + 300) << "the page that was written, and what was under way";
  EXPECT_EQ(host_->sql("select concat_ws('|', enabled, reason, next_run_at) from sluice.stream "
                       "where stream = 'customers'"),
            "f|paused by an admin");
  pause["enabled"] = true;
  host_->client().send("PATCH", "/connections/billing/streams/customers", pause);
  EXPECT_TRUE(eventually(seconds(20), [&] { return read() > at_pause + 300; })) << host_->log();
}

/// With SLUICE_TEST_LONG 66 connections, and how long the neighbour waits for an answer: for a
/// release build on a machine that does nothing else.
TEST_F(Fairness, a_workspace_whose_vendor_does_not_answer_leaves_slots_to_its_neighbour) {
  const bool is_long = std::getenv("SLUICE_TEST_LONG") != nullptr;
  const int pits = is_long ? 66 : 12;
  start_fake(3, {"--subscription-percent", "0"});
  std::filesystem::create_directory(directory_ / "pit");
  FakeStripe tarpit(directory_ / "pit", 3, {"--subscription-percent", "0", "--seed", "99"});
  host_->settings = {"sync.connections_max=8"};
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  Ask for_types;
  for_types.path = "/v1/workspaces/acme/types";
  for_types.token = host_->token();
  const auto asks = [&, url = host_->url()] { return perform_timed(url, for_types); };
  Neighbour alone(asks);
  eventually(seconds(3), [] { return false; });
  alone.stop();
  cli::ClientOptions options;
  options.url = host_->url();
  options.token = host_->token();
  options.workspace = "evil";
  host_->client().global("POST", "/v1/workspaces", json{{"name", "evil"}});
  cli::Client evil(options);
  evil.send("POST", "/connectors/stripe/install", json::object());
  for (int n = 0; n < pits; ++n) {
    json body = billing();
    body["name"] = "pit" + std::to_string(n);
    body["second_connection"] = true;
    body["egress"]["base_urls"]["api"] = tarpit.url();
    evil.send("POST", "/connections", body);
  }
  tarpit.control("POST", "latency", json{{"ms", 25'000}});
  const auto begun = std::chrono::steady_clock::now();
  // 15 seconds in which the tarpit holds whatever it can get.
  const std::int64_t before = runs("billing", "events");
  Neighbour beside(asks);
  eventually(seconds(15), [] { return false; });
  const double longest = beside.stop();
  const std::int64_t after = runs("billing", "events");
  EXPECT_GE(after - before, 5) << "its one-second stream";
  const std::string late = host_->sql(
      "select coalesce(max(extract(epoch from began - ended)), 99) from (select r.started_at as "
      "began, lag(r.finished_at) over (order by r.run_id) as ended from sluice.sync_run r join "
      "sluice.connection c using (workspace_id, connection_id) where c.name = 'billing' and "
      "r.stream = 'events' and r.started_at > now() - interval '15 seconds') gaps");
  std::printf(
      "%d connections to a tarpit: longest pause of the neighbour's one-second stream %s s, %lld "
      "runs in 15 s; its p99 %.1f ms, %.1f ms alone, %.1f ms at most\n",
      pits, late.c_str(), static_cast<long long>(after - before), beside.p99() * 1000,
      alone.p99() * 1000, longest * 1000);
  EXPECT_EQ(beside.refused(), 0);
  EXPECT_LT(longest, 2.0);
  if (is_long) {
    EXPECT_LE(beside.p99(), std::max(0.1, 5 * alone.p99()));
  }
  EXPECT_LT(std::stod(late), 3.0) << "due after one second, taken within two more";
  EXPECT_EQ(host_->log().find("lease.lost"), std::string::npos) << host_->log();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(25)) << "and it is answered";
}

TEST_F(Fairness, five_endpoints_that_hang_starve_neither_the_account_nor_its_other_connection) {
  start_fake(20);
  std::filesystem::create_directory(directory_ / "well");
  FakeStripe well(directory_ / "well", 20);
  host_->start();
  install();
  connect_as("one", fake_->url());
  ASSERT_TRUE(settled()) << host_->log();
  for (const char* name : kHung)
    fault({{"match", std::string("/v1/") + name}, {"nth", 1}, {"times", 0}, {"kind", "hang"}});
  json full;
  full["full"] = true;
  host_->client().send("POST", "/connections/one/sync", full);
  const std::string hung =
      "select count(*) from sluice.stream where state = 'running' and mode <> 'changes'";
  eventually(seconds(10), [&] { return host_->count(hung) >= 4; });
  connect_as("two", well.url());
  const std::int64_t first = runs("one", "events");
  EXPECT_TRUE(eventually(seconds(12), [&] {
    return runs("one", "events") >= first + 3 && runs("two", "events") >= 1;
  })) << "changes of the account wait for five lists that nobody answers";
  EXPECT_TRUE(eventually(seconds(60), [&] {
    return host_->count(
               "select count(*) from sluice.stream s join sluice.connection c using "
               "(workspace_id, connection_id) where c.name = 'two' and s.mode = 'snapshot' and "
               "not s.snapshot_done") == 0;
  })) << "the account's other connection, whose vendor is well";
  EXPECT_TRUE(eventually(seconds(30), [&] { return !problem("has not answered").empty(); }))
      << host_->client().get("/errors");
  std::printf("%s\n", problem("has not answered").c_str());
}

TEST_F(Fairness, no_type_of_the_refetch_list_starves_behind_another) {
  start_fake(40);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  std::string customers =
      "insert into sluice.refetch (workspace_id, connection_id, type, "
      "external_id) select workspace_id, connection_id, 'charge', 'ch_none_' "
      "|| n from sluice.connection, generate_series(1, 1500) n";
  const std::vector<std::string> one = some_ids("subscription", 1);
  ASSERT_EQ(one.size(), 1U);
  host_->sql(customers);
  note("subscription", one);
  EXPECT_TRUE(eventually(
      seconds(12),
      [&] {
        return host_->count("select count(*) from sluice.refetch where type = 'subscription'") == 0;
      }))
      << host_->sql(
             "select string_agg(concat_ws(' ', type, n), ', ') from (select type, count(*) "
             "n from sluice.refetch group by type) t");
  EXPECT_GT(host_->count("select count(*) from sluice.refetch where type = 'charge'"), 0);
}

TEST_F(Fairness, an_id_that_cannot_be_read_fails_alone_and_is_told_at_once) {
  start_fake(120, {"--subscription-percent", "0"});
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  const std::vector<std::string> ids = some_ids("customer", 50);
  fault({{"match", "/v1/customers/" + ids[30]}, {"nth", 1}, {"times", 0}, {"kind", "nonjson200"}});
  note("customer", ids);
  ASSERT_TRUE(eventually(seconds(60), [&] {
    return host_->count("select count(*) from sluice.refetch where attempts > 0") >= 1;
  })) << host_->log();
  EXPECT_FALSE(problem("refetch.failed").empty()) << host_->client().get("/errors");
  ASSERT_TRUE(eventually(seconds(60), [&] {
    return host_->count("select count(*) from sluice.refetch") == 1;
  })) << host_->log();
  EXPECT_EQ(host_->sql("select string_agg(external_id, ' ') from sluice.refetch"), ids[30]);
  EXPECT_LE(host_->count("select count(*) from sluice.sync_run where kind = 'refetch' and outcome "
                         "= 'failed'"),
            10)
      << "fifty before";
}

TEST_F(Fairness, a_vendor_that_is_down_pauses_the_lane_and_not_every_id) {
  start_fake(120, {"--subscription-percent", "0"});
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  const std::vector<std::string> ids = some_ids("customer", 100);
  fault({{"match", "/v1/customers/*"}, {"nth", 1}, {"times", 0}, {"kind", "nonjson200"}});
  note("customer", ids);
  ASSERT_TRUE(eventually(seconds(60), [&] { return !problem("refetch").empty(); })) << host_->log();
  eventually(seconds(12), [] { return false; });
  std::printf("%s\n", problem("refetch").c_str());
  EXPECT_LE(host_->count("select count(*) from sluice.refetch where attempts > 0"), 6)
      << "each id pays for the vendor";
  EXPECT_LE(host_->count("select count(*) from sluice.sync_run where kind = 'refetch'"), 8);
  fake_->control("DELETE", "faults");
  EXPECT_TRUE(eventually(seconds(60), [&] {
    return host_->count("select count(*) from sluice.refetch") == 0;
  })) << host_->log();
}

TEST_F(Fairness, an_index_that_waits_for_others_keeps_no_rule_waiting_and_no_host_from_stopping) {
  start_fake(10, {"--subscription-percent", "0"});
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  host_->sql("drop index vendor.stripe_invoice_at_customer");
  PGconn* old = PQconnectdb(
      ("host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice").c_str());
  PQclear(PQexec(old, "begin isolation level repeatable read; select 1 from sluice.workspace"));
  host_->sql(
      "insert into sluice.work (workspace_id, kind, subject, task) select workspace_id, "
      "'index.make', 'stripe_invoice.customer', '{\"table\": \"stripe_invoice\", "
      "\"attribute\": \"customer\"}' from sluice.workspace where name = 'acme'");
  ASSERT_TRUE(eventually(seconds(20), [&] {
    return host_->count("select count(*) from pg_stat_progress_create_index") == 1;
  })) << host_->log();
  const std::string rule = host_->sql("select name from sluice.link_rule order by name limit 1");
  json off;
  off["enabled"] = false;
  host_->client().send("PATCH", "/link-rules/" + rule, off);
  EXPECT_TRUE(eventually(seconds(20), [&] {
    return host_->count(
               "select count(*) from sluice.work where kind = 'rule.apply' and state = "
               "'done' and subject = '" +
               rule + "'") >= 1;
  })) << "it stands behind the index";
  const auto begun = std::chrono::steady_clock::now();
  host_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(15));
  EXPECT_EQ(host_->log().find("host.stop_forced"), std::string::npos) << host_->log();
  PQfinish(old);
}

TEST_F(Fairness, a_batch_of_links_that_does_not_end_keeps_no_host_from_stopping) {
  start_fake(10, {"--subscription-percent", "0"});
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  PGconn* other = PQconnectdb(
      ("host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice").c_str());
  PQclear(PQexec(other, "begin; lock table sluice.link_decision in access exclusive mode"));
  host_->sql(
      "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select r.workspace_id, r.key_kind, gen_random_uuid(), t.type_id, 1, n from sluice.link_rule "
      "r join sluice.entity_type t on t.workspace_id = r.workspace_id and t.name = r.source_type, "
      "generate_series(1, 5000) n");
  ASSERT_TRUE(eventually(seconds(20), [&] {
    return host_->count(
               "select count(*) from pg_locks where not granted and relation = "
               "'sluice.link_decision'::regclass") > 0;
  })) << host_->log();
  const std::int64_t queued = host_->count("select count(*) from sluice.link_queue");
  EXPECT_GE(queued, 5000);
  const auto begun = std::chrono::steady_clock::now();
  host_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(6));
  EXPECT_EQ(host_->log().find("host.stop_forced"), std::string::npos) << host_->log();
  PQfinish(other);
}

}  // namespace
}  // namespace sluice::e2e
