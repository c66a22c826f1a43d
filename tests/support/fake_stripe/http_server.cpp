#include "http_server.hpp"

#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>

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
  head += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
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

/// False when the connection is over.
bool send_reply(tcp::socket& socket, const HttpReply& reply, bool keep_alive) {
  if (reply.wire == Wire::kDrop) return false;
  boost::system::error_code error;
  const std::string head = head_text(reply, keep_alive);
  const bool cut = reply.wire == Wire::kCut;
  const std::size_t bytes = cut ? reply.body.size() / 2 : reply.body.size();
  const std::array<asio::const_buffer, 2> parts = {asio::buffer(head),
                                                   asio::buffer(reply.body.data(), bytes)};
  asio::write(socket, parts, error);
  if (cut) {
    // Without this pause the reset may overtake the bytes, and the peer would see nothing.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    reset(socket);
  }
  return !error && !cut && keep_alive;
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
      acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), port)) {}

HttpServer::~HttpServer() { stop(); }

std::uint16_t HttpServer::port() const { return acceptor_.local_endpoint().port(); }

void HttpServer::start() {
  acceptor_thread_ = std::thread([this] { accept_loop(); });
}

void HttpServer::stop() {
  if (stopping_.exchange(true)) return;
  ::shutdown(acceptor_.native_handle(), SHUT_RDWR);  // wakes the blocked accept
  if (acceptor_thread_.joinable()) acceptor_thread_.join();
  const std::lock_guard lock(mutex_);
  for (Connection& c : connections_) {
    if (!c.done) ::shutdown(c.socket.native_handle(), SHUT_RDWR);
  }
  for (Connection& c : connections_) c.thread.join();
  connections_.clear();
}

void HttpServer::accept_loop() {
  while (!stopping_) {
    boost::system::error_code error;
    tcp::socket socket = acceptor_.accept(error);
    if (error) continue;
    socket.set_option(tcp::no_delay(true), error);
    const std::lock_guard lock(mutex_);
    reap();
    Connection& added = connections_.emplace_back(std::move(socket));
    added.thread = std::thread([this, &added] { serve(added); });
  }
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
    open = send_reply(connection.socket, reply, keep_alive);
  }
  if (connection.socket.is_open()) ::shutdown(connection.socket.native_handle(), SHUT_RDWR);
  connection.done = true;
}

}  // namespace fake_stripe
