// What the host process may do, and who may use what is its own.
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"
#include "support/cutting_proxy.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::seconds;

class Trust : public World {
 protected:
  [[nodiscard]] fs::path data() const { return directory_ / "data"; }

  /// A line of /proc/PID/status, without its name: "65534\t65534\t65534\t65534".
  static std::string status_of(int pid, const std::string& name) {
    std::istringstream lines(read_file("/proc/" + std::to_string(pid) + "/status"));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(name + ":"))
        return line.substr(line.find_first_not_of(" \t", name.size() + 1));
    }
    return "(none)";
  }
  [[nodiscard]] int postmaster() const {
    std::istringstream file(read_file(data() / "postgres/postmaster.pid"));
    int pid = 0;
    file >> pid;
    return pid;
  }
  static struct stat facts_of(const fs::path& path) {
    struct stat facts {};
    EXPECT_EQ(::lstat(path.c_str(), &facts), 0) << path;
    return facts;
  }
  bool has_answered() {
    try {
      return host_->client().get("/connections").is_object();
    } catch (const Failure&) {
      return false;
    }
  }
};

// Whatever an operator opened for a connection: what the host and its database answer at is none.
TEST_F(Trust, a_connector_never_reaches_its_hosts_own_listeners_nor_its_database) {
  start_fake(1);
  host_->start();
  install();
  boost::asio::io_context loop;
  const testing::CuttingProxy to_database(loop, data().string() + "/run/.s.PGSQL.5432",
                                          "never said", testing::CuttingProxy::At::never);
  std::thread relay([&loop] { loop.run_for(std::chrono::seconds(300)); });
  {
    Host other(directory_ / "other");  // to which the same database is one behind TCP
    std::filesystem::create_directories(other.directory() / "data");
    std::filesystem::permissions(other.directory(), std::filesystem::perms(0711));
    std::filesystem::copy_file(data().string() + "/root.key", other.directory() / "data/root.key");
    other.first_of_its_database = false;
    other.database = to_database.conninfo() + " user=sluice dbname=sluice";
    other.settings = {"watch.port=0"};
    other.start();
    const std::string said = read_file(other.directory() / "host.1.out");
    const auto after = [&said](const std::string& text, const std::string& from) {
      const auto at = text.find(from);
      return at == std::string::npos
                 ? ""
                 : text.substr(
                       at + from.size(),
                       text.find_first_not_of("0123456789", at + from.size()) - at - from.size());
    };
    const std::string api = after(other.url(), "127.0.0.1:");
    const std::string watch = after(said, "probes: http://127.0.0.1:");
    const std::string database = after(to_database.conninfo(), "port=");
    const auto refusal = [&](const std::string& url) -> std::string {
      json body = billing();
      body["egress"]["base_urls"]["api"] = url;
      body["egress"]["allow_private"] = true;
      try {
        other.client(host_->token()).send("POST", "/connections", body);
      } catch (const Failure& failure) {
        EXPECT_EQ(failure.error().code, "fetch.policy.address") << url << failure.what();
        return failure.error().message;
      }
      return "it was asked";
    };
    const std::string first = after(host_->url(), "127.0.0.1:");
    const std::pair<std::string, std::string> own[] = {{api, "this host's REST API"},
                                                       {watch, "this host's listener for probes"},
                                                       {database, "this host's database"},
                                                       {first, "another host's REST API"}};
    for (const auto& [port, what] : own) {
      for (const std::string name : {"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"}) {
        const std::string url = "http://" + name + ":" + port + "/v1/workspaces/acme";
        EXPECT_NE(refusal(url).find("port " + port + " (" + what + ")"), std::string::npos)
            << url << ": " << refusal(url);
      }
    }
    EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
    // The first host learns of the other as it beats.
    json body = billing();
    body["egress"]["base_urls"]["api"] = "http://localhost:" + watch;
    std::string said_last;
    EXPECT_TRUE(eventually(seconds(30), [&] {
      try {
        host_->client().send("POST", "/connections", body);
      } catch (const Failure& failure) {
        said_last = failure.error().message;
      }
      return said_last.find("port " + watch + " (another host's listener for probes)") !=
             std::string::npos;
    })) << said_last;
    EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
    other.client(host_->token()).send("POST", "/connections", billing());  // loopback, another port
    EXPECT_EQ(other.stop(), 0);
  }
  loop.stop();
  relay.join();
}

