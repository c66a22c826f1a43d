// The OpenAPI document, made from the table of routes and the schemas that the host judges by.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "api/routes.hpp"

namespace sluice::api {

/// OpenAPI 3.1 of all routes. docs/openapi.json is what it gives for version "0.0.0".
[[nodiscard]] nlohmann::json openapi(const std::string& version);

/// Whether a problem is one that the route may answer with: by its status and code, of its own and
/// of those that all routes of its kind have.
[[nodiscard]] bool may_refuse_with(const Route& route, int status, std::string_view code);

}  // namespace sluice::api
