#include "api/problem.hpp"

#include <array>

namespace sluice::api {
namespace {

struct Special {
  std::string_view code;
  int status;
};

constexpr std::array<Special, 8> kSpecial = {{
    {"token.missing", 401},
    {"token.unknown", 401},
    {"request.too_large", 413},
    {"request.method_not_allowed", 405},
    {"request.unsupported_media_type", 415},
    {"check.failed", 422},
    {"config.invalid", 422},
    {"connection.missing_secret", 422},
}};

std::string_view title(int status) {
  switch (status) {
    case 400: return "Bad input";
    case 401: return "Token needed";
    case 403: return "Not allowed";
    case 404: return "Not found";
    case 405: return "Method not allowed";
    case 409: return "Conflict";
    case 413: return "Too large";
    case 415: return "Unsupported media type";
    case 422: return "Cannot be done as asked";
    case 501: return "Not supported";
    case 503: return "Try again later";
    default: return "Internal error";
  }
}

}  // namespace

int http_status(const Error& error) {
  for (const Special& special : kSpecial) {
    if (special.code == error.code) return special.status;
  }
  switch (error.kind) {
    case ErrorKind::bad_input: return 400;
    case ErrorKind::denied: return 403;
    case ErrorKind::not_found: return 404;
    case ErrorKind::conflict: return 409;
    case ErrorKind::unsupported: return 501;
    case ErrorKind::retry_later:
    case ErrorKind::reconnect:
    case ErrorKind::unknown_outcome:
    case ErrorKind::cancelled: return 503;
    case ErrorKind::internal: return 500;
  }
  return 500;
}

HttpResponse problem(const Error& error) {
  const int status = http_status(error);
  nlohmann::json document;
  document["type"] = "urn:sluice:problem:" + (error.code.empty() ? "internal" : error.code);
  document["title"] = title(status);
  document["status"] = status;
  document["code"] = error.code;
  document["detail"] = error.message;
  if (!error.hint.empty()) document["hint"] = error.hint;
  HttpResponse response = HttpResponse::json(document, status);
  response.content_type = "application/problem+json";
  if (status == 503) response.headers.emplace_back("Retry-After", "5");
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace sluice::api
