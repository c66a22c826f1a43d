#include "api/problem.hpp"

#include <array>

namespace sluice::api {
namespace {

struct Special {
  std::string_view code;
  int status;
};

constexpr std::array<Special, 17> kSpecial = {{
    {"token.missing", 401},
    {"token.unknown", 401},
    {"token.revoked", 401},
    {"token.too_many", 429},
    {"request.too_large", 413},
    {"request.too_many", 429},
    {"request.header_too_large", 431},
    {"request.cut", 408},
    {"request.method_not_allowed", 405},
    {"request.unsupported_media_type", 415},
    {"request.unsupported_encoding", 415},
    {"request.unsupported_charset", 415},
    {"feed.expired", 410},
    {"feed.history_lost", 410},
    {"check.failed", 422},
    {"config.invalid", 422},
    {"connection.missing_secret", 422},
}};

std::string_view title(int status) {
  switch (status) {
    case 400:
      return "Bad input";
    case 401:
      return "Token needed";
    case 403:
      return "Not allowed";
    case 404:
      return "Not found";
    case 408:
      return "Request not completed";
    case 405:
      return "Method not allowed";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 413:
      return "Too large";
    case 415:
      return "Unsupported media type";
    case 422:
      return "Cannot be done as asked";
    case 429:
      return "Too many requests";
    case 431:
      return "Header too large";
    case 501:
      return "Not supported";
    case 503:
      return "Try again later";
    default:
      return "Internal error";
  }
}

}  // namespace

int http_status(const Error& error) {
  for (const Special& special : kSpecial) {
    if (special.code == error.code) return special.status;
  }
  switch (error.kind) {
    case ErrorKind::bad_input:
      return 400;
    case ErrorKind::denied:
      return 403;
    case ErrorKind::not_found:
      return 404;
    case ErrorKind::conflict:
      return 409;
    case ErrorKind::unsupported:
      return 501;
    case ErrorKind::retry_later:
    case ErrorKind::reconnect:
    case ErrorKind::unknown_outcome:
    case ErrorKind::cancelled:
      return 503;
    case ErrorKind::internal:
      return 500;
  }
  return 500;
}

Error error_of(const pg::QueryError& failure, Done done) {
  const auto unless_a_part = [done](const char* words) {
    return done == Done::nothing ? words : "";
  };
  if (failure.error().code == "pool.exhausted") {
    return Error(ErrorKind::retry_later, "host.busy",
                 std::string("too many requests at once for this host's database connections; "
                             "this one waited in vain") +
                     unless_a_part(", and nothing was done"),
                 "Ask again in a moment, and with fewer requests at once");
  }
  if (failure.error().code == pg::kDiskFull) {
    return Error(ErrorKind::retry_later, "database.disk_full",
                 std::string("the database's disk is full") + unless_a_part("; nothing was stored"),
                 "An operator has to make room where PostgreSQL keeps its files; then ask again");
  }
  if (failure.sqlstate() == "57014") {
    return Error(ErrorKind::retry_later, "database.too_slow",
                 "the database needs longer for this than one request may take",
                 "Ask for less at once, or again when the database has less to do");
  }
  switch (failure.kind()) {
    case ErrorKind::bad_input: {
      std::string what = "the database does not take a value of this request";
      if (!failure.constraint().empty()) what += " (" + failure.constraint() + ")";
      return Error(ErrorKind::bad_input, "request.value_refused", std::move(what),
                   "Look for a value that is too long or out of range");
    }
    case ErrorKind::conflict:
      return Error(ErrorKind::conflict, "database.conflict",
                   "something with the same name or key is there already");
    case ErrorKind::retry_later:
      return Error(ErrorKind::retry_later, "database.busy", "the database cannot do this right now",
                   "Ask again in a moment");
    case ErrorKind::reconnect:
      return Error(
          ErrorKind::reconnect, "database.away",
          std::string("the database cannot be reached") + unless_a_part("; nothing was done"),
          "Ask again in a moment");
    case ErrorKind::unknown_outcome:
      return Error(ErrorKind::unknown_outcome, "database.unknown_outcome",
                   "the connection to the database broke before its answer came",
                   "Look whether it was done before you ask again");
    case ErrorKind::cancelled:
      return Error(ErrorKind::cancelled, "database.away", "the request was stopped",
                   "Ask again in a moment");
    default:
      return Error(ErrorKind::internal, "internal", "the database refused what this host asked",
                   "The log says more; please report it");
  }
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
  if (status == 503 && error.kind != ErrorKind::unknown_outcome)
    response.headers.emplace_back("Retry-After", "5");
  if (status == 429)  // wrong tokens are counted by the minute
    response.headers.emplace_back("Retry-After", error.code == "token.too_many" ? "60" : "5");
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace sluice::api
