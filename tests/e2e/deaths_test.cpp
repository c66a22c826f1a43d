// A connector that ends its host, in each of its operations, in each way: it is named, and held
// after the second time; the rest of the host goes on. The connector is tests/plugins/zoo/dies.c.
#include <signal.h>

#include <curl/curl.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <span>
#include <sstream>
#include <thread>

#include "e2e/neighbour.hpp"
#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::seconds;

struct Case {
  const char* where;
  const char* how;
  const char* named;  ///< as the log and the sentence say it
  int status;  ///< of the process; under a sanitizer a report comes first, and its own status
};

constexpr Case kWays[] = {
    {"read", "segv", "SIGSEGV", 128 + SIGSEGV},
    {"read", "bus", "SIGBUS", 128 + SIGBUS},
    {"read", "ill", "SIGILL", 128 + SIGILL},
    {"read", "fpe", "SIGFPE", 128 + SIGFPE},
    {"read", "trap", "SIGTRAP", 128 + SIGTRAP},
    {"read", "sys", "SIGSYS", 128 + SIGSYS},
    {"read", "abort", "SIGABRT", 128 + SIGABRT},
    {"read", "exit", "exit(3)", 3},
    {"read", "exit_well", "exit(0)", 0},
    {"read", "quick_exit", "quick_exit", 3},
    {"read", "overflow", "SIGSEGV", 128 + SIGSEGV},
};
constexpr const char* kPlaces[] = {"read", "fetch", "check", "open", "close"};

/// Each place and each way once; SLUICE_TEST_LONG: each way in each place.
std::vector<Case> cases() {
  std::vector<Case> all;
  const bool is_long = std::getenv("SLUICE_TEST_LONG") != nullptr;
  if (!is_long) {
    all = {{"read", "overflow", "SIGSEGV", 128 + SIGSEGV},
           {"fetch", "abort", "SIGABRT", 128 + SIGABRT},
           {"check", "exit", "exit(3)", 3},
           {"open", "fpe", "SIGFPE", 128 + SIGFPE},
           {"close", "trap", "SIGTRAP", 128 + SIGTRAP}};
    return all;
  }
  for (const char* where : kPlaces) {
    for (Case one : kWays) {
      one.where = where;
      all.push_back(one);
    }
  }
  return all;
}

bool answers_within(const std::string& url, std::chrono::milliseconds most) {
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(most.count()));
  curl_write_callback ignore = [](char*, std::size_t size, std::size_t count, void*) {
    return size * count;
  };
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
  const bool answered = curl_easy_perform(curl) == CURLE_OK;
  curl_easy_cleanup(curl);
  return answered;
}

