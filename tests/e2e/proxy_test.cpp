// A host whose only way out is a proxy.
#include <fstream>
#include <set>

#include "e2e/world.hpp"
#include "support/tls_front.hpp"
#include "support/tunnel_proxy.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
using testing::TlsFront;
using testing::TunnelProxy;

constexpr const char* kPassword = "pr0xy-passw0rd";

class Proxy : public World, public ::testing::WithParamInterface<TunnelProxy::Kind> {
 protected:
  /// A host that reaches the fake under Stripe's own name, by the proxy alone.
  void start() {
    start_fake(20);
    const std::string& url = fake_->url();
    const auto port = static_cast<unsigned short>(std::stoi(url.substr(url.rfind(':') + 1)));
    stripe_ = std::make_unique<TlsFront>(port, "DNS:api.stripe.com");
    const std::string front = stripe_->url();
    proxy_ = std::make_unique<TunnelProxy>(
        GetParam(), kPassword,
        static_cast<unsigned short>(std::stoi(front.substr(front.rfind(':') + 1))));
    const std::string trusted = (directory_ / "trusted.pem").string();
    std::ofstream(trusted) << read_file(stripe_->certificate().path)
                           << read_file(proxy_->certificate().path);
    host_->settings = {"fetch.ca_file=" + trusted, "log.level=debug"};
    host_->environment["SLUICE_FETCH_PROXY"] = proxy_->url();  // others see a command line
    host_->start();
    install();
  }
  /// As an admin who opened nothing: the vendor is where its manifest says.
  [[nodiscard]] json as_declared() const {
    json body = billing();
    body.erase("egress");
    return body;
  }
  /// Everything that the host tells anybody.
  std::string told() {
    std::string all = host_->log() + read_file((host_->directory() / "host.1.out").string());
    for (const char* path : {"/errors", "/connections/billing", "/runs", "/audit"})
      all += host_->client().get(path).dump();
    return all;
  }

  std::unique_ptr<TlsFront> stripe_;
  std::unique_ptr<TunnelProxy> proxy_;
};

TEST_P(Proxy, a_vendor_is_read_by_it_and_it_learns_a_name_and_nothing_else) {
  start();
  host_->client().send("POST", "/connections", as_declared());
  ASSERT_TRUE(settled()) << unsettled() << host_->log();
  EXPECT_EQ(host_->count("select count(*) from acme.stripe_customer"), 20);
  const std::vector<std::string> asked = proxy_->asked_for();
  EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()),
            std::set<std::string>{"api.stripe.com:443"});
  EXPECT_EQ(proxy_->heard().find(kKey), std::string::npos);
  EXPECT_EQ(proxy_->heard().find("/v1/customers"), std::string::npos);
  EXPECT_EQ(told().find(kPassword), std::string::npos);
}

TEST_P(Proxy, one_that_lets_nothing_through_is_named_and_its_password_is_not) {
  start();
  host_->client().send("POST", "/connections", as_declared());
  ASSERT_TRUE(settled()) << unsettled() << host_->log();
  proxy_->lets_through = false;
  stripe_.reset();  // cuts what is open
  std::string said;
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    said = host_->client().get("/errors").dump();
    return said.find("fetch.transport.proxy") != std::string::npos;
  })) << said;
  EXPECT_GT(proxy_->refused, 0);
  EXPECT_EQ(told().find(kPassword), std::string::npos);
}

// Where the proxy would have to be trusted with the vendor's key, nothing is sent.
TEST_P(Proxy, a_vendor_whom_nobody_vouches_for_gets_nothing_through_it_either) {
  start();
  host_->stop();
  host_->settings = {"log.level=debug"};
  if (GetParam() == TunnelProxy::Kind::https)
    host_->settings.push_back("fetch.ca_file=" + proxy_->certificate().path);
  host_->start();
  std::string code;
  try {
    host_->client().send("POST", "/connections", as_declared());
  } catch (const Failure& failure) {
    code = failure.error().describe();
  }
  EXPECT_NE(code.find("certificate"), std::string::npos) << code;
  EXPECT_EQ(fake_->control("GET", "stats").at("total"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
}

class AnyProxy : public Proxy {};

// What an admin opened is dialled directly: a proxy is no way into the network behind it.
TEST_P(AnyProxy, what_an_admin_opened_is_dialled_directly_and_judged) {
  start();
  json body = billing();
  body["egress"].erase("allow_loopback");
  try {
    host_->client().send("POST", "/connections", body);
    ADD_FAILURE() << "a private address was asked";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "fetch.policy.address") << failure.what();
  }
  body["egress"]["base_urls"]["api"] = host_->url();
  body["egress"]["allow_loopback"] = true;
  try {
    host_->client().send("POST", "/connections", body);
    ADD_FAILURE() << "the host's own listener was asked";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "fetch.policy.address") << failure.what();
  }
  host_->client().send("POST", "/connections", billing());
  EXPECT_TRUE(settled()) << unsettled();
  EXPECT_TRUE(proxy_->asked_for().empty());
}

std::string name_of(const ::testing::TestParamInfo<TunnelProxy::Kind>& one) {
  switch (one.param) {
    case TunnelProxy::Kind::http:
      return "http";
    case TunnelProxy::Kind::https:
      return "https";
    case TunnelProxy::Kind::socks5:
      return "socks5h";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Kinds, Proxy,
                         ::testing::Values(TunnelProxy::Kind::http, TunnelProxy::Kind::https,
                                           TunnelProxy::Kind::socks5),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Kinds, AnyProxy, ::testing::Values(TunnelProxy::Kind::http), name_of);

}  // namespace
}  // namespace sluice::e2e
