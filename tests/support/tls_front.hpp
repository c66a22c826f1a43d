// Puts TLS in front of a server that speaks none.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <memory>
#include <string>
#include <thread>

#include "support/certificate.hpp"

namespace sluice::testing {

/// Listens on 127.0.0.1 with a certificate for that address or for `names`, and passes on what
/// comes to 127.0.0.1:`port`; on a thread of its own.
class TlsFront {
 public:
  explicit TlsFront(unsigned short port, const char* names = "IP:127.0.0.1")
      : certificate_(Certificate::Age::valid, names),
        context_(boost::asio::ssl::context::tls_server),
        acceptor_(loop_, {boost::asio::ip::address_v4::loopback(), 0}),
        behind_(boost::asio::ip::address_v4::loopback(), port) {
    SSL_CTX_use_certificate(context_.native_handle(), certificate_.x509);
    SSL_CTX_use_PrivateKey(context_.native_handle(), certificate_.key);
    boost::asio::co_spawn(loop_, accept(), boost::asio::detached);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~TlsFront() {
    loop_.stop();
    thread_.join();
  }
  TlsFront(const TlsFront&) = delete;
  TlsFront& operator=(const TlsFront&) = delete;

  [[nodiscard]] std::string url() const {
    return "https://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  [[nodiscard]] const Certificate& certificate() const { return certificate_; }

 private:
  using Socket = boost::asio::ip::tcp::socket;
  using Stream = boost::asio::ssl::stream<Socket>;
  using Task = boost::asio::awaitable<void>;

  Task accept() {
    for (;;) {
      Socket socket = co_await acceptor_.async_accept(boost::asio::use_awaitable);
      boost::asio::co_spawn(loop_, serve(std::make_shared<Stream>(std::move(socket), context_)),
                            boost::asio::detached);
    }
  }
  Task serve(std::shared_ptr<Stream> client) {
    auto server = std::make_shared<Socket>(loop_);
    try {
      co_await client->async_handshake(boost::asio::ssl::stream_base::server,
                                       boost::asio::use_awaitable);
      co_await server->async_connect(behind_, boost::asio::use_awaitable);
    } catch (const boost::system::system_error&) {
      co_return;
    }
    boost::asio::co_spawn(loop_, carry(server, client, server, client), boost::asio::detached);
    co_await carry(client, server, server, client);
  }
  /// From one to the other until one of them ends; then both do.
  template <class From, class To>
  static Task carry(std::shared_ptr<From> from, std::shared_ptr<To> to,
                    std::shared_ptr<Socket> server, std::shared_ptr<Stream> client) {
    std::string bytes(65'536, 0);
    try {
      for (;;) {
        const std::size_t size =
            co_await from->async_read_some(boost::asio::buffer(bytes), boost::asio::use_awaitable);
        co_await boost::asio::async_write(*to, boost::asio::buffer(bytes, size),
                                          boost::asio::use_awaitable);
      }
    } catch (const boost::system::system_error&) {
    }
    boost::system::error_code ignored;
    server->close(ignored);
    client->next_layer().close(ignored);
  }

  Certificate certificate_;
  boost::asio::io_context loop_;
  boost::asio::ssl::context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::ip::tcp::endpoint behind_;
  std::thread thread_;
};

}  // namespace sluice::testing
