#include "api/server.hpp"
#include "api/answer_check.hpp"

#include "api/client_stream.hpp"
#include "api/problem.hpp"
#include "api/tokens.hpp"
#include "base/log.hpp"
#include "base/outage.hpp"
#include "base/wiped.hpp"
#include "pg/error.hpp"
#include "sync/audit.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <optional>
#include <utility>
#include <vector>

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

using Time = std::chrono::steady_clock::time_point;
/// Bodies may hold secrets, and they begin in what was read with their headers.
using ReadBuffer = beast::basic_flat_buffer<WipingAllocator<char>>;

struct Peer;
using Peers = std::list<Peer>;

/// A connection, and what it is about.
struct Peer {
  Peer(tcp::socket socket, TlsContext tls, Peers& list)
      : in(&list), stream(std::move(socket), std::move(tls)) {}
  Peers* in;
  ClientStream stream;
  ReadBuffer buffer;
  bool answered = false;   ///< once at least
  bool sends = false;      ///< more of its request's body is awaited
  std::size_t unsent = 0;  ///< of the answer that it has not taken yet
  Time took{};             ///< when it took something of it last
};

struct ServerState {
  ServerState(Executor executor, std::optional<TlsFiles> files, Handler h, ServerLimits l)
      : acceptor(executor), tls(std::move(files)), handler(std::move(h)), limits(l) {}
  tcp::acceptor acceptor;
  std::optional<TlsFiles> tls;
  Handler handler;
  ServerLimits limits;
  bool stopping = false;
  // Each connection is in one of these, at its end when it came there last.
  Peers leaving;    ///< had its last answer, and has not closed yet
  Peers strangers;  ///< no request, and never an answer
  Peers idle;       ///< no request
  Peers at_work;    ///< its request is under way
  Peers sending;    ///< its answer is
  std::size_t unsent = 0;
  /// Where unwanted bytes of all connections go: thousands may close at once.
  std::vector<char, WipingAllocator<char>> dropped =
      std::vector<char, WipingAllocator<char>>(kPieceBytes);

  [[nodiscard]] std::size_t open() const {
    return leaving.size() + strangers.size() + idle.size() + at_work.size() + sending.size();
  }
  static void move(Peers::iterator peer, Peers& to) {
    to.splice(to.end(), *peer->in, peer);
    peer->in = &to;
  }
  void wait(Peers::iterator peer) { move(peer, peer->answered ? idle : strangers); }
  /// Ends the connection that is missed least; false when each has a request. Those that leave go
  /// before all others: refused requests that come again and again must not push out who has just
  /// connected.
  bool end_one() {
    Peers& from = !leaving.empty() ? leaving : !strangers.empty() ? strangers : idle;
    if (from.empty()) return false;
    end(from.begin());
    return true;
  }
  /// While answers that nobody takes use too much memory, those that nothing moves go; while they
  /// use twice of that, also those that something moves, the slowest first.
  void end_slow(Time now) {
    for (auto peer = sending.begin(); peer != sending.end() && unsent > limits.unsent_bytes_max;) {
      const auto slow = peer++;
      if (now - slow->took >= limits.slow_client) end(slow);
    }
    while (unsent > 2 * limits.unsent_bytes_max && sending.size() > 1) {
      end(std::min_element(sending.begin(), std::prev(sending.end()),
                           [](const Peer& a, const Peer& b) { return a.took < b.took; }));
    }
  }

 private:
  /// Its coroutine meets the closed socket, and takes it out of its list.
  void end(Peers::iterator peer) {
    unsent -= std::exchange(peer->unsent, 0);
    boost::system::error_code ignored;
    peer->stream.socket().close(ignored);
    move(peer, at_work);
  }
};

namespace {

using Parser = http::request_parser<http::buffer_body>;

class StreamBody final : public BodyReader {
 public:
  StreamBody(const ServerState& state, Peer& peer, Parser& parser)
      : state_(state), peer_(peer), parser_(parser) {}

  Task<std::string> next() override {
    std::string piece;
    if (parser_.is_done()) co_return piece;
    if (state_.stopping) throw Failure(stopping());
    co_await say_continue();
    piece.resize(kPieceBytes);
    auto& body = parser_.get().body();
    body.data = piece.data();
    body.size = piece.size();
    boost::system::error_code error;
    peer_.stream.expires_after(state_.limits.body_timeout);
    peer_.sends = true;
    co_await http::async_read(peer_.stream, peer_.buffer, parser_,
                              asio::redirect_error(asio::use_awaitable, error));
    peer_.sends = false;
    if (error == http::error::need_buffer) error = {};
    if (error == asio::error::operation_aborted && state_.stopping) throw Failure(stopping());
    if (error == http::error::partial_message || error == http::error::end_of_stream ||
        (error && !is_http_error(error))) {
      throw Failure(Error(ErrorKind::bad_input, "request.cut",
                          "the body of the request ended early: " + error.message()));
    }
    if (error) throw Failure(refusal_of(error, state_.limits));
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
    co_await http::async_write(peer_.stream, go_on,
                               asio::redirect_error(asio::use_awaitable, ignored));
  }
  static Error stopping() {
    return Error(ErrorKind::retry_later, "host.stopping",
                 "the host was told to stop before it had the whole request",
                 "Send it again when the host is back");
  }

