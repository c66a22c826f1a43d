// The text of plugin-api/manifest.schema.json, compiled in.
#pragma once

#include <string_view>

namespace sluice::contract {

extern const std::string_view kManifestSchema;

}  // namespace sluice::contract
