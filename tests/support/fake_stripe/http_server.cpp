#include "http_server.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>

namespace fake_stripe {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::uint64_t kBodyBytesMax = 64ULL * 1024 * 1024;

HttpRequest take_request(http::request<http::string_body>& from) {
  const auto header = [&](std::string_view name) {
    const auto found = from.find({name.data(), name.size()});
    if (found == from.end()) return std::string();
    return std::string(found->value().data(), found->value().size());
  };
  return {.method = std::string(from.method_string().data(), from.method_string().size()),
          .target = std::string(from.target().data(), from.target().size()),
          .authorization = header("Authorization"),
          .stripe_version = header("Stripe-Version"),
          .stripe_account = header("Stripe-Account"),
          .stripe_context = header("Stripe-Context"),
          .body = std::move(from.body())};
}

std::string reason(int status) {
  const auto text = http::obsolete_reason(static_cast<http::status>(status));
  return {text.data(), text.size()};
}

std::string head_text(const HttpReply& reply, bool keep_alive) {
  std::string head;
  head.reserve(512);
  head += "HTTP/1.1 " + std::to_string(reply.status) + " " + reason(reply.status) + "\r\n";
  head += "Server: nginx\r\nContent-Type: " + reply.content_type + "\r\n";
  if (reply.wire == Wire::kChunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else {
    const auto length = static_cast<std::int64_t>(reply.body.size()) + reply.length_off;
    head += "Content-Length: " + std::to_string(length) + "\r\n";
  }
  for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

/// Closes with a reset instead of a clean end.
void reset(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

/// Without this pause a reset may overtake the bytes, and the peer would see nothing.
void let_bytes_arrive() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }

std::string chunk_head(std::size_t size) {
  std::array<char, 20> text{};
  const int length = std::snprintf(text.data(), text.size(), "%zx\r\n", size);
  return {text.data(), static_cast<std::size_t>(length)};
}

/// True when the peer has closed its side.
bool has_left(tcp::socket& socket) {
  char byte = 0;
  const auto got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

}  // namespace

void Stop::request() {
  {
    const std::lock_guard lock(mutex_);
    requested_ = true;
  }
  changed_.notify_all();
}

void Stop::wait_ms(std::int64_t ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return requested_.load(); });
}

std::string_view HttpRequest::path() const {
  return std::string_view(target).substr(0, target.find('?'));
}

std::string_view HttpRequest::query() const {
  const auto mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

HttpServer::HttpServer(std::uint16_t port, Handler handler)
    : handler_(std::move(handler)),
      acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), port)),
      listening_(acceptor_.native_handle()),
      port_(acceptor_.local_endpoint().port()) {}

HttpServer::~HttpServer() { stop(); }

std::uint16_t HttpServer::port() const { return port_; }

void HttpServer::start() {
  acceptor_thread_ = std::thread([this] { accept_loop(); });
}

void HttpServer::stop() {
  if (stopping_.exchange(true)) return;
  come_back();
  ::shutdown(listening_, SHUT_RDWR);  // wakes the blocked accept
  if (acceptor_thread_.joinable()) acceptor_thread_.join();
  cut_connections();
  for (Connection& c : connections_) c.thread.join();
  connections_.clear();
}

void HttpServer::cut_connections() {
  const std::lock_guard lock(mutex_);
  for (Connection& c : connections_) {
    if (!c.done) ::shutdown(c.socket.native_handle(), SHUT_RDWR);
  }
}

void HttpServer::go_away(std::int64_t ms) {
  {
    const std::lock_guard lock(away_mutex_);
    away_ = true;
    away_ms_ = ms;
  }
  ::shutdown(listening_, SHUT_RDWR);
}

void HttpServer::come_back() {
  {
    const std::lock_guard lock(away_mutex_);
    away_ = false;
  }
  away_changed_.notify_all();
}

