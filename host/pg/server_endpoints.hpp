// Where a database answers, for who must not be sent there.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "pg/connection.hpp"

namespace sluice::pg {

struct ServerName {
  std::string host;  ///< or an address
  std::uint16_t port = 0;
};

/// Every name and address at which the server of this connection is known to answer by TCP: those
/// that the connection string leads to, libpq's variables, its service file and further hosts
/// included, and what the server says of itself. Empty: by a Unix socket, at a server that has
/// nothing else. Throws QueryError.
Task<std::vector<ServerName>> server_names(Connection& connection);

/// For all names together.
inline constexpr std::chrono::milliseconds kAddressLookupMax = 5s;

/// Where these lead now; no connection is held meanwhile. A name that gives no address in time is
/// left out.
Task<std::vector<asio::ip::tcp::endpoint>> server_endpoints(std::vector<ServerName> names);

}  // namespace sluice::pg
