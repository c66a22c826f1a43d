// An error as people and their programs read it in JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace sluice {

/// {"code", "message", "hint"}; a hint may be "".
inline nlohmann::json error_json(const Error& error) {
  nlohmann::json out = nlohmann::json::object();
  out["code"] = error.code;
  out["message"] = error.message;
  out["hint"] = error.hint;
  return out;
}

}  // namespace sluice
