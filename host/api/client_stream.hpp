// A client's connection, in clear or through TLS: an AsyncStream for Beast either way.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/async.hpp"
#include "base/error.hpp"

namespace sluice::api {

using TlsContext = std::shared_ptr<asio::ssl::context>;

/// Owned by the list of connections, at one place in memory; one loop.
class ClientStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;

  /// In clear without a context.
  ClientStream(asio::ip::tcp::socket socket, TlsContext context)
      : tcp_(std::move(socket)), context_(std::move(context)) {
    if (context_) tls_.emplace(tcp_, *context_);
  }
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;

  executor_type get_executor() { return tcp_.get_executor(); }
  asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  /// Of everything that is begun from now on; then the socket is closed.
  void expires_after(std::chrono::milliseconds time) { tcp_.expires_after(time); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return tcp_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return tcp_.async_write_some(buffers, std::forward<Token>(token));
  }

  /// Once, before anything else; at once when in clear.
  Task<bool> open() {
    if (!tls_) co_return true;
    boost::system::error_code error;
    co_await tls_->async_handshake(asio::ssl::stream_base::server,
                                   asio::redirect_error(asio::use_awaitable, error));
    co_return !error;
  }
  /// Says that nothing more comes.
  Task<void> close_notify() {
    boost::system::error_code ignored;
    if (tls_) co_await tls_->async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
    socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }

 private:
  boost::beast::tcp_stream tcp_;
  TlsContext context_;
  std::optional<asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

/// A certificate with its chain, and its key, in PEM files. Renewed ones are taken while the host
/// runs. One loop.
class TlsFiles {
 public:
  static constexpr std::chrono::seconds kLookEvery{10};

  /// Errors: listen.tls (bad_input): a file that cannot be read, or a key that is another's.
  static Result<TlsFiles> load(std::filesystem::path certificate, std::filesystem::path key);

  /// For a new connection. Files that changed are read again; while they are no good, the log says
  /// so ("api.tls_files") and what was read before goes on.
  TlsContext context(std::chrono::steady_clock::time_point now);

 private:
  TlsFiles(std::filesystem::path certificate, std::filesystem::path key)
      : certificate_(std::move(certificate)), key_(std::move(key)) {}
  [[nodiscard]] Result<TlsContext> read() const;
  [[nodiscard]] std::string stamp() const;

  std::filesystem::path certificate_, key_;
  TlsContext context_;
  std::string stamp_;
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace sluice::api
