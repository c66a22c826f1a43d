// The table of routes and the document made from it.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <set>

#include "api/api.hpp"
#include "api/openapi.hpp"
#include "api/schemas.hpp"

namespace sluice::api {
namespace {

using nlohmann::json;

std::vector<std::string> split(const std::string& path) {
  HttpRequest request;
  EXPECT_TRUE(read_target(path, request).has_value());
  return request.segments;
}

TEST(Match, a_name_takes_one_whole_part) {
  const auto values = match("/v1/workspaces/{workspace}/entities/{type}/{id}",
                            split("/v1/workspaces/acme/entities/stripe.customer/a%2Fb"));
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ(values->at("workspace"), "acme");
  EXPECT_EQ(values->at("type"), "stripe.customer");
  EXPECT_EQ(values->at("id"), "a/b");
}

TEST(Match, other_paths_do_not) {
  const char* pattern = "/v1/workspaces/{workspace}/links";
  for (const char* path : {"/v1/workspaces/acme", "/v1/workspaces/acme/links/",
                           "/v1/workspaces//links", "/v1/workspaces/acme/Links",
                           "/v1/workspaces/acme%2Flinks", "/v1/workspaces/acme/links/1", "/"}) {
    EXPECT_FALSE(match(pattern, split(path)).has_value()) << path;
  }
}

TEST(Routes, no_two_answer_the_same_request) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const Route& route : all_routes()) {
    EXPECT_TRUE(seen.emplace(route.method, route.pattern).second)
        << route.method << " " << route.pattern;
    EXPECT_FALSE(route.summary.empty()) << route.pattern;
  }
}

TEST(Routes, what_a_pattern_spells_out_is_no_value_of_another) {
  const std::vector<Route> routes = all_routes();
  const auto find = [&](const char* method, const char* path) {
    return find_route(routes, method, split(path));
  };
  const FoundRoute many = find("POST", "/v1/workspaces/acme/quarantine/replay");
  ASSERT_NE(many.route, nullptr);
  EXPECT_EQ(many.route->operation, "replayManyQuarantined");
  EXPECT_EQ(many.values.size(), 1u);
  EXPECT_EQ(many.allowed, "POST");
  const FoundRoute none = find("GET", "/v1/workspaces/acme/quarantine/replay");
  EXPECT_EQ(none.route, nullptr);
  EXPECT_EQ(none.allowed, "POST") << "it is no record called replay";
  const FoundRoute one = find("HEAD", "/v1/workspaces/acme/quarantine/17");
  ASSERT_NE(one.route, nullptr);
  EXPECT_EQ(one.route->operation, "getQuarantined");
  EXPECT_EQ(one.values.at("id"), "17");
  EXPECT_EQ(one.allowed, "GET, HEAD");
  EXPECT_EQ(find("PUT", "/v1/workspaces/acme/connections/billing").allowed,
            "PATCH, DELETE, GET, HEAD");
  EXPECT_EQ(find("GET", "/v1/nowhere").allowed, "");
}

TEST(Routes, each_operation_has_a_name_of_its_own_and_schemas_that_are_there) {
  std::set<std::string_view> operations;
  for (const Route& route : all_routes()) {
    EXPECT_FALSE(route.operation.empty()) << route.pattern;
    EXPECT_TRUE(operations.insert(route.operation).second) << route.operation;
    if (!route.body.empty()) EXPECT_NO_THROW((void)schema_of(route.body)) << route.operation;
    const bool is_json = route.produces.starts_with("application/json");
    EXPECT_EQ(route.answer.empty(), !is_json) << route.operation;
    if (is_json) EXPECT_NO_THROW((void)schema_of(route.answer)) << route.operation;
    for (const Parameter& parameter : route.query) {
      EXPECT_FALSE(parameter.says.empty()) << route.operation << " " << parameter.name;
      EXPECT_EQ(parameter.kind == ParameterKind::choice, !parameter.choices.empty())
          << route.operation << " " << parameter.name;
    }
  }
}

/// Every "$ref" in a document.
void gather_references(const json& value, std::set<std::string>& all) {
  if (!value.is_structured()) return;
  for (const auto& [name, member] : value.items()) {
    if (value.is_object() && name == "$ref") all.insert(member.get<std::string>());
    gather_references(member, all);
  }
}

