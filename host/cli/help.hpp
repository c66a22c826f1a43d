// What `sluice help` and --help say: usage, arguments, options, the options of every command, and
// an example, in 80 columns.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace sluice::cli {

[[nodiscard]] std::string help_of(const CLI::App& command);
/// Of the command of that path ("connection list"); empty: it needs one, which is a defect that a
/// test finds.
[[nodiscard]] std::string example_of(const std::string& path);
/// The words that lead to a command, without the program's.
[[nodiscard]] std::string path_of(const CLI::App& command);

/// Before any command is added: they all use it.
void set_help(CLI::App& app);
/// `sluice help [command…]`.
void add_help(CLI::App& app);

}  // namespace sluice::cli
