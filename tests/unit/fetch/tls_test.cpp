// TLS against a real server with a certificate made for the test.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <boost/asio/ssl.hpp>
#include <cstdio>
#include <filesystem>

#include "fakes.hpp"
#include "fetch/client.hpp"

namespace sluice::fetch {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;

/// A self-signed certificate for api.example.com, valid for an hour around now or long expired.
struct Certificate {
  enum class Age { valid, expired };
  explicit Certificate(Age age) : key(EVP_EC_gen("P-256")), x509(X509_new()) {
    const long from = age == Age::valid ? -3600 : -7200;
    const long to = age == Age::valid ? 3600 : -3600;
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), from);
    X509_gmtime_adj(X509_getm_notAfter(x509), to);
    X509_set_pubkey(x509, key);
    X509_NAME* name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("Sluice test"), -1, -1, 0);
    X509_set_issuer_name(x509, name);
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x509, x509, nullptr, nullptr, 0);
    X509_EXTENSION* names =
        X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, "DNS:api.example.com");
    X509_add_ext(x509, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(x509, key, EVP_sha256());
    path = (std::filesystem::temp_directory_path() /
            fmt::format("sluice-tls-{}.pem", static_cast<void*>(this)))
               .string();
    std::FILE* file = std::fopen(path.c_str(), "w");
    PEM_write_X509(file, x509);
    std::fclose(file);
  }
  ~Certificate() {
    std::filesystem::remove(path);
    X509_free(x509);
    EVP_PKEY_free(key);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  EVP_PKEY* key;
  X509* x509;
  std::string path;  ///< the certificate alone, as a client trusts it
};

class TlsTest : public testing::Test {
 protected:
  TlsTest()
      : acceptor_(loop_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        tls_(asio::ssl::context::tls_server) {
    contract::Host host;
    host.name = "api";
    hosts_.push_back(host);
    allowance_.addresses.loopback = true;
    port_ = acceptor_.local_endpoint().port();
    options_.curl.pins = {fmt::format("api.example.com:{}:127.0.0.1", port_),
                          fmt::format("other.example.com:{}:127.0.0.1", port_)};
    options_.retry.backoff_first = milliseconds(1);
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
        const std::string answer =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        co_await asio::async_write(stream, asio::buffer(answer), asio::use_awaitable);
        co_await stream.async_shutdown(asio::use_awaitable);
      } catch (const boost::system::system_error&) {
      }
    }
  }

  Task<> send_into(Client& client, std::optional<Result<contract::Response>>& out) {
    const SendContext where{hosts_, auth_, config_, allowance_, credentials_, budget_, stats_};
    contract::Request request;
    request.target = "/";
    auto result = co_await client.send(std::move(request), where);
    out.emplace(std::move(result));
  }

  contract::Response get(const Certificate& certificate, const std::string& name,
                         const std::string& trusted) {
    SSL_CTX_use_certificate(tls_.native_handle(), certificate.x509);
    SSL_CTX_use_PrivateKey(tls_.native_handle(), certificate.key);
    asio::co_spawn(loop_, serve(), asio::detached);
    options_.curl.ca_file = trusted;
    allowance_.base_urls["api"] = fmt::format("https://{}:{}", name, port_);
    Client client(loop_.get_executor(), options_, clock_, entropy_, delay_);
    std::optional<Result<contract::Response>> out;
    asio::co_spawn(loop_, send_into(client, out), asio::detached);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!out && std::chrono::steady_clock::now() < end) loop_.run_one_for(milliseconds(100));
    EXPECT_TRUE(out && *out);
    return out && *out ? std::move(**out) : contract::Response{};
  }

  asio::io_context loop_;
  tcp::acceptor acceptor_;
  asio::ssl::context tls_;
  SystemClock clock_;
  TimerDelay delay_;
  fetch_test::HighEntropy entropy_;
  ClientOptions options_;
  std::vector<contract::Host> hosts_;
  std::vector<contract::AuthSlot> auth_;
  nlohmann::json config_ = nlohmann::json::object();
  EgressAllowance allowance_;
  fetch_test::TableCredentials credentials_;
  Budget budget_{BudgetOptions{}, clock_, delay_};
  FetchStats stats_;
  unsigned short port_ = 0;
  int requests_ = 0;
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

}  // namespace
}  // namespace sluice::fetch
