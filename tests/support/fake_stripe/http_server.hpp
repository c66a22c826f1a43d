#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace fake_stripe {

/// A flag that ends every wait in the process.
class Stop {
 public:
  void request();
  [[nodiscard]] bool requested() const { return requested_; }
  /// Waits `ms`, or less when the process is told to stop.
  void wait_ms(std::int64_t ms);

 private:
  std::atomic<bool> requested_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

struct HttpRequest {
  std::string method;
  std::string target;
  std::string authorization;
  std::string stripe_version;
  std::string stripe_account;
  std::string stripe_context;
  std::string body;

  [[nodiscard]] std::string_view path() const;
  /// Without the question mark.
  [[nodiscard]] std::string_view query() const;
};

/// How the answer is put on the wire.
enum class Wire {
  kWhole,
  kCut,      ///< head and `wire_bytes` of the body (0: half), then the connection is reset
  kCutHead,  ///< half of the head, then the connection is closed
  kDrop,     ///< the connection is closed without an answer
  kReset,    ///< the same with a reset
  kHang,     ///< nothing, until the client goes
  kTrickle,  ///< the body in pieces of `wire_bytes`, `wire_ms` apart
  kChunked   ///< the body in chunks of `wire_bytes`
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  Wire wire = Wire::kWhole;
  std::size_t wire_bytes = 0;
  std::int64_t wire_ms = 0;
  std::int64_t length_off = 0;      ///< added to the Content-Length
  std::function<void()> then = {};  ///< called when the answer is out; the connection ends then
};

/// HTTP/1.1 on 127.0.0.1, one thread per connection, keep-alive and pipelining, no TLS.
/// The handler is called on the connections' threads and must be safe there.
class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  /// Binds and listens at once. `port` 0 takes a free one.
  HttpServer(std::uint16_t port, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  void start();
  /// The port is closed and every connection cut; connecting is refused. It listens again after
  /// `ms`, or at come_back(); `ms` 0: only then. Not from a handler (HttpReply::then will do).
  void go_away(std::int64_t ms);
  void come_back();
  /// Shuts all connections and joins all threads.
  void stop();

 private:
  struct Connection {
    explicit Connection(boost::asio::ip::tcp::socket s) : socket(std::move(s)) {}
    boost::asio::ip::tcp::socket socket;
    std::thread thread;
    std::atomic<bool> done{false};
  };

  void accept_loop();
  void serve(Connection& connection);
  void reap();
  void cut_connections();
  /// Closes the listener, waits, listens again.
  void stay_away();
  bool send_reply(Connection& connection, const HttpReply& reply, bool keep_alive);

  Handler handler_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;  ///< the acceptor thread's alone once it runs
  std::atomic<int> listening_{-1};           ///< its descriptor, for shutting it down from outside
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_thread_;
  std::mutex mutex_;
  std::mutex away_mutex_;
  std::condition_variable away_changed_;
  bool away_ = false;
  std::int64_t away_ms_ = 0;
  std::list<Connection> connections_;
};

}  // namespace fake_stripe