double cpu_seconds(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::vector<std::string> all{std::istream_iterator<std::string>(fields), {}};
  const double ticks = std::stod(all.at(11)) + std::stod(all.at(12));  // utime, stime
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

class Deaths : public World {
 protected:
  Deaths() {
    const fs::path cage = directory_ / "cage";
    fs::create_directory(cage);
    fs::copy_file(fs::path(SLUICE_BINARY_DIR) / "zoo/dies.so", cage / "dies.so");
    fs::last_write_time(cage / "dies.so", fs::file_time_type::clock::now() - std::chrono::hours(1));
    host_->settings = {"connectors.directories=" + json::array({cage.string()}).dump()};
  }

  /// Another connector's file, where the host looks for them.
  void put_beside(const std::string& file) {
    const fs::path from = fs::path(SLUICE_BINARY_DIR) / file;
    const fs::path to = directory_ / "cage" / from.filename();
    fs::copy_file(from, to);
    fs::last_write_time(to, fs::file_time_type::clock::now() - std::chrono::hours(1));
  }

  static Error refusal_of(const std::function<void()>& ask) {
    try {
      ask();
    } catch (const Failure& refused) {
      return refused.error();
    }
    ADD_FAILURE() << "it was done";
    return Error();
  }

  void install() { host_->client().send("POST", "/connectors/toy/install", json::object()); }

  void create(const std::string& name, const std::string& colour = "red") {
    json body;
    body["connector"] = "toy";
    body["name"] = name;
    body["config"]["colour"] = colour;
    body["config"]["shop"] = name;
    body["secrets"]["api_key"] = "some";
    body["intervals"]["widgets"] = 1;
    host_->client().send("POST", "/connections", body);
  }

  /// From the next session on.
  void paint(const std::string& name, const std::string& colour) {
    host_->sql("update sluice.connection set config = config || '{\"colour\":\"" + colour +
               "\"}' where name = '" + name + "'");
  }

  /// What an operator says of the file: let it run.
  void approve() { host_->client().global("POST", "/v1/connectors/toy/approve", json::object()); }

  std::int64_t deaths() { return host_->count("select count(*) from sluice.connector_death"); }

  std::int64_t runs_done(const std::string& name) {
    return host_->count(
        "select count(*) from sluice.sync_run r join sluice.connection c using (workspace_id, "
        "connection_id) where c.name = '" +
        name + "' and r.outcome = 'done'");
  }

  json stream(const std::string& connection, const std::string& name) {
    const json shown = host_->client().get("/connections/" + connection);
    for (const json& one : shown.at("streams")) {
      if (one.at("name") == name) return one;
    }
    return nullptr;
  }

  /// An entry of `sluice errors` that holds the words; null when there is none.
  json problem(const std::string& connection, const std::string& words) {
    const json document = host_->client().get("/errors");
    for (const json& one : document["errors"]) {
      if (one["connection"] == connection && one.dump().find(words) != std::string::npos)
        return one;
    }
    return nullptr;
  }

  /// What has the connector called there, where the host does not by itself.
  void provoke(const Case& way, const std::string& name) {
    if (std::string(way.where) == "check") {
      try {
        host_->client().send("POST", "/connections/" + name + "/check", json::object());
        ADD_FAILURE() << "it was checked, and lives";
      } catch (const Failure&) {
        // Nobody is left to answer.
      }
    }
    if (std::string(way.where) == "fetch") {
      host_->sql(
          "insert into sluice.refetch (workspace_id, connection_id, type, external_id) select "
          "workspace_id, connection_id, 'widget', 'w1' from sluice.connection where name = '" +
          name + "' on conflict do nothing");
    }
  }

  void expect_status(const Case& way, int status) {
#ifdef __SANITIZE_ADDRESS__
    const bool reports = way.status > 128;
    if (reports && status == 1) return;
#endif
    EXPECT_EQ(status, way.status) << way.where << " " << way.how;
  }

  void die_twice(const Case& way, const std::string& name) {
    paint(name, std::string(way.where) + " " + way.how);
    for (int time = 1; time <= 2; ++time) {
      provoke(way, name);
      expect_status(way, host_->process().wait());
      host_->start();
    }
  }

  bool goes_on(const std::string& name) {
    const std::int64_t before = runs_done(name);
    return eventually(seconds(30), [&] { return runs_done(name) > before + 1; });
  }
};

TEST_F(Deaths, a_connector_that_ends_its_host_twice_is_named_and_held_and_the_rest_goes_on) {
  host_->start();
  install();
  create("well");
  ASSERT_TRUE(goes_on("well")) << host_->log();
  int number = 0;
  for (const Case& way : cases()) {
    SCOPED_TRACE(std::string(way.where) + " " + way.how);
    const std::string name = "dies_" + std::to_string(number++);
    const std::string where = way.where;
    create(name);
    ASSERT_TRUE(goes_on(name)) << host_->log();
    die_twice(way, name);
    ASSERT_TRUE(goes_on("well")) << host_->log();
    EXPECT_TRUE(host_->process().running());
    EXPECT_EQ(deaths(), 2);
    const std::string sentence = std::string("ended the host 2 times while ") +
                                 (where == "check"   ? "checking the key"
                                  : where == "fetch" ? "reading objects of type widget again"
                                                     : "reading the stream widgets");
    const json entry = problem(name, sentence);
    ASSERT_FALSE(entry.is_null()) << host_->client().get("/errors");
    EXPECT_NE(entry.dump().find(way.named), std::string::npos) << entry;
    EXPECT_NE(entry.dump().find("toy 1.2.3"), std::string::npos) << entry;
    const json widgets = stream(name, "widgets");
    if (where == "fetch") {
      EXPECT_EQ(entry["code"], "refetch.held");
      EXPECT_TRUE(goes_on(name)) << "its streams have nothing to do with it";
    } else {
      EXPECT_EQ(widgets["health"], "needs_action") << widgets;
      EXPECT_NE(widgets["summary"].get<std::string>().find(sentence), std::string::npos) << widgets;
      EXPECT_EQ(stream(name, "boxes")["health"], where == "check" ? "needs_action" : "ok");
    }
    const std::string log = host_->log();
    EXPECT_NE(log.find("\"connection\":\"" + name + "\""), std::string::npos);
    EXPECT_NE(log.find("connector.ended_host"), std::string::npos);
    EXPECT_EQ(host_->sql("select count(*) || ' ' || max((detail->>'times')::int) from sluice.audit "
                         "where action = 'connector.ended_host' and subject like '" +
                         name + "%'"),
              "2 2");
    EXPECT_EQ(host_->count("select count(*) from sluice.sync_run r join sluice.connection c using "
                           "(workspace_id, connection_id) where c.name = '" +
                           name + "' and r.error->>'vendor_code' = 'connector.ended_host'"),
              where == "check" || where == "close" ? 0 : 2)
        << "a CHECK has no run; a close comes after the run is done";
    approve();  // or the file itself is held before long
    EXPECT_EQ(deaths(), 0);
  }
  EXPECT_EQ(host_->stop(), 0);
}

TEST_F(Deaths, an_admin_takes_up_again_what_is_held_and_so_does_a_version_that_is_installed) {
  host_->start();
  install();
  create("shop");
  ASSERT_TRUE(goes_on("shop")) << host_->log();
  const Case read{"read", "segv", "SIGSEGV", 128 + SIGSEGV};
  die_twice(read, "shop");
  ASSERT_EQ(stream("shop", "widgets")["health"], "needs_action");
  const Said asked =
      run_sluice(directory_, host_->url(), host_->token(), {"sync", "shop", "--stream", "widgets"});
  EXPECT_NE(asked.code, 0) << "it is not run by the way";

  paint("shop", "red");
  const Said resumed = run_sluice(directory_, host_->url(), host_->token(),
                                  {"connection", "resume", "shop", "widgets"});
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_TRUE(goes_on("shop")) << host_->log();
  EXPECT_EQ(deaths(), 0) << "the count begins anew";
  approve();

  const Case fetch{"fetch", "exit", "exit(3)", 3};
  die_twice(fetch, "shop");
  EXPECT_EQ(host_->count("select count(*) from sluice.refetch_pause where error_class = 'HELD'"),
            1);
  host_->client().send("POST", "/connections/shop/check", json::object());
  EXPECT_EQ(host_->count("select count(*) from sluice.refetch_pause where error_class = 'HELD'"), 1)
      << "a key that is accepted mends nothing";
  paint("shop", "red");
  host_->client().send("POST", "/connections/shop/enable", json::object());
  EXPECT_TRUE(eventually(seconds(30), [&] {
    return host_->count("select count(*) from sluice.refetch") == 0;
  })) << host_->log();
  approve();

  const Case check{"check", "abort", "SIGABRT", 128 + SIGABRT};
  die_twice(check, "shop");
  const auto asked_for_check = [this] {
    host_->client().send("POST", "/connections/shop/check", json::object());
  };
  EXPECT_EQ(refusal_of(asked_for_check).code, "connection.held");
  install();
  EXPECT_EQ(refusal_of(asked_for_check).code, "connection.held")
      << "the same content again mends nothing";
  paint("shop", "red");
  host_->client().send("POST", "/connections/shop/enable", json::object());
  EXPECT_TRUE(goes_on("shop")) << host_->log();
  EXPECT_EQ(deaths(), 0);
  EXPECT_EQ(host_->client().get("/errors")["ok"], true) << host_->client().get("/errors");
}

TEST_F(Deaths, a_connection_whose_making_ends_the_host_twice_is_not_made_a_third_time) {
  host_->start();
  install();
  for (int time = 1; time <= 2; ++time) {
    EXPECT_THROW(create("new_" + std::to_string(time), "check segv"), Failure);
    host_->process().wait();
    host_->start();
  }
  try {
    create("new_3", "check segv");
    ADD_FAILURE() << "it was made";
  } catch (const Failure& refused) {
    EXPECT_EQ(refused.error().code, "connection.held") << refused.what();
    EXPECT_NE(std::string(refused.what()).find("ended the host 2 times"), std::string::npos);
  }
  install();
  EXPECT_EQ(refusal_of([this] { create("new_3"); }).code, "connection.held")
      << "the same content again mends nothing";
  approve();
  create("new_3");
  EXPECT_TRUE(goes_on("new_3")) << host_->log();
}

TEST_F(Deaths, a_file_whose_loading_ends_the_host_is_not_loaded_a_third_time) {
  host_->start();
  install();
  create("shop");
  ASSERT_TRUE(goes_on("shop")) << host_->log();
  EXPECT_EQ(host_->stop(), 0);
  host_->environment["TOY_LOADS"] = "ill";
  for (int time = 1; time <= 2; ++time) {
    host_->start();
    host_->process().wait();
  }
  host_->start();
  EXPECT_TRUE(eventually(seconds(30), [&] {
    return !problem("shop", "toy 1.2.3 ended hosts 2 times (SIGILL in load()").is_null();
  })) << host_->client().get("/errors");
  EXPECT_EQ(refusal_of([this] { install(); }).code, "connector.held");
  EXPECT_TRUE(host_->process().running());
  EXPECT_EQ(host_->stop(), 0);
  host_->environment.erase("TOY_LOADS");
  host_->start();
  EXPECT_EQ(refusal_of([this] { install(); }).code, "connector.held");
  approve();
  EXPECT_TRUE(goes_on("shop")) << host_->log();
}

/// Whoever it works for, and whatever was said about one thing: a file ends a host so often.
TEST_F(Deaths, a_file_that_ends_hosts_again_and_again_is_held_for_everybody_until_it_is_approved) {
  host_->start();
  install();
  const auto in_globex = [this](const std::string& method, const std::string& path,
                                const json& body = json::object(), const std::string& token = "") {
    return host_->client(token).global(method, "/v1/workspaces/globex" + path, body);
  };
  host_->client().global("POST", "/v1/workspaces", json{{"name", "globex"}});
  in_globex("POST", "/connectors/toy/install");
  json other;
  other["connector"] = "toy";
  other["name"] = "theirs";
  other["config"]["colour"] = "red";
  other["config"]["shop"] = "theirs";
  other["secrets"]["api_key"] = "some";
  other["intervals"]["widgets"] = 1;
  in_globex("POST", "/connections", other);
  create("one");
  create("two");
  ASSERT_TRUE(goes_on("one") && goes_on("two") && goes_on("theirs")) << host_->log();
  const std::string admin =
      host_->client().send("POST", "/tokens", json{{"name", "a"}, {"role", "admin"}}).at("token");
  const Case read{"read", "segv", "SIGSEGV", 128 + SIGSEGV};
  die_twice(read, "one");
  paint("one", "red");
  // An admin has it tried again, and installs the same again; it is as before, and once more.
  host_->client().send("POST", "/connectors/toy/install", json::object());
  host_->client().send("PATCH", "/connections/one/streams/widgets", json{{"enabled", true}});
  ASSERT_TRUE(goes_on("one")) << host_->log();
  paint("one", "read segv");
  host_->process().wait();
  paint("one", "red");
  host_->start();
  EXPECT_TRUE(goes_on("theirs")) << "three of them";
  EXPECT_EQ(host_->count("select count(*) from sluice.connector_hold"), 0);
  EXPECT_EQ(host_->client().global("GET", "/readyz")["held"], json::array());
  paint("two", "read abort");
  host_->process().wait();
  host_->start();  // all the same

  const std::string sentence = "toy 1.2.3 ended hosts 4 times (SIGSEGV in step() while reading";
  EXPECT_NE(host_->log().find("connector.file_held"), std::string::npos) << host_->log();
  const json ready = host_->client().global("GET", "/readyz");
  EXPECT_EQ(ready["status"], "ready");
  EXPECT_EQ(ready["held"].size(), 1U) << ready;
  EXPECT_NE(ready.dump().find(sentence), std::string::npos) << ready;
  for (const char* path : {"/errors", "/connections"}) {
    EXPECT_NE(in_globex("GET", path).dump().find(sentence), std::string::npos)
        << path << in_globex("GET", path);
  }
  const json theirs = in_globex("GET", "/connections/theirs");
  for (const json& stream : theirs["streams"]) EXPECT_EQ(stream["health"], "needs_action");
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where action = 'connector.held'"), 1);
  for (const std::string& token : {admin, host_->token()}) {
    const auto again = [&] {
      host_->client(token).send("POST", "/connectors/toy/install", json::object());
    };
    EXPECT_EQ(refusal_of(again).code, "connector.held") << "an install is no operator's word";
  }
  const auto resume = [this] {
    host_->client().send("PATCH", "/connections/two/streams/widgets", json{{"enabled", true}});
  };
  EXPECT_EQ(refusal_of(resume).code, "connector.held") << "nor is that";
  const std::int64_t before = runs_done("theirs");
  EXPECT_FALSE(eventually(seconds(5), [&] {
    return !host_->process().running() || runs_done("theirs") > before;
  })) << "nothing of it is begun";

  paint("two", "red");
  approve();
  EXPECT_TRUE(goes_on("theirs") && goes_on("two")) << host_->log();
  EXPECT_EQ(host_->client().global("GET", "/readyz")["held"], json::array());
  EXPECT_EQ(host_->sql("select detail->>'lifted' from sluice.audit where action = "
                       "'connector.approve' order by audit_id desc limit 1"),
            "true");
  EXPECT_EQ(host_->count("select count(*) from sluice.connector_file_death"), 0);
}

TEST_F(Deaths, what_did_not_come_from_the_connector_or_left_no_mark_is_counted_for_nobody) {
  host_->start();
  install();
  create("shop", "read hang");
  const auto reads = [&] {
    return eventually(seconds(30), [&] {
      return host_->count(
                 "select count(*) from sluice.sync_run where stream = 'widgets' and "
                 "finished_at is null") == 1;
    });
  };
  // Killed; and by another process's abort, which systemd's watchdog sends.
  for (const int number : {SIGKILL, SIGABRT, SIGKILL}) {
    ASSERT_TRUE(reads()) << host_->log();
    host_->process().signal(number);
    host_->process().wait();
    host_->sql(
        "update sluice.sync_run set finished_at = now(), outcome = 'lost' where finished_at is "
        "null");
    host_->start();
  }
  EXPECT_EQ(deaths(), 0) << host_->log();
  EXPECT_NE(host_->log().find("connector.call_unfinished"), std::string::npos) << host_->log();
  paint("shop", "read without_a_word");
  host_->kill_hard();
  for (int time = 1; time <= 2; ++time) {
    host_->start();
    EXPECT_EQ(host_->process().wait(), 4);
  }
  paint("shop", "red");
  host_->start();
  EXPECT_TRUE(goes_on("shop")) << host_->log();
  EXPECT_EQ(deaths(), 0);
}

TEST_F(Deaths, who_takes_over_counts_nothing_and_each_host_what_it_died_of_itself) {
  host_->start();
  install();
  create("shop");
  ASSERT_TRUE(goes_on("shop")) << host_->log();
  fs::create_directory(directory_ / "b");
  Host other(directory_ / "b");
  other.database = "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice";
  other.settings = host_->settings;
  other.settings.push_back("vault.root_key_file=" + (directory_ / "data/root.key").string());
  other.environment = host_->environment;
  other.first_of_its_database = false;
  other.start();
  paint("shop", "read segv");
  host_->process().wait();
  other.process().wait();
  paint("shop", "red");
  EXPECT_EQ(deaths(), 0) << "neither has been started again";
  other.start();
  EXPECT_EQ(deaths(), 1);
  host_->start();
  EXPECT_EQ(deaths(), 2);
  EXPECT_EQ(stream("shop", "widgets")["health"], "needs_action");
  EXPECT_EQ(other.stop(), 0);
  EXPECT_EQ(host_->stop(), 0);
}

/// SIGTERM; how long until it ended.
std::chrono::milliseconds end_of(Process& process, int& code) {
  const auto told = std::chrono::steady_clock::now();
  process.signal(SIGTERM);
  code = process.wait();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               told);
}

