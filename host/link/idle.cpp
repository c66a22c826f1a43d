#include "link/idle.hpp"

#include <fmt/format.h>

#include <string>

namespace sluice::link {
namespace {

/// What keeps one end of a rule from being found.
std::optional<Error> why_no_end(const model::Catalog& catalog, const std::string& type,
                                const std::string& attribute, contract::KeyKind kind) {
  const model::StoredType* stored = catalog.find(type);
  if (stored == nullptr) {
    const std::size_t dot = type.find('.');
    const std::string brings = dot == std::string::npos
                                   ? fmt::format("sluice entity create-type {} {}:text:key={}",
                                                 type, attribute, contract::to_string(kind))
                                   : "sluice connector install " + type.substr(0, dot);
    return Error(ErrorKind::bad_input, "rule.unknown_type",
                 fmt::format("there is no entity type '{}'", type),
                 brings + " brings it; a rule that nobody needs: sluice link disable-rule");
  }
  const model::StoredAttribute* found = stored->find(attribute);
  if (found == nullptr) {
    return Error(ErrorKind::bad_input, "rule.unknown_attribute",
                 fmt::format("'{}' has no attribute '{}'", type, attribute),
                 "sluice entity type " + type);
  }
  if (found->key_kind == kind) return std::nullopt;
  const std::string is =
      found->key_kind
          ? fmt::format("a link key of kind {}, not {}", contract::to_string(*found->key_kind),
                        contract::to_string(kind))
          : fmt::format("no link key of kind {}", contract::to_string(kind));
  std::string what_to_do =
      fmt::format("The connector {} has to declare it under link_keys", stored->connector);
  if (stored->own) {
    what_to_do = fmt::format(
        "A key is declared when the attribute is made: add another one with "
        "\"link_key\": \"{}\" (POST …/types/{}/attributes), import its "
        "values, and make a rule to it (sluice link add-rule)",
        contract::to_string(kind), type);
  } else if (!found->path.empty() || found->type == contract::AttributeType::json ||
             found->type == contract::AttributeType::text) {
    what_to_do = fmt::format(
        "Add an attribute that is one: sluice entity add-attribute {} NAME:key={} --path {}", type,
        contract::to_string(kind),
        !found->path.empty()                           ? model::joined_path(found->path)
        : found->type == contract::AttributeType::json ? attribute + ".WHERE"
                                                       : attribute);
  }
  return Error(ErrorKind::bad_input, "rule.no_such_key",
               fmt::format("'{}.{}' is {}", type, attribute, is), what_to_do);
}

}  // namespace

std::optional<Error> why_idle(const model::Catalog& catalog, const model::StoredRule& rule) {
  if (!rule.enabled) return std::nullopt;
  auto why = why_no_end(catalog, rule.source_type_name, rule.source_attribute, rule.key_kind);
  if (why) return why;
  return why_no_end(catalog, rule.target_type_name, rule.target_attribute, rule.key_kind);
}

}  // namespace sluice::link
