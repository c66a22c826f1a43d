// What a connector may ask for: which host, which target, which headers. Pure; every refusal is an
// Error "fetch.policy.*" that says what stood there and what is allowed.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "fetch/address.hpp"

namespace sluice::fetch {

inline constexpr std::size_t kTargetBytesMax = 16 << 10;
inline constexpr std::size_t kRequestHeaderBytesMax = 32 << 10;
inline constexpr std::size_t kRequestBodyBytesMax = 16 << 20;

/// What an admin opened for ONE connection, beyond its manifest. Empty for every normal connection;
/// shown in /health when it is not.
struct EgressAllowance {
  /// Manifest host name → URL to use in its place ("http://127.0.0.1:4010"); here, and only here,
  /// plain http, IP literals and other ports are possible.
  std::map<std::string, std::string, std::less<>> base_urls;
  AddressAllowance addresses;
};

/// Where a request goes. `base_path` has no trailing slash.
struct Destination {
  std::string scheme = "https";
  std::string host;
  std::uint16_t port = 443;
  std::string base_path;
  bool opened_by_admin = false;  ///< one of EgressAllowance::base_urls: never through a proxy

  /// "https://api.example.com" + base_path; the port only when it is not the scheme's.
  [[nodiscard]] std::string url() const;
};

/// Expands a manifest host over the connection's config. A placeholder stands for exactly one DNS
/// label ([A-Za-z0-9-], 1 to 63, no hyphen at either end), and never in the last two labels, so
/// that a config can choose the tenant of a vendor but not the vendor.
[[nodiscard]] Result<Destination> destination(const contract::Host& host,
                                              const nlohmann::json& config,
                                              const EgressAllowance& allowance);

/// Path and query: begins with '/', visible ASCII without '#', '\\', '"', '<', '>'; at most
/// kTargetBytesMax.
[[nodiscard]] Result<void> check_target(std::string_view target);

/// Token names, values without control characters, and none of the headers that are the host's own
/// (Authorization, Cookie, Host, Content-Length, …, and what an auth slot sets).
[[nodiscard]] Result<void> check_headers(const contract::Headers& headers,
                                         const std::vector<contract::AuthSlot>& auth);

}  // namespace sluice::fetch
