// How a stream's mode is written in sluice.stream, and what is said of a stream that is not there.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "contract/manifest.hpp"

namespace sluice::sync {

[[nodiscard]] constexpr std::string_view mode_of(const contract::Stream& stream) {
  switch (stream.mode) {
    case contract::StreamMode::changes:
      return "changes";
    case contract::StreamMode::snapshot:
      return "snapshot";
    case contract::StreamMode::poll:
      return "poll";
  }
  return "poll";
}

[[nodiscard]] inline std::unexpected<Error> unknown_stream(const std::string& connection,
                                                           const std::string& stream) {
  return fail(ErrorKind::not_found, "stream.unknown",
              "connection '" + connection + "' has no stream '" + stream + "'",
              "sluice status " + connection);
}

}  // namespace sluice::sync