/// Ten seconds, and what a loaded machine takes to notice.
constexpr seconds kStopMax{13};
constexpr int kForced = 79;

TEST_F(Deaths, a_connector_that_does_not_come_back_is_named_and_held_and_the_rest_goes_on) {
  host_->settings.emplace_back("sync.step_seconds_max=5");
  host_->start();
  install();
  create("well");
  struct Stuck {
    const char* name;
    const char* colour;
  };
  constexpr Stuck kStuck[] = {{"hangs", "read hang"},
                              {"babbles", "babble on"},
                              {"opens", "open hang"},
                              {"closes", "close hang"}};
  const auto are_held = [this](std::span<const Stuck> all) {
    for (const Stuck& one : all) create(one.name, one.colour);
    for (const Stuck& one : all) {
      SCOPED_TRACE(one.colour);
      ASSERT_TRUE(eventually(seconds(60), [&] {
        return stream(one.name, "widgets")["health"] == "needs_action";
      })) << stream(one.name, "widgets");
      const json widgets = stream(one.name, "widgets");
      EXPECT_EQ(widgets["error_class"], "HELD");
      EXPECT_NE(
          widgets["summary"].get<std::string>().find("has not come back from one step for 5 s"),
          std::string::npos)
          << widgets;
      EXPECT_FALSE(problem(one.name, "connection resume").is_null())
          << host_->client().get("/errors");
      EXPECT_FALSE(problem(one.name, "work.hangs").is_null())
          << "its thread is gone until a restart";
    }
  };
  // Of a connector no more than that many on one host, or the bound of its threads is met.
  const std::span<const Stuck> stuck(kStuck);
  are_held(stuck.first(2));
  create("fetches", "fetch hang");
  const Case fetch{"fetch", "hang", "", 0};
  provoke(fetch, "fetches");
  EXPECT_TRUE(eventually(seconds(60), [&] {
    return !problem("fetches", "refetch.held").is_null();
  })) << host_->client().get("/errors");
  EXPECT_TRUE(goes_on("well")) << host_->log();
  EXPECT_TRUE(goes_on("fetches")) << "its streams have nothing to do with it";
  int code = 0;
  EXPECT_LT(end_of(host_->process(), code), kStopMax);
  EXPECT_EQ(code, kForced);
  host_->start();

  are_held(stuck.last(2));
  try {
    create("checks", "check hang");
    ADD_FAILURE() << "it was made";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "connector.step_given_up") << failure.what();
  }
  EXPECT_TRUE(goes_on("well")) << host_->log();
  EXPECT_LT(end_of(host_->process(), code), kStopMax);
  EXPECT_EQ(code, kForced);
  const std::string log = host_->log();
  for (const char* part : {"host.stop_forced", "toy 1.2.3 in step() of hangs/widgets",
                           "toy 1.2.3 in close() of closes/widgets", "connector.step_given_up"})
    EXPECT_NE(log.find(part), std::string::npos) << part;

  // What is held stays held at the next host, and nothing was counted.
  host_->start();
  EXPECT_TRUE(goes_on("well")) << host_->log();
  for (const Stuck& one : kStuck)
    EXPECT_EQ(stream(one.name, "widgets")["health"], "needs_action") << one.name;
  EXPECT_EQ(deaths(), 0);
  EXPECT_EQ(host_->stop(), 0) << host_->log();
}

