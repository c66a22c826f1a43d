// Several hosts on one database: what one says, the others close to their connectors.
#include "sync/other_hosts.hpp"

#include "support/pg_fixture.hpp"

namespace sluice::sync {
namespace {

using asio::ip::make_address;

/// A host on a machine of its own, or on that of another.
struct Machine {
  std::string network;
  std::vector<asio::ip::address> addresses;
};

class OtherHostsTest : public sluice::testing::PgTest {
 protected:
  class Beating {
   public:
    Beating(pg::Pool& pool, const Clock& clock, Machine machine, std::uint8_t number)
        : own_([addresses = machine.addresses] { return addresses; }),
          hosts_(pool, clock, own_, options(std::move(machine), number)) {}
    std::string at(const char* address, std::uint16_t port) {
      return std::string(own_.at(make_address(address), port).value_or("open"));
    }
    OtherHosts& hosts() { return hosts_; }

   private:
    static OtherHosts::Options options(Machine machine, std::uint8_t number) {
      OtherHosts::Options options;
      options.host.bytes[0] = number;
      options.network = std::move(machine.network);
      options.interfaces = [addresses = std::move(machine.addresses)] { return addresses; };
      return options;
    }
    fetch::OwnEndpoints own_;
    OtherHosts hosts_;
  };

  std::unique_ptr<Beating> host(const Machine& machine, std::uint8_t number) {
    return std::make_unique<Beating>(pool(), clock_, machine, number);
  }
  void beat(Beating& one) { run(one.hosts().beat()); }
  std::int64_t rows() {
    return run(pool().query("select count(*) from sluice.host")).get<std::int64_t>(0, 0);
  }

  const Machine here_{"kernel-a net:[1]", {make_address("127.0.0.1"), make_address("10.0.0.1")}};
  const Machine there_{
      "kernel-b net:[1]",
      {make_address("127.0.0.1"), make_address("10.0.0.2"), make_address("2a01:db9::2")}};
  SystemClock clock_;
};

TEST_F(OtherHostsTest,
       an_address_is_closed_to_all_and_everywhere_is_all_addresses_of_that_machine) {
  const auto one = host(here_, 1), other = host(there_, 2);
  other->hosts().listens("REST API", make_address("0.0.0.0"), 8420);
  other->hosts().listens("listener for probes", make_address("10.0.0.2"), 8421);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "open");
  beat(*other);
  beat(*one);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "another host's REST API");
  EXPECT_EQ(one->at("2a01:db9::2", 8420), "another host's REST API");
  EXPECT_EQ(one->at("10.0.0.2", 8421), "another host's listener for probes");
  EXPECT_EQ(one->at("2a01:db9::2", 8421), "open");
  EXPECT_EQ(one->at("10.0.0.3", 8420), "open");
  EXPECT_EQ(one->at("10.0.0.1", 8420), "open") << "this machine is another";
  EXPECT_EQ(one->at("127.0.0.1", 8420), "open");
}

TEST_F(OtherHostsTest, loopback_is_closed_on_the_same_machine_only) {
  const auto one = host(here_, 1), same = host(here_, 2), far = host(there_, 3);
  same->hosts().listens("REST API", make_address("127.0.0.1"), 8420);
  same->hosts().listens("listener for probes", make_address("::"), 8421);
  beat(*same);
  beat(*one);
  beat(*far);
  EXPECT_EQ(one->at("127.0.0.1", 8420), "another host's REST API");
  EXPECT_EQ(one->at("10.0.0.1", 8420), "open");
  EXPECT_EQ(one->at("127.0.0.1", 8421), "another host's listener for probes");
  EXPECT_EQ(one->at("10.0.0.1", 8421), "another host's listener for probes");
  EXPECT_EQ(far->at("127.0.0.1", 8420), "open") << "its own machine's";
  EXPECT_EQ(far->at("127.0.0.1", 8421), "open");
  EXPECT_EQ(far->at("10.0.0.1", 8421), "another host's listener for probes");
}

TEST_F(OtherHostsTest, who_does_not_know_its_network_may_be_here) {
  Machine unknown = there_;
  unknown.network.clear();
  const auto one = host(here_, 1), other = host(unknown, 2);
  other->hosts().listens("REST API", make_address("127.0.0.1"), 8420);
  beat(*other);
  beat(*one);
  EXPECT_EQ(one->at("127.0.0.1", 8420), "another host's REST API");
}

TEST_F(OtherHostsTest, a_host_that_has_ended_is_forgotten_and_one_that_beats_is_not) {
  const auto one = host(here_, 1), other = host(there_, 2);
  other->hosts().listens("REST API", make_address("0.0.0.0"), 8420);
  beat(*other);
  const auto age = [&](const char* by) {
    run(pool().query(std::string("update sluice.host set beat_at = beat_at - interval '") + by +
                     "'"));
  };
  age("4 minutes");
  beat(*one);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "another host's REST API");
  age("2 minutes");
  beat(*one);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "open");
  EXPECT_EQ(rows(), 1);
  beat(*other);
  beat(*one);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "another host's REST API") << "it was only away";
}

TEST_F(OtherHostsTest, what_no_host_says_is_left_out_and_hides_nothing) {
  const auto one = host(here_, 1), other = host(there_, 2);
  other->hosts().listens("REST API", make_address("10.0.0.2"), 8420);
  beat(*other);
  for (const char* said : {"[]", "7", "{}", R"({"listeners": 5, "addresses": {}})",
                           R"({"listeners": [3, {}, {"what": "x", "address": "nowhere", "port": 1},
            {"what": "x", "address": "10.0.0.9", "port": 70000},
            {"what": "x", "address": "10.0.0.9", "port": -1},
            {"what": 5, "address": "10.0.0.9", "port": 1}]})"}) {
    run(pool().query(std::string("insert into sluice.host values (gen_random_uuid(), '") + said +
                     "', clock_timestamp())"));
  }
  beat(*one);
  EXPECT_EQ(one->at("10.0.0.2", 8420), "another host's REST API");
  EXPECT_EQ(one->at("10.0.0.9", 1), "open");
}

}  // namespace
}  // namespace sluice::sync
