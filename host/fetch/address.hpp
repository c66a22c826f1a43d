// Which network addresses vendor traffic may reach. Pure.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <optional>
#include <string_view>

#include "base/async.hpp"

namespace sluice::fetch {

/// What an admin opened for one connection (tests, the demo, a vendor inside the own network).
struct AddressAllowance {
  bool loopback = false;          ///< 127.0.0.0/8, ::1
  bool private_networks = false;  ///< RFC 1918, RFC 4193, carrier-grade NAT
};

/// Why `address` must not be dialled ("loopback", "link-local (cloud metadata)", …); nullopt: it
/// may be. Addresses that carry another one inside (v4-mapped) are judged by that one; tunnels
/// (NAT64, Teredo, 6to4), documentation, multicast, link-local and reserved ranges are refused
/// whatever was allowed.
[[nodiscard]] std::optional<std::string_view> address_refusal(const asio::ip::address& address,
                                                              AddressAllowance allowance);

}  // namespace sluice::fetch
