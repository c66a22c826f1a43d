#include "api/server.hpp"

#include "api/problem.hpp"
#include "base/log.hpp"
#include "pg/error.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <optional>

namespace sluice::api {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::size_t kLingerBytesMax =
    16 << 20;  ///< of an unwanted body, read and dropped so that our answer arrives

std::string text_of(beast::string_view view) { return std::string(view.data(), view.size()); }

Error malformed(std::string what) {
  return Error(ErrorKind::bad_input, "request.malformed",
               "this is no HTTP request that can be answered: " + std::move(what));
}

/// What a parser's refusal means for the client.
Error refusal_of(boost::system::error_code error, const ServerLimits& limits) {
  if (error == http::error::header_limit) {
    return Error(ErrorKind::bad_input, "request.header_too_large",
                 "request line and headers are larger than " +
                     std::to_string(limits.header_bytes_max) + " bytes");
  }
  if (error == http::error::body_limit) {
    return Error(ErrorKind::bad_input, "request.too_large",
                 "the body is larger than " + std::to_string(limits.body_bytes_max) + " bytes",
                 "Split it into several requests");
  }
  return malformed(error.message());
}

bool is_http_error(boost::system::error_code error) {
  return error.category() == http::make_error_code(http::error::bad_method).category();
}

/// Requests that two servers could understand in two ways are refused: nobody may hide one request
/// in another.
std::optional<Error> ambiguity(const http::request_header<>& head) {
  const auto encodings = head.count(http::field::transfer_encoding);
  if (encodings > 1 ||
      (encodings == 1 && !beast::iequals(head[http::field::transfer_encoding], "chunked"))) {
    return malformed("the only Transfer-Encoding taken is chunked");
  }
  if (encodings == 1 && head.version() < 11) return malformed("HTTP/1.0 has no Transfer-Encoding");
  const auto lengths = head.count(http::field::content_length);
  if (lengths > 1 ||
      (lengths == 1 && head[http::field::content_length].find(',') != beast::string_view::npos)) {
    return malformed("Content-Length is there twice");
  }
  const auto hosts = head.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && head.version() >= 11))
    return malformed("one Host header is needed");
  for (const auto field : {http::field::authorization, http::field::content_type}) {
    if (head.count(field) > 1)
      return malformed(std::string(http::to_string(field)) + " is there twice");
  }
  return std::nullopt;
}

}  // namespace

struct ServerState {
  ServerState(Executor executor, Handler h, ServerLimits l)
      : acceptor(executor), handler(std::move(h)), limits(l) {}
  tcp::acceptor acceptor;
  Handler handler;
  ServerLimits limits;
  std::size_t open = 0;
  bool stopping = false;
};

namespace {

using Parser = http::request_parser<http::buffer_body>;

class StreamBody final : public BodyReader {
 public:
  StreamBody(beast::tcp_stream& stream, beast::flat_buffer& buffer, Parser& parser,
             const ServerLimits& limits)
      : stream_(stream), buffer_(buffer), parser_(parser), limits_(limits) {}

  Task<std::string> next() override {
    std::string piece;
    if (parser_.is_done()) co_return piece;
    co_await say_continue();
    piece.resize(kPieceBytes);
    auto& body = parser_.get().body();
    body.data = piece.data();
    body.size = piece.size();
    boost::system::error_code error;
    stream_.expires_after(limits_.body_timeout);
    co_await http::async_read(stream_, buffer_, parser_,
                              asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::need_buffer) error = {};
    if (error == http::error::partial_message || error == http::error::end_of_stream ||
        (error && !is_http_error(error))) {
      throw Failure(Error(ErrorKind::bad_input, "request.cut",
                          "the body of the request ended early: " + error.message()));
    }
    if (error) throw Failure(refusal_of(error, limits_));
    piece.resize(piece.size() - body.size);
    co_return piece;
  }

 private:
  Task<void> say_continue() {
    if (said_continue_) co_return;
    said_continue_ = true;
    if (!beast::iequals(parser_.get()[http::field::expect], "100-continue")) co_return;
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    boost::system::error_code ignored;
    co_await http::async_write(stream_, go_on, asio::redirect_error(asio::use_awaitable, ignored));
  }

  beast::tcp_stream& stream_;
  beast::flat_buffer& buffer_;
  Parser& parser_;
  const ServerLimits& limits_;
  bool said_continue_ = false;
};

Task<HttpResponse> handled(const Handler& handler, HttpRequest& request) {
  Error error;
  try {
    co_return co_await handler(request);
  } catch (const pg::QueryError& failure) {
    error = error_of(failure);
    if (error.kind != ErrorKind::conflict) {
      log::warning("api.database",
                   {{"method", request.method}, {"path", request.path}, {"error", failure.what()}});
    }
  } catch (const Failure& failure) {
    error = failure.error();
  } catch (const std::exception& surprise) {
    error = Error(ErrorKind::internal, "internal", "a defect stopped this request",
                  "The log says more; please report it");
    log::error("api.defect", {{"path", request.path}, {"what", surprise.what()}});
  }
  co_return problem(error);
}

Task<bool> send(beast::tcp_stream& stream, const HttpResponse& answer, bool keep_alive,
                bool head_only, std::chrono::seconds timeout) {
  http::response<http::string_body> response;
  response.version(11);
  response.result(static_cast<unsigned>(answer.status));
  response.set(http::field::server, "sluice");
  response.set(http::field::content_type, answer.content_type);
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : answer.headers) response.set(name, value);
  response.keep_alive(keep_alive);
  response.body() = answer.body;
  response.prepare_payload();
  if (head_only) response.body().clear();
  boost::system::error_code error;
  stream.expires_after(timeout);
  co_await http::async_write(stream, response, asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(Executor executor, std::string address,
                                               std::uint16_t port, Handler handler,
                                               ServerLimits limits) {
  auto state = std::make_shared<ServerState>(executor, std::move(handler), limits);
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address, error);
  const auto refuse = [&]() {
    return fail(ErrorKind::bad_input, "listen.failed",
                "cannot listen on " + address + ":" + std::to_string(port) + ": " + error.message(),
                "Choose another listen.address or listen.port, or stop what uses it");
  };
  if (error) return refuse();
  const tcp::endpoint endpoint(ip, port);
  state->acceptor.open(endpoint.protocol(), error);
  if (!error) state->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) state->acceptor.bind(endpoint, error);
  if (!error) state->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return refuse();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}
