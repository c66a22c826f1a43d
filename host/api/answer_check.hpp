// In tests the host holds each of its answers against what its OpenAPI document says of it.
#pragma once

#include "api/http.hpp"

namespace sluice::api {

/// Whether SLUICE_CHECK_ANSWERS is set; never in a package (base/failpoint.hpp).
#ifndef SLUICE_NO_FAILPOINTS
[[nodiscard]] bool checks_answers();
#else
[[nodiscard]] constexpr bool checks_answers() { return false; }
#endif

/// The answer, or instead of one that is not what its route promises (status, media type, schema,
/// code of a problem) a problem 500 api.answer_not_as_said, which says in what.
[[nodiscard]] HttpResponse checked(const HttpRequest& request, HttpResponse answer);

}  // namespace sluice::api
