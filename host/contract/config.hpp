// Whether a connection's configuration is what the connector's manifest asks for.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "contract/manifest.hpp"

namespace sluice::contract {

/// Holds `config` against the manifest's config_schema. The error (bad_input, "config.invalid")
/// names the property, what is wrong with it, and which properties there are; never the value,
/// which might be a secret that went astray.
Result<void> check_config(const Manifest& manifest, const nlohmann::json& config);

}  // namespace sluice::contract