TEST(Schemas, are_what_draft_7_and_2020_12_mean_alike_and_each_is_used) {
  const std::string text = schemas().dump();
  for (const char* word : {"prefixItems", "$defs", "definitions", "$dynamicRef", "nullable",
                           "additionalItems", "dependencies", "unevaluated"}) {
    EXPECT_EQ(text.find(std::string("\"") + word + "\":"), std::string::npos) << word;
  }
  std::set<std::string> used;
  gather_references(openapi("1"), used);
  for (const auto& [name, schema] : schemas().items())
    EXPECT_TRUE(used.contains("#/components/schemas/" + name)) << name;
  for (const std::string& reference : used) {
    EXPECT_TRUE(openapi("1").contains(json::json_pointer(reference.substr(1)))) << reference;
  }
}

TEST(Routes, what_changes_something_needs_more_than_a_reader) {
  for (const Route& route : all_routes()) {
    if (route.method != "GET") {
      EXPECT_GE(route.access, Access::admin) << route.method << " " << route.pattern;
    }
    const bool in_workspace = route.pattern.find("{workspace}") != std::string_view::npos;
    if (in_workspace) {
      EXPECT_NE(route.access, Access::open) << route.pattern;
    }
  }
}

TEST(Openapi, every_route_is_in_the_document_and_everything_in_the_document_is_a_route) {
  const std::vector<Route> routes = all_routes();
  const json document = openapi("1.2.3");
  EXPECT_EQ(document["info"]["version"], "1.2.3");
  std::size_t operations = 0;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      ++operations;
      const bool known = std::any_of(routes.begin(), routes.end(), [&](const Route& route) {
        std::string lower(route.method);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](char c) { return static_cast<char>(std::tolower(c)); });
        return route.pattern == path && lower == method;
      });
      EXPECT_TRUE(known) << method << " " << path;
      // Each {name} of the path is a parameter of it.
      for (std::size_t at = path.find('{'); at != std::string::npos; at = path.find('{', at + 1)) {
        const std::string name = path.substr(at + 1, path.find('}', at) - at - 1);
        const auto& parameters = operation["parameters"];
        EXPECT_TRUE(
            std::any_of(parameters.begin(), parameters.end(),
                        [&](const json& p) { return p["name"] == name && p["in"] == "path"; }))
            << path << " " << name;
      }
    }
  }
  EXPECT_EQ(operations, routes.size());
}

