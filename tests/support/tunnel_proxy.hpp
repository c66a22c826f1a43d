// A small outbound proxy: tunnels by CONNECT, in clear or behind TLS, and by SOCKS5.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/passing_server.hpp"

namespace sluice::testing {

/// Listens on 127.0.0.1, on a thread of its own, and lets whoever has the password (user "sluice")
/// through to 127.0.0.1:`port`, whatever name he asks for.
class TunnelProxy final : public PassingServer {
 public:
  enum class Kind { http, https, socks5 };

  TunnelProxy(Kind kind, std::string password, unsigned short port)
      : PassingServer(port, "IP:127.0.0.1"), kind_(kind), password_(std::move(password)) {
    begin();
  }
  ~TunnelProxy() override { end(); }

  /// As fetch.proxy has it, with user and password.
  [[nodiscard]] std::string url() const {
    static constexpr const char* kSchemes[] = {"http", "https", "socks5h"};
    return std::string(kSchemes[static_cast<int>(kind_)]) + "://sluice:" + password_ + "@" +
           address();
  }

  /// "api.example.com:443", once for each tunnel that was asked for with the right password.
  [[nodiscard]] std::vector<std::string> asked_for() const {
    const std::lock_guard lock(mutex_);
    return asked_for_;
  }
  /// Everything that came, beside the first bytes of TLS to the proxy itself.
  [[nodiscard]] std::string heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  std::atomic<bool> lets_through{true};
  std::atomic<int> refused{0};

 private:
  Task greet(Socket socket) override {
    if (kind_ == Kind::https) {
      const auto client = co_await by_tls(std::move(socket));
      co_await serve(client);
    } else {
      const auto client = std::make_shared<Socket>(std::move(socket));
      co_await serve(client);
    }
  }

  template <class Client>
  Task serve(std::shared_ptr<Client> client) {
    bool open = false;
    if (kind_ == Kind::socks5) {
      open = co_await opened_by_socks(*client);
    } else {
      open = co_await opened_by_connect(*client);
    }
    if (!open) {
      ++refused;
      co_return;
    }
    const Ear hear = [this](std::string_view bytes) { note(bytes); };
    co_await pass_on(client, hear);
  }

  template <class Client>
  Answer<bool> opened_by_connect(Client& client) {
    std::string head;
    co_await boost::asio::async_read_until(client, boost::asio::dynamic_buffer(head), "\r\n\r\n",
                                           boost::asio::use_awaitable);
    note(head);
    const bool known =
        head.find("Proxy-Authorization: Basic " + basic() + "\r\n") != std::string::npos;
    const std::string verb = "CONNECT ";
    std::string reply = "HTTP/1.1 200 Go on\r\n\r\n";
    if (!lets_through) reply = "HTTP/1.1 403 Not there\r\nContent-Length: 0\r\n\r\n";
    if (!known)
      reply =
          "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"p\"\r\n"
          "Content-Length: 0\r\n\r\n";
    if (known && head.starts_with(verb))
      ask(head.substr(verb.size(), head.find(' ', verb.size()) - verb.size()));
    co_await boost::asio::async_write(client, boost::asio::buffer(reply),
                                      boost::asio::use_awaitable);
    co_return known&& lets_through;
  }

  /// RFC 1928 and 1929: a name, a user and a password, as socks5h has them.
  template <class Client>
  Answer<bool> opened_by_socks(Client& client) {
    std::string methods = co_await read(client, 2);
    methods = co_await read(client, static_cast<unsigned char>(methods[1]));
    const std::string by_password("\x05\x02", 2);
    co_await say(client, by_password);
    const std::string user = co_await read_counted(client, 1);
    const std::string password = co_await read_counted(client, 0);
    const bool known = user == "sluice" && password == password_;
    const std::string verdict(known ? std::string("\x01\x00", 2) : std::string("\x01\x01", 2));
    co_await say(client, verdict);
    if (!known) co_return false;
    const std::string request = co_await read(client, 4);
    if (request[3] != 3) co_return false;  // no name: it was looked up where it must not be
    const std::string name = co_await read_counted(client, 0);
    const std::string port = co_await read(client, 2);
    ask(name + ":" +
        std::to_string(static_cast<unsigned char>(port[0]) * 256 +
                       static_cast<unsigned char>(port[1])));
    const char code = lets_through ? '\x00' : '\x02';
    const std::string reply{'\x05', code, '\x00', '\x01', 0, 0, 0, 0, 0, 0};
    co_await say(client, reply);
    co_return lets_through;
  }
  template <class Client>
  Answer<std::string> read(Client& client, std::size_t size) {
    std::string bytes(size, 0);
    co_await boost::asio::async_read(client, boost::asio::buffer(bytes),
                                     boost::asio::use_awaitable);
    note(bytes);
    co_return bytes;
  }
  /// Bytes behind their number, which is itself behind `before` bytes.
  template <class Client>
  Answer<std::string> read_counted(Client& client, std::size_t before) {
    const std::string head = co_await read(client, before + 1);
    const std::string bytes = co_await read(client, static_cast<unsigned char>(head.back()));
    co_return bytes;
  }
  template <class Client>
  Task say(Client& client, const std::string& bytes) {
    co_await boost::asio::async_write(client, boost::asio::buffer(bytes),
                                      boost::asio::use_awaitable);
  }

  [[nodiscard]] std::string basic() const {
    const std::string plain = "sluice:" + password_;
    std::string out(4 * ((plain.size() + 2) / 3) + 1, 0);
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                    reinterpret_cast<const unsigned char*>(plain.data()),
                    static_cast<int>(plain.size()));
    out.pop_back();
    return out;
  }
  void note(std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    heard_ += bytes;
  }
  void ask(const std::string& target) {
    const std::lock_guard lock(mutex_);
    asked_for_.push_back(target);
  }

  Kind kind_;
  std::string password_;
  mutable std::mutex mutex_;
  std::vector<std::string> asked_for_;
  std::string heard_;
};

}  // namespace sluice::testing
