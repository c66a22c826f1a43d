// What stands before a server and passes on what comes.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support/certificate.hpp"

namespace sluice::testing {

/// Listens on 127.0.0.1 with a certificate for `names`, on a thread of its own, and connects
/// whoever was greeted with 127.0.0.1:`port`. Who derives from it calls begin() when it is whole,
/// and end() before anything of it goes.
class PassingServer {
 public:
  PassingServer(const PassingServer&) = delete;
  PassingServer& operator=(const PassingServer&) = delete;
  [[nodiscard]] const Certificate& certificate() const { return certificate_; }

 protected:
  using Socket = boost::asio::ip::tcp::socket;
  using Stream = boost::asio::ssl::stream<Socket>;
  template <class T>
  using Answer = boost::asio::awaitable<T>;
  using Task = Answer<void>;
  using Ear = std::function<void(std::string_view)>;

  PassingServer(unsigned short port, const char* names)
      : certificate_(Certificate::Age::valid, names),
        context_(boost::asio::ssl::context::tls_server),
        acceptor_(loop_, {boost::asio::ip::address_v4::loopback(), 0}),
        behind_(boost::asio::ip::address_v4::loopback(), port) {
    SSL_CTX_use_certificate(context_.native_handle(), certificate_.x509);
    SSL_CTX_use_PrivateKey(context_.native_handle(), certificate_.key);
  }
  virtual ~PassingServer() = default;
  void begin() {
    boost::asio::co_spawn(loop_, accept(), boost::asio::detached);
    thread_ = std::thread([this] { loop_.run(); });
  }
  void end() {
    loop_.stop();
    thread_.join();
  }
  [[nodiscard]] std::string address() const {
    return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }

  /// What is said to a client that has come, up to pass_on(). A system_error is the end of it.
  virtual Task greet(Socket client) = 0;

  Answer<std::shared_ptr<Stream>> by_tls(Socket client) {
    auto stream = std::make_shared<Stream>(std::move(client), context_);
    co_await stream->async_handshake(boost::asio::ssl::stream_base::server,
                                     boost::asio::use_awaitable);
    co_return stream;
  }
  /// Both ways, until one of the two ends. `hear` gets what the client sends.
  template <class Client>
  Task pass_on(std::shared_ptr<Client> client, Ear hear) {
    auto server = std::make_shared<Socket>(loop_);
    co_await server->async_connect(behind_, boost::asio::use_awaitable);
    const Ear deaf = [](std::string_view) {};
    boost::asio::co_spawn(loop_, carry(server, client, server, client, deaf),
                          boost::asio::detached);
    co_await carry(client, server, server, client, std::move(hear));
  }

 private:
  Task accept() {
    for (;;) {
      Socket client = co_await acceptor_.async_accept(boost::asio::use_awaitable);
      boost::asio::co_spawn(loop_, serve(std::move(client)), boost::asio::detached);
    }
  }
  Task serve(Socket client) {
    try {
      co_await greet(std::move(client));
    } catch (const boost::system::system_error&) {
    }
  }
  /// From one to the other until one of them ends; then both do.
  template <class From, class To, class Client>
  static Task carry(std::shared_ptr<From> from, std::shared_ptr<To> to,
                    std::shared_ptr<Socket> server, std::shared_ptr<Client> client, Ear hear) {
    std::string bytes(65'536, 0);
    try {
      for (;;) {
        const std::size_t size =
            co_await from->async_read_some(boost::asio::buffer(bytes), boost::asio::use_awaitable);
        hear(std::string_view(bytes).substr(0, size));
        co_await boost::asio::async_write(*to, boost::asio::buffer(bytes, size),
                                          boost::asio::use_awaitable);
      }
    } catch (const boost::system::system_error&) {
    }
    boost::system::error_code ignored;
    server->close(ignored);
    client->lowest_layer().close(ignored);
  }

  Certificate certificate_;
  boost::asio::io_context loop_;
  boost::asio::ssl::context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::ip::tcp::endpoint behind_;
  std::thread thread_;
};

}  // namespace sluice::testing