Server::~Server() { stop(); }

std::uint16_t Server::port() const { return state_->acceptor.local_endpoint().port(); }

void Server::stop() {
  state_->stopping = true;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

namespace {

/// Waits for a request's first byte; false when none comes.
Task<bool> has_request(beast::tcp_stream& stream, beast::flat_buffer& buffer,
                       std::chrono::seconds timeout) {
  if (buffer.size() > 0) co_return true;
  boost::system::error_code error;
  stream.expires_after(timeout);
  const auto room = buffer.prepare(4096);
  const std::size_t count =
      co_await stream.async_read_some(room, asio::redirect_error(asio::use_awaitable, error));
  buffer.commit(count);
  co_return !error && count > 0;
}

/// Reads the rest of a body that has arrived already, so that the connection can go on.
Task<void> drop_arrived_body(const Parser& parser, const beast::flat_buffer& buffer,
                             StreamBody& body) {
  if (parser.is_done() || parser.chunked()) co_return;
  const auto remaining = parser.content_length_remaining();
  if (!remaining || *remaining > buffer.size()) co_return;
  while (!parser.is_done()) co_await body.next();
}

Task<bool> serve_one(beast::tcp_stream& stream, beast::flat_buffer& buffer, ServerState& state) {
  if (!co_await has_request(stream, buffer, state.limits.idle_timeout)) co_return false;
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(state.limits.header_bytes_max));
  parser.body_limit(state.limits.body_bytes_max);
  boost::system::error_code error;
  stream.expires_after(state.limits.header_timeout);
  co_await http::async_read_header(stream, buffer, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    if (is_http_error(error) && error != http::error::end_of_stream &&
        error != http::error::partial_message) {
      const HttpResponse answer = problem(refusal_of(error, state.limits));
      co_await send(stream, answer, false, false, state.limits.header_timeout);
    }
    co_return false;
  }
  HttpRequest request;
  const auto& head = parser.get();
  request.method = text_of(head.method_string());
  request.authorization = text_of(head[http::field::authorization]);
  request.content_type = text_of(head[http::field::content_type]);
  boost::system::error_code ignored;
  request.peer = stream.socket().remote_endpoint(ignored).address().to_string();
  StreamBody body(stream, buffer, parser, state.limits);
  request.body = &body;
  const bool head_only = request.method == "HEAD";
  const std::optional<Error> ambiguous = ambiguity(head);
  HttpResponse answer;
  if (ambiguous) {
    answer = problem(*ambiguous);
  } else if (const auto target = read_target({head.target().data(), head.target().size()}, request);
             !target) {
    answer = problem(target.error());
  } else {
    answer = co_await handled(state.handler, request);
  }
  if (!ambiguous) co_await drop_arrived_body(parser, buffer, body);
  const bool keep_alive = head.keep_alive() && parser.is_done() && !ambiguous && !state.stopping;
  const bool sent = co_await send(stream, answer, keep_alive, head_only, state.limits.body_timeout);
  co_return sent&& keep_alive;
}

/// Closing a socket with unread bytes resets the connection, and the client would never see our
/// answer.
Task<void> linger(beast::tcp_stream& stream, std::chrono::seconds timeout) {
  boost::system::error_code error;
  stream.socket().shutdown(tcp::socket::shutdown_send, error);
  stream.expires_after(timeout);
  std::string dropped(kPieceBytes, '\0');
  for (std::size_t total = 0; !error && total < kLingerBytesMax;) {
    total += co_await stream.async_read_some(asio::buffer(dropped),
                                             asio::redirect_error(asio::use_awaitable, error));
  }
}

Task<void> serve(tcp::socket socket, std::shared_ptr<ServerState> state) {
  struct Count {
    std::size_t& open;
    ~Count() { --open; }
  } count{state->open};
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  beast::tcp_stream stream(std::move(socket));
  beast::flat_buffer buffer;
  for (;;) {
    const bool again = co_await serve_one(stream, buffer, *state);
    if (!again) break;
  }
  co_await linger(stream, state->limits.linger_timeout);
}

}  // namespace

Task<void> Server::run() {
  const std::shared_ptr<ServerState> state = state_;
  const Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  while (!state->stopping) {
    // Further connections wait in the kernel's queue.
    while (state->open >= state->limits.connections_max && !state->stopping) {
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(asio::use_awaitable);
    }
    boost::system::error_code error;
    tcp::socket socket =
        co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (state->stopping) co_return;
    if (error) {
      // Out of descriptors: let some end instead of spinning.
      log::warning("api.accept_failed", {{"error", error.message()}});
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    ++state->open;
    asio::co_spawn(executor, serve(std::move(socket), state), asio::detached);
  }
}

}  // namespace sluice::api
