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
    const std::pair<std::string, std::string> own[] = {{api, "this host's REST API"},
                                                       {watch, "this host's listener for probes"},
                                                       {database, "this host's database"}};
    for (const auto& [port, what] : own) {
      for (const std::string name : {"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"}) {
        const std::string url = "http://" + name + ":" + port + "/v1/workspaces/acme";
        EXPECT_NE(refusal(url).find("port " + port + " (" + what + ")"), std::string::npos)
            << url << ": " << refusal(url);
      }
    }
    EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
    other.client(host_->token()).send("POST", "/connections", billing());  // loopback, another port
    EXPECT_EQ(other.stop(), 0);
  }
  loop.stop();
  relay.join();
}

}  // namespace
}  // namespace sluice::e2e