void HttpServer::stay_away() {
  boost::system::error_code ignored;
  listening_ = -1;
  acceptor_.close(ignored);
  cut_connections();
  {
    std::unique_lock lock(away_mutex_);
    const auto back = [this] { return !away_ || stopping_; };
    if (away_ms_ > 0) {
      away_changed_.wait_for(lock, std::chrono::milliseconds(away_ms_), back);
    } else {
      away_changed_.wait(lock, back);
    }
    away_ = false;
  }
  if (stopping_) return;
  // Meanwhile somebody else may hold the port for a moment.
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port_);
  while (!stopping_) {
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) {
      listening_ = acceptor_.native_handle();
      return;
    }
    acceptor_.close(error);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void HttpServer::accept_loop() {
  while (!stopping_) {
    boost::system::error_code error;
    tcp::socket socket = acceptor_.accept(error);
    if (error) {
      bool away = false;
      {
        const std::lock_guard lock(away_mutex_);
        away = away_;
      }
      if (away) stay_away();
      continue;
    }
    socket.set_option(tcp::no_delay(true), error);
    const std::lock_guard lock(mutex_);
    reap();
    Connection& added = connections_.emplace_back(std::move(socket));
    added.thread = std::thread([this, &added] { serve(added); });
  }
}

/// False when the connection is over.
bool HttpServer::send_reply(Connection& connection, const HttpReply& reply, bool keep_alive) {
  tcp::socket& socket = connection.socket;
  boost::system::error_code error;
  const std::string head = head_text(reply, keep_alive && !reply.then);
  const std::string& body = reply.body;
  switch (reply.wire) {
    case Wire::kDrop:
      return false;
    case Wire::kReset: {
      const std::lock_guard lock(mutex_);  // against cut_connections()
      reset(socket);
      return false;
    }
    case Wire::kHang:
      while (!stopping_ && !has_left(socket)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      return false;
    case Wire::kCutHead:
      asio::write(socket, asio::buffer(head.data(), head.size() / 2), error);
      return false;
    case Wire::kCut: {
      const std::size_t bytes = reply.wire_bytes == 0 ? body.size() / 2 : reply.wire_bytes;
      asio::write(socket, asio::buffer(head), error);
      asio::write(socket, asio::buffer(body.data(), std::min(bytes, body.size())), error);
      let_bytes_arrive();
      const std::lock_guard lock(mutex_);
      reset(socket);
      return false;
    }
    case Wire::kTrickle:
    case Wire::kChunked: {
      asio::write(socket, asio::buffer(head), error);
      const std::size_t piece = reply.wire_bytes == 0 ? 1024 : reply.wire_bytes;
      for (std::size_t at = 0; at < body.size() && !error && !stopping_; at += piece) {
        const std::size_t size = std::min(piece, body.size() - at);
        if (reply.wire == Wire::kChunked)
          asio::write(socket, asio::buffer(chunk_head(size)), error);
        asio::write(socket, asio::buffer(body.data() + at, size), error);
        if (reply.wire == Wire::kChunked) {
          asio::write(socket, asio::buffer("\r\n", 2), error);
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(reply.wire_ms));
        }
      }
      if (reply.wire == Wire::kChunked) asio::write(socket, asio::buffer("0\r\n\r\n", 5), error);
      break;
    }
    case Wire::kWhole: {
      const std::array<asio::const_buffer, 2> parts = {asio::buffer(head), asio::buffer(body)};
      asio::write(socket, parts, error);
      break;
    }
  }
  // After a wrong length nothing that follows could be told apart from the body.
  return !error && keep_alive && !reply.then && reply.length_off == 0;
}

void HttpServer::reap() {
  for (auto at = connections_.begin(); at != connections_.end();) {
    if (!at->done) {
      ++at;
      continue;
    }
    at->thread.join();
    at = connections_.erase(at);
  }
}

void HttpServer::serve(Connection& connection) {
  boost::beast::flat_buffer buffer;  // keeps what a pipelining client sent ahead
  bool open = true;
  while (open && !stopping_) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kBodyBytesMax);
    boost::system::error_code error;
    http::read(connection.socket, buffer, parser, error);
    if (error) break;
    const bool keep_alive = parser.keep_alive();
    const HttpReply reply = handler_(take_request(parser.get()));
    open = send_reply(connection, reply, keep_alive);
    if (reply.then) {
      let_bytes_arrive();
      reply.then();
    }
  }
  if (connection.socket.is_open()) ::shutdown(connection.socket.native_handle(), SHUT_RDWR);
  connection.done = true;
}

}  // namespace fake_stripe
