// Puts a credential on a request.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.hpp"
#include "base/wiped.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "fetch/credential.hpp"
#include "fetch/redact.hpp"

namespace sluice::fetch {

/// One attempt's authentication: what to add, and which texts must not come back. Everything in it
/// is secret and wiped when it ends. Empty for a request without an auth slot.
struct Authentication {
  WipedText header;  ///< the whole line, "Authorization: Bearer …"; empty when none
  WipedText query;   ///< "api_key=…", percent-encoded; empty when none
  Masks masks;       ///< the credential as it is and as it was sent
};

/// How a slot puts its secret on, with what the manifest says of it: "bearer", "basic
/// {email}:{secret}", "header X-Api-Key", "query api_key".
[[nodiscard]] std::string put_on_as(const contract::AuthSlot& slot);

/// bearer: Authorization: Bearer <secret> · basic: template over config and {secret}, Base64 ·
/// header: <parameter>: <secret> · query: <parameter>=<secret>. Refused ("fetch.auth.*"): an empty
/// secret, one with control characters, a template that names an unknown configuration value.
[[nodiscard]] Result<Authentication> authenticate(const contract::AuthSlot& slot,
                                                  const nlohmann::json& config,
                                                  const Credential& credential);

}  // namespace sluice::fetch
