#include "ingest/difference.hpp"

#include <fmt/format.h>

#include <iterator>

#include "base/decimal.hpp"
#include "base/json_text.hpp"

namespace sluice::ingest {
namespace {

/// The order of an object's keys in jsonb.
bool jsonb_less(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

/// Appends a member's value as answers have it: a decimal is a string in its one form.
void append_shown(std::string& out, const model::StoredType& type, std::string_view name,
                  std::string_view value) {
  const model::StoredAttribute* const attribute = type.find(name);
  const bool decimal = attribute != nullptr && attribute->type == contract::AttributeType::decimal;
  if (!decimal || value.starts_with('"') || value == "null") {
    out += value;
  } else {
    append_json_string(out, plain_decimal(value));
  }
}

}  // namespace

std::string difference(const model::StoredType& type, std::string_view before,
                       std::string_view after) {
  const auto old_members = members(before);
  const auto new_members = members(after);
  std::string out;
  std::size_t at = 0;
  for (const auto& [name, value] : old_members) {  // both in jsonb's order; either may have more
    while (at < new_members.size() && jsonb_less(new_members[at].first, name)) ++at;
    if (at == new_members.size()) break;
    if (new_members[at].first != name || same_jsonb(value, new_members[at].second)) continue;
    out += out.empty() ? '{' : ',';
    fmt::format_to(std::back_inserter(out), "\"{}\":[", name);
    append_shown(out, type, name, value);
    out += ',';
    append_shown(out, type, name, new_members[at].second);
    out += ']';
  }
  if (!out.empty()) out.push_back('}');
  return out;
}

std::string_view member(const std::vector<std::pair<std::string_view, std::string_view>>& all,
                        std::string_view name) {
  for (const auto& [key, value] : all) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace sluice::ingest
