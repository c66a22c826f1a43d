// What belongs to this host itself, and is closed to connectors whatever was opened for them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fetch/address.hpp"

namespace sluice::fetch {

/// The addresses that this machine's interfaces have now.
[[nodiscard]] std::vector<asio::ip::address> interface_addresses();

/// What an address such as 127.0.0.1 is told apart by: the kernel that runs, and our network
/// namespace in it. "" where the system does not say.
[[nodiscard]] std::string network_of_this_process();

/// Where something listens. `what`, for the refusal: "this host's REST API".
struct Listener {
  std::string what;
  asio::ip::address address;
  std::uint16_t port = 0;
};

/// The listeners of this host and of the others, and the database, by address and port. Owned by
/// main, which adds what it learns; looked at whenever a connection to a vendor is opened, and
/// before each request on it. One loop.
///
/// What has no address of its own (a Unix socket), or leads here by one that this machine does not
/// know of (a load balancer, a port that is forwarded), is not recognised.
class OwnEndpoints {
 public:
  using Interfaces = std::function<std::vector<asio::ip::address>()>;
  /// `interfaces` is asked whenever a port of ours is dialled: addresses come and go.
  explicit OwnEndpoints(Interfaces interfaces = interface_addresses);

  /// Listens at this address and port: 0.0.0.0 and :: stand for every address of this machine.
  void add_listener(std::string what, const asio::ip::address& address, std::uint16_t port);
  /// A server that answers at this address and port. One on this machine may answer at its other
  /// addresses too, so it is closed at all of them. Twice is harmless; of kServersMax the earliest
  /// goes.
  void add_server(std::string what, const asio::ip::address& address, std::uint16_t port);

  /// Of other hosts (sync/other_hosts.hpp), in place of those that were given before. 0.0.0.0 and
  /// :: as above: who listens so on another machine is given by that one's addresses.
  void set_others(std::vector<Listener> others);

  /// What would be reached there, when it is ours. IPv4 in IPv6, mapped or behind one of `nat64`,
  /// is judged by the address within.
  [[nodiscard]] std::optional<std::string_view> at(const asio::ip::address& address,
                                                   std::uint16_t port,
                                                   std::span<const Nat64Prefix> nat64 = {}) const;

  static constexpr std::size_t kServersMax = 256;

 private:
  struct Endpoint : Listener {
    bool all_of_this_machine = false;
  };
  static Endpoint endpoint_of(Listener listener);
  [[nodiscard]] bool is_this_machines(const asio::ip::address& address) const;

  Interfaces interfaces_;
  std::vector<Endpoint> listeners_;
  std::vector<Endpoint> servers_;
  std::vector<Endpoint> others_here_;  ///< at all addresses of this machine
  std::map<std::pair<std::uint16_t, asio::ip::address>, std::string> others_;
};

}  // namespace sluice::fetch