/// What an operator takes back runs no more, wherever it is installed, and nobody brings it anew.
TEST_F(Trust, a_connector_whose_approval_is_taken_back_ends_and_is_installed_by_nobody) {
  start_fake(300);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const auto command = [this](std::vector<std::string> words) {
    return run_sluice(directory_, host_->url(), host_->token(), std::move(words));
  };
  const auto running = [this] {
    return host_->count("select count(*) from sluice.sync_run where finished_at is null");
  };
  const std::string rows = "select count(*) from acme.stripe_customer";
  const std::int64_t before = host_->count(rows);
  // However many others were taken back before.
  host_->sql(
      "insert into sluice.connector_hold (sha256, connector, version, code, reason) "
      "select decode(lpad(to_hex(n), 64, '0'), 'hex'), 'other', '1.0.0', 'connector.revoked', "
      "'taken back' from generate_series(1, 1000) n");
  // In the midst of reading: its session ends at a step, it is not waited for to be done.
  fake_->control("POST", "latency", json{{"ms", 1000}});
  // And by itself: no other stream fails meanwhile and takes it along.
  host_->sql("update sluice.stream set enabled = stream = 'customers'");
  host_->client().send("POST", "/connections/billing/sync",
                       json{{"full", true}, {"streams", {"customers"}}});
  const std::string of_customers = " from sluice.sync_run where stream = 'customers'";
  ASSERT_TRUE(eventually(seconds(30), [&] {
    return host_->count("select count(*)" + of_customers + " and finished_at is null") > 0;
  })) << host_->log();
  const Said revoked = command({"connector", "revoke", "stripe"});
  EXPECT_EQ(revoked.code, 0) << revoked.errors;
  EXPECT_NE(revoked.output.find("revoked stripe "), std::string::npos) << revoked.output;
  EXPECT_TRUE(eventually(seconds(15), [&] { return running() == 0; })) << host_->log();
  EXPECT_NE(host_->sql("select outcome" + of_customers + " order by run_id desc limit 1"), "done");
  fake_->control("POST", "latency", json{{"ms", 0}});
  const json customers = stream("customers");
  EXPECT_EQ(customers["health"], "needs_action") << customers;
  EXPECT_NE(customers["summary"].get<std::string>().find("took back the approval of stripe"),
            std::string::npos)
      << customers;
  EXPECT_NE(host_->client().get("/errors").dump().find("\"connector.revoked\""), std::string::npos);
  EXPECT_EQ(host_->count(rows), before) << "what it stored stays";
  const json billing = host_->client().get("/connections/billing");
  EXPECT_EQ(billing["state"], "FAILED") << "not what it was before";
  EXPECT_NE(billing["reason"].get<std::string>().find("took back the approval"), std::string::npos);
  EXPECT_EQ(host_->client().get("/errors").dump().find("work.failed"), std::string::npos)
      << "no time mends it";

  host_->client().global("POST", "/v1/workspaces", json{{"name", "globex"}});
  const std::string admin =
      host_->client().send("POST", "/tokens", json{{"name", "a"}, {"role", "admin"}}).at("token");
  const auto code_of = [&](const std::string& token, const std::string& path) {
    Ask ask;
    ask.method = "POST";
    ask.path = path;
    ask.token = token;
    return perform(host_->url(), ask).code();
  };
  EXPECT_EQ(code_of(admin, "/v1/workspaces/acme/connectors/stripe/install"), "connector.revoked");
  EXPECT_EQ(code_of(admin, "/v1/workspaces/acme/connections/billing/check"), "connector.revoked");
  for (const char* workspace : {"acme", "globex"}) {
    EXPECT_EQ(code_of(host_->token(),
                      std::string("/v1/workspaces/") + workspace + "/connectors/stripe/install"),
              "connector.revoked")
        << "an install is no word on that";
  }
  EXPECT_EQ(code_of(admin, "/v1/connectors/stripe/revoke"), "token.role") << "an operator's to say";
  EXPECT_NE(command({"connector", "revoke", "stripe"}).errors.find("connector.nothing_to_revoke"),
            std::string::npos);
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where action = 'connector.revoke'"), 1);
  EXPECT_EQ(host_->stop(), 0);
  host_->start();
  const std::string runs = "select count(*) from sluice.sync_run";
  const std::int64_t ran = host_->count(runs);
  EXPECT_FALSE(eventually(seconds(4), [&] { return host_->count(runs) > ran; })) << host_->log();

  host_->sql("update sluice.stream set enabled = true");
  EXPECT_EQ(command({"connector", "approve", "stripe"}).code, 0);
  ASSERT_TRUE(settled()) << unsettled();
  EXPECT_GT(host_->count(runs), ran);
  EXPECT_EQ(stream("customers")["health"], "ok") << stream("customers");
}

