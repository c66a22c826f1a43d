// Values of secrets in the body of a request.
#pragma once

#include <string_view>

#include "base/wiped.hpp"
#include "sync/connections.hpp"

namespace sluice::api {

/// Where a route's body has them.
enum class SecretsAt {
  value,               ///< {"value": "…"}; named "value"
  members_of_secrets,  ///< {"secrets": {"api_key": "…"}}; by their names
};

/// Takes them out of a JSON text before anything reads it that keeps copies; "*" stands in their
/// place ("" of an empty one). Of two with one name the last counts. A string that is none (a
/// broken escape, no UTF-8, a NUL in it) stays, for whoever reads the rest and refuses it.
[[nodiscard]] sync::SecretValues take_secrets(WipedText& body, SecretsAt at);

}  // namespace sluice::api
