#include "api/routes.hpp"

#include "api/api.hpp"
#include "api/schemas.hpp"
#include "base/nearest.hpp"
#include "base/numbers.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace sluice::api {
namespace {

using nlohmann::json;

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> parts;
  std::size_t at = 1;
  while (at <= path.size()) {
    const auto slash = std::min(path.find('/', at), path.size());
    parts.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

bool is_name(std::string_view part) {
  return part.size() > 2 && part.front() == '{' && part.back() == '}';
}

std::string_view name_of(std::string_view part) { return part.substr(1, part.size() - 2); }

bool contains(const std::vector<std::string_view>& all, std::string_view one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// As a message may quote it: not a screenful.
std::string_view beginning_of(std::string_view text) { return text.substr(0, 100); }

/// What the value must be; empty when it is that.
std::string flaw_of(const Parameter& parameter, std::string_view value) {
  switch (parameter.kind) {
    case ParameterKind::text:
      return {};
    case ParameterKind::whole: {
      const auto number = whole_number(value);
      if (number && *number >= parameter.least && *number <= parameter.most) return {};
      return fmt::format("must be {} to {}", parameter.least, parameter.most);
    }
    case ParameterKind::id:
      return whole_number(value) ? std::string() : "must be a whole number of 64 bits";
    case ParameterKind::flag:
      return value == "true" || value == "false" ? std::string() : "must be true or false";
    case ParameterKind::choice: {
      const auto choices = words_of(parameter.choices);
      if (contains(choices, value)) return {};
      const std::string meant =
          nearest(value, std::vector<std::string>(choices.begin(), choices.end()));
      return fmt::format("must be one of {}{}", fmt::join(choices, ", "),
                         meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant));
    }
  }
  return {};
}

void check_value(const Parameter& parameter, std::string_view value) {
  const std::string flaw = flaw_of(parameter, value);
  if (flaw.empty()) return;
  bad_request("request.bad_parameter",
              fmt::format("{}={} {}", parameter.name, beginning_of(value), flaw));
}

}  // namespace

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    if (end > 0) all.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

std::optional<PathValues> match(std::string_view pattern, const std::vector<std::string>& given) {
  const auto wanted = segments(pattern);
  if (wanted.size() != given.size()) return std::nullopt;
  PathValues values;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (is_name(wanted[i])) {
      if (given[i].empty()) return std::nullopt;
      values.emplace(name_of(wanted[i]), given[i]);
    } else if (wanted[i] != given[i]) {
      return std::nullopt;
    }
  }
  return values;
}

FoundRoute find_route(std::span<const Route> routes, std::string_view method,
                      const std::vector<std::string>& segments) {
  FoundRoute found;
  std::string_view pattern;
  for (const Route& route : routes) {
    auto values = match(route.pattern, segments);
    if (!values) continue;
    if (!pattern.empty() && values->size() >= found.values.size()) continue;
    pattern = route.pattern;
    found.values = std::move(*values);
  }
  for (const Route& route : routes) {
    if (route.pattern != pattern) continue;
    const bool reads = route.method == "GET";
    found.allowed += fmt::format("{}{}{}", found.allowed.empty() ? "" : ", ", route.method,
                                 reads ? ", HEAD" : "");
    if (route.method == method || (reads && method == "HEAD")) found.route = &route;
  }
  return found;
}

std::vector<std::string_view> names_in(std::string_view pattern) {
  std::vector<std::string_view> names;
  for (const std::string_view part : segments(pattern))
    if (is_name(part)) names.push_back(name_of(part));
  return names;
}

const Parameter* find_parameter(const Route& route, std::string_view name) {
  const auto found = std::find_if(route.query.begin(), route.query.end(),
                                  [&](const Parameter& one) { return one.name == name; });
  return found == route.query.end() ? nullptr : &*found;
}

