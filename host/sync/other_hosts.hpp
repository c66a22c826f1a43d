// The other hosts of this database: each says there where it listens, and closes to its connectors
// where the others do.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "fetch/own_endpoints.hpp"
#include "pg/pool.hpp"

namespace sluice::sync {

/// This host's row of sluice.host, and what the others' say. Owned by main; one loop.
///
/// What is said is where a host was told to listen, the addresses that its machine has at that
/// moment, and which network it is in (network_of_this_process). A reader closes, with the port:
///
///   listens at       and is in our network             and is elsewhere
///   an address       that address                      that address
///   127.0.0.1, ::1   that address                      nothing: it leads to nobody's from here
///   0.0.0.0, ::      every address of this machine     every address that the other machine has
///
/// An address that leads to a host and that its machine does not have (a load balancer, a forwarded
/// port) is not said, and so not closed.
class OtherHosts {
 public:
  using Interfaces = std::function<std::vector<asio::ip::address>()>;
  struct Options {
    pg::Uuid host;  ///< new at every start
    std::string network = fetch::network_of_this_process();
    Interfaces interfaces = fetch::interface_addresses;
    std::chrono::milliseconds beat = std::chrono::seconds(5);
    /// Without a beat for so long a host has ended. Long, because one that has not is no longer
    /// closed then: a host that lost the database for a while still listens.
    std::chrono::milliseconds ended_after = std::chrono::minutes(5);
  };
  static constexpr int kHostsMax = 256;             ///< of more, those with the newest beats
  static constexpr std::size_t kAddressesMax = 64;  ///< that one host says

  OtherHosts(pg::Pool& pool, const Clock& clock, fetch::OwnEndpoints& own, Options options);

  /// One more listener of this host, before the first beat(). `what`: "REST API".
  void listens(std::string what, const asio::ip::address& address, std::uint16_t port);
  /// Says where this host listens, forgets hosts that have ended, and closes what the others say.
  /// Throws Failure: what was closed stays closed then.
  Task<void> beat();
  /// beat() for ever; the owner spawns it once, and it ends by cancellation. While the database is
  /// away, a line now and then.
  Task<void> keep_beating();

 private:
  [[nodiscard]] std::string said() const;
  void add_said(const std::string& text, std::vector<fetch::Listener>& others) const;

  pg::Pool& pool_;
  const Clock& clock_;
  fetch::OwnEndpoints& own_;
  Options options_;
  std::vector<fetch::Listener> listeners_;
};

}  // namespace sluice::sync
