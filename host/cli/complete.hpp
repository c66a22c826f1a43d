// Completion: the shells' scripts, and what they ask (`sluice __complete WORD…`).
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sluice::cli {

struct Context;

/// What the last of `words` may become, one a line; ":files" where a file is named. Commands and
/// options come from the tree, names from the host, for which it waits a second at most. Silent
/// where something is away or wrong: nobody asked a question.
void complete(CLI::App& app, Context& context, std::vector<std::string> words);

/// `sluice completion bash|zsh`.
void add_completion(CLI::App& app);

}  // namespace sluice::cli