TEST_F(Deaths,
       a_tenant_whose_checks_do_not_come_back_costs_itself_some_threads_and_others_nothing) {
  put_beside("versions/harbour_100.so");
  host_->settings.emplace_back("sync.step_seconds_max=5");
  host_->start();
  const auto ask = [this](std::string method, const std::string& path, const json& body) {
    Ask what;
    what.method = std::move(method);
    what.path = path;
    what.token = host_->token();
    if (!body.is_null()) what.body = body.dump();
    return what;
  };
  const auto of_globex = [&](const std::string& method, const std::string& path, const json& body) {
    return perform(host_->url(), ask(method, "/v1/workspaces/globex" + path, body));
  };
  const auto create_hanging = [&](const std::string& name) {
    const json config = {{"colour", "check hang"}, {"shop", name}};
    const json body = {{"connector", "toy"},
                       {"name", name},
                       {"config", config},
                       {"secrets", json{{"api_key", "some"}}}};
    return perform(host_->url(), ask("POST", "/v1/workspaces/acme/connections", body));
  };
  install();
  host_->client().global("POST", "/v1/workspaces", json{{"name", "globex"}});
  ASSERT_EQ(of_globex("POST", "/connectors/toy/install", json::object()).status, 201);
  const json good = {{"connector", "toy"},
                     {"name", "well"},
                     {"config", json{{"colour", "red"}, {"shop", "well"}}},
                     {"secrets", json{{"api_key", "some"}}}};
  ASSERT_LT(of_globex("POST", "/connections", good).status, 300);

  // An admin's check holds the connection as one of the engine's does.
  json rare = good;
  rare["name"] = rare["config"]["shop"] = "shop";
  rare["intervals"] = {{"widgets", 3600}, {"boxes", 3600}};  // the engine does not check it, too
  host_->client().send("POST", "/connections", rare);
  ASSERT_TRUE(eventually(seconds(30), [&] {
    return host_->count(
               "select count(*) from sluice.stream join sluice.connection c using "
               "(workspace_id, connection_id) where c.name = 'shop' and next_run_at > "
               "now() + interval '5 minutes' and stream.state = 'idle'") == 2;
  })) << stream("shop", "widgets");
  paint("shop", "check hang");
  const Reply checked = perform(
      host_->url(), ask("POST", "/v1/workspaces/acme/connections/shop/check", json::object()));
  EXPECT_EQ(checked.code(), "connector.step_given_up") << checked.text;
  EXPECT_EQ(stream("shop", "widgets")["error_class"], "HELD") << stream("shop", "widgets");
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where action = 'connection.held'"), 1);

  // So does one of a configuration that an admin gives it, though the old one stays.
  rare["name"] = rare["config"]["shop"] = "other";
  host_->client().send("POST", "/connections", rare);
  const Reply changed =
      perform(host_->url(), ask("PATCH", "/v1/workspaces/acme/connections/other",
                                json{{"config", json{{"colour", "check hang"}}}}));
  EXPECT_EQ(changed.code(), "connector.step_given_up") << changed.text;
  EXPECT_EQ(stream("other", "widgets")["error_class"], "HELD") << stream("other", "widgets");

  constexpr int kChecks = 20;
  std::vector<Reply> replies(kChecks);
  std::vector<std::thread> admins;
  for (int i = 0; i < kChecks; ++i) {
    admins.emplace_back([&, i] {
      replies[static_cast<std::size_t>(i)] = create_hanging("gone" + std::to_string(i));
    });
  }
  Neighbour neighbour([&] {
    return perform_timed(
        host_->url(), ask("POST", "/v1/workspaces/globex/connections/well/check", json::object()));
  });
  for (std::thread& admin : admins) admin.join();
  EXPECT_LT(neighbour.stop(), 4) << "less than a step may take before its thread is replaced";
  EXPECT_EQ(neighbour.refused(), 0);
  std::map<std::string, int> codes;
  for (const Reply& reply : replies) ++codes[reply.code()];
  EXPECT_EQ(codes["connector.step_given_up"], 2) << json(codes);
  EXPECT_EQ(codes["connector.threads_lost"], kChecks - 2) << json(codes);

  const Reply next = create_hanging("next");
  EXPECT_EQ(next.code(), "connector.threads_lost") << next.text;
  EXPECT_EQ(next.status, 503);
  EXPECT_NE(next.text.find("toy"), std::string::npos) << next.text;
  EXPECT_NE(host_->client().get("/errors").dump().find("connector.threads_lost"),
            std::string::npos);
  EXPECT_EQ(of_globex("GET", "/errors", nullptr).text.find("threads_lost"), std::string::npos);
  const Reply ready = perform(host_->url(), ask("GET", "/readyz", nullptr));
  EXPECT_EQ(ready.status, 200) << "others can work";
  EXPECT_EQ(ready.document()["degraded"].size(), 1U) << ready.text;
  const Reply metrics = perform(host_->url(), ask("GET", "/metrics", nullptr));
  for (const char* line : {"sluice_step_threads_lost 4", "sluice_step_workspaces_at_bound 1",
                           "sluice_step_threads_full 0"})
    EXPECT_NE(metrics.text.find(line), std::string::npos) << line;
  EXPECT_NE(host_->log().find("connector.threads_lost"), std::string::npos);
  EXPECT_EQ(of_globex("POST", "/connections/well/check", json::object()).status, 200);
  // A load that was refused a thread was never begun, and is in nobody's way.
  const fs::path other = directory_ / "cage" / "other.so";
  fs::copy_file(directory_ / "cage" / "dies.so", other);
  std::ofstream(other, std::ios::app | std::ios::binary) << '\0';
  fs::last_write_time(other, fs::file_time_type::clock::now() - std::chrono::hours(1));
  const json seen = host_->client().global("POST", "/v1/connectors/rescan", json::object());
  json content;
  for (const json& one : seen["files"])
    if (one["file"] == other.string()) content["sha256"] = one["sha256"];
  const Reply refused =
      perform(host_->url(), ask("POST", "/v1/workspaces/acme/connectors/toy/install", content));
  EXPECT_EQ(refused.code(), "connector.threads_lost") << refused.text << seen;
  // Another connector of the workspace is not in that line.
  const Reply load = perform(
      host_->url(), ask("POST", "/v1/workspaces/acme/connectors/harbour/install", json::object()));
  EXPECT_EQ(load.status, 201) << load.text;
  EXPECT_EQ(of_globex("POST", "/connectors/harbour/install", json::object()).status, 201);
  int code = 0;
  EXPECT_LT(end_of(host_->process(), code), kStopMax);
  EXPECT_EQ(code, kForced);
}

