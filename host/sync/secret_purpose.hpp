// What a connection's secrets are for: where its connector may send them, as it is set up now.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.hpp"
#include "contract/manifest.hpp"
#include "fetch/policy.hpp"
#include "vault/purpose.hpp"

namespace sluice::sync {

/// All hosts of the manifest after templates and allowances, and the ways in which its slots put
/// this secret on. A host whose template lacks a value is left out: nothing can be sent there. A
/// secret that no slot names goes nowhere.
[[nodiscard]] vault::Purpose purpose_of(const contract::Manifest& manifest,
                                        const nlohmann::json& config,
                                        const fetch::EgressAllowance& allowance,
                                        std::string_view secret);

/// A secret of a name that no slot has would go nowhere: Error(not_found,
/// "connection.unknown_secret"), with the names that there are.
[[nodiscard]] Result<void> check_declared(const contract::Manifest& manifest,
                                          std::string_view secret);

}  // namespace sluice::sync
