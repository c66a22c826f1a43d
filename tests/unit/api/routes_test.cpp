// The table of routes and the document made from it.
#include <gtest/gtest.h>

#include <set>

#include "api/api.hpp"

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
  const json document = openapi(routes, "1.2.3");
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

TEST(Openapi, a_parameter_that_a_summary_speaks_of_is_taken) {
  for (const Route& route : all_routes()) {
    const std::string summary(route.summary);
    const auto question = summary.find("; ?");
    for (std::size_t at = question; at != std::string::npos; at = summary.find('&', at + 1)) {
      const std::size_t begin = summary[at] == '&' ? at + 1 : at + 3;
      const std::string name = summary.substr(begin, summary.find_first_of("=[", begin) - begin);
      if (name == "attribute") continue;
      EXPECT_NE((" " + std::string(route.parameters) + " ").find(" " + name + " "),
                std::string::npos)
          << route.pattern << ": " << name;
    }
  }
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
  Route route{};
  route.method = "GET";
  route.pattern = "/x";
  route.parameters = "limit expand";
  EXPECT_EQ(refused(route, "/x?limit=1&expand=a&expand=b"), "");
  EXPECT_EQ(refused(route, "/x?limits=1"), "request.unknown_parameter");
  EXPECT_EQ(refused(route, "/x?limit=1&limit=2"), "request.repeated_parameter");
  route.parameters = "limit *";
  EXPECT_EQ(refused(route, "/x?status=open&total[gte]=1&total[gte]=2"), "");
  route.parameters = "";
  EXPECT_EQ(refused(route, "/x?a"), "request.unknown_parameter");
}

TEST(Numbers, what_does_not_fit_into_64_bits_is_refused) {
  EXPECT_EQ(whole_number(json::parse("9223372036854775807"), "n"), 9223372036854775807);
  EXPECT_EQ(whole_number(json::parse("-5"), "n"), -5);
  for (const char* text : {"9223372036854775808", "1.5", "1e3", "\"1\"", "null", "true", "[1]"}) {
    EXPECT_THROW((void)whole_number(json::parse(text), "n"), Failure) << text;
  }
}

}  // namespace
}  // namespace sluice::api
