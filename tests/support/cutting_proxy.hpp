// Stands between a client and PostgreSQL and cuts the line at a chosen moment.
#pragma once

#include <boost/asio.hpp>
#include <memory>
#include <string>

namespace sluice::testing {

/// Listens on 127.0.0.1 and forwards to a Unix socket, on the test's loop. When the bytes of `word`
/// come from the client, it does as told. Give the client conninfo().
class CuttingProxy {
 public:
  enum class At {
    never,
    before_forwarding,  ///< the server never sees the word; both lines are cut
    before_the_answer,  ///< the server gets the word and answers; the client does not get the
                        ///< answer
    silence,  ///< the server gets the word; its answer is kept back and the line stays open
  };

  CuttingProxy(boost::asio::io_context& io, std::string server_socket, std::string word, At at)
      : state_(std::make_shared<State>(io, std::move(server_socket), std::move(word), at)) {
    boost::asio::co_spawn(io, accept(state_), boost::asio::detached);
  }
  ~CuttingProxy() {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
  }
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;

  [[nodiscard]] std::string conninfo() const {
    return "host=127.0.0.1 sslmode=disable gssencmode=disable port=" +
           std::to_string(state_->acceptor.local_endpoint().port());
  }

 private:
  using Client = boost::asio::ip::tcp::socket;
  using Server = boost::asio::local::stream_protocol::socket;
  template <class T>
  using Task = boost::asio::awaitable<T>;

  struct State {
    State(boost::asio::io_context& io, std::string socket, std::string w, At a)
        : acceptor(io, {boost::asio::ip::address_v4::loopback(), 0}),
          server_socket(std::move(socket)),
          word(std::move(w)),
          at(a) {}
    boost::asio::ip::tcp::acceptor acceptor;
    std::string server_socket;
    std::string word;
    At at;
  };
  struct Line {
    Line(Client c, Server s) : client(std::move(c)), server(std::move(s)) {}
    Client client;
    Server server;
    bool word_seen = false;
    void cut() {
      boost::system::error_code ignored;
      client.close(ignored);
      server.close(ignored);
    }
  };

  static Task<void> accept(std::shared_ptr<State> state) {
    const auto executor = co_await boost::asio::this_coro::executor;
    for (;;) {
      auto [failed, client] =
          co_await state->acceptor.async_accept(boost::asio::as_tuple(boost::asio::use_awaitable));
      if (failed) co_return;
      Server server(executor);
      const boost::asio::local::stream_protocol::endpoint endpoint(state->server_socket);
      co_await server.async_connect(endpoint, boost::asio::use_awaitable);
      auto line = std::make_shared<Line>(std::move(client), std::move(server));
      boost::asio::co_spawn(executor, to_server(state, line), boost::asio::detached);
      boost::asio::co_spawn(executor, to_client(state, line), boost::asio::detached);
    }
  }

  static Task<void> to_server(std::shared_ptr<State> state, std::shared_ptr<Line> line) {
    std::string bytes(65536, '\0');
    for (;;) {
      const auto [failed, size] = co_await line->client.async_read_some(
          boost::asio::buffer(bytes), boost::asio::as_tuple(boost::asio::use_awaitable));
      if (failed) break;
      if (std::string_view(bytes.data(), size).find(state->word) != std::string_view::npos)
        line->word_seen = true;
      if (line->word_seen && state->at == At::before_forwarding) break;
      const boost::asio::const_buffer part(bytes.data(), size);
      const auto [unsent, sent] = co_await boost::asio::async_write(
          line->server, part, boost::asio::as_tuple(boost::asio::use_awaitable));
      if (unsent || sent != size) break;
    }
    line->cut();
  }

  static Task<void> to_client(std::shared_ptr<State> state, std::shared_ptr<Line> line) {
    std::string bytes(65536, '\0');
    for (;;) {
      const auto [failed, size] = co_await line->server.async_read_some(
          boost::asio::buffer(bytes), boost::asio::as_tuple(boost::asio::use_awaitable));
      if (failed) break;
      if (line->word_seen && state->at == At::before_the_answer) break;
      if (line->word_seen && state->at == At::silence) continue;
      const boost::asio::const_buffer part(bytes.data(), size);
      const auto [unsent, sent] = co_await boost::asio::async_write(
          line->client, part, boost::asio::as_tuple(boost::asio::use_awaitable));
      if (unsent || sent != size) break;
    }
    line->cut();
  }

  std::shared_ptr<State> state_;
};

}  // namespace sluice::testing
