#include "fetch/own_endpoints.hpp"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace sluice::fetch {
namespace {

using asio::ip::address;

/// Without what says the same in another way: a scope, IPv4 within IPv6.
address plain(const address& one, std::span<const Nat64Prefix> nat64) {
  if (one.is_v4()) return one;
  asio::ip::address_v6 six = one.to_v6();
  if (six.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, six);
  for (const Nat64Prefix& prefix : nat64) {
    if (const auto four = prefix.within(six)) return *four;
  }
  six.scope_id(0);
  return six;
}

}  // namespace

std::vector<address> interface_addresses() {
  std::vector<address> all;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return all;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    if (one->ifa_addr->sa_family == AF_INET) {
      sockaddr_in four{};
      std::memcpy(&four, one->ifa_addr, sizeof four);
      all.emplace_back(asio::ip::address_v4(ntohl(four.sin_addr.s_addr)));
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      sockaddr_in6 six{};
      std::memcpy(&six, one->ifa_addr, sizeof six);
      asio::ip::address_v6::bytes_type bytes;
      std::memcpy(bytes.data(), &six.sin6_addr, bytes.size());
      all.emplace_back(asio::ip::address_v6(bytes));
    }
  }
  return all;
}

OwnEndpoints::OwnEndpoints(Interfaces interfaces) : interfaces_(std::move(interfaces)) {}

void OwnEndpoints::add_listener(std::string what, const address& where, std::uint16_t port) {
  Endpoint endpoint{std::move(what), plain(where, {}), port, false};
  endpoint.all_of_this_machine = endpoint.address.is_unspecified();
  listeners_.push_back(std::move(endpoint));
}

void OwnEndpoints::add_server(std::string what, const address& where, std::uint16_t port) {
  Endpoint endpoint{std::move(what), plain(where, {}), port, false};
  endpoint.all_of_this_machine =
      endpoint.address.is_unspecified() || is_this_machines(endpoint.address);
  const auto is_it = [&](const Endpoint& other) {
    return other.port == port && other.address == endpoint.address;
  };
  std::erase_if(servers_, is_it);
  if (servers_.size() == kServersMax) servers_.erase(servers_.begin());
  servers_.push_back(std::move(endpoint));
}

std::optional<std::string_view> OwnEndpoints::at(const address& where, std::uint16_t port,
                                                 std::span<const Nat64Prefix> nat64) const {
  const address dialled = plain(where, nat64);
  for (const auto* endpoints : {&listeners_, &servers_}) {
    for (const Endpoint& own : *endpoints) {
      if (own.port != port) continue;
      if (own.address == dialled) return own.what;
      if (own.all_of_this_machine && is_this_machines(dialled)) return own.what;
    }
  }
  return std::nullopt;
}

bool OwnEndpoints::is_this_machines(const address& one) const {
  if (one.is_loopback() || one.is_unspecified()) return true;
  const std::vector<address> interfaces = interfaces_();
  return std::any_of(interfaces.begin(), interfaces.end(),
                     [&one](const address& own) { return plain(own, {}) == one; });
}

}  // namespace sluice::fetch