  const ServerState& state_;
  Peer& peer_;
  Parser& parser_;
  bool said_continue_ = false;
};

Task<HttpResponse> handled(const Handler& handler, HttpRequest& request) {
  Error error;
  try {
    co_return co_await handler(request);
  } catch (const pg::QueryError& failure) {
    error = sync::was_revoked(failure) ? revoked_meanwhile() : error_of(failure);
    if (error.kind != ErrorKind::conflict && error.kind != ErrorKind::denied) {
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

template <class Body>
void write_head(const HttpResponse& answer, bool keep_alive, http::response<Body>& response) {
  response.version(11);
  response.result(static_cast<unsigned>(answer.status));
  response.set(http::field::server, "sluice");
  response.set(http::field::content_type, answer.content_type);
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : answer.headers) response.set(name, value);
  response.keep_alive(keep_alive);
}

/// Takes the answer's body. Whether the client took all of it.
Task<bool> send(ServerState& state, Peer& peer, HttpResponse& answer, bool keep_alive,
                bool head_only) {
  http::response<http::string_body> response;
  write_head(answer, keep_alive, response);
  response.body() = std::move(answer.body);
  response.prepare_payload();
  if (head_only) response.body().clear();
  peer.took = std::chrono::steady_clock::now();
  peer.unsent = response.body().size();
  state.unsent += peer.unsent;
  state.end_slow(peer.took);
  http::response_serializer<http::string_body> rest(response);
  boost::system::error_code error;
  while (!error && !rest.is_done()) {
    peer.stream.expires_after(state.limits.body_timeout);
    co_await http::async_write_some(peer.stream, rest,
                                    asio::redirect_error(asio::use_awaitable, error));
    peer.took = std::chrono::steady_clock::now();
  }
  state.unsent -= std::exchange(peer.unsent, 0);
  co_return !error;
}

}  // namespace

namespace {

std::unexpected<Error> cannot_listen(const ListenAt& at, const std::string& why) {
  return fail(ErrorKind::bad_input, "listen.failed",
              "cannot listen on " + at.address + ":" + std::to_string(at.port) + ": " + why,
              "Choose another address or port, or stop what uses it");
}

}  // namespace

Result<int> bind_listener(const ListenAt& at) {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(at.address, error);
  if (error) return cannot_listen(at, error.message());
  const tcp::endpoint endpoint(ip, at.port);
  const int socket =
      ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  if (socket >= 0 && ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
      ::bind(socket, endpoint.data(), static_cast<socklen_t>(endpoint.size())) == 0)
    return socket;
  const std::string why = std::strerror(errno);
  if (socket >= 0) ::close(socket);
  return cannot_listen(at, why);
}

Result<std::unique_ptr<Server>> Server::listen(Executor executor, ListenAt at, Handler handler,
                                               ServerLimits limits) {
  std::optional<TlsFiles> tls;
  if (!at.tls_certificate.empty()) {
    auto files = TlsFiles::load(at.tls_certificate, at.tls_key);
    if (!files) return std::unexpected(std::move(files.error()));
    tls = std::move(*files);
  }
  auto state = std::make_shared<ServerState>(executor, std::move(tls), std::move(handler), limits);
  if (at.socket < 0) {
    const auto bound = bind_listener(at);
    if (!bound) return std::unexpected(bound.error());
    at.socket = *bound;
  }
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(at.address, error);
  state->acceptor.assign(ip.is_v4() ? tcp::v4() : tcp::v6(), at.socket, error);
  if (!error) state->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return cannot_listen(at, error.message());
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}
Server::~Server() { stop(); }

std::uint16_t Server::port() const { return state_->acceptor.local_endpoint().port(); }

void Server::stop() {
  state_->stopping = true;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  for (Peer& peer : state_->at_work) {
    if (peer.sends) peer.stream.socket().cancel(ignored);
  }
}

Task<void> Server::requests_ended(std::chrono::milliseconds most) {
  constexpr std::chrono::milliseconds kLook{10};
  const std::shared_ptr<ServerState> state = state_;
  const auto until = std::chrono::steady_clock::now() + most;
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (state->at_work.size() + state->sending.size() + state->leaving.size() > 0 &&
         std::chrono::steady_clock::now() < until) {
    pause.expires_after(kLook);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

namespace {

/// Waits for a request's first byte; false when none comes.
Task<bool> has_request(ClientStream& stream, ReadBuffer& buffer, std::chrono::seconds timeout) {
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
Task<void> drop_arrived_body(const Parser& parser, const ReadBuffer& buffer, StreamBody& body) {
  if (parser.is_done() || parser.chunked()) co_return;
  const auto remaining = parser.content_length_remaining();
  if (!remaining || *remaining > buffer.size()) co_return;
  while (!parser.is_done()) co_await body.next();
}

/// Nothing where the answer cannot go on: the log says why, and the client by the missing end that
/// it is not whole.
Task<std::optional<std::string>> next_piece(AnswerPieces& pieces, const HttpRequest& request) {
  std::string why;
  try {
    std::string piece = co_await pieces.next();
    co_return std::move(piece);
  } catch (const Failure& failure) {
    why = failure.error().describe();
  } catch (const std::exception& surprise) {
    why = surprise.what();
  }
  log::warning("api.answer_cut", {{"path", request.path}, {"error", why}});
  co_return std::nullopt;
}

/// A piece as chunks, each with a deadline of its own.
Task<boost::system::error_code> send_chunks(ServerState& state, Peer& peer,
                                            const std::string& piece) {
  peer.took = std::chrono::steady_clock::now();
  peer.unsent = piece.size();
  state.unsent += peer.unsent;
  state.end_slow(peer.took);
  boost::system::error_code error;
  for (std::size_t at = 0; at < piece.size() && !error; at += kPieceBytes) {
    const std::size_t size = std::min(kPieceBytes, piece.size() - at);
    const auto chunk = http::make_chunk(asio::const_buffer(piece.data() + at, size));
    peer.stream.expires_after(state.limits.body_timeout);
    co_await asio::async_write(peer.stream, chunk,
                               asio::redirect_error(asio::use_awaitable, error));
    peer.took = std::chrono::steady_clock::now();
  }
  state.unsent -= std::exchange(peer.unsent, 0);
  co_return error;
}

/// While a piece is made the connection is at work: it is not the client who is slow then.
Task<bool> send_pieces(ServerState& state, Peers::iterator peer, const HttpRequest& request,
                       HttpResponse& answer, bool keep_alive) {
  http::response<http::empty_body> head;
  write_head(answer, keep_alive, head);
  head.chunked(true);
  http::response_serializer<http::empty_body> rest(head);
  boost::system::error_code error;
  peer->took = std::chrono::steady_clock::now();
  peer->stream.expires_after(state.limits.body_timeout);
  co_await http::async_write_header(peer->stream, rest,
                                    asio::redirect_error(asio::use_awaitable, error));
  if (request.method == "HEAD") co_return !error;
  while (!error) {
    ServerState::move(peer, state.at_work);
    const std::optional<std::string> piece = co_await next_piece(*answer.pieces, request);
    ServerState::move(peer, state.sending);
    if (!piece) co_return false;
    if (piece->empty()) break;
    error = co_await send_chunks(state, *peer, *piece);
  }
  if (error) co_return false;
  const auto end = http::make_chunk_last();
  peer->stream.expires_after(state.limits.body_timeout);
  co_await asio::async_write(peer->stream, end, asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

/// Sends the answer while the connection is among those that send.
Task<bool> answer_to(ServerState& state, Peers::iterator peer, const HttpRequest& request,
                     HttpResponse& answer, bool keep_alive) {
  ServerState::move(peer, state.sending);
  bool sent = false;
  if (answer.pieces) {
    sent = co_await send_pieces(state, peer, request, answer, keep_alive);
  } else {
    sent = co_await send(state, *peer, answer, keep_alive, request.method == "HEAD");
  }
  ServerState::move(peer, state.at_work);
  if (sent) peer->answered = true;
  co_return sent;
}

/// A request's head, for which nobody else may be kept out; `peer` is at work when this ends.
Task<boost::system::error_code> read_head(ServerState& state, Peers::iterator peer,
                                          Parser& parser) {
  state.wait(peer);
  const auto patience = peer->answered ? state.limits.idle_timeout : state.limits.first_timeout;
  boost::system::error_code error;
  const bool some = co_await has_request(peer->stream, peer->buffer, patience);
  if (!some) {
    error = http::error::end_of_stream;
  } else {
    peer->stream.expires_after(state.limits.header_timeout);
    co_await http::async_read_header(peer->stream, peer->buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
  }
  ServerState::move(peer, state.at_work);
  co_return error;
}

Task<bool> serve_one(ServerState& state, Peers::iterator peer) {
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(state.limits.header_bytes_max));
  parser.body_limit(state.limits.body_bytes_max);
  const boost::system::error_code error = co_await read_head(state, peer, parser);
  if (error) {
    if (is_http_error(error) && error != http::error::end_of_stream &&
        error != http::error::partial_message) {
      HttpResponse answer = problem(refusal_of(error, state.limits));
      const HttpRequest none;
      co_await answer_to(state, peer, none, answer, false);
    }
    co_return false;
  }
  HttpRequest request;
  const auto& head = parser.get();
  request.method = text_of(head.method_string());
  request.authorization = text_of(head[http::field::authorization]);
  request.accept = text_of(head[http::field::accept]);
  request.content_type = text_of(head[http::field::content_type]);
  request.content_encoding = text_of(head[http::field::content_encoding]);
  if (const auto length = parser.content_length())
    request.content_length = static_cast<std::int64_t>(*length);
  boost::system::error_code ignored;
  request.peer = peer->stream.socket().remote_endpoint(ignored).address().to_string();
  StreamBody body(state, *peer, parser);
  request.body = &body;
  const std::optional<Error> ambiguous = ambiguity(head);
  HttpResponse answer;
  if (ambiguous) {
    answer = problem(*ambiguous);
  } else if (const auto target = read_target({head.target().data(), head.target().size()}, request);
             !target) {
    answer = problem(target.error());
  } else {
    answer = co_await handled(state.handler, request);
    if (answer.pieces && head.version() < 11)
      answer = problem(malformed("HTTP/1.0 has no end of an answer in pieces; ask for a page"));
    if (checks_answers()) answer = checked(request, std::move(answer));
  }
  if (!ambiguous && !state.stopping) co_await drop_arrived_body(parser, peer->buffer, body);
  const bool keep_alive = head.keep_alive() && parser.is_done() && !ambiguous && !state.stopping;
  const bool sent = co_await answer_to(state, peer, request, answer, keep_alive);
  co_return sent&& keep_alive;
}

/// Closing a socket with unread bytes resets the connection, and the client would never see our
/// answer.
Task<void> linger(ServerState& state, ClientStream& stream) {
  boost::system::error_code error;
  stream.expires_after(state.limits.linger_timeout);
  co_await stream.close_notify();
  for (std::size_t total = 0; !error && total < kLingerBytesMax;) {
    total += co_await stream.async_read_some(asio::buffer(state.dropped),
                                             asio::redirect_error(asio::use_awaitable, error));
  }
}

/// TLS's part, which strangers may take as long for as for a request's head.
Task<bool> begin(ServerState& state, Peers::iterator peer) {
  state.wait(peer);
  peer->stream.expires_after(state.limits.first_timeout);
  const bool open = co_await peer->stream.open();
  ServerState::move(peer, state.at_work);
  co_return open;
}

Task<void> serve(std::shared_ptr<ServerState> state, Peers::iterator peer) {
  struct Leaves {
    Peers::iterator peer;
    ~Leaves() { peer->in->erase(peer); }
  };
  boost::system::error_code ignored;
  peer->stream.socket().set_option(tcp::no_delay(true), ignored);
  const Leaves leaves{peer};
  const bool open = co_await begin(*state, peer);
  while (open) {
    const bool again = co_await serve_one(*state, peer);
    peer->buffer.shrink_to_fit();  // what was read is not kept until the next request
    if (!again) break;
  }
  if (!peer->answered || !peer->stream.socket().is_open()) co_return;
  ServerState::move(peer, state->leaving);
  co_await linger(*state, peer->stream);
}

/// One that is ended is out of the way when its coroutine has met that. With nobody to end, the new
/// one waits here, and further ones in the kernel's queue.
Task<void> make_room(ServerState& state, asio::steady_timer& pause) {
  while (state.open() >= state.limits.connections_max && !state.stopping) {
    const bool ended = state.end_one();
    pause.expires_after(ended ? std::chrono::milliseconds(0) : std::chrono::milliseconds(50));
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace

Task<void> Server::run() {
  const std::shared_ptr<ServerState> state = state_;
  const Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  Outage no_descriptors;
  while (!state->stopping) {
    boost::system::error_code error;
    tcp::socket socket =
        co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (state->stopping) co_return;
    const auto now = std::chrono::steady_clock::now();
    if (error) {
      // Out of descriptors: let one end instead of spinning.
      if (no_descriptors.failed(now))
        log::warning("api.accept_failed", {{"error", error.message()}});
      state->end_one();
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    no_descriptors.succeeded(now);
    co_await make_room(*state, pause);
    if (state->stopping) co_return;
    TlsContext tls = state->tls ? state->tls->context(now) : nullptr;
    state->at_work.emplace_back(std::move(socket), std::move(tls), state->at_work);
    asio::co_spawn(executor, serve(state, std::prev(state->at_work.end())), asio::detached);
  }
}

}  // namespace sluice::api
