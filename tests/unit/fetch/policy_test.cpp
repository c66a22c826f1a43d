#include "fetch/policy.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "fetch/auth.hpp"
#include "fetch/own_endpoints.hpp"
#include "fetch/redact.hpp"

namespace sluice::fetch {
namespace {

std::string url_of(const std::string& url, const nlohmann::json& config,
                   const EgressAllowance& allowance = {}) {
  contract::Host host;
  host.name = "api";
  host.url = url;
  const auto where = destination(host, config, allowance);
  return where ? where->url() : where.error().code;
}

TEST(EgressPolicy, ExpandsAPlaceholderToExactlyOneLabel) {
  const std::string url = "https://{subdomain}.zendesk.com";
  EXPECT_EQ(url_of(url, {{"subdomain", "Acme-1"}}), "https://acme-1.zendesk.com");
  EXPECT_EQ(url_of("https://api.stripe.com", nlohmann::json::object()), "https://api.stripe.com");
  EXPECT_EQ(url_of("https://api.acme.com:8443/base/", {}), "https://api.acme.com:8443/base");
  for (const char* bad :
       {"", "a.b", "evil.com/", "evil.com#", "evil@", "x:80", "-a", "a-", "a b", "ä", "a\r\nb",
        "{x}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    EXPECT_EQ(url_of(url, {{"subdomain", bad}}), "fetch.policy.host") << bad;
  }
  EXPECT_EQ(url_of(url, {{"subdomain", 7}}), "fetch.policy.host");
  EXPECT_EQ(url_of(url, {}), "fetch.policy.host");
}

TEST(EgressPolicy, LetsNoConfigurationChooseTheVendor) {
  const nlohmann::json config = {{"a", "evil"}};
  for (const char* url :
       {"https://{a}", "https://{a}.com", "https://api.{a}.com", "https://x.{a}",
        "https://api-{a}.acme.com", "http://api.acme.com", "ftp://api.acme.com",
        "https://user@acme.com", "https://acme.com?x", "https://localhost", "https://127.0.0.1",
        "https://[::1]", "https://acme.0x7f", "https://acme.com:0", "https://acme.com:99999",
        "https://", "acme.com", "https://a..com"}) {
    EXPECT_EQ(url_of(url, config), "fetch.policy.host") << url;
  }
}

TEST(EgressPolicy, TakesPlainHttpOnlyFromAnAllowance) {
  EgressAllowance allowance;
  allowance.base_urls["api"] = "http://127.0.0.1:4010/base";
  EXPECT_EQ(url_of("https://api.acme.com", {}, allowance), "http://127.0.0.1:4010/base");
  allowance.base_urls["api"] = "http://[::1]:4010";
  EXPECT_EQ(url_of("https://api.acme.com", {}, allowance), "http://[::1]:4010");
  for (const char* bad :
       {"gopher://127.0.0.1", "http://u:p@h", "http://h?x", "http://", "http://a b"}) {
    allowance.base_urls["api"] = bad;
    EXPECT_EQ(url_of("https://api.acme.com", {}, allowance), "fetch.policy.host") << bad;
  }
}

TEST(EgressPolicy, RefusesEveryAddressThatIsNotTheInternet) {
  const AddressAllowance none;
  for (const char* text : {"0.0.0.0",
                           "0.1.2.3",
                           "10.0.0.1",
                           "100.64.0.1",
                           "100.127.255.255",
                           "127.0.0.1",
                           "127.255.255.254",
                           "169.254.169.254",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.0.0.8",
                           "192.0.2.1",
                           "192.88.99.1",
                           "192.168.1.1",
                           "198.18.0.1",
                           "198.19.255.255",
                           "198.51.100.7",
                           "203.0.113.7",
                           "224.0.0.1",
                           "239.1.1.1",
                           "240.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "::127.0.0.1",
                           "::8.8.8.8",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "::ffff:169.254.169.254",
                           "64:ff9b::7f00:1",
                           "64:ff9b::808:808",
                           "64:ff9b:1::1",
                           "100::1",
                           "2001::1",
                           "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                           "2001:db8::1",
                           "2002:7f00:1::",
                           "2002:808:808::1",
                           "3fff::1",
                           "5f00::1",
                           "fc00::1",
                           "fd12:3456::1",
                           "fe80::1",
                           "fec0::1",
                           "ff02::1",
                           "4000::1"}) {
    EXPECT_TRUE(address_refusal(asio::ip::make_address(text), none)) << text;
  }
  for (const char* text : {"8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1",
                           "100.128.0.1", "192.167.1.1", "::ffff:8.8.8.8", "2606:4700::1111",
                           "2a00:1450:4001::1", "2001:4860:4860::8888"}) {
    EXPECT_FALSE(address_refusal(asio::ip::make_address(text), none)) << text;
  }
}

TEST(EgressPolicy, OpensOnlyWhatTheAllowanceNames) {
  AddressAllowance loopback;
  loopback.loopback = true;
  EXPECT_FALSE(address_refusal(asio::ip::make_address("127.0.0.1"), loopback));
  EXPECT_FALSE(address_refusal(asio::ip::make_address("::1"), loopback));
  EXPECT_FALSE(address_refusal(asio::ip::make_address("::ffff:127.0.0.1"), loopback));
  EXPECT_TRUE(address_refusal(asio::ip::make_address("10.0.0.1"), loopback));
  AddressAllowance own;
  own.private_networks = true;
  EXPECT_FALSE(address_refusal(asio::ip::make_address("10.0.0.1"), own));
  EXPECT_FALSE(address_refusal(asio::ip::make_address("fd00::1"), own));
  EXPECT_TRUE(address_refusal(asio::ip::make_address("127.0.0.1"), own));
  EXPECT_TRUE(address_refusal(asio::ip::make_address("169.254.169.254"), own)) << "never opened";
}

// They stand in the very networks that an admin opens, or among public addresses.
TEST(EgressPolicy, NoAllowanceOpensTheMetadataOfACloud) {
  AddressAllowance all;
  all.loopback = all.private_networks = true;
  for (const AddressAllowance& allowance : {AddressAllowance(), all}) {
    for (const char* text :
         {"100.100.100.200", "168.63.129.16", "::ffff:100.100.100.200", "::ffff:168.63.129.16",
          "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1"})
      EXPECT_EQ(address_refusal(asio::ip::make_address(text), allowance), "cloud metadata") << text;
  }
  const std::vector<Nat64Prefix> nat64 = {Nat64Prefix::well_known()};
  EXPECT_EQ(address_refusal(asio::ip::make_address("64:ff9b::a83f:8110"), all, nat64),
            "cloud metadata");
  for (const char* beside : {"100.100.100.199", "168.63.129.17", "fd00:ec2::255", "fd20:ce::253",
                             "fd00:42::43", "fd00:a9fe:a9fe::2"})
    EXPECT_FALSE(address_refusal(asio::ip::make_address(beside), all)) << beside;
}

TEST(EgressPolicy, JudgesTheAddressInsideANat64OneAndOnlyBehindAPrefixOfThisNetwork) {
  const auto own = Nat64Prefix::parse("2001:db8:64::/48");
  ASSERT_TRUE(own);
  const std::vector<Nat64Prefix> nat64 = {Nat64Prefix::well_known(), *own};
  AddressAllowance all;
  all.loopback = all.private_networks = true;
  const auto judge = [&](const char* text) {
    return address_refusal(asio::ip::make_address(text), all, nat64).value_or("");
  };
  EXPECT_EQ(judge("64:ff9b::808:808"), "");               // 8.8.8.8
  EXPECT_EQ(judge("64:ff9b::7f00:1"), "loopback");        // 127.0.0.1
  EXPECT_EQ(judge("64:ff9b::a00:1"), "private network");  // 10.0.0.1
  EXPECT_EQ(judge("64:ff9b::a9fe:a9fe"), "link-local (cloud metadata)");
  EXPECT_EQ(judge("64:ff9b:1::808:808"), "NAT64");  // no prefix of this network
  EXPECT_EQ(judge("2001:db8:64:808:8:800::"), "");  // 8.8.8.8 around the reserved byte
  EXPECT_EQ(judge("2001:db8:64:a9fe:a9:fe00::"), "link-local (cloud metadata)");
  EXPECT_EQ(judge("2001:db8:65::1"), "documentation");
  for (const char* bad : {"", "64:ff9b::", "64:ff9b::/95", "64:ff9b::1/96", "64:ff9b::/96x",
                          "10.0.0.0/8", "fe80::%1/64", "/96"})
    EXPECT_FALSE(Nat64Prefix::parse(bad)) << bad;
  for (const int bits : {32, 40, 48, 56, 64, 96})
    EXPECT_TRUE(Nat64Prefix::parse("2001:db8::/" + std::to_string(bits))) << bits;
}

class OwnDoors : public testing::Test {
 protected:
  OwnDoors()
      : nat64_{Nat64Prefix::well_known()}, own_([] {
          return std::vector{asio::ip::make_address("192.168.1.5"),
                             asio::ip::make_address("203.0.114.9"),
                             asio::ip::make_address("2a01:db9::5")};
        }) {}
  std::string at(const char* address, std::uint16_t port) {
    return std::string(own_.at(asio::ip::make_address(address), port, nat64_).value_or(""));
  }
  void listen(const char* address, std::uint16_t port) {
    own_.add_listener("the API", asio::ip::make_address(address), port);
  }
  void serve(const char* address, std::uint16_t port) {
    own_.add_server("the database", asio::ip::make_address(address), port);
  }
  std::vector<Nat64Prefix> nat64_;
  OwnEndpoints own_;
};

TEST_F(OwnDoors, AreKnownByAddressAndPortInEveryForm) {
  listen("127.0.0.1", 8420);
  EXPECT_EQ(at("127.0.0.1", 8420), "the API");
  EXPECT_EQ(at("::ffff:127.0.0.1", 8420), "the API");
  EXPECT_EQ(at("64:ff9b::7f00:1", 8420), "the API");
  EXPECT_EQ(at("127.0.0.1", 8421), "") << "somebody else's";
  EXPECT_EQ(at("127.0.0.2", 8420), "") << "somebody else's, on the same port";
  EXPECT_EQ(at("192.168.1.5", 8420), "");
  listen("fe80::1%3", 9000);
  EXPECT_EQ(at("fe80::1%4", 9000), "the API") << "a scope is no other address";
}

TEST_F(OwnDoors, ThatAreOpenEverywhereAreClosedAtEveryAddressOfThisMachine) {
  for (const char* everywhere : {"0.0.0.0", "::"}) {
    own_ = OwnEndpoints([] {
      return std::vector{asio::ip::make_address("192.168.1.5"),
                         asio::ip::make_address("203.0.114.9"),
                         asio::ip::make_address("2a01:db9::5")};
    });
    listen(everywhere, 8420);
    for (const char* address :
         {"127.0.0.1", "127.9.9.9", "::1", "192.168.1.5", "203.0.114.9", "2a01:db9::5",
          "::ffff:192.168.1.5", "64:ff9b::cb00:7209", "0.0.0.0"})
      EXPECT_EQ(at(address, 8420), "the API") << address;
    EXPECT_EQ(at("192.168.1.6", 8420), "") << "another machine";
    EXPECT_EQ(at("192.168.1.5", 443), "");
  }
}

TEST_F(OwnDoors, OfADatabaseOnThisMachineAreClosedAtItsOtherAddressesToo) {
  serve("127.0.0.1", 5432);
  EXPECT_EQ(at("192.168.1.5", 5432), "the database");
  EXPECT_EQ(at("::1", 5432), "the database");
  serve("192.168.1.77", 5433);
  EXPECT_EQ(at("192.168.1.77", 5433), "the database");
  EXPECT_EQ(at("192.168.1.5", 5433), "") << "that one is on another machine";
  for (int n = 0; n < 300; ++n) serve(fmt::format("10.0.{}.{}", n / 200, n % 200).c_str(), 5432);
  EXPECT_EQ(at("10.0.1.99", 5432), "the database") << "the newest";
  EXPECT_EQ(at("10.0.0.0", 5432), "") << "of too many the earliest went";
}

TEST_F(OwnDoors, OfOtherHostsAreClosedAsTheyWereSaidLast) {
  const auto other = [](const char* address, std::uint16_t port) {
    return Listener{"another host's API", asio::ip::make_address(address), port};
  };
  own_.set_others({other("10.0.0.7", 8420), other("::ffff:10.0.0.8", 8420), other("::", 8421)});
  EXPECT_EQ(at("10.0.0.7", 8420), "another host's API");
  EXPECT_EQ(at("64:ff9b::a00:7", 8420), "another host's API");
  EXPECT_EQ(at("10.0.0.8", 8420), "another host's API");
  EXPECT_EQ(at("10.0.0.7", 8421), "");
  EXPECT_EQ(at("192.168.1.5", 8421), "another host's API") << "it is on this machine";
  EXPECT_EQ(at("127.0.0.1", 8421), "another host's API");
  listen("10.0.0.7", 9000);
  own_.set_others({other("10.0.0.9", 8420)});
  EXPECT_EQ(at("10.0.0.7", 8420), "") << "it has ended";
  EXPECT_EQ(at("127.0.0.1", 8421), "");
  EXPECT_EQ(at("10.0.0.9", 8420), "another host's API");
  EXPECT_EQ(at("10.0.0.7", 9000), "the API");
  own_.set_others({other("10.0.0.7", 9000)});
  EXPECT_EQ(at("10.0.0.7", 9000), "the API") << "this one before it was started again";
}

TEST(EgressPolicy, KnowsInWhichNetworkItRuns) {
  EXPECT_NE(network_of_this_process().find("net:["), std::string::npos);
  EXPECT_EQ(network_of_this_process(), network_of_this_process());
}

TEST(EgressPolicy, KnowsTheAddressesOfThisMachine) {
  const auto addresses = interface_addresses();
  EXPECT_NE(std::find(addresses.begin(), addresses.end(), asio::ip::make_address("127.0.0.1")),
            addresses.end());
}

TEST(EgressPolicy, RefusesTargetsThatCouldLeaveTheHostOrSplitTheRequest) {
  EXPECT_TRUE(check_target("/v1/customers?limit=100&created[gte]=1"));
  EXPECT_TRUE(check_target("//evil.com/x")) << "a path: the host's name stands before it";
  for (const std::string& bad :
       {std::string(""), std::string("v1"), std::string("@evil.com/"), std::string("/a b"),
        std::string("/a\r\nHost: x"), std::string("/a\0b", 4), std::string("/ä"),
        std::string("/a#b"), std::string("/a\\b"), "/" + std::string(20'000, 'a')}) {
    const auto checked = check_target(bad);
    ASSERT_FALSE(checked) << bad;
    EXPECT_EQ(checked.error().code, "fetch.policy.target");
  }
}

TEST(EgressPolicy, RefusesHeadersThatInjectOrThatAreTheHosts) {
  contract::AuthSlot slot;
  slot.scheme = contract::AuthScheme::header;
  slot.parameter = "X-Api-Key";
  const std::vector<contract::AuthSlot> auth = {slot};
  EXPECT_TRUE(check_headers({{"Stripe-Version", "2026-10-28"}, {"Accept", "a/b;\tq=1"}}, auth));
  const std::vector<std::pair<std::string, std::string>> bad = {{"X-A", "b\r\nAuthorization: x"},
                                                                {"X-A", "b\n"},
                                                                {"X-A", std::string("a\0b", 3)},
                                                                {"X-A\r\nB", "c"},
                                                                {"X A", "b"},
                                                                {"", "b"},
                                                                {"X:A", "b"},
                                                                {"Authorization", "x"},
                                                                {"COOKIE", "x"},
                                                                {"host", "evil.com"},
                                                                {"Content-Length", "1"},
                                                                {"transfer-encoding", "chunked"},
                                                                {"Proxy-Authorization", "x"},
                                                                {"x-api-key", "mine"},
                                                                {"Connection", "close"},
                                                                {"X-A", std::string(40'000, 'a')}};
  for (const auto& header : bad) {
    const auto checked = check_headers({header}, auth);
    ASSERT_FALSE(checked) << header.first;
    EXPECT_EQ(checked.error().code, "fetch.policy.header");
    EXPECT_EQ(checked.error().message.find('\r'), std::string::npos);
  }
}

TEST(Authentication, PutsTheSecretWhereTheSlotSays) {
  contract::AuthSlot slot;
  const Credential secret("s3cret/token");
  slot.scheme = contract::AuthScheme::basic;
  slot.parameter = "{email}/token:{secret}";
  auto basic = authenticate(slot, {{"email", "a@b.c{secret}"}}, secret);
  ASSERT_TRUE(basic);
  EXPECT_EQ(basic->header.view(),
            "Authorization: Basic YUBiLmN7c2VjcmV0fS90b2tlbjpzM2NyZXQvdG9rZW4=");
  slot.scheme = contract::AuthScheme::query;
  slot.parameter = "api key";
  EXPECT_EQ(authenticate(slot, {}, secret)->query.view(), "api%20key=s3cret%2Ftoken");
  slot.scheme = contract::AuthScheme::header;
  slot.parameter = "X-Api-Key";
  EXPECT_EQ(authenticate(slot, {}, secret)->header.view(), "X-Api-Key: s3cret/token");
}

TEST(Authentication, RefusesASecretThatWouldSplitTheRequest) {
  contract::AuthSlot slot;
  for (const char* bad : {"", "abc\r\nX: y", "a\nb"}) {
    const auto made = authenticate(slot, {}, Credential(bad));
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, "fetch.auth.credential");
  }
  slot.scheme = contract::AuthScheme::basic;
  slot.parameter = "{email}:{secret}";
  EXPECT_EQ(authenticate(slot, {}, Credential("secret")).error().code, "fetch.auth.template");
}

TEST(Redaction, MasksEveryOccurrenceInPlace) {
  Masks secrets;
  secrets.add("sk_live_12345678");
  secrets.add("short");
  std::string text = "a sk_live_12345678 b sk_live_12345678short";
  EXPECT_TRUE(secrets.mask(text));
  EXPECT_EQ(text, "a **************** b ****************short");
  EXPECT_FALSE(secrets.mask(text));
}

}  // namespace
}  // namespace sluice::fetch
