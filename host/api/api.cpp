#include "api/api.hpp"

#include "api/problem.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

namespace sluice::api {
namespace {

const pg::Statement kWorkspace{"api_workspace", "select workspace_id from sluice.workspace where name = $1"};

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

bool is_name(std::string_view part) { return part.size() > 2 && part.front() == '{' && part.back() == '}'; }

/// The values of the pattern's names, or nothing when the path is another.
std::optional<std::map<std::string, std::string, std::less<>>> match(std::string_view pattern, std::string_view path) {
  const auto wanted = segments(pattern);
  const auto given = segments(path);
  if (wanted.size() != given.size()) return std::nullopt;
  std::map<std::string, std::string, std::less<>> values;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (is_name(wanted[i])) {
      if (given[i].empty()) return std::nullopt;
      values.emplace(wanted[i].substr(1, wanted[i].size() - 2), given[i]);
    } else if (wanted[i] != given[i]) {
      return std::nullopt;
    }
  }
  return values;
}

void require_role(const Principal& principal, Access access) {
  const Role needed = access == Access::operator_ ? Role::operator_ : access == Access::admin ? Role::admin : Role::reader;
  if (principal.role >= needed) return;
  throw Failure(Error(ErrorKind::denied, "token.role",
                      fmt::format("this token is a {}, and this needs {}", to_string(principal.role), to_string(needed)),
                      "Use a token with that role"));
}

}  // namespace

void bad_request(std::string code, std::string message, std::string hint) {
  throw Failure(Error(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint)));
}

std::string required_text(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string() || found->get<std::string>().empty()) {
    bad_request("request.missing_field", fmt::format("the body needs \"{}\", a string", name));
  }
  return found->get<std::string>();
}

void only_fields(const nlohmann::json& object, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    bad_request("request.unknown_field", fmt::format("the body has \"{}\", which means nothing here", name),
                fmt::format("Known: {}", fmt::join(known, ", ")));
  }
}

std::int64_t Call::limit(std::int64_t fallback, std::int64_t most) const {
  const auto text = http.parameter("limit");
  if (!text) return fallback;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || value < 1 || value > most) {
    bad_request("request.bad_parameter", fmt::format("limit={} must be 1 to {}", *text, most));
  }
  return value;
}

Task<nlohmann::json> Call::body() {
  std::string text;
  for (;;) {
    std::string piece = co_await http.body->next();
    if (piece.empty()) break;
    text += piece;
    if (text.size() > kJsonBodyBytesMax) bad_request("request.too_large", "the body is larger than 1 MiB");
  }
  nlohmann::json document = text.empty() ? nlohmann::json::object() : nlohmann::json::parse(text, nullptr, false);
  if (!document.is_object()) bad_request("request.not_json", "the body must be one JSON object");
  co_return document;
}

std::vector<Route> all_routes() {
  std::vector<Route> all;
  for (const auto routes : {health_routes(), workspace_routes(), connector_routes(), connection_routes(), type_routes(),
                            entity_routes(), link_routes(), change_routes()}) {
    all.insert(all.end(), routes.begin(), routes.end());
  }
  return all;
}

Api::Api(Services services) : services_(services), routes_(all_routes()) {}

Task<HttpResponse> Api::handle(HttpRequest& request) {
  const Route* route = nullptr;
  std::map<std::string, std::string, std::less<>> values;
  bool path_known = false;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (const Route& candidate : routes_) {
    auto matched = match(candidate.pattern, request.path);
    if (!matched) continue;
    path_known = true;
    if (candidate.method != method) continue;
    route = &candidate;
    values = std::move(*matched);
    break;
  }
  if (route == nullptr) {
    co_return problem(path_known ? Error(ErrorKind::bad_input, "request.method_not_allowed",
                                         request.method + " is not possible on " + request.path)
                                 : Error(ErrorKind::not_found, "request.no_such_path", "there is nothing at " + request.path,
                                         "GET /openapi.json lists every path"));
  }
  Call call{services_, request, std::move(values), {}, {}, {}};
  if (route->access != Access::open) {
    Result<Principal> principal = co_await authenticate(services_.pool, request.authorization);
    if (!principal) co_return problem(principal.error());
    call.principal = *principal;
    if (const auto named = call.path.find("workspace"); named != call.path.end()) {
      call.workspace_name = named->second;
      const auto found = co_await services_.pool.query(kWorkspace, pg::Params(named->second));
      if (!found.empty()) call.workspace = found.get<WorkspaceId>(0, 0);
      const bool visible = call.workspace.has_value() &&
                           (principal->role == Role::operator_ || call.workspace == principal->workspace);
      if (!visible) {
        co_return problem(Error(ErrorKind::not_found, "workspace.unknown", "there is no workspace '" + named->second + "'"));
      }
    }
    require_role(*principal, route->access);
  }
  co_return co_await route->handler(call);
}

nlohmann::json openapi(std::span<const Route> routes, const std::string& version) {
  nlohmann::json paths = nlohmann::json::object();
  for (const Route& route : routes) {
    nlohmann::json operation;
    operation["summary"] = route.summary;
    operation["parameters"] = nlohmann::json::array();
    for (const auto part : segments(route.pattern)) {
      if (!is_name(part)) continue;
      operation["parameters"].push_back({{"name", part.substr(1, part.size() - 2)},
                                         {"in", "path"},
                                         {"required", true},
                                         {"schema", {{"type", "string"}}}});
    }
    operation["responses"]["2XX"]["description"] = "done";
    operation["responses"]["default"] = {
        {"description", "a problem (RFC 9457)"},
        {"content", {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}};
    if (route.access != Access::open) operation["security"] = {{{"token", nlohmann::json::array()}}};
    std::string method(route.method);
    std::transform(method.begin(), method.end(), method.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
    paths[std::string(route.pattern)][method] = std::move(operation);
  }
  nlohmann::json document;
  document["openapi"] = "3.1.0";
  document["info"] = {{"title", "Sluice"}, {"version", version}};
  document["paths"] = std::move(paths);
  document["components"]["securitySchemes"]["token"] = {{"type", "http"}, {"scheme", "bearer"}};
  document["components"]["schemas"]["Problem"] = {
      {"type", "object"},
      {"properties",
       {{"type", {{"type", "string"}}},
        {"title", {{"type", "string"}}},
        {"status", {{"type", "integer"}}},
        {"code", {{"type", "string"}}},
        {"detail", {{"type", "string"}}},
        {"hint", {{"type", "string"}}}}}};
  return document;
}

}  // namespace sluice::api
