#include "fetch/own_endpoints.hpp"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
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

std::string network_of_this_process() {
  std::string kernel;
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::getline(boot, kernel);
  std::array<char, 64> space{};
  const ssize_t length = ::readlink("/proc/self/ns/net", space.data(), space.size());
  if (kernel.empty() || length <= 0) return "";
  return kernel + " " + std::string(space.data(), static_cast<std::size_t>(length));
}

OwnEndpoints::OwnEndpoints(Interfaces interfaces) : interfaces_(std::move(interfaces)) {}

void OwnEndpoints::add_listener(std::string what, const address& where, std::uint16_t port) {
  listeners_.push_back(endpoint_of({std::move(what), where, port}));
}

OwnEndpoints::Endpoint OwnEndpoints::endpoint_of(Listener listener) {
  Endpoint endpoint;
  static_cast<Listener&>(endpoint) = std::move(listener);
  endpoint.address = plain(endpoint.address, {});
  endpoint.all_of_this_machine = endpoint.address.is_unspecified();
  return endpoint;
}

void OwnEndpoints::set_others(std::vector<Listener> others) {
  others_here_.clear();
  others_.clear();
  for (Listener& other : others) {
    Endpoint endpoint = endpoint_of(std::move(other));
    if (endpoint.all_of_this_machine) {
      others_here_.push_back(std::move(endpoint));
    } else {
      others_.insert_or_assign(std::pair(endpoint.port, endpoint.address),
                               std::move(endpoint.what));
    }
  }
}

void OwnEndpoints::add_server(std::string what, const address& where, std::uint16_t port) {
  Endpoint endpoint = endpoint_of({std::move(what), where, port});
  endpoint.all_of_this_machine = endpoint.all_of_this_machine || is_this_machines(endpoint.address);
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
  for (const auto* endpoints : {&listeners_, &servers_, &others_here_}) {
    for (const Endpoint& own : *endpoints) {
      if (own.port != port) continue;
      if (own.address == dialled) return own.what;
      if (own.all_of_this_machine && is_this_machines(dialled)) return own.what;
    }
  }
  const auto other = others_.find(std::pair(port, dialled));
  if (other != others_.end()) return other->second;
  return std::nullopt;
}

bool OwnEndpoints::is_this_machines(const address& one) const {
  if (one.is_loopback() || one.is_unspecified()) return true;
  const std::vector<address> interfaces = interfaces_();
  return std::any_of(interfaces.begin(), interfaces.end(),
                     [&one](const address& own) { return plain(own, {}) == one; });
}

}  // namespace sluice::fetch
