// Before something is hidden or gone: what it would be, and whether that is meant.
#pragma once

#include <cstdint>
#include <string>

#include "cli/context.hpp"

namespace CLI {
class App;
}

namespace sluice::cli {

struct Consequence {
  json facts;         ///< for --dry-run --json
  std::string words;  ///< what happens, with its counts; several lines
  std::string name;   ///< what it is done to
  /// Nothing brings it back: the name has to be typed, and where nobody can be asked --yes is
  /// needed. What can be taken back is done there without a question, as before.
  bool for_good = false;
};

/// --yes and --dry-run.
void add_confirmation(CLI::App& command, Context& context);

/// True: it is to be done. False: --dry-run, and what would happen is said. Failure
/// "cli.not_confirmed": somebody said no, or nobody could be asked.
[[nodiscard]] bool is_meant(const Context& context, const Consequence& consequence);

/// "  stripe.invoice   2,422\n", a line a type, of GET …/connections/{name}/rows: those with most
/// rows first, and beyond ten of them the rest in one line.
[[nodiscard]] std::string counted(const json& rows);
/// Whether what it is done to is looked at first, so that a name that is not there is refused
/// before any question, and the question has counts. Not with --yes: the host says the same then.
[[nodiscard]] bool is_asked(const Context& context);

}  // namespace sluice::cli
