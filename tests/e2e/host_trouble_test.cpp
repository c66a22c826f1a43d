// Two hosts on one database, and the surroundings of one are broken: it says so of itself, the
// other one does the work, and the rows that they share say nothing of it.
#include <signal.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
using std::chrono::seconds;

class HostTrouble : public World {
 protected:
  HostTrouble() {
    // While it reads one connection, the next one is the other host's.
    host_->settings = {"sync.connections_max=1"};
    std::filesystem::create_directories(plugins_);
  }

  void start_both() {
    start_fake(120);
    host_->start();
    install();
    other_.database = "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice";
    other_.first_of_its_database = false;
    other_.settings.push_back("vault.root_key_file=" + (directory_ / "data/root.key").string());
    other_.start();
  }

  /// The host gets a shim in front, with an environment variable that names `trigger_`.
  void preload(Host& host, const char* shim, const char* variable) const {
    host.environment["LD_PRELOAD"] = shim;
    host.environment[variable] = trigger_.string();
    const char* options = std::getenv("ASAN_OPTIONS");  // the shim comes before its library
    host.environment["ASAN_OPTIONS"] =
        std::string(options == nullptr ? "" : options) + ":verify_asan_link_order=0";
  }

  /// Two of them, and a vendor that takes its time.
  void connect_two(const std::string& url) {
    fake_->control("POST", "latency", json{{"ms", 150}});
    for (const char* name : {"one", "two"}) {
      json body = billing();
      body["name"] = name;
      body["second_connection"] = true;
      body["egress"]["base_urls"]["api"] = url;
      host_->client().send("POST", "/connections", body);
    }
  }

  Said errors(const Host& host) {
    return run_sluice(directory_, host.url(), host_->token(), {"errors"});
  }
  bool says(const Host& host, const std::string& text) {
    const Said said = errors(host);
    return said.code == 75 && said.output.find(text) != std::string::npos;
  }

  /// What the hosts share and would speak of a failure; empty when nothing does.
  std::string blamed() {
    return host_->sql(
        "select concat_ws(' ', "
        "(select string_agg(s::text, ' ') from sluice.stream s where state = 'failed' or "
        "consecutive_failures > 0 or coalesce(error_class, 'CANCELLED') <> 'CANCELLED'), "
        "(select string_agg(c::text, ' ') from sluice.connection c where state not in "
        "('CONNECTED', 'SYNCING', 'HEALTHY')), "
        "(select string_agg(r::text, ' ') from sluice.sync_run r where outcome = 'failed'), "
        "(select string_agg(p::text, ' ') from sluice.refetch_pause p), "
        "(select string_agg(f::text, ' ') from sluice.refetch f where attempts > 0), "
        "(select string_agg(q::text, ' ') from sluice.quarantine q))");
  }

  bool all_is_read() {
    return host_->count(
               "select count(*) from sluice.connection c where state <> 'HEALTHY' or exists "
               "(select from sluice.stream s where s.connection_id = c.connection_id and s.mode = "
               "'snapshot' and not s.snapshot_done)") == 0;
  }

  /// The other host says `text` of itself, and the first one reads everything meanwhile.
  void expect_the_first_does_the_work(const std::string& text) {
    ASSERT_TRUE(eventually(seconds(60), [&] { return says(other_, text); }))
        << errors(other_).output << other_.log();
    EXPECT_EQ(blamed(), "");
    fake_->control("POST", "latency", json{{"ms", 0}});
    EXPECT_TRUE(eventually(seconds(120), [&] { return all_is_read(); })) << host_->log();
    EXPECT_TRUE(other_.process().running()) << other_.log();
    EXPECT_EQ(blamed(), "");
    EXPECT_EQ(errors(*host_).code, 0) << errors(*host_).output;
    expect_tables_equal_truth();
  }

  void expect_the_other_is_well_again() {
    EXPECT_TRUE(eventually(seconds(60), [&] { return errors(other_).code == 0; }))
        << errors(other_).output;
    EXPECT_EQ(blamed(), "");
  }

  std::filesystem::path plugins_ = directory_ / "plugins";
  std::filesystem::path trigger_ = directory_ / "is_broken";
  Host other_{(std::filesystem::create_directory(directory_ / "b"), directory_ / "b")};
};

TEST_F(HostTrouble, a_connectors_file_that_is_missing_on_one_host) {
  other_.settings = {"connectors.directories=" + json::array({plugins_.string()}).dump()};
  start_both();
  connect_two(fake_->url());
  expect_the_first_does_the_work("this host does not have its file");
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_CONNECTOR_DIR))
    std::filesystem::copy_file(file.path(), plugins_ / file.path().filename());
  expect_the_other_is_well_again();
}