void check_parameters(const Route& route, const HttpRequest& request) {
  std::vector<std::string_view> seen;
  for (const auto& [name, value] : request.query) {
    const Parameter* const known = find_parameter(route, name);
    if (known == nullptr) {
      if (route.filters) continue;
      std::vector<std::string_view> names;
      for (const Parameter& one : route.query) names.push_back(one.name);
      bad_request(
          "request.unknown_parameter",
          fmt::format("'{}' is no parameter of {} {}", beginning_of(name), route.method,
                      route.pattern),
          names.empty() ? "It takes none" : fmt::format("It takes: {}", fmt::join(names, ", ")));
    }
    if (!known->repeats && contains(seen, name)) {
      bad_request("request.repeated_parameter", fmt::format("{} is there twice", name),
                  "Say it once");
    }
    check_value(*known, value);
    seen.push_back(name);
  }
}

void check_body(const Route& route, const json& body) {
  if (route.body.empty()) {
    if (body.empty()) return;
    bad_request("request.unknown_field",
                fmt::format("the body has \"{}\", which means nothing here",
                            beginning_of(body.begin().key())),
                "It takes none");
  }
  using Kind = contract::JsonSchema::Flaw::Kind;
  const auto flaw = schema_of(route.body).flaw_of(body);
  if (!flaw) return;
  const char* const code = flaw->kind == Kind::unknown   ? "request.unknown_field"
                           : flaw->kind == Kind::missing ? "request.missing_field"
                                                         : "request.bad_field";
  const std::string place = fmt::format("{}", fmt::join(flaw->place, "."));
  bad_request(
      code,
      fmt::format("the body{}{}: {}", place.empty() ? "" : "'s ", beginning_of(place), flaw->what),
      fmt::format("{} in GET /openapi.json says what may stand there", route.body));
}

std::string common_problems(const Route& route) {
  std::string all =
      "400 request.malformed request.not_text request.unknown_parameter "
      "request.repeated_parameter request.bad_parameter 429 request.too_many 431 "
      "request.header_too_large 500 internal";
  if (route.access != Access::open) {
    all +=
        " 401 token.missing token.unknown token.revoked token.malformed 403 token.role 429 "
        "token.too_many 503 host.busy database.*";
  }
  if (route.pattern.find("{workspace}") != std::string_view::npos)
    all += " 404 workspace.unknown 503 catalog.changed";
  if (route.method != "GET" && route.takes == "application/json") {
    all +=
        " 400 request.not_json request.unknown_field request.missing_field request.bad_field "
        "request.value_refused 408 request.cut 409 database.conflict 413 request.too_large 415 "
        "request.unsupported_media_type 503 host.stopping";
  }
  return all;
}

std::vector<Area> all_areas() {
  return {
      {"host", "The host itself: is it alive, is it ready, what does it count", health_routes()},
      {"workspaces", "Workspaces and their tokens", workspace_routes()},
      {"sql", "Logins with which people ask by SQL", sql_user_routes()},
      {"connectors", "Connector files, and which version a workspace has", connector_routes()},
      {"connections", "Accounts at vendors: make, check, change, sync, delete",
       connection_routes()},
      {"status", "How connections and their streams are", status_routes()},
      {"runs", "What each sync did", run_routes()},
      {"errors", "What is not well, and decisions that wait", error_routes()},
      {"quarantine", "Records that could not be stored", quarantine_routes()},
      {"types", "Entity types, own ones and imports", type_routes()},
      {"entities", "Entities of vendors and your own", entity_routes()},
      {"links", "What vendor data is linked to, and by which rule", link_routes()},
      {"decisions", "Why an entity is linked, and what people decide of it", entity_link_routes()},
      {"changes", "The change feed", change_routes()},
      {"audit", "Who did what", audit_routes()},
      {"rows", "How many rows there are", row_count_routes()}};
}

std::vector<Route> all_routes() {
  std::vector<Route> all;
  for (const Area& area : all_areas())
    all.insert(all.end(), area.routes.begin(), area.routes.end());
  return all;
}

}  // namespace sluice::api