TEST_F(Deaths, a_file_that_does_not_come_back_from_its_loading_is_held_and_the_loop_goes_on) {
  put_beside("connectors/stripe.so");
  put_beside("versions/harbour_100.so");
  host_->environment["TOY_LOADS"] = "hang";
  host_->settings.emplace_back("sync.step_seconds_max=25");
  start_fake(3);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const auto runs = [this] {
    return host_->count("select count(*) from sluice.sync_run where outcome = 'done'");
  };
  auto admin =
      std::async(std::launch::async, [this] { return refusal_of([this] { install(); }).code; });
  const bool hangs = eventually(seconds(60), [&] {
    EXPECT_TRUE(answers_within(host_->url() + "/healthz", std::chrono::milliseconds(2000)));
    return !problem("", "loading toy 1.2.3").is_null();
  });
  EXPECT_TRUE(hangs) << host_->client().get("/errors");
  // What is loaded already waits for nobody, and those who wait do nothing else.
  std::vector<std::future<std::string>> waiting;
  for (int n = 0; n < 2; ++n) {
    waiting.push_back(std::async(std::launch::async, [this] {
      return refusal_of([this] {
               host_->client().send("POST", "/connectors/harbour/install", json::object());
             })
          .code;
    }));
  }
  const std::int64_t meanwhile = runs();
  const double used = cpu_seconds(host_->process().pid());
  EXPECT_TRUE(eventually(seconds(12), [&] { return runs() > meanwhile + 2; })) << host_->log();
  std::this_thread::sleep_for(seconds(2));
  // They woke each other, which took a core: 13 s of these 14.
  EXPECT_LT(cpu_seconds(host_->process().pid()) - used, 5);
  // Whoever wants to load another one meanwhile waits his turn, and hears then that none comes.
  const auto install_other = [this] {
    host_->client().send("POST", "/connectors/harbour/install", json::object());
  };
  const Error other = refusal_of(install_other);
  EXPECT_EQ(other.code, "connector.loading_stands") << other.describe();
  EXPECT_NE(other.message.find("toy 1.2.3 has not come back from being loaded"), std::string::npos);
  EXPECT_EQ(admin.get(), "connector.held");
  EXPECT_EQ(refusal_of(install_other).code, "connector.loading_stands") << "at once";
  for (auto& other : waiting) EXPECT_EQ(other.get(), "connector.loading_stands");
  const std::int64_t before = runs();
  EXPECT_TRUE(eventually(seconds(30), [&] { return runs() > before + 2; })) << host_->log();
  EXPECT_EQ(host_->sql("select string_agg(how || ' in ' || function || ' of ' || connector, ', ') "
                       "from sluice.connector_death"),
            "no return in load of toy");
  EXPECT_NE(host_->log().find("connector.step_given_up"), std::string::npos);
  int ended = 0;
  EXPECT_LT(end_of(host_->process(), ended), kStopMax);
  EXPECT_EQ(ended, kForced);
  EXPECT_NE(host_->log().find("toy 1.2.3 in load()"), std::string::npos) << host_->log();
  // Another try is another thread and another hour of nobody else; so there is one only.
  host_->start();
  EXPECT_EQ(refusal_of([this] { install(); }).code, "connector.held");
  EXPECT_LT(end_of(host_->process(), ended), kStopMax);
  host_->start();
  EXPECT_EQ(refusal_of([this] { install(); }).code, "connector.held");
  EXPECT_EQ(host_->sql("select code || ' ' || left(reason, 23) from sluice.connector_hold"),
            "connector.held toy 1.2.3 ended hosts 2");
  install_other();
  EXPECT_EQ(host_->stop(), 0);
}

