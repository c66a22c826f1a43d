// What a request's target means, and what a failure looks like from outside.
#include <gtest/gtest.h>

#include "api/http.hpp"
#include "api/problem.hpp"
#include "base/percent.hpp"
#include "pg/error.hpp"

namespace sluice::api {
namespace {

using nlohmann::json;

HttpRequest read(std::string_view target) {
  HttpRequest request;
  const auto done = read_target(target, request);
  EXPECT_TRUE(done.has_value()) << target;
  return request;
}

std::string refused(std::string_view target) {
  HttpRequest request;
  const auto done = read_target(target, request);
  return done ? "" : done.error().code;
}

TEST(Target, an_escaped_slash_stays_inside_its_part_of_the_path) {
  const std::vector<std::string> expected = {"v1", "entities", "a/b", ""};
  EXPECT_EQ(read("/v1/entities/a%2Fb/").segments, expected);
  EXPECT_EQ(read("/v1/entities/a%2fb/?x=1").segments, expected);
  EXPECT_EQ(read("/").segments, std::vector<std::string>{""});
}

TEST(Target, a_plus_is_a_blank_in_the_query_only) {
  const HttpRequest request = read("/a+b?c+d=e+f%2B&flag&x=1=2&&");
  EXPECT_EQ(request.segments, std::vector<std::string>{"a+b"});
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"c d", "e f+"}, {"flag", ""}, {"x", "1=2"}};
  EXPECT_EQ(request.query, expected);
}

TEST(Target, the_form_that_proxies_send_is_the_same_path) {
  EXPECT_EQ(read("http://sluice.internal:8420/v1/x?y=1").segments,
            (std::vector<std::string>{"v1", "x"}));
  EXPECT_EQ(read("http://sluice.internal").segments, std::vector<std::string>{""});
}

TEST(Target, what_is_escaped_is_read_as_it_was) {
  const std::string text = "a b&c=d/%+\xC3\xAB?#\"-._~0";
  EXPECT_EQ(percent_decode(percent_encoded<std::string>(text), true), text);
  EXPECT_EQ(percent_encoded<std::string>("a-._~Z9"), "a-._~Z9");
}

TEST(Target, a_broken_escape_is_refused) {
  for (const char* target : {"/%", "/%4", "/%zz", "/x?a=%", "/x?%4", "x", "", "*", "/a%2"})
    EXPECT_EQ(refused(target), "request.malformed") << target;
}

TEST(Target, what_postgresql_takes_as_no_text_is_refused) {
  for (const char* target :
       {"/%00", "/%ff", "/%C3", "/%ed%a0%80", "/%c0%80", "/x?a=%00", "/x?%ff=1", "/\xff"}) {
    EXPECT_EQ(refused(target), "request.not_text") << target;
  }
  EXPECT_EQ(refused("/Zo%C3%AB?x=%F0%9F%A6%86"), "");
}

struct Mapped {
  ErrorKind kind;
  const char* code;
  int status;
};

TEST(Problem, each_kind_of_error_has_its_status) {
  const Mapped all[] = {{ErrorKind::bad_input, "x", 400},
                        {ErrorKind::denied, "token.role", 403},
                        {ErrorKind::denied, "token.missing", 401},
                        {ErrorKind::denied, "token.unknown", 401},
                        {ErrorKind::not_found, "x", 404},
                        {ErrorKind::bad_input, "request.method_not_allowed", 405},
                        {ErrorKind::bad_input, "request.cut", 408},
                        {ErrorKind::conflict, "x", 409},
                        {ErrorKind::bad_input, "request.too_large", 413},
                        {ErrorKind::bad_input, "request.unsupported_media_type", 415},
                        {ErrorKind::bad_input, "config.invalid", 422},
                        {ErrorKind::retry_later, "check.failed", 422},
                        {ErrorKind::bad_input, "request.header_too_large", 431},
                        {ErrorKind::internal, "x", 500},
                        {ErrorKind::unsupported, "x", 501},
                        {ErrorKind::retry_later, "x", 503},
                        {ErrorKind::reconnect, "x", 503},
                        {ErrorKind::unknown_outcome, "x", 503},
                        {ErrorKind::cancelled, "x", 503}};
  for (const Mapped& one : all)
    EXPECT_EQ(http_status(Error(one.kind, one.code, "m")), one.status) << one.code;
}

TEST(Problem, a_problem_is_rfc_9457_with_code_and_hint) {
  const HttpResponse response =
      problem(Error(ErrorKind::not_found, "thing.unknown", "there is no thing 'x'", "thing list"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.content_type, "application/problem+json");
  const json body = json::parse(response.body);
  EXPECT_EQ(body["type"], "urn:sluice:problem:thing.unknown");
  EXPECT_EQ(body["title"], "Not found");
  EXPECT_EQ(body["status"], 404);
  EXPECT_EQ(body["code"], "thing.unknown");
  EXPECT_EQ(body["detail"], "there is no thing 'x'");
  EXPECT_EQ(body["hint"], "thing list");
}

TEST(Problem, only_what_is_safe_to_send_again_says_when) {
  const auto says_when = [](ErrorKind kind) {
    const HttpResponse response = problem(Error(kind, "x", "m"));
    return std::any_of(response.headers.begin(), response.headers.end(),
                       [](const auto& h) { return h.first == "Retry-After"; });
  };
  EXPECT_TRUE(says_when(ErrorKind::retry_later));
  EXPECT_FALSE(says_when(ErrorKind::unknown_outcome));
}

TEST(Problem, what_the_database_said_stays_with_us) {
  for (const ErrorKind kind :
       {ErrorKind::bad_input, ErrorKind::conflict, ErrorKind::retry_later, ErrorKind::reconnect,
        ErrorKind::unknown_outcome, ErrorKind::denied, ErrorKind::not_found, ErrorKind::internal}) {
    const pg::QueryError failure(
        Error(kind, "pg.refused", "PostgreSQL refused [insert into sluice.token]"), "22001",
        "a_check");
    const Error shown = error_of(failure);
    EXPECT_EQ(problem(shown).body.find("insert"), std::string::npos);
    EXPECT_EQ(shown.code.find("pg."), std::string::npos);
  }
  // Our own lack of rights is no fault of the client.
  EXPECT_EQ(http_status(
                error_of(pg::QueryError(Error(ErrorKind::denied, "pg.refused", ""), "42501", ""))),
            500);
  EXPECT_EQ(http_status(error_of(
                pg::QueryError(Error(ErrorKind::bad_input, "pg.refused", ""), "22001", ""))),
            400);
  EXPECT_EQ(
      http_status(error_of(pg::QueryError(Error(ErrorKind::reconnect, "pg.lost", ""), "", ""))),
      503);
}

}  // namespace
}  // namespace sluice::api
