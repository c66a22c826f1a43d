#include "api/schemas.hpp"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::string_view kComponents = "#/components/schemas/";
constexpr std::string_view kDefinitions = "#/definitions/";

/// References to where a schema by itself has the others.
void refer_to_definitions(json& schema) {
  if (schema.is_array())
    for (json& one : schema) refer_to_definitions(one);
  if (!schema.is_object()) return;
  for (auto& [keyword, value] : schema.items()) {
    if (keyword == "$ref" && value.is_string()) {
      const auto& text = value.get_ref<const std::string&>();
      if (text.starts_with(kComponents))
        value = fmt::format("{}{}", kDefinitions, text.substr(kComponents.size()));
    } else {
      refer_to_definitions(value);
    }
  }
}

/// Names of the schemas that this one refers to.
void referred_by(const json& schema, std::vector<std::string>& names) {
  if (!schema.is_structured()) return;
  for (const auto& [keyword, value] : schema.items()) {
    const bool is_reference = schema.is_object() && keyword == "$ref" && value.is_string();
    if (is_reference) names.push_back(value.get<std::string>().substr(kComponents.size()));
    referred_by(value, names);
  }
}

json merged() {
  json all = json::object();
  for (const std::string_view text : schema_texts()) {
    const json file = json::parse(text);
    for (const auto& [name, schema] : file.items()) {
      if (all.contains(name)) throw std::logic_error("two schemas are called " + name);
      all[name] = schema;
    }
  }
  return all;
}

using Compiled = std::map<std::string, std::unique_ptr<contract::JsonSchema>, std::less<>>;

/// The schema and all that it leads to.
void gather(std::string_view name, json& definitions) {
  if (definitions.contains(name)) return;
  if (!schemas().contains(name)) throw std::logic_error(fmt::format("there is no schema {}", name));
  const json& schema = definitions[std::string(name)] = schemas()[std::string(name)];
  std::vector<std::string> led_to;
  referred_by(schema, led_to);
  for (const std::string& other : led_to) gather(other, definitions);
}

Compiled compiled() {
  Compiled all;
  for (const auto& [name, schema] : schemas().items()) {
    json definitions = json::object();
    gather(name, definitions);
    refer_to_definitions(definitions);
    json whole;
    whole["$ref"] = fmt::format("{}{}", kDefinitions, name);
    whole["definitions"] = std::move(definitions);
    auto one = std::make_unique<contract::JsonSchema>(whole);
    if (!one->faults().empty()) {
      const auto& fault = one->faults().front();
      throw std::logic_error(fmt::format("schemas: {}: {}", fault.pointer, fault.what));
    }
    all.emplace(name, std::move(one));
  }
  return all;
}

}  // namespace

const json& schemas() {
  static const json all = merged();
  return all;
}

const contract::JsonSchema& schema_of(std::string_view name) {
  static const Compiled all = compiled();
  const auto found = all.find(name);
  if (found == all.end()) throw std::logic_error(fmt::format("there is no schema {}", name));
  return *found->second;
}

}  // namespace sluice::api
