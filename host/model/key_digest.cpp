#include "model/key_digest.hpp"

#include "link/normalise.hpp"

namespace sluice::model {

bool has_normal_form(const StoredAttribute& attribute) {
  using contract::KeyKind;
  const auto kind = attribute.key_kind;
  return attribute.type == contract::AttributeType::text && kind && *kind != KeyKind::exact &&
         *kind != KeyKind::external_id;
}

std::optional<pg::Uuid> key_digest(const StoredAttribute& attribute, std::string_view value) {
  const auto form = link::normalise(attribute.key_kind.value(), value);
  if (!form) return std::nullopt;
  return link::digest(*attribute.key_kind, *form);
}

}  // namespace sluice::model
