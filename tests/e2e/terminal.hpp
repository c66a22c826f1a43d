// A program on a terminal, with somebody who types.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sluice::e2e {

/// What the screen got, and how the program ended.
struct OnTerminal {
  int code = 0;
  std::string screen;
};

/// Runs `words` with `environment` on top of ours, on a terminal of 80 x 24 of its own. Each of
/// `typed` is typed, with a return, when its first text has come (since the one before). Fails the
/// test when one does not come, or the program does not end, within a minute.
OnTerminal run_on_terminal(const std::vector<std::string>& words,
                           const std::map<std::string, std::string>& environment,
                           const std::vector<std::pair<std::string, std::string>>& typed);

}  // namespace sluice::e2e
