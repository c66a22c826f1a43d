#include "cli/typed_value.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/exact_json.hpp"
#include "base/nearest.hpp"

namespace sluice::cli {
namespace {

struct Form {
  std::string_view type, words;
};
constexpr std::array<Form, 7> kForms = {{{"integer", "a whole number"},
                                         {"number", "a number"},
                                         {"boolean", "true or false"},
                                         {"null", "null"},
                                         {"array", "a JSON list"},
                                         {"object", "a JSON object"},
                                         {"string", "text"}}};

std::vector<std::string> types_of(const json& schema) {
  std::vector<std::string> types;
  const auto type = schema.is_object() ? schema.find("type") : schema.end();
  if (!schema.is_object() || type == schema.end()) return types;
  if (type->is_string()) types.push_back(type->get<std::string>());
  if (!type->is_array()) return types;
  for (const json& one : *type)
    if (one.is_string()) types.push_back(one.get<std::string>());
  return types;
}

/// `value` as it was read from `text`; a number may be one of any size (base/exact_json.hpp).
bool is_of(const json& value, const std::string& text, std::string_view type) {
  const bool is_number =
      !value.is_string() && !value.is_boolean() && !value.is_null() && !value.is_structured();
  if (type == "integer") return is_number && text.find_first_of(".eE") == std::string::npos;
  if (type == "number") return is_number;
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

}  // namespace

json typed_value(const std::string& name, const std::string& text, const json& schema) {
  const auto read = read_ordered_json(text);
  const std::vector<std::string> types = types_of(schema);
  const bool may_be_text = std::find(types.begin(), types.end(), "string") != types.end();
  if (types.empty()) return read.value_or(json(text));
  // What is allowed besides text is meant where it can be nothing else by its form.
  if (read && std::any_of(types.begin(), types.end(),
                          [&](const std::string& type) { return is_of(*read, text, type); }))
    return *read;
  if (may_be_text) {
    const bool is_quoted = read && read->is_string();
    return is_quoted && text.starts_with('"') ? *read : json(text);
  }
  std::string wanted;
  for (const std::string& type : types) {
    const auto form = std::find_if(kForms.begin(), kForms.end(),
                                   [&](const Form& one) { return one.type == type; });
    if (form == kForms.end()) return read.value_or(json(text));
    wanted += (wanted.empty() ? "" : " or ") + std::string(form->words);
  }
  throw Failure(
      Error(ErrorKind::bad_input, "cli.bad_value",
            name + " must be " + wanted + ", and '" + cell(json(text.substr(0, 60))) + "' is not",
            "sluice connector show lists what each setting takes"));
}

std::string flaw_of(const std::string& given, const std::vector<std::string>& known) {
  std::string all;
  for (const std::string& one : known) {
    if (one == given) return {};
    all += (all.empty() ? "" : ", ") + one;
  }
  const std::string meant = nearest(given, known);
  return "'" + cell(json(given.substr(0, 60))) + "' is none of " + all +
         (meant.empty() ? "" : "; did you mean '" + meant + "'?");
}

}  // namespace sluice::cli
