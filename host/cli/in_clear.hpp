// Whether a token would be seen on its way.
#pragma once

#include <string>

namespace sluice::cli {

/// What is sent to this URL leaves this machine, and without TLS: http to anything but localhost,
/// 127.0.0.0/8 and ::1. A URL that cannot be read is said to: nothing goes there.
[[nodiscard]] bool goes_in_clear(const std::string& url);

}  // namespace sluice::cli