TEST_F(HostTrouble, a_disk_that_is_full_on_one_host) {
  preload(other_, SLUICE_DISK_FULL_SHIM, "DISK_FULL_WHILE");
  start_both();
  std::ofstream(trigger_) << "full\n";
  connect_two(fake_->url());
  expect_the_first_does_the_work("No space left on device");
  std::filesystem::remove(trigger_);
  expect_the_other_is_well_again();
}

/// Nobody's defect, and the stream's least of all.
TEST_F(HostTrouble, a_database_whose_disk_is_full_is_told_as_that_until_there_is_room) {
  start_fake(30);
  host_->start();
  install();
  host_->sql(
      "create function public.no_room() returns trigger language plpgsql as $$ begin raise "
      "disk_full using message = 'could not extend file: No space left on device'; end $$; create "
      "trigger no_room before insert on vendor.stripe_customer for each statement execute function "
      "public.no_room()");
  host_->client().send("POST", "/connections", billing());
  ASSERT_TRUE(eventually(seconds(60), [&] { return says(*host_, "the database's disk is full"); }))
      << errors(*host_).output << host_->log();
  const std::string said = errors(*host_).output;
  EXPECT_NE(said.find("make room"), std::string::npos) << said;
  EXPECT_EQ(said.find("defect"), std::string::npos) << said;
  EXPECT_EQ(said.find("select"), std::string::npos) << said;
  EXPECT_EQ(blamed(), "");
  host_->sql("drop function public.no_room cascade");
  EXPECT_TRUE(eventually(seconds(60), [&] { return all_is_read(); })) << host_->log();
  EXPECT_TRUE(eventually(seconds(60), [&] { return errors(*host_).code == 0; }))
      << errors(*host_).output;
}

