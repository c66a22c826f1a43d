#include "api/answer_check.hpp"

#include "api/openapi.hpp"
#include "api/problem.hpp"
#include "api/routes.hpp"
#include "api/schemas.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

namespace sluice::api {
namespace {

constexpr std::string_view kProblem = "application/problem+json";

bool has_word(std::string_view words, std::string_view word) {
  const auto all = words_of(words);
  return std::find(all.begin(), all.end(), word) != all.end();
}

std::string_view without_parameters(std::string_view media_type) {
  return media_type.substr(0, media_type.find(';'));
}

std::string flaw_in(std::string_view schema, const std::string& text) {
  const auto document = read_json(text);
  if (!document) return "no JSON: " + document.error().describe();
  const auto flaw = schema_of(schema).flaw_of(with_doubles(*document));
  if (!flaw) return {};
  return fmt::format("no {}: {} {}", schema, fmt::join(flaw->place, "."), flaw->what);
}

std::string flaw_of(const HttpRequest& request, const HttpResponse& answer) {
  const Route* const route = request.route;
  const std::string_view type = without_parameters(answer.content_type);
  if (type == kProblem) {
    std::string flaw = flaw_in("Problem", answer.body);
    if (!flaw.empty() || route == nullptr) return flaw;
    const std::string code = stored_json(answer.body).at("code");
    if (may_refuse_with(*route, answer.status, code)) return {};
    return fmt::format("{} {} is not among its problems", answer.status, code);
  }
  if (route == nullptr) return "no problem, of no route";
  if (!has_word(route->status, std::to_string(answer.status)))
    return fmt::format("{} is not its status", answer.status);
  if (!has_word(route->produces, type)) return fmt::format("{} is not its media type", type);
  if (type != "application/json") return {};
  return flaw_in(route->answer, answer.body);
}

}  // namespace

#ifndef SLUICE_NO_FAILPOINTS
bool checks_answers() {
  static const bool wanted = std::getenv("SLUICE_CHECK_ANSWERS") != nullptr;
  return wanted;
}
#endif

HttpResponse checked(const HttpRequest& request, HttpResponse answer) {
  const std::string flaw = flaw_of(request, answer);
  if (flaw.empty()) return answer;
  const std::string_view operation = request.route == nullptr ? "" : request.route->operation;
  log::error("api.answer_not_as_said",
             {{"operation", operation}, {"path", request.path}, {"what", flaw}});
  return problem(Error(ErrorKind::internal, "api.answer_not_as_said",
                       fmt::format("{} answered with {}: {}", operation, answer.status, flaw),
                       answer.body.substr(0, 2000)));
}

}  // namespace sluice::api
