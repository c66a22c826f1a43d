// A statement of an operation that a test lets fail, while the host runs.
#pragma once

#include <string_view>

namespace sluice::failpoint {

enum class StatementFault {
  none,
  unsent,       ///< the connection breaks before it
  refused,      ///< the server has no room for it
  answer_lost,  ///< it is done, and the connection breaks before that is heard
};

/// SLUICE_FAIL_STATEMENT names a file, which a test writes and takes away:
///   "3 refused 17"   the third of the statements that are passed here from now on
/// The last word is free, so that the same can be asked for again.
/// Which one it was is written into a file beside it, ".hit". Without the variable: false.
#ifndef SLUICE_NO_FAILPOINTS
[[nodiscard]] bool watches_statements();
#else
[[nodiscard]] constexpr bool watches_statements() { return false; }  // as in base/failpoint.hpp
#endif
[[nodiscard]] StatementFault next_statement(std::string_view sql);

}  // namespace sluice::failpoint
