#include "contract/config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "base/exact_json.hpp"
#include "contract/json_schema.hpp"

namespace sluice::contract {
namespace {

using nlohmann::json;

std::string known_properties(const json& schema) {
  std::vector<std::string> names;
  if (const auto found = schema.find("properties"); found != schema.end() && found->is_object()) {
    for (const auto& [name, property] : found->items()) names.push_back(name);
  }
  return names.empty() ? "It takes no configuration"
                       : fmt::format("It takes: {}", fmt::join(names, ", "));
}

constexpr std::size_t kTextBytesMax = 2048;
/// Of one configuration: with what each is held against, the time of the check is bounded.
constexpr std::size_t kValuesMax = 2000;
constexpr std::uint64_t kStepsMax = 1'000'000;

std::size_t values_in(const json& value) {
  std::size_t count = 1;
  if (value.is_structured())
    for (const json& member : value) count += values_in(member);
  return count;
}

/// The first text that is too long, as a place; empty when there is none.
std::string too_long(const json& value, const std::string& place) {
  if (value.is_string()) {
    return value.get_ref<const std::string&>().size() > kTextBytesMax ? place : "";
  }
  if (!value.is_structured()) return {};
  for (const auto& [key, member] : value.items()) {
    const std::string here = (place.empty() ? "" : place + ".") + key.substr(0, 64);
    std::string found = key.size() > kTextBytesMax ? here : too_long(member, here);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace

Result<void> check_config(const Manifest& manifest, const json& config) {
  const auto refuse = [&](const std::string& place, const std::string& what) {
    return fail(ErrorKind::bad_input, "config.invalid",
                fmt::format("the configuration of {} does not fit: {}{}", manifest.id,
                            place.empty() ? "" : place + ": ", what),
                known_properties(manifest.config_schema));
  };
  if (!config.is_object()) return refuse("", "it must be an object");
  if (const std::string place = too_long(config, ""); !place.empty())
    return refuse(place, fmt::format("a text of more than {} bytes", kTextBytesMax));
  if (values_in(config) > kValuesMax)
    return refuse("", fmt::format("it has more than {} values", kValuesMax));
  const JsonSchema schema(manifest.config_schema);
  const std::optional<JsonSchema::Flaw> flaw = schema.flaw_of(with_doubles(config), kStepsMax);
  if (!flaw) return {};
  return refuse(fmt::format("{}", fmt::join(flaw->place, ".")), flaw->what);
}

}  // namespace sluice::contract
