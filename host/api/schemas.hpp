// JSON schemas of what the API takes and answers, from the files in host/api/schemas.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "contract/json_schema.hpp"

namespace sluice::api {

/// All of them by name, as OpenAPI 3.1 has them under components: what both draft 7 and 2020-12
/// mean by the same words. They refer to each other by "#/components/schemas/<name>".
[[nodiscard]] const nlohmann::json& schemas();

/// One of them, read once. Throws std::logic_error for a name that is none.
[[nodiscard]] const contract::JsonSchema& schema_of(std::string_view name);

/// The texts that were compiled in, one a file: {"Run": {…}, "RunPage": {…}}.
[[nodiscard]] std::span<const std::string_view> schema_texts();

}  // namespace sluice::api
