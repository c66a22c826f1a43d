#include "api/openapi.hpp"

#include "api/schemas.hpp"
#include "base/ascii.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::string_view kAbout =
    "Vendors' data and your own as one linked source. Everything but the health of the host needs "
    "a "
    "token: a reader's asks, an admin's changes its workspace too, an operator's does both "
    "everywhere. Ids and positions are strings of digits in every answer; requests take numbers, "
    "too. New members may come in answers at any time; none goes within /v1.";

/// {status: codes} of "404 a b 409 c".
using Problems = std::map<int, std::set<std::string, std::less<>>>;

void read_problems(std::string_view text, Problems& problems) {
  int status = 0;
  for (const std::string_view word : words_of(text)) {
    if (word.find_first_not_of("0123456789") == std::string_view::npos) {
      status = std::stoi(std::string(word));
    } else {
      problems[status].emplace(word);
    }
  }
}

Problems problems_of(const Route& route) {
  Problems problems;
  read_problems(common_problems(route), problems);
  read_problems(route.problems, problems);
  return problems;
}

json described_number(std::int64_t least, std::int64_t most) {
  json schema;
  schema["type"] = "integer";
  schema["format"] = "int64";
  schema["minimum"] = least;
  schema["maximum"] = most;
  return schema;
}

json schema_of_value(const Parameter& parameter) {
  json schema = json::object();
  switch (parameter.kind) {
    case ParameterKind::text:
      schema["type"] = "string";
      break;
    case ParameterKind::whole:
      schema = described_number(parameter.least, parameter.most);
      schema["default"] = parameter.otherwise;
      break;
    case ParameterKind::id:
      schema = described_number(std::numeric_limits<std::int64_t>::min(),
                                std::numeric_limits<std::int64_t>::max());
      break;
    case ParameterKind::flag:
      schema["type"] = "boolean";
      schema["default"] = false;
      break;
    case ParameterKind::choice:
      schema["type"] = "string";
      schema["enum"] = words_of(parameter.choices);
      break;
  }
  return schema;
}

json parameter_json(const Parameter& parameter) {
  json one;
  one["name"] = parameter.name;
  one["in"] = "query";
  one["description"] = parameter.says;
  one["schema"] = schema_of_value(parameter);
  if (parameter.repeats) {
    json list;
    list["type"] = "array";
    list["items"] = std::move(one["schema"]);
    one["schema"] = std::move(list);
    one["style"] = "form";
    one["explode"] = true;
  }
  return one;
}

/// Every further parameter.
json filters_json() {
  json one;
  one["name"] = "filters";
  one["in"] = "query";
  one["description"] =
      "attribute=value or attribute[op]=value, with eq, ne, gt, gte, lt, lte, in, is_null and "
      "like; all "
      "must hold";
  one["style"] = "form";
  one["explode"] = true;
  one["schema"]["type"] = "object";
  one["schema"]["additionalProperties"]["type"] = "string";
  return one;
}

struct PathName {
  std::string_view name, says;
};

constexpr std::array<PathName, 9> kPathNames = {{
    {"workspace", "the workspace's name"},
    {"connector", "the connector's id, such as stripe"},
    {"name", "the connection's name"},
    {"secret", "the secret's name in the connector's manifest"},
    {"stream", "the stream's name in the connector's manifest"},
    {"type", "the entity type's name: customer, or stripe.customer"},
    {"id", "its id, as an answer gave it"},
    {"rule", "the link rule's name"},
    {"run", "the run's id"},
}};

json path_json(std::string_view name) {
  json one;
  one["name"] = name;
  one["in"] = "path";
  one["required"] = true;
  for (const PathName& known : kPathNames)
    if (known.name == name) one["description"] = known.says;
  one["schema"]["type"] = "string";
  one["schema"]["minLength"] = 1;
  return one;
}

json reference_to(std::string_view schema) {
  return {{"$ref", fmt::format("#/components/schemas/{}", schema)}};
}

json content_of(std::string_view media_types, std::string_view schema) {
  json content = json::object();
  for (const std::string_view type : words_of(media_types)) {
    json& one = content[std::string(type)];
    one = json::object();
    if (type == "application/json") {
      one["schema"] = reference_to(schema);
    } else {
      one["schema"]["type"] = "string";
    }
  }
  return content;
}

/// Problem, with one of these codes.
json problem_content(const std::set<std::string, std::less<>>& codes) {
  json any_of = json::array();
  json known = json::array();
  for (const std::string& code : codes) {
    if (!code.ends_with('*')) {
      known.push_back(code);
      continue;
    }
    const std::string beginning = code.substr(0, code.find('.'));
    any_of.push_back({{"type", "string"}, {"pattern", fmt::format("^{}[.]", beginning)}});
  }
  if (!known.empty()) any_of.push_back({{"enum", std::move(known)}});
  json narrowed;
  narrowed["type"] = "object";
  narrowed["properties"]["code"] = any_of.size() == 1 ? any_of[0] : json{{"anyOf", any_of}};
  json content;
  content["application/problem+json"]["schema"]["allOf"] = {reference_to("Problem"), narrowed};
  return content;
}