class LeavesRoot : public Trust {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root has something to leave";
    const passwd* nobody = ::getpwnam("nobody");
    ASSERT_NE(nobody, nullptr);
    uid_ = nobody->pw_uid;
  }
  /// No right of root's is left in that process, nor a way to one.
  void expect_no_privileges(int pid) const {
    const std::string uid = std::to_string(uid_);
    EXPECT_EQ(status_of(pid, "Uid"), uid + "\t" + uid + "\t" + uid + "\t" + uid);
    EXPECT_EQ(status_of(pid, "Gid").find("0\t"), std::string::npos) << status_of(pid, "Gid");
    std::istringstream groups(status_of(pid, "Groups"));
    for (std::string group; groups >> group;) EXPECT_NE(group, "0");
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"})
      EXPECT_EQ(status_of(pid, set), "0000000000000000") << set;
    EXPECT_EQ(status_of(pid, "NoNewPrivs"), "1");
  }
  /// Nothing in the data directory is still another's.
  void expect_all_is_theirs() const {
    EXPECT_EQ(facts_of(data()).st_uid, uid_);
    for (const auto& entry : fs::recursive_directory_iterator(data()))
      EXPECT_EQ(facts_of(entry.path()).st_uid, uid_) << entry.path();
  }

  /// What the host says that does not start.
  std::string refusal() {
    try {
      host_->start();
    } catch (const std::runtime_error& refused) {
      return refused.what();
    }
    ADD_FAILURE() << "it started";
    return "";
  }

  uid_t uid_ = 0;
};

TEST_F(LeavesRoot, a_host_that_root_started_is_the_user_of_its_database_and_works) {
  start_fake(20);
  host_->settings = {"data.user=nobody"};
  host_->start();
  expect_no_privileges(host_->process().pid());
  expect_no_privileges(postmaster());
  expect_all_is_theirs();
  // Not dumpable: /proc/PID belongs to root although the process does not.
  EXPECT_EQ(facts_of("/proc/" + std::to_string(host_->process().pid()) + "/environ").st_uid, 0u);
  EXPECT_EQ(host_->log().find("host.user_shared"), std::string::npos) << host_->log();
  connect();  // a connector file that is root's is loaded
  ASSERT_TRUE(settled()) << unsettled() << host_->log();

  const int before = postmaster();
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  EXPECT_TRUE(eventually(seconds(60), [&] {
    return host_->log().find("pg.cluster.revived") != std::string::npos && has_answered();
  })) << host_->log();
  EXPECT_NE(postmaster(), before);
  expect_no_privileges(postmaster());
  EXPECT_EQ(host_->stop(), 0);
  expect_all_is_theirs();
}

