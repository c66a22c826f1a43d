#include "api/server.hpp"

#include "api/problem.hpp"
#include "base/log.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <array>

namespace sluice::api {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::uint64_t kBodyBytesMax = 8ull << 30;  ///< of an import; handlers that keep bodies have smaller limits

std::string text_of(beast::string_view view) { return std::string(view.data(), view.size()); }

/// Fills path and query; false when an escape is broken.
bool read_target(std::string_view target, HttpRequest& request) {
  const auto question = target.find('?');
  const auto path = percent_decode(target.substr(0, question), false);
  if (!path || path->empty() || (*path)[0] != '/') return false;
  request.path = *path;
  if (question == std::string_view::npos) return true;
  std::string_view rest = target.substr(question + 1);
  while (!rest.empty()) {
    const auto ampersand = rest.find('&');
    const std::string_view pair = rest.substr(0, ampersand);
    rest = ampersand == std::string_view::npos ? std::string_view{} : rest.substr(ampersand + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals), true);
    auto value = equals == std::string_view::npos ? std::optional<std::string>("") : percent_decode(pair.substr(equals + 1), true);
    if (!name || !value) return false;
    request.query.emplace_back(std::move(*name), std::move(*value));
  }
  return true;
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
  StreamBody(beast::tcp_stream& stream, beast::flat_buffer& buffer, Parser& parser, std::chrono::seconds timeout)
      : stream_(stream), buffer_(buffer), parser_(parser), timeout_(timeout) {}

  Task<std::string> next() override {
    std::string piece;
    if (parser_.is_done()) co_return piece;
    co_await say_continue();
    piece.resize(kPieceBytes);
    auto& body = parser_.get().body();
    body.data = piece.data();
    body.size = piece.size();
    boost::system::error_code error;
    stream_.expires_after(timeout_);
    co_await http::async_read(stream_, buffer_, parser_, asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::need_buffer) error = {};
    if (error == http::error::body_limit) {
      throw Failure(Error(ErrorKind::bad_input, "request.too_large", "the body is larger than 8 GiB",
                          "Split it into several requests"));
    }
    if (error) {
      throw Failure(Error(ErrorKind::reconnect, "request.cut", "the body of the request ended early: " + error.message()));
    }
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
  std::chrono::seconds timeout_;
  bool said_continue_ = false;
};

Task<HttpResponse> handled(const Handler& handler, HttpRequest& request) {
  Error error;
  try {
    co_return co_await handler(request);
  } catch (const Failure& failure) {
    error = failure.error();
  } catch (const std::exception& surprise) {
    error = Error(ErrorKind::internal, "internal", "a defect stopped this request", "The log says more; please report it");
    log::error("api.defect", {{"path", request.path}, {"what", surprise.what()}});
  }
  co_return problem(error);
}

Task<bool> send(beast::tcp_stream& stream, const HttpResponse& answer, bool keep_alive, bool head_only,
                std::chrono::seconds timeout) {
  http::response<http::string_body> response;
  response.version(11);
  response.result(static_cast<unsigned>(answer.status));
  response.set(http::field::server, "sluice");
  response.set(http::field::content_type, answer.content_type);
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

Result<std::unique_ptr<Server>> Server::listen(Executor executor, std::string address, std::uint16_t port,
                                               Handler handler, ServerLimits limits) {
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

Task<bool> serve_one(beast::tcp_stream& stream, beast::flat_buffer& buffer, ServerState& state) {
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(state.limits.header_bytes_max));
  parser.body_limit(kBodyBytesMax);
  boost::system::error_code error;
  stream.expires_after(state.limits.idle_timeout);
  co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error == http::error::end_of_stream || error == beast::error::timeout) co_return false;
  const auto refuse = [](std::string code, std::string message) {
    return problem(Error(ErrorKind::bad_input, std::move(code), std::move(message)));
  };
  if (error) {
    if (error.category() == http::make_error_code(http::error::bad_method).category()) {
      const HttpResponse answer = refuse("request.malformed", "this is no HTTP request: " + error.message());
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
  StreamBody body(stream, buffer, parser, state.limits.body_timeout);
  request.body = &body;
  const bool head_only = request.method == "HEAD";
  HttpResponse answer;
  if (read_target({head.target().data(), head.target().size()}, request)) {
    answer = co_await handled(state.handler, request);
  } else {
    answer = refuse("request.malformed", "the request's path or query is not well-formed");
  }
  const bool keep_alive = head.keep_alive() && parser.is_done() && !state.stopping;
  co_return co_await send(stream, answer, keep_alive, head_only, state.limits.body_timeout) && keep_alive;
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
  stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace

Task<void> Server::run() {
  const std::shared_ptr<ServerState> state = state_;
  const Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  while (!state->stopping) {
    boost::system::error_code error;
    tcp::socket socket = co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (state->stopping) co_return;
    if (error || state->open >= state->limits.connections_max) {
      // Out of descriptors or connections: let some end instead of spinning.
      if (error) log::warning("api.accept_failed", {{"error", error.message()}});
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(asio::use_awaitable);
      if (error) continue;
    }
    ++state->open;
    asio::co_spawn(executor, serve(std::move(socket), state), asio::detached);
  }
}

}  // namespace sluice::api
