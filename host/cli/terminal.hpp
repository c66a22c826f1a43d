// What is asked of whoever sits at a terminal. Questions go to standard error, so that what a
// command prints can be piped all the same.
#pragma once

#include <string>

namespace sluice::cli {

/// Somebody can be asked, and sees the question.
[[nodiscard]] bool can_ask();

/// What is typed without being shown. Echo comes back however the question ends, by a signal too.
/// Empty: nothing was typed.
[[nodiscard]] std::string ask_secret(const std::string& question);

/// Whether the answer is `expected`, such as a name to be typed in full; "y" takes "yes" and any
/// case as well.
[[nodiscard]] bool ask(const std::string& question, const std::string& expected);

}  // namespace sluice::cli
