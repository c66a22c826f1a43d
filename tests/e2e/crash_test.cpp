// Kills at random moments of a full sync, with a vendor that misbehaves and changes meanwhile: what
// is stored at the end is what the vendor holds, nothing is there twice, and hardly a request was
// wasted. The seed is printed; SLUICE_TEST_SEED=<number> repeats a run's moments and changes.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <sstream>

#include "e2e/world.hpp"
#include "pg/cluster.hpp"
#include "support/feed_checks.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr int kCustomers = 300;
constexpr int kCharges = 10'400;  // more than a hundred pages in one list
constexpr int kOwn = 60;
/// Stripe lets a live key ask more than twice as often.
constexpr const char* kLiveKey = "sk_live_e2e_0001";

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
    own_email_ = OwnEmail::may_be_twice;
    std::printf("SLUICE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    RecordProperty("seed", std::to_string(seed_));
  }

  int below(std::size_t bound) {
    return static_cast<int>(std::uniform_int_distribution<std::size_t>(0, bound - 1)(dice_));
  }

  /// A seeded account whose events come late and out of order.
  void start_vendor() {
    start_fake(kCustomers, {"--key", kLiveKey});
    fake_->control("POST", "keys", json{{"remove", kKey}});
    fake_->control("POST", "generate",
                   json{{"type", "charge"}, {"count", kCharges}, {"bytes", 700}});
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
    for (const auto& [type, nested] : minimum.at("nested").items())
      nested_min_ += nested.at("pages").get<std::int64_t>();
  }

  /// One request in nine goes wrong for a while, each time in another way. All of these are to be
  /// tried again.
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
    for (const std::string_view rule :
         {sluice::testing::kFeedGaps, sluice::testing::kFeedTimeGoesBack,
          sluice::testing::kFeedBrokenChains})
      EXPECT_EQ(host_->count(std::string(rule)), 0) << rule;
    // No change says what the one before it said.
    EXPECT_EQ(
        host_->count("select count(*) from (select op, changed, lag(op) over w as op_before, "
                     "lag(changed) over w as changed_before from sluice.change "
                     "window w as (partition by entity_id order by position)) c "
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

  /// What is left open is nobody's, unless it is the run of this moment.
  void expect_no_run_left_open() {
    EXPECT_TRUE(eventually(std::chrono::seconds(20), [this] {
      return host_->count(
                 "select (select count(*) from sluice.sync_run r join sluice.lease_epoch e on "
                 "e.workspace_id = r.workspace_id and e.name = 'connection/' || r.connection_id "
                 "where r.finished_at is null and r.epoch < e.epoch) + (select count(*) from "
                 "sluice.stream where mode = 'snapshot' and state <> 'idle')") == 0;
    })) << unsettled();
    // What was read to its end is not read again, unless somebody asks.
    EXPECT_EQ(host_->count("select count(*) from (select stream from sluice.sync_run where kind = "
                           "'full' and outcome = 'done' group by connection_id, stream having "
                           "count(*) > 1) twice"),
              0);
    // Who works side by side under one lease does not call the other lost.
    EXPECT_EQ(host_->count("select count(*) from sluice.sync_run r join sluice.sync_run later on "
                           "later.connection_id = r.connection_id and later.run_id > r.run_id "
                           "where r.outcome = 'lost' and later.epoch = r.epoch and "
                           "later.started_at > r.finished_at"),
              0);
  }

  /// Counts every request that the vendor answered well, by what it was for:
  ///   lists    The minimum is that of the fake: for each list the objects there were at the start,
  ///            in pages of a hundred. Where a poll stream reads the same list, too, what counts is
  ///            the requests that had been answered before, letter by letter.
  ///   objects  One read for each event there was: notices of one object meet in one row, so most
  ///            cost less. A subscription of many items costs another page.
  ///   events   A look at each interval of a second and one after each kill; a look reads at most
  ///            the pages that all events fill.
  /// Each may be exceeded by 5 % and by what was in flight when it was killed: of each of the four
  /// streams that are read at once the page that is written, the one that is held behind it, and
  /// the one asked for meanwhile (sync/run.hpp); of the objects one session's, whose answers are
  /// stored with its last; of the events one look.
  /// Answers that were spoiled on purpose are not counted: they cost what the faults are, not we.
  void expect_no_request_wasted(int kills) {
    constexpr int kStreamsAtOnce = 4;
    constexpr int kPagesInFlight = 3;
    constexpr int kObjectsASession = 50;
    const json stats = fake_->control("GET", "stats");
    const json& paths = stats.at("paths");
    std::int64_t needed = 0;
    std::int64_t read = 0;
    for (const auto& [path, pages] : pages_min_) {
      if (!paths.contains(path)) continue;
      needed += pages;
      const auto repeats = paths.at(path).at("repeats").get<std::int64_t>();
      const auto ok = paths.at(path).at("ok").get<std::int64_t>();
      read += polled_.contains(path) ? pages + repeats : ok;
    }
    std::int64_t objects = 0;
    std::int64_t others = 0;
    for (const auto& [path, counted] : paths.items()) {
      const auto ok = counted.at("ok").get<std::int64_t>();
      if (path.find("{id}") != std::string::npos) {
        objects += ok;
      } else if (!pages_min_.contains(path) && path != "/v1/events") {
        others += ok;
      }
    }
    const std::int64_t looks =
        paths.contains("/v1/events") ? paths.at("/v1/events").at("ok").get<std::int64_t>() : 0;
    const std::int64_t events = fake_->counts().at("event").get<std::int64_t>();
    const std::int64_t seconds =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - began_)
            .count() +
        1;
    const std::int64_t event_pages = events / 100 + 1;
    const std::int64_t lists_most =
        needed + needed * 5 / 100 + kills * kStreamsAtOnce * kPagesInFlight;
    const std::int64_t objects_most = (events + nested_min_) * 105 / 100 + kills * kObjectsASession;
    const std::int64_t looks_most = (seconds + kills) * event_pages;
    std::printf(
        "%d kills in %lld s: lists %lld of %lld (at most %lld), objects %lld of %lld, "
        "events %lld of %lld, others %lld\n",
        kills, static_cast<long long>(seconds), static_cast<long long>(read),
        static_cast<long long>(needed), static_cast<long long>(lists_most),
        static_cast<long long>(objects), static_cast<long long>(objects_most),
        static_cast<long long>(looks), static_cast<long long>(looks_most),
        static_cast<long long>(others));
    RecordProperty("pages_read", std::to_string(read));
    EXPECT_GT(needed, 140);
    EXPECT_LE(read, lists_most) << stats.at("paths");
    EXPECT_LE(objects, objects_most);
    EXPECT_LE(looks, looks_most);
    // Asking who the account is: when the connection is made, and with its own stream.
    EXPECT_LE(others, 30 + kills);
  }

  /// A full sync from a vendor that misbehaves, over which `kill` comes so many times; the host
  /// runs. It ends with the truth, and nothing was done in vain.
  void killed_at_random_moments(int kills, const std::function<void()>& kill) {
    connect(kLiveKey);
    import_own(kOwn);
    turn_faults_on();
    for (const std::int64_t moment : moments(kills)) {
      ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return progress() >= moment; }))
          << "no progress to " << moment << ": " << host_->log();
      change_something();
      let_pass(std::chrono::milliseconds(below(120)));
      kill();
      if (HasFatalFailure()) return;
    }
    expect_settled();
    expect_tables_equal_truth();
    expect_nothing_twice();
    expect_no_run_left_open();
    expect_no_request_wasted(kills);
  }

  std::uint64_t seed_;
  std::mt19937_64 dice_;
  std::map<std::string, std::vector<std::string>> live_;
  std::int64_t records_ = 0;
  std::map<std::string, std::int64_t> pages_min_;  ///< by path
  std::int64_t nested_min_ = 0;                    ///< pages of lists inside of objects
  /// What poll streams read besides, each when it is due.
  const std::set<std::string> polled_ = {"/v1/balance_transactions", "/v1/checkout/sessions",
                                         "/v1/payment_methods", "/v1/accounts"};
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int changes_ = 0;
};

