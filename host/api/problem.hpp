// Failures as HTTP problems (RFC 9457, application/problem+json).
#pragma once

#include <string>

#include "api/http.hpp"
#include "base/error.hpp"

namespace sluice::api {

/// 400 bad_input · 403 denied · 404 not_found · 409 conflict · 501 unsupported · 503 retry_later, reconnect,
/// unknown_outcome, cancelled (with Retry-After) · 500 internal. Codes listed in problem.cpp have their own status
/// (401 token.missing, 413 request.too_large, …).
[[nodiscard]] int http_status(const Error& error);

/// {"type":"urn:sluice:problem:<code>","title":…,"status":…,"detail":…,"code":…,"hint":…}
[[nodiscard]] HttpResponse problem(const Error& error);

}  // namespace sluice::api
