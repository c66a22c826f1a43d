// Kills at random moments of a full sync, with a vendor that misbehaves and changes meanwhile: what
// is stored at the end is what the vendor holds, nothing is there twice, and hardly a request was
// wasted. The seed is printed; SLUICE_TEST_SEED=<number> repeats a run's moments and changes.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <sstream>

#include "e2e/world.hpp"
#include "pg/cluster.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr int kCustomers = 300;
constexpr int kOwn = 60;

std::uint64_t seed_of_this_run() {
  const char* given = std::getenv("SLUICE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

/// A moment nobody chose: this is what is tested, not a wait for something.
void let_pass(std::chrono::milliseconds time) {
  ::poll(nullptr, 0, static_cast<int>(time.count()));
}

class Crash : public World {
 protected:
  Crash() : seed_(seed_of_this_run()), dice_(seed_) {
    std::printf("SLUICE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    RecordProperty("seed", std::to_string(seed_));
  }

  int below(std::size_t bound) {
    return static_cast<int>(std::uniform_int_distribution<std::size_t>(0, bound - 1)(dice_));
  }

  /// A seeded account whose events come late and out of order.
  void start_vendor() {
    start_fake(kCustomers);
    fake_->control("POST", "event_lag", json{{"ms", 700}});
    for (const char* type : {"customer", "product", "subscription"}) {
      for (const auto& [id, object] : fake_->truth(type)) live_[type].push_back(id);
    }
    const json minimum = fake_->control("GET", "minimum?limit=100");
    for (const auto& [type, list] : minimum.at("lists").items()) {
      if (type == "event") continue;
      records_ += list.at("objects").get<std::int64_t>();
      pages_min_[list.at("path")] = list.at("pages");
    }
  }

  /// One request in nine goes wrong, each time in another way. All of these are to be tried again.
  void turn_faults_on() {
    const char* kinds[] = {"429", "status", "cut", "drop", "html502", "slow", "repeat_page"};
    json faults = json::array();
    for (int n = 0; n < 42; ++n) {
      json fault;
      fault["match"] = "/v1/*";
      fault["nth"] = 3 + n * 9 + below(9);
      fault["kind"] = kinds[static_cast<std::size_t>(n) % std::size(kinds)];
      if (fault["kind"] == "slow") fault["delay_ms"] = 250;
      if (fault["kind"] == "429") fault["headers"]["Retry-After"] = "1";
      // A page that is repeated is harmless where a list begins anew; elsewhere it costs requests.
      if (fault["kind"] == "repeat_page") {
        fault["match"] = "/v1/events";
        fault["nth"] = 2 + n / 7;
      }
      faults.push_back(std::move(fault));
    }
    fake_->control("POST", "faults", faults);
  }

  /// The account's owner goes on working: changes, deletes, new objects.
  void change_something() {
    const auto pick = [this](const char* type) {
      const auto& ids = live_[type];
      return ids[static_cast<std::size_t>(below(ids.size()))];
    };
    json changed;
    changed["id"] = pick("customer");
    changed["set"]["name"] = "Renamed " + std::to_string(++changes_);
    fake_->control("POST", "mutate", changed);
    json product;
    product["id"] = pick("product");
    product["set"]["description"] = "Reworded " + std::to_string(changes_);
    fake_->control("POST", "mutate", product);
    remove("customer");
    if (changes_ % 3 == 0) {
      json canceled;
      canceled["id"] = pick("subscription");
      canceled["force"] = true;
      fake_->control("POST", "delete", canceled);
    }
    json born;
    born["type"] = "customer";
    born["set"]["email"] = "born" + std::to_string(changes_) + "@example.org";
    fake_->control("POST", "create", born);
  }

  void remove(const std::string& type) {
    auto& ids = live_[type];
    const auto at = ids.begin() + below(ids.size());
    json gone;
    gone["id"] = *at;
    fake_->control("POST", "delete", gone);
    ids.erase(at);
  }

  std::int64_t progress() {
    return host_->count(
        "select coalesce(sum(records_total), 0) from sluice.stream where mode = 'snapshot'");
  }

  /// Moments by progress: `count` shares of all records, in order.
  std::vector<std::int64_t> moments(int count) {
    std::vector<std::int64_t> at;
    for (int n = 0; n < count; ++n) {
      // Spread, and random within its part, so that no run tests only the beginning.
      const std::int64_t part = records_ * 95 / 100 / count;
      at.push_back(n * part + below(static_cast<std::size_t>(std::max<std::int64_t>(1, part))));
    }
    return at;
  }

  /// The last change of the vendor has arrived; events that were born before it have as well.
  void expect_settled() {
    const json last = fake_->control(
        "POST", "create", json::parse(R"({"type":"customer","set":{"email":"last@example.org"}})"));
    const std::string id = last["id"];
    ASSERT_TRUE(eventually(std::chrono::seconds(120), [&] {
      return host_->count("select count(*) from vendor.stripe_customer where external_id = '" + id +
                          "'") == 1;
    })) << host_->log();
    ASSERT_TRUE(settled(std::chrono::seconds(60))) << unsettled();
  }

  void expect_nothing_twice() {
    EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0)
        << host_->sql("select string_agg(code || ' ' || reason, '; ') from sluice.quarantine");
    // An entity is inserted once. Being deleted and read again makes it restored, not inserted.
    EXPECT_EQ(host_->count("select count(*) - count(distinct entity_id) from sluice.change "
                           "where op = 'insert'"),
              0);
    EXPECT_EQ(host_->count("select count(*) - count(distinct (type_id, external_id)) from "
                           "sluice.change where op = 'insert' and connection_id > 0"),
              0);
    // No change says what the one before it said.
    EXPECT_EQ(
        host_->count("select count(*) from (select op, changed, lag(op) over w as op_before, "
                     "lag(changed) over w as changed_before from sluice.change "
                     "window w as (partition by entity_id order by change_id)) c "
                     "where op in ('insert','update','delete','restore') and op = op_before and "
                     "changed is not distinct from changed_before"),
        0);
    const json expected = fake_->control("GET", "expect_links?count=" + std::to_string(kOwn));
    for (const char* state : {"linked", "pending", "contested"}) {
      EXPECT_EQ(host_->count("select count(*) from acme.link where rule = 'stripe.customer.email' "
                             "and state = '" +
                             std::string(state) + "'"),
                expected[state])
          << state;
    }
  }

  /// Lists are asked for page by page, and a page that was answered well once is wanted once: what
  /// the fake counts as repeated was wasted. A kill wastes what was read and not yet committed: of
  /// each of the four streams that are read at once, the page that is being written and the one
  /// that was asked for meanwhile. Answers that were spoiled on purpose are not counted; the events
  /// and single objects are asked for again as often as something changes.
  void expect_no_request_wasted(int kills) {
    constexpr int kStreamsAtOnce = 4;
    constexpr int kPagesInFlight = 2;
    std::int64_t needed = 0;
    std::int64_t repeated = 0;
    const json paths = fake_->control("GET", "stats").at("paths");
    for (const auto& [path, pages] : pages_min_) {
      needed += pages;
      if (paths.contains(path)) repeated += paths.at(path).at("repeats").get<std::int64_t>();
    }
    const std::int64_t allowed = needed * 5 / 100 + kills * kStreamsAtOnce * kPagesInFlight;
    std::printf("%d kills: %lld pages needed, %lld read again, %lld allowed\n", kills,
                static_cast<long long>(needed), static_cast<long long>(repeated),
                static_cast<long long>(allowed));
    RecordProperty("pages_read_again", std::to_string(repeated));
    EXPECT_LE(repeated, allowed);
  }

  std::uint64_t seed_;
  std::mt19937_64 dice_;
  std::map<std::string, std::vector<std::string>> live_;
  std::int64_t records_ = 0;
  std::map<std::string, std::int64_t> pages_min_;  ///< by path
  int changes_ = 0;
};

TEST_F(Crash, a_host_killed_at_20_random_moments_of_a_full_sync_resumes_and_ends_with_the_truth) {
  constexpr int kKills = 20;
  start_vendor();
  host_->settings = {"sync.lease_ttl_ms=1000"};
  host_->start();
  connect();
  import_own(kOwn);
  turn_faults_on();
  for (const std::int64_t moment : moments(kKills)) {
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return progress() >= moment; }))
        << "no progress to " << moment << ": " << host_->log();
    change_something();
    let_pass(std::chrono::milliseconds(below(120)));
    host_->kill_hard();
    host_->start();
  }
  expect_settled();
  expect_tables_equal_truth();
  expect_nothing_twice();
  expect_no_request_wasted(kKills);
}