// A cancelled run is the host's own doing and begins anew at once: whoever says so of himself would
// be run for ever, twenty times a second, and nobody told.
TEST_F(Deaths, a_run_that_says_of_itself_that_it_was_cancelled_has_failed_and_waits) {
  host_->start();
  install();
  create("well");
  ASSERT_TRUE(goes_on("well")) << host_->log();
  paint("well", "says cancelled");
  ASSERT_TRUE(eventually(seconds(30), [&] {
    return !problem("well", "the export was cancelled by its owner").is_null();
  })) << host_->client().get("/errors").dump();
  EXPECT_FALSE(problem("well", "a defect of the connector").is_null());
  const auto runs = [this] { return host_->count("select count(*) from sluice.sync_run"); };
  const std::int64_t before = runs();
  std::this_thread::sleep_for(seconds(3));
  EXPECT_LE(runs(), before + 6) << "the other stream's, and a try or two";
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where outcome = 'cancelled'"), 0);
}

TEST_F(Deaths, a_host_that_is_told_to_stop_while_a_file_is_loaded_ends_in_time) {
  host_->environment["TOY_LOADS"] = "hang";
  host_->start();
  Process& process = host_->process();
  std::thread admin([this] { EXPECT_THROW(install(), Failure); });
  ASSERT_TRUE(eventually(seconds(60), [&] {
    return read_file("/proc/" + std::to_string(process.pid()) + "/maps").find("memfd:toy-") !=
           std::string::npos;
  }));
  int code = 0;
  EXPECT_LT(end_of(process, code), kStopMax);
  admin.join();
  EXPECT_EQ(code, kForced);
  EXPECT_NE(host_->log().find("toy 1.2.3 in load()"), std::string::npos) << host_->log();
}

TEST_F(Deaths, a_line_of_a_connector_and_a_failure_say_whose_they_are) {
  host_->start();
  install();
  create("well");
  ASSERT_TRUE(goes_on("well")) << host_->log();
  const std::string log = host_->log();
  for (const char* event : {"connector.says", "sync.run.done", "sync.run.started"}) {
    const auto at = log.find(std::string("\"event\":\"") + event);
    ASSERT_NE(at, std::string::npos) << event;
    const json line =
        json::parse(log.substr(log.rfind('{', at), log.find('\n', at) - log.rfind('{', at)));
    EXPECT_EQ(line["connector"], "toy") << line;
    EXPECT_EQ(line["connection"], "well") << line;
    EXPECT_TRUE(line["stream"] == "widgets" || line["stream"] == "boxes") << line;
    EXPECT_GT(line["run"].get<std::int64_t>(), 0) << line;
  }
}

}  // namespace
}  // namespace sluice::e2e
