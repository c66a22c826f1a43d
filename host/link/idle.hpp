// Why a link rule finds nothing, in words to act on.
#pragma once

#include <optional>

#include "base/error.hpp"
#include "model/catalog.hpp"

namespace sluice::link {

/// Why a rule can find nothing, and what to do; nullopt when it can, or is switched off. Codes:
///   rule.unknown_type, rule.unknown_attribute   that end is not there (yet)
///   rule.no_such_key                            it is there and no link key of the rule's kind
[[nodiscard]] std::optional<Error> why_idle(const model::Catalog& catalog,
                                            const model::StoredRule& rule);

}  // namespace sluice::link