TEST_F(LeavesRoot, a_data_directory_changes_hands_whole_and_nothing_beyond_it_does) {
  host_->start();  // as hosts without data.user do
  EXPECT_NE(host_->log().find("host.user_shared"), std::string::npos) << host_->log();
  EXPECT_EQ(host_->log().find("data_directory.not_handed_over"), std::string::npos);
  const std::string workspaces = host_->sql("select count(*) from sluice.workspace");
  host_->kill_hard();  // its PostgreSQL works on, as its former user
  const int former = postmaster();
  ASSERT_EQ(::kill(former, 0), 0);
  ASSERT_EQ(::chown(data().c_str(), 0, 0), 0) << "as the versions before left it";
  ASSERT_EQ(::chmod(data().c_str(), 0755), 0);
  // What is none of Sluice's, and ways out of the directory.
  const fs::path outside = directory_ / "outside";
  std::ofstream(outside) << "root's";
  std::ofstream(data() / "notes.txt") << "root's";
  fs::create_symlink(outside, data() / "run/link");
  fs::create_hard_link(outside, data() / "run/second_name");
  host_->settings = {"data.user=nobody"};
  host_->start();
  const std::string state = status_of(former, "State");
  EXPECT_TRUE(state == "(none)" || state.starts_with("Z")) << state << ": it lost its files";
  EXPECT_EQ(host_->sql("select count(*) from sluice.workspace"), workspaces);
  expect_no_privileges(host_->process().pid());
  EXPECT_EQ(facts_of(outside).st_uid, 0u);
  EXPECT_EQ(facts_of(data() / "notes.txt").st_uid, 0u);
  EXPECT_EQ(facts_of(data() / "root.key").st_uid, uid_);
  EXPECT_EQ(facts_of(data() / "root.key").st_mode & 07777, 0600u);
  EXPECT_EQ(facts_of(data() / "postgres/base").st_uid, uid_);
  EXPECT_EQ(facts_of(data()).st_mode & 07777, 0755u) << "its mode is its owner's affair";
  EXPECT_NE(host_->log().find("data_directory.handed_over"), std::string::npos) << host_->log();
  EXPECT_NE(host_->log().find("second_name has several names"), std::string::npos) << host_->log();
  EXPECT_EQ(host_->stop(), 0);
  // The owner is remembered by the directory: no word is needed the next time.
  host_->settings = {};
  host_->start();
  expect_no_privileges(host_->process().pid());
}

TEST_F(LeavesRoot, a_directory_that_is_not_sluices_is_given_to_nobody) {
  const fs::path theirs = directory_ / "theirs";
  fs::create_directory(theirs);
  std::ofstream(theirs / "passwd") << "x";
  host_->settings = {"data.user=nobody", "data.directory=" + theirs.string()};
  try {
    host_->start();
    FAIL() << "it started";
  } catch (const std::runtime_error& refused) {
    EXPECT_NE(std::string(refused.what()).find("data_directory.foreign"), std::string::npos)
        << refused.what();
  }
  EXPECT_EQ(facts_of(theirs).st_uid, 0u);
  EXPECT_EQ(facts_of(theirs / "passwd").st_uid, 0u);
}

/// Whoever owns it can put a root key, a database and connectors of his own there.
TEST_F(LeavesRoot, a_data_directory_of_another_user_than_the_hosts_is_not_used) {
  const passwd* other = ::getpwnam("daemon");
  ASSERT_NE(other, nullptr);
  host_->settings = {"data.user=nobody"};
  host_->start();
  EXPECT_EQ(host_->stop(), 0);
  ASSERT_EQ(::chown(data().c_str(), other->pw_uid, other->pw_gid), 0);
  EXPECT_NE(refusal().find("data_directory.foreign"), std::string::npos) << host_->log();
  EXPECT_EQ(host_->process().wait(), 73);
  EXPECT_EQ(facts_of(data()).st_uid, other->pw_uid) << "it is not given away";
  ASSERT_EQ(::chown(data().c_str(), 0, 0), 0);
  host_->start();  // root's may be given
  expect_all_is_theirs();
}