TEST_F(Crash, a_host_killed_at_20_random_moments_of_a_full_sync_resumes_and_ends_with_the_truth) {
  constexpr int kKills = 20;
  start_vendor();
  host_->settings = {"sync.lease_ttl_ms=1000"};
  host_->start();
  killed_at_random_moments(kKills, [this] {
    host_->kill_hard();
    host_->start();
  });
}

TEST_F(Crash, a_host_killed_right_behind_a_commit_leaves_nothing_half_said) {
  start_fake(20);
  host_->settings = {"sync.lease_ttl_ms=1000"};
  bool connected = false;
  // The pages of so small an account are nearly all the last of their streams.
  constexpr int kStreamsRead = 8, kRoundsMax = 8;
  std::int64_t read = 0;
  for (int round = 0; round < 4 || (read < kStreamsRead && round < kRoundsMax); ++round) {
    host_->start("ingest.after_commit=kill@6");
    if (!connected) connect();
    connected = true;
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return !host_->process().running(); }));
    EXPECT_EQ(
        host_->count(
            "select count(*) from sluice.stream s where mode = 'snapshot' and "
            "snapshot_done and (state <> 'idle' or last_success_at is null or "
            "next_run_at < now() + interval '1 day' or exists (select 1 from sluice.sync_run r "
            "where r.connection_id = s.connection_id and r.stream = s.stream and "
            "r.finished_at is null))"),
        0);
    read = host_->count(
        "select count(*) from sluice.stream where mode = 'snapshot' and "
        "snapshot_done");
  }
  EXPECT_GE(read, kStreamsRead);
  host_->start();
  ASSERT_TRUE(settled(std::chrono::seconds(60))) << unsettled();
  expect_tables_equal_truth();
  expect_no_run_left_open();
}