/// No trouble of a host, but of the vendor's: only the host that works on it knows, and any may be
/// asked.
TEST_F(HostTrouble, each_host_says_what_waits_for_the_vendors_rate_and_until_when) {
  host_->settings.clear();
  start_both();
  json fault = json::parse(
      R"({"match":"/v1/products*","times":0,"kind":"429","headers":{"Retry-After":"40"}})");
  host_->client().send("POST", "/connections", billing());
  ASSERT_TRUE(eventually(seconds(60), [&] { return all_is_read(); })) << host_->log();
  fake_->control("POST", "faults", json::array({fault}));
  read_again({"products"});
  const auto held_ms = [&](Host& host) {
    const json billing = host.client(host_->token()).get("/connections/billing");
    for (const json& stream : billing["streams"]) {
      if (stream["name"] == "products" && stream["run"].is_object() &&
          stream["run"]["held_ms"].is_number())
        return stream["run"]["held_ms"].get<std::int64_t>();
    }
    return std::int64_t{0};
  };
  for (Host* host : {host_.get(), &other_}) {
    EXPECT_TRUE(eventually(seconds(30), [&] { return held_ms(*host) > 5'000; })) << host->log();
    EXPECT_LE(held_ms(*host), 41'000);
    const Said said = run_sluice(directory_, host->url(), host_->token(), {"status", "billing"});
    EXPECT_NE(said.output.find("waits for the vendor's rate, the next request goes in"),
              std::string::npos)
        << said.output;
  }
}

/// A data directory on a small disk of its own.
class SmallDisk : public World {
 protected:
  static constexpr std::int64_t kMegabyte = 1'000'000;

  void SetUp() override {
    std::filesystem::create_directories(data_);
    if (::mount("tmpfs", data_.c_str(), "tmpfs", 0, "size=220m,mode=0711") != 0)
      GTEST_SKIP() << "no disk can be mounted here: " << std::strerror(errno);
    mounted_ = true;
    host_->settings = {"disk.free_percent_min=30", "disk.free_bytes_min=0"};
  }
  void TearDown() override {
    if (!mounted_) return;
    if (started_) host_->stop();
    ::umount2(data_.c_str(), MNT_DETACH);
  }

  [[nodiscard]] std::int64_t free_bytes() const {
    return static_cast<std::int64_t>(std::filesystem::space(data_).available);
  }
  /// Leaves so much; 0: nothing at all.
  void fill(std::int64_t left) {
    std::ofstream file(data_ / "filler", std::ios::app);
    const std::string some(4096, 'x');
    while (free_bytes() > left && file.write(some.data(), 4096).flush()) {
    }
  }
  json health() {
    Ask ask;
    ask.path = "/health";
    return perform(host_->url(), ask).document();
  }
  Reply ready() {
    Ask ask;
    ask.path = "/readyz";
    return perform(host_->url(), ask);
  }
  Said cli(const char* command) {
    return run_sluice(directory_, host_->url(), host_->token(), {command});
  }
  std::size_t logged(const std::string& event) {
    const std::string log = host_->log();
    std::size_t count = 0;
    for (auto at = log.find(event); at != std::string::npos; at = log.find(event, at + 1)) ++count;
    return count;
  }

  std::filesystem::path data_ = directory_ / "data";
  bool mounted_ = false;
  bool started_ = false;
};

TEST_F(SmallDisk, is_told_of_before_it_is_full_and_as_the_reason_when_the_database_does_not_start) {
  host_->start();
  started_ = true;
  EXPECT_EQ(health()["status"], "well") << health();
  EXPECT_EQ(cli("host").code, 0) << cli("host").output;

  fill(40 * kMegabyte);
  ASSERT_TRUE(eventually(seconds(20), [&] { return health()["status"] == "degraded"; }));
  EXPECT_EQ(health()["reasons"][0]["code"], "disk.running_out") << health();
  EXPECT_EQ(ready().status, 200) << "it works";
  EXPECT_NE(ready().text.find("the disk \\\"data\\\" has"), std::string::npos) << ready().text;
  const Said low = cli("errors");
  EXPECT_EQ(low.code, 75);
  EXPECT_NE(low.output.find("disk.running_out"), std::string::npos) << low.output << low.errors;

  fill(0);
  std::istringstream pid_file(read_file((data_ / "postgres/postmaster.pid").string()));
  int postmaster = 0;
  ASSERT_TRUE(pid_file >> postmaster);
  ::kill(postmaster, SIGKILL);
  ASSERT_TRUE(eventually(seconds(60),
                         [&] {
                           const json now = health();
                           return now["status"] == "not working" &&
                                  now["reasons"][0]["code"] == "database.disk_full";
                         }))
      << health() << host_->log();
  const json now = health();
  EXPECT_EQ(now["database"]["up"], false);
  EXPECT_FALSE(now["database"]["since"].is_null());
  EXPECT_EQ(now.dump().find(directory_.string()), std::string::npos) << "anybody may read it";
  EXPECT_EQ(now.dump().find("acme"), std::string::npos) << now;
  EXPECT_FALSE(now.contains("machine"));
  const Said errors = cli("errors");
  EXPECT_EQ(errors.code, 75) << errors.errors;
  EXPECT_NE(errors.output.find("its disk is full"), std::string::npos) << errors.output;
  EXPECT_NE(errors.output.find("to do: make room"), std::string::npos) << errors.output;
  const Said status = cli("status");
  EXPECT_EQ(status.code, 69);
  EXPECT_NE(status.output.find("its disk is full"), std::string::npos) << status.output;
  EXPECT_EQ(ready().status, 503);
  EXPECT_NE(ready().text.find("its disk is full"), std::string::npos) << ready().text;

  // It is tried again and again, and said less and less often.
  ASSERT_TRUE(eventually(seconds(60), [&] {
    return health()["database"]["starts_tried"].get<std::int64_t>() >= 6;
  })) << health();
  EXPECT_EQ(logged("database.died"), 1U);
  EXPECT_LE(logged("database.not_started"), 4U);
  EXPECT_GE(logged("database.not_started"), 2U);

  std::filesystem::remove(data_ / "filler");
  EXPECT_TRUE(eventually(seconds(60), [&] { return cli("errors").code == 0; }))
      << cli("errors").output << host_->log();
  EXPECT_EQ(health()["status"], "well");
}

TEST_F(HostTrouble, name_servers_of_which_one_host_hears_nothing) {
  for (Host* host : {host_.get(), &other_}) preload(*host, SLUICE_NO_DNS_SHIM, "NO_DNS_WHILE");
  host_->environment.erase("NO_DNS_WHILE");
  start_both();
  std::ofstream(trigger_) << "silent\n";
  connect_two("http://vendor.test" + fake_->url().substr(fake_->url().rfind(':')));
  expect_the_first_does_the_work("DNS");
  std::filesystem::remove(trigger_);
  expect_the_other_is_well_again();
}

}  // namespace
}  // namespace sluice::e2e
