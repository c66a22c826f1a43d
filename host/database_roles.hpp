// Before the pools: the schema is brought up to date by whom it belongs to, and what a host works
// as gets the rights for that, and no others. docs/decisions/0014-roles-of-the-database.md.
#pragma once

#include <optional>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "pg/cluster.hpp"
#include "pg/connection.hpp"
#include "wiring/config.hpp"

namespace sluice {

struct PreparedDatabase {
  pg::ConnectOptions connect;                      ///< as whom the pools work
  std::vector<asio::ip::tcp::endpoint> endpoints;  ///< where the owner's connection leads, too
};

/// The private cluster of that configuration.
[[nodiscard]] pg::ClusterOptions private_cluster(const wiring::Config& config);

/// Blocks. Over a connection of the owner (of the private cluster its superuser, else
/// database.owner_url, else database.url itself), which is closed at the end: safe settings,
/// migrations, roles. Where the owner may not give the rights, the log says which statements are
/// missing, and the pools work as the owner. Throws Failure and QueryError.
PreparedDatabase prepare_database(const wiring::Config& config,
                                  const std::optional<pg::Cluster>& cluster);

}  // namespace sluice
