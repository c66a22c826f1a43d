// TLS against a real server with a certificate made for the test.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/ssl.hpp>
#include <cstdio>
#include <filesystem>

#include "fetch_fixture.hpp"
#include "support/certificate.hpp"

namespace sluice::fetch {
namespace {

using asio::ip::tcp;
using sluice::testing::Certificate;

class TlsTest : public fetch_test::FetchTest {
 protected:
  TlsTest()
      : acceptor_(loop_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        tls_(asio::ssl::context::tls_server) {
    port_ = acceptor_.local_endpoint().port();
    options_.curl.pins = {fmt::format("api.example.com:{}:127.0.0.1", port_),
                          fmt::format("other.example.com:{}:127.0.0.1", port_)};
  }

  Task<> serve() {
    for (;;) {
      tcp::socket socket = co_await acceptor_.async_accept(asio::use_awaitable);
      asio::ssl::stream<tcp::socket> stream(std::move(socket), tls_);
      try {
        co_await stream.async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
        std::string request;
        co_await asio::async_read_until(stream, asio::dynamic_buffer(request), "\r\n\r\n",
                                        asio::use_awaitable);
        ++requests_;
        co_await asio::async_write(stream, asio::buffer(answer_), asio::use_awaitable);
        if (says_goodbye_) co_await stream.async_shutdown(asio::use_awaitable);
        stream.next_layer().close();
      } catch (const boost::system::system_error&) {
      }
    }
  }

  contract::Response get(const Certificate& certificate, const std::string& name,
                         const std::string& trusted) {
    SSL_CTX_use_certificate(tls_.native_handle(), certificate.x509);
    SSL_CTX_use_PrivateKey(tls_.native_handle(), certificate.key);
    asio::co_spawn(loop_, serve(), asio::detached);
    options_.curl.ca_file = trusted;
    allowance_.base_urls["api"] = fmt::format("https://{}:{}", name, port_);
    return send();
  }

  /// By a client of its own, as options_ are now.
  contract::Response send() {
    client_.reset();
    stats_ = FetchStats();
    return answer(FetchTest::get("/"));
  }

  tcp::acceptor acceptor_;
  asio::ssl::context tls_;
  unsigned short port_ = 0;
  int requests_ = 0;
  std::string answer_ = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  bool says_goodbye_ = true;  ///< close_notify
};

TEST_F(TlsTest, SpeaksToAServerWhoseCertificateVerifies) {
  const Certificate certificate(Certificate::Age::valid);
  const auto response = get(certificate, "api.example.com", certificate.path);
  EXPECT_EQ(response.body, "ok") << response.transport_error;
}

TEST_F(TlsTest, SendsNothingToAServerThatNobodyVouchesFor) {
  const Certificate certificate(Certificate::Age::valid);
  const auto response = get(certificate, "api.example.com", "");
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.certificate: "))
      << response.transport_error;
  EXPECT_EQ(requests_, 0);
  EXPECT_EQ(stats_.attempts, 1u) << "it would not verify the next time either";
}

TEST_F(TlsTest, SendsNothingToAServerOfAnotherName) {
  const Certificate certificate(Certificate::Age::valid);
  const auto response = get(certificate, "other.example.com", certificate.path);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.certificate: "))
      << response.transport_error;
  EXPECT_EQ(requests_, 0);
}

TEST_F(TlsTest, SendsNothingToAnExpiredCertificate) {
  const Certificate certificate(Certificate::Age::expired);
  const auto response = get(certificate, "api.example.com", certificate.path);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.certificate: "))
      << response.transport_error;
  EXPECT_EQ(requests_, 0);
}

TEST_F(TlsTest, AnAnswerWithoutALengthIsWholeWhenTlsSaysThatItEndsThere) {
  const Certificate certificate(Certificate::Age::valid);
  answer_ = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n1,Ann\n2,Bob\n";
  const auto response = get(certificate, "api.example.com", certificate.path);
  EXPECT_EQ(response.body, "1,Ann\n2,Bob\n") << response.transport_error;
  EXPECT_FALSE(response.unframed);
  EXPECT_EQ(stats_.attempts, 1u);
}

TEST_F(TlsTest, WithoutCloseNotifyNoAnswerWithoutALengthIsTakenWhereverItEnds) {
  const Certificate certificate(Certificate::Age::valid);
  options_.retry.tries_max = 1;
  says_goodbye_ = false;
  const std::string whole = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n1,Ann\n2,Bob\n";
  for (std::size_t at = 0; at <= whole.size(); ++at) {
    answer_ = whole.substr(0, at);
    const auto response = get(certificate, "api.example.com", certificate.path);
    EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.cut: "))
        << at << " " << response.status << " " << response.transport_error;
    EXPECT_EQ(response.body, "") << at;
  }
}

TEST_F(TlsTest, AnAnswerThatSaysItsLengthNeedsNoCloseNotify) {
  const Certificate certificate(Certificate::Age::valid);
  options_.retry.tries_max = 1;
  says_goodbye_ = false;
  for (const std::string& whole :
       {answer_, std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0"
                             "\r\n\r\n")}) {
    for (std::size_t at = 0; at <= whole.size(); ++at) {
      answer_ = whole.substr(0, at);
      const auto response = get(certificate, "api.example.com", certificate.path);
      // Behind the last CR nothing but its LF can come: the end of the chunks has been seen.
      const bool ended = at == whole.size() || (at + 1 == whole.size() && whole.back() == '\n');
      if (ended) {
        EXPECT_EQ(response.body, "ok") << response.transport_error;
        EXPECT_FALSE(response.unframed);
      } else {
        EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.cut: "))
            << at << " " << response.status << " " << response.transport_error;
      }
    }
  }
}

/// A proxy that opens a tunnel to the test's server, whatever name it is asked for.
class ProxyTest : public TlsTest {
 protected:
  ProxyTest() : doorman_(loop_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    options_.curl.proxy = fmt::format("http://127.0.0.1:{}", doorman_.local_endpoint().port());
    options_.retry.tries_max = 1;
    hosts_.front().url = "https://api.example.com";
    contract::AuthSlot bearer;
    bearer.name = "key";
    bearer.secret = "api_key";
    auth_.push_back(bearer);
    credentials_.current["api_key"] = "sk_test_of_the_vendor";
    asio::co_spawn(loop_, stand_at_the_door(), asio::detached);
  }