/// The copy that clients are made from, and that shows in a change what changes for them.
TEST(Openapi, is_the_golden_file) {
  const std::string path = std::string(SLUICE_SOURCE_DIR) + "/docs/openapi.json";
  const std::string made = openapi("0.0.0").dump(1) + "\n";
  if (std::getenv("SLUICE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << made;
  std::ifstream file(path);
  const std::string kept((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(kept == made) << "the API is not what docs/openapi.json says. If that is meant: "
                               "SLUICE_WRITE_GOLDEN=1 api_test --gtest_filter=Openapi.*";
}

TEST(Openapi, a_problem_is_one_of_the_routes_by_its_status_and_code) {
  Route route;
  route.method = "GET";
  route.pattern = "/v1/workspaces/{workspace}/x";
  route.access = Access::reader;
  route.problems = "400 filter.* 404 x.unknown 409 x.taken";
  EXPECT_TRUE(may_refuse_with(route, 404, "x.unknown"));
  EXPECT_TRUE(may_refuse_with(route, 400, "filter.bad_value"));
  EXPECT_TRUE(may_refuse_with(route, 404, "workspace.unknown"));
  EXPECT_FALSE(may_refuse_with(route, 409, "x.unknown"));
  EXPECT_FALSE(may_refuse_with(route, 400, "filters"));
  EXPECT_FALSE(may_refuse_with(route, 400, "request.not_json"));
}

std::string refused(const Route& route, const std::string& target) {
  HttpRequest request;
  EXPECT_TRUE(read_target(target, request).has_value());
  try {
    check_parameters(route, request);
  } catch (const Failure& failure) {
    return failure.error().code;
  }
  return "";
}

TEST(Parameters, an_unknown_or_repeated_one_is_refused) {
  static constexpr std::array kQuery = {limit_of(1, 9),
                                        Parameter{.name = "expand", .repeats = true}};
  Route route;
  route.method = "GET";
  route.pattern = "/x";
  route.query = kQuery;
  EXPECT_EQ(refused(route, "/x?limit=1&expand=a&expand=b"), "");
  EXPECT_EQ(refused(route, "/x?limits=1"), "request.unknown_parameter");
  EXPECT_EQ(refused(route, "/x?limit=1&limit=2"), "request.repeated_parameter");
  route.filters = true;
  EXPECT_EQ(refused(route, "/x?status=open&total[gte]=1&total[gte]=2"), "");
  EXPECT_EQ(refused(route, "/x?status=open&limit=0"), "request.bad_parameter");
  route = Route();
  EXPECT_EQ(refused(route, "/x?a"), "request.unknown_parameter");
}

TEST(Parameters, a_value_is_of_its_kind_and_within_its_bounds) {
  static constexpr std::array kQuery = {
      limit_of(50, 200), Parameter{.name = "after", .kind = ParameterKind::id},
      Parameter{.name = "failed", .kind = ParameterKind::flag},
      Parameter{.name = "state", .kind = ParameterKind::choice, .choices = "linked pending"},
      Parameter{.name = "stream"}};
  Route route;
  route.query = kQuery;
  for (const char* good : {"limit=1", "limit=200", "after=9223372036854775807", "after=-1",
                           "failed=true", "failed=false", "state=pending", "stream=", "stream=x"}) {
    EXPECT_EQ(refused(route, std::string("/x?") + good), "") << good;
  }
  for (const char* bad :
       {"limit=0", "limit=201", "limit=", "limit=1.0", "limit=%201", "after=9223372036854775808",
        "after=x", "failed=1", "failed=", "state=linked%20pending", "state=", "state=Linked"}) {
    EXPECT_EQ(refused(route, std::string("/x?") + bad), "request.bad_parameter") << bad;
  }
}

std::string refused_body(const Route& route, const char* body) {
  try {
    check_body(route, json::parse(body));
  } catch (const Failure& failure) {
    return failure.error().code + ": " + failure.error().message;
  }
  return "";
}

TEST(Bodies, are_what_the_schema_says) {
  Route route;
  route.body = "SyncWanted";
  EXPECT_EQ(refused_body(route, R"({"streams":["events"],"full":true})"), "");
  EXPECT_EQ(
      refused_body(route, R"({"stream":["events"]})"),
      "request.unknown_field: the body: 'stream' is not known here; there are: full, streams, "
      "trust_vendor");
  EXPECT_EQ(refused_body(route, R"({"streams":[7]})"),
            "request.bad_field: the body's streams.0: must be string, is integer");
  route.body = "TokenNew";
  EXPECT_EQ(refused_body(route, R"({"role":"reader"})"),
            "request.missing_field: the body: 'name' is missing");
  route.body = "StreamChange";
  for (const char* text :
       {"31536001", "-1", "9223372036854775808", "1.5", "1e3", "\"1\"", "null", "true", "[1]"}) {
    const std::string body = std::string(R"({"interval_seconds":)") + text + "}";
    EXPECT_TRUE(refused_body(route, body.c_str()).starts_with("request.bad_field")) << text;
  }
  EXPECT_EQ(refused_body(route, R"({"interval_seconds":31536000})"), "");
  EXPECT_EQ(refused_body(route, R"({"interval_seconds":0})"), "");
  route.body = "TokenNew";
  EXPECT_TRUE(
      refused_body(route, R"({"name":"x","role":"king"})").starts_with("request.bad_field"));
  route.body = "LinkRuleNew";
  EXPECT_TRUE(refused_body(route, R"({"name":"x","source":"a.b","target":"c.d","kind":"smell"})")
                  .starts_with("request.bad_field"));
  route.body = {};
  EXPECT_EQ(refused_body(route, "{}"), "");
  EXPECT_TRUE(refused_body(route, R"({"force":true})").starts_with("request.unknown_field"));
}

}  // namespace
}  // namespace sluice::api
