// Text of unknown origin, made fit to be quoted.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

/// How many bytes are the first character of `text`, when that is one that nobody sees, ends a line
/// or has what stands beside it shown in another order: a control character, U+202E, U+2028, a zero
/// width space. Else 0. The joiners U+200C and U+200D, which writing needs, are none of these.
[[nodiscard]] std::size_t unseen(std::string_view text);

/// One line of UTF-8 without such characters, whatever `text` holds: what is neither becomes
/// "\x1b". For quoting a file's or a vendor's bytes in a message that ends in a log, a JSON answer
/// or a terminal. Text that is fine comes back as it is.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace sluice
