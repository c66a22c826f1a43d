#include "contract/json_schema.hpp"

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

namespace sluice::contract {
namespace {

using valijson::adapters::NlohmannJsonAdapter;

/// valijson names a place as ["<root>", "[streams]", "[0]"].
std::vector<std::string> steps_of(const std::vector<std::string>& context) {
  std::vector<std::string> steps;
  for (const std::string& step : context) {
    if (step.size() >= 2 && step.front() == '[') steps.push_back(step.substr(1, step.size() - 2));
  }
  return steps;
}

}  // namespace

struct JsonSchema::State {
  valijson::Schema schema;
};

JsonSchema::JsonSchema(const nlohmann::json& schema) : state_(std::make_unique<State>()) {
  valijson::SchemaParser parser;
  const NlohmannJsonAdapter adapter(schema);
  parser.populateSchema(adapter, state_->schema);
}

JsonSchema::~JsonSchema() = default;

std::optional<JsonSchema::Flaw> JsonSchema::flaw_of(const nlohmann::json& document) const {
  valijson::Validator validator;
  valijson::ValidationResults results;
  if (validator.validate(state_->schema, NlohmannJsonAdapter(document), &results))
    return std::nullopt;
  // Each level adds an error of its own.
  const valijson::ValidationResults::Error* deepest = nullptr;
  for (const auto& error : results) {
    if (deepest == nullptr || error.context.size() > deepest->context.size()) deepest = &error;
  }
  Flaw flaw;
  if (deepest != nullptr) {
    flaw.place = steps_of(deepest->context);
    flaw.what = deepest->description;
  }
  return flaw;
}

}  // namespace sluice::contract