  Task<> stand_at_the_door() {
    const auto executor = co_await asio::this_coro::executor;
    for (;;) {
      tcp::socket socket = co_await doorman_.async_accept(asio::use_awaitable);
      ++visitors_;
      asio::co_spawn(executor, let_through(std::move(socket)), asio::detached);
    }
  }
  Task<> let_through(tcp::socket inside) {
    try {
      std::string head;
      const std::size_t end = co_await asio::async_read_until(inside, asio::dynamic_buffer(head),
                                                              "\r\n\r\n", asio::use_awaitable);
      heard_ += head.substr(0, end);
      const std::string reply = lets_through_ ? "HTTP/1.1 200 Go on\r\nX-Proxy: 1\r\n\r\n"
                                              : "HTTP/1.1 403 Not there\r\n\r\n";
      co_await asio::async_write(inside, asio::buffer(reply), asio::use_awaitable);
      if (!lets_through_) co_return;
      const auto executor = co_await asio::this_coro::executor;
      auto from = std::make_shared<tcp::socket>(std::move(inside));
      auto to = std::make_shared<tcp::socket>(executor);
      const tcp::endpoint vendor(asio::ip::address_v4::loopback(), port_);
      co_await to->async_connect(vendor, asio::use_awaitable);
      asio::co_spawn(executor, carry(from, to), asio::detached);
      co_await carry(to, from);
    } catch (const boost::system::system_error&) {
    }
  }
  Task<> carry(std::shared_ptr<tcp::socket> from, std::shared_ptr<tcp::socket> to) {
    std::array<char, 4096> bytes{};
    try {
      for (;;) {
        const std::size_t size =
            co_await from->async_read_some(asio::buffer(bytes), asio::use_awaitable);
        heard_.append(bytes.data(), size);
        co_await asio::async_write(*to, asio::buffer(bytes.data(), size), asio::use_awaitable);
      }
    } catch (const boost::system::system_error&) {
    }
    boost::system::error_code gone;
    to->shutdown(tcp::socket::shutdown_send, gone);
  }

  tcp::acceptor doorman_;
  int visitors_ = 0;
  bool lets_through_ = true;
  std::string heard_;
};

TEST_F(ProxyTest, AVendorIsReachedByATunnelThatShowsTheProxyItsNameAndNothingElse) {
  const Certificate certificate(Certificate::Age::valid);
  SSL_CTX_use_certificate(tls_.native_handle(), certificate.x509);
  SSL_CTX_use_PrivateKey(tls_.native_handle(), certificate.key);
  options_.curl.ca_file = certificate.path;
  asio::co_spawn(loop_, serve(), asio::detached);
  allowance_ = EgressAllowance();  // the proxy's own address needs no connection's allowance
  const auto response = send();
  EXPECT_EQ(response.body, "ok") << response.transport_error;
  EXPECT_FALSE(contract::find_header(response.headers, "x-proxy"));
  EXPECT_TRUE(heard_.starts_with("CONNECT api.example.com:443 HTTP/1.1\r\n")) << heard_;
  EXPECT_EQ(heard_.find("sk_test_of_the_vendor"), std::string::npos);
  EXPECT_EQ(requests_, 1);
}

// libcurl reads them unless it is told otherwise; the policy admits every address behind a proxy.
TEST_F(ProxyTest, TheEnvironmentDoesNotTurnTheProxyOff) {
  for (const char* const name : {"NO_PROXY", "no_proxy"}) ::setenv(name, "*,example.com", 1);
  lets_through_ = false;
  allowance_ = EgressAllowance();
  const auto response = send();
  for (const char* const name : {"NO_PROXY", "no_proxy"}) ::unsetenv(name);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.proxy: "))
      << response.transport_error;
  EXPECT_EQ(visitors_, 1);
}

TEST_F(ProxyTest, AProxyThatRefusesIsNamed) {
  lets_through_ = false;
  const auto response = send();
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.proxy: "))
      << response.transport_error;
}

TEST_F(ProxyTest, WhatAnAdminOpenedForAConnectionIsDialledDirectlyAndJudged) {
  const Certificate certificate(Certificate::Age::valid);
  EXPECT_EQ(get(certificate, "api.example.com", certificate.path).body, "ok");
  EXPECT_EQ(visitors_, 0);
}

}  // namespace
}  // namespace sluice::fetch
