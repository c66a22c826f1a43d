// Where a database answers, for who must not be sent there.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <vector>

#include "pg/connection.hpp"

namespace sluice::pg {

/// For all names together.
inline constexpr std::chrono::milliseconds kAddressLookupMax = 5s;

/// Every address at which the server of this connection is known to answer by TCP: those that the
/// connection string leads to now, libpq's variables, its service file and further hosts included,
/// and what the server says of itself. A name that gives no address in time is left out. Empty: by
/// a Unix socket, at a server that has nothing else. Throws QueryError.
Task<std::vector<asio::ip::tcp::endpoint>> server_endpoints(Connection& connection);

}  // namespace sluice::pg
