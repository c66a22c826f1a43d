// Failures as HTTP problems (RFC 9457, application/problem+json).
#pragma once

#include <string>

#include "api/http.hpp"
#include "base/error.hpp"
#include "pg/error.hpp"

namespace sluice::api {

/// 400 bad_input · 403 denied · 404 not_found · 409 conflict · 501 unsupported · 503 retry_later,
/// reconnect, unknown_outcome, cancelled (with Retry-After) · 500 internal. Codes listed in
/// problem.cpp have their own status (401 token.missing, 413 request.too_large, …).
[[nodiscard]] int http_status(const Error& error);

/// Of what was asked, before it failed.
enum class Done {
  nothing,  ///< it was one transaction
  a_part,   ///< of several; who asked says how much
};

/// What a client may know of a database failure: its kind decides; statements and values stay in
/// our log. That nothing was done, or stored, is said only where that is so.
///   request.value_refused 400 · database.conflict 409 · host.busy (no connection came free),
///   database.too_slow, database.busy, database.away, database.unknown_outcome 503 · internal 500
[[nodiscard]] Error error_of(const pg::QueryError& failure, Done done = Done::nothing);

/// {"type":"urn:sluice:problem:<code>","title":…,"status":…,"detail":…,"code":…,"hint":…}
[[nodiscard]] HttpResponse problem(const Error& error);

}  // namespace sluice::api
