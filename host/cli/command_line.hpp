// The words of a command line against the tree of commands: what each word is, and what is wrong
// with the first one that is nothing. For messages and for completion; CLI11 does the parsing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice::cli {

/// A value, and the option or positional that takes it.
struct GivenValue {
  const CLI::Option* option = nullptr;
  std::string text;
};

/// Where a line of words leads.
struct Place {
  const CLI::App* command = nullptr;     ///< the deepest one that is named
  std::string path;                      ///< "connection list"; empty at the root
  std::vector<GivenValue> values;        ///< in the order of the line
  const CLI::Option* awaits = nullptr;   ///< whose value must come next
  const CLI::Option* may_add = nullptr;  ///< which takes further values
  const CLI::Option* next = nullptr;     ///< positional that the next word would fill
  bool only_values = false;              ///< behind "--"
  std::optional<Error> wrong;            ///< of the first word that is nothing

  /// The last value of that kind (kind_of()); empty when there is none.
  [[nodiscard]] std::string value_of(const std::string& kind) const;
};

[[nodiscard]] Place walk(const CLI::App& root, const std::vector<std::string>& words);

/// What values of it name: "connection", "type", "stream", "connector", "rule", "workspace",
/// "context", "role", "shell", "command", "file"; empty for anything else. By the option's name, so
/// that a new command has it without a word: `connection`, `--connection`, `type`, `--stream` …
[[nodiscard]] std::string kind_of(const CLI::App& command, const CLI::Option& option);

/// "[OPTIONS] name secret_name", as it is typed behind the command's words.
[[nodiscard]] std::string usage_of(const CLI::App& command, const std::string& path);

/// What a flag is to be told from; an option that takes nothing.
[[nodiscard]] bool is_flag(const CLI::Option& option);
/// Names of the commands below, without aliases and hidden ones.
[[nodiscard]] std::vector<std::string> commands_of(const CLI::App& command);
/// Options of the command and of those above it that are shown, without -h.
[[nodiscard]] std::vector<const CLI::Option*> options_of(const CLI::App& command);

/// One message for whatever CLI11 found, where walk() finds nothing wrong.
[[nodiscard]] Error usage_error(const CLI::App& root, const std::vector<std::string>& words,
                                const std::string& name, const std::string& what);

}  // namespace sluice::cli
