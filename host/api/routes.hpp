// What a route takes and answers, written down once: the host refuses by it, GET /openapi.json
// shows it, and tests hold every answer against it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/http.hpp"

namespace sluice::api {

struct Call;

enum class Access { open, reader, admin, operator_ };

enum class ParameterKind {
  text,
  whole,   ///< a whole number, `least` to `most`
  id,      ///< a whole number of 64 bits that counts nothing: an id, or a `next` that was given
  flag,    ///< true or false
  choice,  ///< one of `choices`
};

/// Of a route's query.
struct Parameter {
  std::string_view name;
  std::string_view says;  ///< for people: "only of this stream"
  ParameterKind kind = ParameterKind::text;
  std::int64_t least = 0, most = 0;
  std::int64_t otherwise = 0;     ///< whole: when it is not there
  std::string_view choices = {};  ///< "exclude include only"; the first when it is not there
  bool repeats = false;           ///< may be there several times
};

/// How many a page may have.
[[nodiscard]] constexpr Parameter limit_of(std::int64_t otherwise, std::int64_t most) {
  return {.name = "limit",
          .says = "how many a page has at most",
          .kind = ParameterKind::whole,
          .least = 1,
          .most = most,
          .otherwise = otherwise};
}

using RouteHandler = Task<HttpResponse> (*)(Call& call);

struct Route {
  std::string_view method;
  std::string_view pattern;  ///< "/v1/workspaces/{workspace}/connections/{name}"
  Access access = Access::operator_;
  std::string_view operation;  ///< its name for programs: "listRuns"
  std::string_view summary;    ///< for people, one sentence
  RouteHandler handler = nullptr;
  std::span<const Parameter> query = {};  ///< all others are refused
  bool filters = false;             ///< other parameters are filters on attributes: "created[gte]"
  std::string_view body = {};       ///< its schema (host/api/schemas); none: {} or nothing
  std::string_view answer = {};     ///< the schema of what it answers with; none: no JSON
  std::string_view status = "200";  ///< of what is done: "200 201"
  /// What it may refuse with beside what every route of its kind does: "404 run.unknown 409 …",
  /// each code behind its status. "filter.*" is every code that begins so.
  std::string_view problems = {};
  std::string_view takes = "application/json";     ///< media types of the body
  std::string_view produces = "application/json";  ///< of what is done
};

/// Routes of one kind, under a name for people.
struct Area {
  std::string_view name;  ///< "runs"
  std::string_view says;
  std::span<const Route> routes;
};
[[nodiscard]] std::vector<Area> all_areas();
[[nodiscard]] std::vector<Route> all_routes();

using PathValues = std::map<std::string, std::string, std::less<>>;

/// The values of the pattern's names, or nothing when the path is another.
[[nodiscard]] std::optional<PathValues> match(std::string_view pattern,
                                              const std::vector<std::string>& segments);

/// Which route a request is for.
struct FoundRoute {
  const Route* route = nullptr;
  PathValues values;
  std::string allowed;  ///< the path's methods, "GET, HEAD, POST"; empty: there is nothing at it
};
/// A pattern that spells the path out comes before one with a {name}, whatever its methods:
/// "quarantine/replay" is no record called "replay". `method` may be "HEAD", which GET answers.
[[nodiscard]] FoundRoute find_route(std::span<const Route> routes, std::string_view method,
                                    const std::vector<std::string>& segments);
/// Names in a pattern, in order.
[[nodiscard]] std::vector<std::string_view> names_in(std::string_view pattern);

/// nullptr when the route has none of that name.
[[nodiscard]] const Parameter* find_parameter(const Route& route, std::string_view name);

/// Failure(request.unknown_parameter, request.repeated_parameter, request.bad_parameter) for a
/// query that the route does not take.
void check_parameters(const Route& route, const HttpRequest& request);
/// Failure(request.unknown_field, request.missing_field, request.bad_field) for a body that is not
/// what the route's schema says.
void check_body(const Route& route, const nlohmann::json& body);

/// Of every route, by what it takes: what Route::problems need not say. Same form.
[[nodiscard]] std::string common_problems(const Route& route);

/// A name's words: "a b" -> {"a", "b"}.
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view text);

}  // namespace sluice::api