json problem_response(const std::set<std::string, std::less<>>& codes) {
  json one;
  one["description"] = fmt::format("a problem: {}", fmt::join(codes, ", "));
  one["content"] = problem_content(codes);
  return one;
}

/// What most routes refuse with, by a name that they refer to.
struct SharedProblems {
  std::string_view name;  ///< and the status behind it
  Problems problems;
};

bool contains_same(const Problems& problems, const Problems::value_type& of_status) {
  const auto found = problems.find(of_status.first);
  return found != problems.end() && found->second == of_status.second;
}

/// Of routes that ask, and where they differ of routes that change something.
std::vector<SharedProblems> shared_problems() {
  std::vector<SharedProblems> all;
  for (const bool changes : {false, true}) {
    Route route;
    route.method = changes ? "POST" : "GET";
    route.pattern = "/v1/workspaces/{workspace}";
    route.access = Access::reader;
    SharedProblems& one = all.emplace_back();
    one.name = changes ? "ChangeRefused" : "Refused";
    read_problems(common_problems(route), one.problems);
  }
  std::erase_if(all.back().problems, [&](const auto& of_status) {
    return contains_same(all.front().problems, of_status);
  });
  return all;
}

json responses_of(const Route& route) {
  static const std::vector<SharedProblems> shared = shared_problems();
  json responses = json::object();
  for (const std::string_view status : words_of(route.status)) {
    json& one = responses[std::string(status)];
    one["description"] = status == "503" ? "not now, and why" : "done";
    one["content"] = content_of(route.produces, route.answer);
  }
  for (const auto& [status, codes] : problems_of(route)) {
    json& one = responses[std::to_string(status)];
    if (!one.is_null()) {  // also of what is done
      one["content"].update(problem_content(codes));
      continue;
    }
    for (const SharedProblems& known : shared) {
      const auto same = known.problems.find(status);
      if (same == known.problems.end() || same->second != codes) continue;
      one["$ref"] = fmt::format("#/components/responses/{}{}", known.name, status);
      break;
    }
    if (one.is_null()) one = problem_response(codes);
  }
  return responses;
}

json operation_of(const Area& area, const Route& route) {
  json operation;
  operation["operationId"] = route.operation;
  operation["tags"] = {area.name};
  operation["summary"] = route.summary;
  operation["description"] = route.access == Access::open     ? "Needs no token."
                             : route.access == Access::reader ? "Needs a reader's token."
                             : route.access == Access::admin  ? "Needs an admin's token."
                                                              : "Needs an operator's token.";
  operation["parameters"] = json::array();
  for (const std::string_view name : names_in(route.pattern))
    operation["parameters"].push_back(path_json(name));
  for (const Parameter& parameter : route.query)
    operation["parameters"].push_back(parameter_json(parameter));
  if (route.filters) operation["parameters"].push_back(filters_json());
  const bool reads_text = route.takes != "application/json";
  if (!route.body.empty() || reads_text) {
    operation["requestBody"]["required"] = true;
    operation["requestBody"]["content"] = content_of(route.takes, route.body);
  }
  operation["responses"] = responses_of(route);
  operation["security"] = json::array();
  if (route.access != Access::open) operation["security"].push_back({{"token", json::array()}});
  return operation;
}

bool is_one_of(const std::set<std::string, std::less<>>& codes, std::string_view code) {
  return std::any_of(codes.begin(), codes.end(), [&](const std::string& known) {
    if (!known.ends_with('*')) return known == code;
    return code.starts_with(std::string_view(known).substr(0, known.size() - 1));
  });
}

}  // namespace

json openapi(const std::string& version) {
  json document;
  document["openapi"] = "3.1.0";
  document["info"] = {{"title", "Sluice"}, {"version", version}, {"description", kAbout}};
  document["servers"] = {{{"url", "/"}, {"description", "this host"}}};
  document["tags"] = json::array();
  document["paths"] = json::object();
  for (const Area& area : all_areas()) {
    document["tags"].push_back({{"name", area.name}, {"description", area.says}});
    for (const Route& route : area.routes) {
      document["paths"][std::string(route.pattern)][in_lower_case(route.method)] =
          operation_of(area, route);
    }
  }
  document["components"]["securitySchemes"]["token"] = {{"type", "http"}, {"scheme", "bearer"}};
  document["components"]["schemas"] = schemas();
  for (const SharedProblems& shared : shared_problems()) {
    for (const auto& [status, codes] : shared.problems) {
      document["components"]["responses"][fmt::format("{}{}", shared.name, status)] =
          problem_response(codes);
    }
  }
  return document;
}

bool may_refuse_with(const Route& route, int status, std::string_view code) {
  const Problems problems = problems_of(route);
  const auto found = problems.find(status);
  return found != problems.end() && is_one_of(found->second, code);
}

}  // namespace sluice::api
