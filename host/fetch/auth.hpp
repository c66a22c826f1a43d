// Puts a credential on a request.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "fetch/credential.hpp"

namespace sluice::fetch {

/// One attempt's authentication: what to add, and which texts must not come back. Everything in it
/// is secret and wiped when it ends. Empty for a request without an auth slot.
struct Authentication {
  Authentication() = default;
  ~Authentication();
  Authentication(Authentication&&) = default;
  Authentication& operator=(Authentication&&) = default;
  Authentication(const Authentication&) = delete;
  Authentication& operator=(const Authentication&) = delete;

  contract::Headers headers;
  std::string query;               ///< "api_key=…", percent-encoded; empty when none
  std::vector<std::string> masks;  ///< the credential as it is and as it was sent
};

/// bearer: Authorization: Bearer <secret> · basic: template over config and {secret}, Base64 ·
/// header: <parameter>: <secret> · query: <parameter>=<secret>. Refused ("fetch.auth.*"): an empty
/// secret, one with control characters, a template that names an unknown configuration value.
[[nodiscard]] Result<Authentication> authenticate(const contract::AuthSlot& slot,
                                                  const nlohmann::json& config,
                                                  const Credential& credential);

}  // namespace sluice::fetch
