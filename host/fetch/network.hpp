// What an operator says of the network that this host asks vendors through (settings fetch.…).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "fetch/client.hpp"

namespace sluice::fetch {

struct NetworkSettings {
  std::chrono::seconds total{300};                             ///< fetch.total_seconds
  std::chrono::seconds idle{30};                               ///< fetch.idle_seconds
  std::string ca_file;                                         ///< fetch.ca_file; empty: none
  std::string proxy;                                           ///< fetch.proxy; empty: none
  std::vector<std::string> nat64_prefixes = {"64:ff9b::/96"};  ///< fetch.nat64_prefixes
};

/// Looks into the CA file, once. Errors "config.bad_value" with the setting and what should stand
/// there; what a proxy's URL says of a user and a password is in none of them.
[[nodiscard]] Result<ClientOptions> client_options(const NetworkSettings& settings);

}  // namespace sluice::fetch
