// The listening socket of the REST API, on Boost.Beast.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/http.hpp"
#include "base/async.hpp"

namespace sluice::api {

struct ServerLimits {
  std::size_t header_bytes_max = 16 * 1024;  ///< request line and headers
  std::uint64_t body_bytes_max =
      8ull << 30;  ///< of an import; handlers that keep bodies have smaller limits
  std::chrono::seconds header_timeout{
      15};                                ///< from a request's first byte to the end of its headers
  std::chrono::seconds body_timeout{60};  ///< between two pieces of a body
  std::chrono::seconds first_timeout{10};  ///< to the first byte of a new connection
  std::chrono::seconds idle_timeout{75};   ///< between two requests
  std::chrono::seconds linger_timeout{5};  ///< for what a client still sends after a refusal
  /// Of clients at once. For a further one the connection goes that has been without a request for
  /// longest: of those that had their last answer and are being closed, then of those that never
  /// had one, then of the others. Where each is at work, it waits in the kernel's queue.
  std::size_t connections_max = 10'000;
  /// Of answers that clients have not taken yet, all together: beyond it those go, the earliest
  /// first, whose clients took nothing for slow_client; beyond twice of it, whoever took nothing
  /// for longest.
  std::size_t unsent_bytes_max = 64u << 20;
  std::chrono::seconds slow_client{2};
};

/// Where to listen, and whether through TLS: with both files or none.
struct ListenAt {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  ///< 0: any free one
  std::string tls_certificate, tls_key;
  int socket = -1;  ///< of bind_listener(), which then is the server's; -1: it binds one
};

/// The first half of listening, which for a port below 1024 takes root's rights: a TCP socket at
/// that address and port, at which nobody answers yet. Errors: listen.failed.
Result<int> bind_listener(const ListenAt& at);

using Handler = std::function<Task<HttpResponse>(HttpRequest&)>;

struct ServerState;

/// HTTP/1.1 with keep-alive. One loop; owned by main. The handler never throws what is not a
/// std::exception; what it throws becomes a problem. A request that is not understood gets a 4xx
/// and its connection is closed; so is one whose body was not read to its end, because those bytes
/// are no next request.
class Server {
 public:
  /// Errors: listen.failed, with address, port and the system's reason; listen.tls.
  static Result<std::unique_ptr<Server>> listen(Executor executor, ListenAt at, Handler handler,
                                                ServerLimits limits);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  /// Accepts until stop(); spawned once by the owner.
  Task<void> run();
  /// No new connections; those that are open end after their request. Of a request whose body is
  /// still on its way no more is read: its handler meets host.stopping.
  void stop();
  /// After stop(): until requests that were under way have their answers, `most` long. The first
  /// linger_timeout of what a client still sends is waited for, too, so that it sees its answer.
  Task<void> requests_ended(std::chrono::milliseconds most);

 private:
  explicit Server(std::shared_ptr<ServerState> state);
  std::shared_ptr<ServerState> state_;
};

}  // namespace sluice::api
