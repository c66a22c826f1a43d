// Which network addresses vendor traffic may reach. Pure.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "base/async.hpp"

namespace sluice::fetch {

/// What an admin opened for one connection (tests, the demo, a vendor inside the own network).
struct AddressAllowance {
  bool loopback = false;          ///< 127.0.0.0/8, ::1
  bool private_networks = false;  ///< RFC 1918, RFC 4193, carrier-grade NAT
};

/// Where a network's NAT64 shows IPv4 addresses inside IPv6 ones (RFC 6052): what is to be reached
/// is the address within.
class Nat64Prefix {
 public:
  /// 64:ff9b::/96
  [[nodiscard]] static Nat64Prefix well_known();
  /// "2001:db8:64::/96"; of the lengths that there are: 32, 40, 48, 56, 64, 96.
  [[nodiscard]] static std::optional<Nat64Prefix> parse(std::string_view text);
  /// nullopt: not of this prefix.
  [[nodiscard]] std::optional<asio::ip::address_v4> within(
      const asio::ip::address_v6& address) const;

 private:
  Nat64Prefix(asio::ip::address_v6::bytes_type base, std::size_t bytes)
      : base_(base), bytes_(bytes) {}
  asio::ip::address_v6::bytes_type base_;
  std::size_t bytes_;
};

/// Why `address` must not be dialled ("loopback", "link-local (cloud metadata)", …); nullopt: it
/// may be. Addresses that carry another one inside are judged by that one: v4-mapped, and those of
/// `nat64`, which must be public, whatever was allowed here, since they lie in another network.
/// Clouds' metadata services, tunnels (other NAT64, Teredo, 6to4), documentation, multicast,
/// link-local and reserved ranges are refused whatever was allowed.
[[nodiscard]] std::optional<std::string_view> address_refusal(
    const asio::ip::address& address, AddressAllowance allowance,
    std::span<const Nat64Prefix> nat64 = {});

}  // namespace sluice::fetch