TEST_F(Crash, who_asks_for_everything_while_it_is_read_gets_everything_from_the_start) {
  start_fake(600);
  fake_->control("POST", "latency", json{{"ms", 300}});
  host_->start();
  connect();
  const std::string customers = "from sluice.stream where stream = 'customers'";
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count("select count(*) " + customers + " and checkpoint is not null") == 1;
  }));
  ASSERT_EQ(host_->sql("select snapshot_done " + customers), "f");
  read_again({"customers"});
  ASSERT_TRUE(settled(std::chrono::seconds(60))) << unsettled();
  EXPECT_EQ(host_->sql("select string_agg(outcome, ' ' order by run_id) from sluice.sync_run where "
                       "stream = 'customers'"),
            "cancelled done");
  EXPECT_EQ(host_->count("select enumeration " + customers), 2);
  EXPECT_EQ(host_->count("select last_full_records " + customers),
            static_cast<std::int64_t>(fake_->truth("customer").size()));
  expect_tables_equal_truth();
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
  const int host_pid = host_->process().pid();
  killed_at_random_moments(kKills, [this] {
    kill_database();
    start_database();
  });
  EXPECT_TRUE(host_->process().running());
  EXPECT_EQ(host_->process().pid(), host_pid);
}

TEST_F(DatabaseCrash, while_the_database_is_away_the_host_says_so_seldom_and_once_when_it_is_back) {
  start_fake(5);
  start_database();
  host_->start();
  connect();
  ASSERT_TRUE(settled(std::chrono::seconds(60))) << unsettled();
  const auto lines = [this](const std::string& event) {
    const std::string log = host_->log();
    int count = 0;
    for (auto at = log.find(event); at != std::string::npos; at = log.find(event, at + 1)) ++count;
    return count;
  };
  kill_database();
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return lines("\"engine.look_failed\"") >= 3;  // at once, after one second and after three
  }));
  const auto third = std::chrono::steady_clock::now();
  let_pass(std::chrono::seconds(2));
  EXPECT_LE(lines("\"engine.look_failed\""), 4);
  EXPECT_EQ(lines("\"engine.looks_again\""), 0);
  start_database();
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return lines("\"engine.looks_again\"") == 1;
  })) << host_->log();
  const auto away = std::chrono::steady_clock::now() - third;
  // The pauses double: within the time of this test there is room for two more lines at most.
  EXPECT_LE(lines("\"engine.look_failed\""), away > std::chrono::seconds(12) ? 6 : 5);
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count(
               "select count(*) from sluice.sync_run where stream = 'events' and "
               "started_at > now() - interval '2 seconds'") > 0;
  })) << "it does not go on";
}

/// The database that the host starts for itself, and looks after.
class OwnDatabaseCrash : public Crash {
 protected:
  void kill_postmaster() {
    std::istringstream pid_file(read_file(directory_ / "data/postgres/postmaster.pid"));
    int pid = 0;
    pid_file >> pid;
    ASSERT_GT(pid, 1);
    ::kill(pid, SIGKILL);
    ++kills_;
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [this] {
      const std::string log = host_->log();
      int revived = 0;
      for (auto at = log.find("\"pg.cluster.revived\""); at != std::string::npos;
           at = log.find("\"pg.cluster.revived\"", at + 1))
        ++revived;
      return revived == kills_;
    })) << host_->log();
  }
  int kills_ = 0;
};

TEST_F(OwnDatabaseCrash, a_killed_postmaster_is_started_again_by_its_host_and_the_sync_finishes) {
  constexpr int kKills = 3;
  start_vendor();
  host_->start();
  const int host_pid = host_->process().pid();
  killed_at_random_moments(kKills, [this] { kill_postmaster(); });
  EXPECT_TRUE(host_->process().running());
  EXPECT_EQ(host_->process().pid(), host_pid);
}

}  // namespace
}  // namespace sluice::e2e
