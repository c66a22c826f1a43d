// The listening socket of the REST API, on Boost.Beast.
#pragma once

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
  std::chrono::seconds idle_timeout{75};  ///< between two requests
  std::chrono::seconds linger_timeout{5};  ///< for what a client still sends after a refusal
  std::size_t connections_max = 10'000;    ///< further ones wait in the kernel's queue
};

using Handler = std::function<Task<HttpResponse>(HttpRequest&)>;

struct ServerState;

/// HTTP/1.1 with keep-alive. One loop; owned by main. The handler never throws what is not a
/// std::exception; what it throws becomes a problem. A request that is not understood gets a 4xx
/// and its connection is closed; so is one whose body was not read to its end, because those bytes
/// are no next request.
class Server {
 public:
  /// Errors: listen.failed, with address, port and the system's reason.
  static Result<std::unique_ptr<Server>> listen(Executor executor, std::string address,
                                                std::uint16_t port, Handler handler,
                                                ServerLimits limits);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  /// Accepts until stop(); spawned once by the owner.
  Task<void> run();
  /// No new connections; those that are open end after their request.
  void stop();

 private:
  explicit Server(std::shared_ptr<ServerState> state);
  std::shared_ptr<ServerState> state_;
};

}  // namespace sluice::api