TEST_F(LeavesRoot, the_hosts_store_of_connectors_is_its_own_directory_or_it_does_not_start) {
  start_fake(1);
  host_->settings = {"data.user=nobody"};
  host_->start();
  install();
  EXPECT_EQ(facts_of(data() / "connectors").st_mode & 07777, 0700u);
  EXPECT_EQ(facts_of(data() / "connectors").st_uid, uid_);
  const std::string maps = read_file("/proc/" + std::to_string(host_->process().pid()) + "/maps");
  EXPECT_NE(maps.find("stripe-"), std::string::npos) << "a debugger sees whose code it is";
  EXPECT_EQ(host_->stop(), 0);
  ASSERT_EQ(::chmod((data() / "connectors").c_str(), 0755), 0) << "as older versions left it";
  host_->start();
  EXPECT_EQ(facts_of(data() / "connectors").st_mode & 07777, 0700u);
  EXPECT_EQ(host_->stop(), 0);
  fs::rename(data() / "connectors", directory_ / "elsewhere");
  fs::create_directory_symlink(directory_ / "elsewhere", data() / "connectors");
  EXPECT_NE(refusal().find("connector.store_foreign"), std::string::npos) << host_->log();
  EXPECT_EQ(host_->process().wait(), 77);
}

TEST_F(LeavesRoot, a_port_that_only_root_may_bind_is_bound_before) {
  int port = 0;
  for (int candidate = 900; candidate < 1000 && port == 0; ++candidate) {
    boost::asio::io_context loop;
    boost::asio::ip::tcp::acceptor probe(loop);
    boost::system::error_code taken;
    probe.open(boost::asio::ip::tcp::v4());
    probe.bind({boost::asio::ip::address_v4::loopback(), static_cast<unsigned short>(candidate)},
               taken);
    if (!taken) port = candidate;
  }
  ASSERT_NE(port, 0);
  host_->settings = {"data.user=nobody", "listen.port=" + std::to_string(port)};
  host_->start();
  EXPECT_NE(host_->url().find(":" + std::to_string(port)), std::string::npos) << host_->url();
  EXPECT_TRUE(has_answered());
  expect_no_privileges(host_->process().pid());
}

TEST_F(LeavesRoot, a_user_who_is_not_there_or_is_root_stops_the_start) {
  for (const char* user : {"no_such_user_here", "root", "0"}) {
    host_->settings = {std::string("data.user=") + user};
    try {
      host_->start();
      FAIL() << "it started as " << user;
    } catch (const std::runtime_error& refused) {
      EXPECT_NE(std::string(refused.what()).find("config.no_user"), std::string::npos)
          << refused.what();
    }
    EXPECT_EQ(host_->process().wait(), 78);
  }
}

// Where nobody reads along, what is printed may be kept for ever: then it holds no token.
TEST_F(Trust, the_first_token_is_in_a_file_and_in_no_log) {
  host_->start();
  const fs::path file = data() / "operator.token";
  ASSERT_TRUE(host_->token().starts_with("slc_")) << host_->token();
  EXPECT_EQ(read_file(file), host_->token() + "\n");
  EXPECT_EQ(facts_of(file).st_mode & 07777, 0600u);
  EXPECT_EQ(facts_of(file).st_uid, facts_of(data()).st_uid);
  for (const std::string& said : {read_file(directory_ / "host.1.out"), host_->log()}) {
    EXPECT_EQ(said.find("slc_"), std::string::npos) << said;
    EXPECT_NE(said.find(file.string()), std::string::npos) << said;
  }
  EXPECT_TRUE(has_answered());
}

