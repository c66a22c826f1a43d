// By what a value is found among the link keys of an attribute.
#pragma once

#include <optional>
#include <string_view>

#include "model/catalog.hpp"
#include "pg/params.hpp"

namespace sluice::model {

/// A text that may be written in several ways and is one and the same: an address, a number. Other
/// keys are their own form.
[[nodiscard]] bool has_normal_form(const StoredAttribute& attribute);

/// sluice.link_key's digest of the value as a key of the attribute, which has a key_kind; nullopt
/// when the value makes no key.
[[nodiscard]] std::optional<pg::Uuid> key_digest(const StoredAttribute& attribute,
                                                 std::string_view value);

}  // namespace sluice::model
