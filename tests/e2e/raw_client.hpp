// A client that holds its connection open, and sends what it likes, when it likes.
#pragma once

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace sluice::e2e {

/// One connection to the host at "http://address:port". Reading gives up after 30 s.
class RawClient {
 public:
  explicit RawClient(const std::string& url) {
    const auto at = url.find("//") + 2;
    const auto colon = url.rfind(':');
    const auto address = boost::asio::ip::make_address(url.substr(at, colon - at));
    const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(colon + 1)));
    socket_.connect({address, port});
    const timeval patience{30, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  void send(std::string_view bytes) {
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()));
  }
  /// Of a body with Transfer-Encoding chunked; an empty one ends it.
  void send_chunk(std::string_view bytes) {
    send(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
  }
  /// Everything up to the end of the connection, or to what is said.
  std::string read_until(std::string_view end) {
    while (text_.find(end) == std::string::npos && read_some()) {
    }
    return text_;
  }
  /// The next answer with a Content-Length, whole; empty when the connection ended first.
  std::string next_answer() {
    const std::string head_end = "\r\n\r\n";
    read_until(head_end);
    const auto end = text_.find(head_end);
    const auto length = text_.find("Content-Length: ");
    if (end == std::string::npos || length > end) return {};
    const std::size_t whole = end + head_end.size() + std::stoul(text_.substr(length + 16));
    while (text_.size() < whole && read_some()) {
    }
    if (text_.size() < whole) return {};
    std::string answer = text_.substr(0, whole);
    text_.erase(0, whole);
    return answer;
  }
  /// What came within that time, or was there.
  std::string received_within(std::chrono::milliseconds most) {
    pollfd one{socket_.native_handle(), POLLIN, 0};
    if (::poll(&one, 1, static_cast<int>(most.count())) > 0) read_some();
    return text_;
  }
  /// Nothing more comes from here; the answer can still be read.
  void end_sending() { socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send); }
  /// The host has closed it; false while it is open.
  bool closed() {
    char one = 0;
    const ssize_t got = ::recv(socket_.native_handle(), &one, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
  }

 private:
  bool read_some() {
    char piece[4096];
    const ssize_t got = ::recv(socket_.native_handle(), piece, sizeof piece, 0);
    if (got > 0) text_.append(piece, static_cast<std::size_t>(got));
    return got > 0;
  }

  boost::asio::io_context loop_;
  boost::asio::ip::tcp::socket socket_{loop_};
  std::string text_;
};

}  // namespace sluice::e2e