TEST_F(Trust, who_lost_the_first_token_gets_another_and_the_first_is_revoked) {
  host_->start();
  const std::string first = host_->token();
  json body;
  body["name"] = "a second operator";
  body["role"] = "operator";
  const std::string other = host_->client().send("POST", "/tokens", body).at("token");
  const auto reset = [this] {
    Launch launch;
    launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluiced";
    launch.arguments = {"--data", data().string(), "--reset-operator-token"};
    launch.output = directory_ / "reset.out";
    launch.errors = directory_ / "reset.err";
    Process process(launch);
    EXPECT_EQ(process.wait(), 0) << read_file(launch.errors);
    EXPECT_EQ(read_file(launch.output).find("slc_"), std::string::npos);
    std::string token = read_file(data() / "operator.token");
    while (token.ends_with('\n')) token.pop_back();
    return token;
  };
  const auto answers = [this](const std::string& token) {
    Ask ask;
    ask.path = "/v1/workspaces";
    ask.token = token;
    return perform(host_->url(), ask).status;
  };
  const std::string second = reset();  // beside the host that runs
  EXPECT_NE(second, first);
  EXPECT_EQ(answers(second), 200);
  EXPECT_EQ(answers(first), 401);
  EXPECT_EQ(answers(other), 200) << "what people made is theirs";
  EXPECT_EQ(host_->stop(), 0);
  const std::string third = reset();  // and without one
  host_->start();
  EXPECT_EQ(answers(third), 200);
  EXPECT_EQ(answers(second), 401);
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where actor = 'sluiced' and action = "
                         "'token.revoke'"),
            2);
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where actor = 'sluiced' and action = "
                         "'token.create'"),
            3);
}

TEST_F(Trust, whoever_lost_the_only_operator_token_is_told_where_he_is_refused) {
  host_->start();
  const std::string how = "sluiced --reset-operator-token";
  const std::string said = read_file(host_->directory() / "host.1.out");
  EXPECT_NE(said.find("operator token: in "), std::string::npos) << said;
  // And what to do with it, where the data lies, what to keep a copy of.
  const std::string login = "sluice login " + host_->url() + " < ";
  for (const std::string& part :
       {login + (data() / "operator.token").string(), "lies in " + data().string(),
        "copy of " + (data() / "root.key").string(), std::string("--reset-operator-token")})
    EXPECT_NE(said.find(part), std::string::npos) << part << "\n" << said;
  const std::string reader =
      host_->client().send("POST", "/tokens", {{"name", "dashboard"}, {"role", "reader"}})["token"];
  const std::string revoked =
      host_->client().send("POST", "/tokens", {{"name", "gone"}, {"role", "operator"}})["token"];
  host_->client().send("DELETE", "/tokens/" + host_->sql("select max(token_id) from sluice.token"),
                       nullptr);
  for (const std::string& token : {std::string(), std::string("slc_1_1_wrong"), revoked, reader}) {
    Ask ask;
    ask.path = "/v1/workspaces";
    ask.token = token;
    const Reply reply = perform(host_->url(), ask);
    EXPECT_EQ(reply.status, token == reader ? 403 : 401) << token;
    EXPECT_NE(reply.document().value("hint", "").find(how), std::string::npos) << reply.text;
  }
  const Said without = run_sluice(directory_, host_->url(), "", {"status"},
                                  {{"HOME", (directory_ / "nobody").string()}});
  EXPECT_NE(without.errors.find(how), std::string::npos) << without.errors;
}