class DatabaseCrash : public Crash {
 protected:
  /// A server of our own, so that a supervisor of our own brings it back.
  void start_database() {
    const std::filesystem::path place = directory_ / "own";
    std::filesystem::create_directories(place);
    std::filesystem::permissions(place, static_cast<std::filesystem::perms>(0711));
    pg::ClusterOptions options;
    options.directory = place / "postgres";
    options.socket_directory = place / "run";
    auto started = pg::Cluster::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().describe();
    cluster_.emplace(std::move(*started));
    host_->database = cluster_->conninfo();
  }

  void kill_database() {
    const int pid = cluster_->postmaster_pid();
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);  // its number must not look alive
    cluster_->leave_running();   // gone already; not to be shut down again
    cluster_.reset();
  }

  void TearDown() override { host_.reset(); }  // before its database

  std::optional<pg::Cluster> cluster_;
};

TEST_F(DatabaseCrash, a_postmaster_killed_at_5_random_moments_costs_nothing_and_the_host_lives_on) {
  constexpr int kKills = 5;
  start_vendor();
  start_database();
  host_->start();
  connect();
  import_own(kOwn);
  turn_faults_on();
  const int host_pid = host_->process().pid();
  for (const std::int64_t moment : moments(kKills)) {
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return progress() >= moment; }))
        << "no progress to " << moment << ": " << host_->log();
    change_something();
    let_pass(std::chrono::milliseconds(below(120)));
    kill_database();
    start_database();
    if (HasFatalFailure()) return;
  }
  expect_settled();
  expect_tables_equal_truth();
  expect_nothing_twice();
  expect_no_request_wasted(kKills);
  EXPECT_TRUE(host_->process().running());
  EXPECT_EQ(host_->process().pid(), host_pid);
}

}  // namespace
}  // namespace sluice::e2e
