#include "hostile_server.hpp"

#include <fmt/format.h>
#include <zlib.h>

namespace sluice::fetch_test {
namespace {

using asio::ip::tcp;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

Seen parse(const std::string& head) {
  Seen seen;
  const std::size_t space = head.find(' ');
  seen.method = head.substr(0, space);
  seen.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  std::size_t at = head.find("\r\n") + 2;
  while (at < head.size()) {
    const std::size_t end = head.find("\r\n", at);
    if (end == std::string::npos || end == at) break;
    const std::size_t colon = head.find(':', at);
    const std::size_t value = head.find_first_not_of(' ', colon + 1);
    seen.headers[lower(head.substr(at, colon - at))] =
        value < end ? head.substr(value, end - value) : "";
    at = end + 2;
  }
  return seen;
}

Task<> pause(int ms) {
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(ms));
  co_await timer.async_wait(asio::use_awaitable);
}

Task<> write(tcp::socket& socket, std::string text) {
  co_await asio::async_write(socket, asio::buffer(text), asio::use_awaitable);
}

}  // namespace

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string http(int status, const std::string& body, const std::string& extra_headers) {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(),
                     extra_headers, body);
}

HostileServer::HostileServer(asio::io_context& loop)
    : acceptor_(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
  asio::co_spawn(loop, accept(), asio::detached);
}

std::string HostileServer::url() const { return fmt::format("http://127.0.0.1:{}", port()); }

Task<> HostileServer::accept() {
  const auto executor = co_await asio::this_coro::executor;
  for (;;) {
    tcp::socket socket = co_await acceptor_.async_accept(asio::use_awaitable);
    ++connections;
    asio::co_spawn(executor, serve(std::move(socket)), asio::detached);
  }
}

Task<> HostileServer::serve(tcp::socket socket) {
  std::string buffer;
  try {
    for (;;) {
      const std::size_t head = co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer),
                                                               "\r\n\r\n", asio::use_awaitable);
      Seen request = parse(buffer.substr(0, head));
      buffer.erase(0, head);
      if (request.headers.contains("content-length")) {
        const std::size_t size = std::stoul(request.headers["content-length"]);
        if (buffer.size() < size) {
          const auto more = asio::transfer_exactly(size - buffer.size());
          co_await asio::async_read(socket, asio::dynamic_buffer(buffer), more,
                                    asio::use_awaitable);
        }
        request.body = buffer.substr(0, size);
        buffer.erase(0, size);
      }
      seen.push_back(request);
      ++open_requests;
      open_requests_max = std::max(open_requests_max, open_requests);
      const bool keep = co_await answer(socket, request);
      --open_requests;
      if (!keep) break;
    }
  } catch (const boost::system::system_error&) {
  }
}

/// Waits for the peer to close.
Task<> HostileServer::linger(tcp::socket& socket) {
  char byte = 0;
  boost::system::error_code gone;
  co_await asio::async_read(socket, asio::buffer(&byte, 1),
                            asio::redirect_error(asio::use_awaitable, gone));
  ++cut_by_peer;
}

Task<bool> HostileServer::answer(tcp::socket& socket, const Seen& request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (path.starts_with("/script/")) {
    auto& script = scripts[path.substr(8)];
    std::string text = script.front();
    if (script.size() > 1) script.erase(script.begin());
    co_await write(socket, text);
    co_return true;
  }
  if (path == "/chunked") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    co_await pause(5);
    co_await write(socket, "6\r\n world\r\n0\r\n\r\n");
    co_return true;
  }
  if (path == "/slow-headers") {
    co_await write(socket, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 200; ++i) {
      co_await pause(20);
      co_await write(socket, "X-Drip: 1\r\n");
    }
    co_return false;
  }
  if (path == "/stalled-body") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
    co_await linger(socket);
    co_return false;
  }
  if (path == "/drip-body") {  // slow, but never idle
    co_await write(socket, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
    for (int i = 0; i < 20; ++i) {
      co_await pause(20);
      co_await write(socket, "x");
    }
    co_return true;
  }
  if (path == "/cut-body") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
    co_return false;
  }
  if (path == "/no-answer") co_return false;
  if (path == "/endless") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string piece = "10000\r\n" + std::string(65536, 'e') + "\r\n";
    for (;;) co_await write(socket, piece);
  }
  if (path == "/huge-headers") {
    std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    for (int i = 0; i < 100; ++i)
      text += fmt::format("X-Fill-{}: {}\r\n", i, std::string(1000, 'h'));
    co_await write(socket, text + "\r\n");
    co_return false;
  }
  if (path == "/page-of-50-mb") {  // "?announced": says so beforehand
    constexpr std::size_t kPage = 50'000'000;
    const bool announced = request.target.ends_with("?announced");
    std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    if (announced) head = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kPage);
    co_await write(socket, head);
    const std::string piece(100'000, 'p');
    for (; body_bytes_sent < kPage; body_bytes_sent += piece.size()) co_await write(socket, piece);
    co_return announced;
  }
  if (path == "/trickle") {  // a byte now and then, for ever
    co_await write(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (;;) {
      co_await pause(20);
      co_await write(socket, "1\r\nt\r\n");
    }
  }
  if (path == "/header-without-end") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nX-Long: ");
    const std::string piece(10'000, 'h');
    for (;;) co_await write(socket, piece);
  }
  if (path == "/hints-without-end") {
    for (;;) co_await write(socket, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
  }
  if (path == "/trailers-without-end") {
    co_await write(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n");
    const std::string trailer = "X-Trailer: " + std::string(1000, 't') + "\r\n";
    for (;;) co_await write(socket, trailer);
  }
  if (path == "/echo-auth") {
    const auto found = request.headers.find("authorization");
    const std::string value = found == request.headers.end() ? "none" : found->second;
    co_await write(socket, http(200, "you sent [" + value + "] to " + request.target,
                                "X-Echo: " + value + "\r\nSet-Cookie: sid=1\r\n"));
    co_return true;
  }
  if (path == "/hold") {
    while (!released) co_await pause(1);
    co_await write(socket, http(200, "held"));
    co_return true;
  }
  co_await write(socket, http(200, request.method + " " + request.target + " " + request.body));
  co_return true;
}

}  // namespace sluice::fetch_test