TEST_F(Trust, each_command_takes_a_secret_in_the_same_ways) {
  start_fake(1);
  host_->start();
  connect();
  const std::string key = kKey;
  const std::string program = std::string(SLUICE_BINARY_DIR) + "/bin/sluice";
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "connection");
    return run_sluice(directory_, host_->url(), host_->token(), std::move(words),
                      {{"STRIPE_KEY", key}});
  };
  const auto run_with_input = [&](const std::string& words) {
    Launch launch;
    launch.program = "/bin/sh";
    launch.arguments = {"-c", "echo \"$STRIPE_KEY\" | " + program + " connection " + words};
    launch.environment = {{"STRIPE_KEY", key},
                          {"SLUICE_URL", host_->url()},
                          {"SLUICE_TOKEN", host_->token()},
                          {"SLUICE_WORKSPACE", "acme"}};
    launch.output = directory_ / "piped.out";
    launch.errors = directory_ / "piped.err";
    Process process(launch);
    Said said;
    said.code = process.wait(std::chrono::seconds(120));
    said.output = read_file(launch.output);
    said.errors = read_file(launch.errors);
    return said;
  };
  const auto versions = [this] {
    return host_->count("select count(*) from sluice.audit where action = 'connection.set_secret'");
  };
  for (const Said& said : {run({"set-secret", "billing", "--secret", "api_key=" + key}),
                           run({"set-secret", "billing", "--secret", "api_key=@STRIPE_KEY"}),
                           run({"set-secret", "--secret", "api_key=@STRIPE_KEY", "billing"}),
                           run_with_input("set-secret billing api_key"),
                           run_with_input("set-secret billing --secret-stdin api_key")}) {
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_NE(said.output.find("stored and checked"), std::string::npos) << said.output;
  }
  EXPECT_EQ(versions(), 5);
  for (const Said& said :
       {run({"config", "billing", "--secret", "api_key=@STRIPE_KEY", "event_lag_seconds=1"}),
        run_with_input("config billing event_lag_seconds=0 --secret-stdin api_key")}) {
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_NE(said.output.find("changed and checked"), std::string::npos) << said.output;
  }
  // Of one secret exactly, which is never shown.
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"set-secret", "billing"},
           {"set-secret", "billing", "api_key", "--secret", "api_key=" + key},
           {"set-secret", "billing", "--secret", "api_key=" + key, "--secret", "other=" + key},
           {"set-secret", "billing", "--secret", key}}) {
    const Said said = run(words);
    EXPECT_EQ(said.code, 64) << said.output;
    EXPECT_EQ((said.output + said.errors).find(key), std::string::npos) << said.errors;
  }
  EXPECT_EQ(versions(), 5);
}

TEST_F(Trust, nothing_is_made_where_there_is_no_host_to_reset) {
  Launch launch;
  launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluiced";
  launch.arguments = {"--data", (directory_ / "nothing").string(), "--reset-operator-token"};
  launch.output = directory_ / "reset.out";
  launch.errors = directory_ / "reset.err";
  Process process(launch);
  EXPECT_EQ(process.wait(), 73) << read_file(launch.errors);
  EXPECT_FALSE(fs::exists(directory_ / "nothing"));
}

// The token would be read on its way: nothing is even dialled (192.0.2.0/24 is nobody's).
TEST_F(Trust, the_command_line_sends_no_token_in_clear_to_another_machine) {
  const auto said = [this](const std::string& url, std::vector<std::string> more = {},
                           std::map<std::string, std::string> environment = {}) {
    more.insert(more.begin(), "status");
    return run_sluice(directory_, url, "slc_1_1_x", std::move(more), std::move(environment));
  };
  for (const char* url :
       {"http://192.0.2.1:1", "http://sluice.example.com:1", "HTTP://192.0.2.1:1",
        "http://127.0.0.1@192.0.2.1:1", "http://127.0.0.1.example.com:1", "http://[2001:db8::1]:1",
        "http://[::ffff:192.0.2.1]:1", "http://localhost.example.com:1"}) {
    const Said refused = said(url);
    EXPECT_EQ(refused.code, 77) << url << refused.errors;
    EXPECT_NE(refused.errors.find("cli.token_in_clear"), std::string::npos)
        << url << refused.errors;
    EXPECT_EQ(refused.errors.find("slc_1_1_x"), std::string::npos);
  }
  const Said no_url = said("192.0.2.1:1");
  EXPECT_EQ(no_url.code, 64) << no_url.errors;
  EXPECT_EQ(no_url.errors.find("slc_1_1_x"), std::string::npos);
  for (const char* url : {"http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1",
                          "http://127.8.9.1:1", "https://127.0.0.1:1"}) {
    const Said tried = said(url);
    EXPECT_EQ(tried.code, 69) << url << tried.errors;
  }
  // Asked for by the word: it is tried.
  EXPECT_EQ(said("http://sluice.invalid:1", {"--insecure"}).code, 69);
  EXPECT_EQ(said("http://sluice.invalid:1", {}, {{"SLUICE_INSECURE", "1"}}).code, 69);
}

}  // namespace
}  // namespace sluice::e2e
