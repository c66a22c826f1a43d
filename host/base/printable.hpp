// Text of unknown origin, made fit to be quoted.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

/// One line of UTF-8 without control characters, whatever `text` holds: what is neither becomes
/// "\x1b". For quoting a file's or a vendor's bytes in a message that ends in a log, a JSON answer
/// or a terminal. Text that is fine comes back as it is.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace sluice
