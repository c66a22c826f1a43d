// The file that keeps which hosts somebody works with, and as whom: contexts.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::cli {

/// A host, and how to be let in there.
struct SavedContext {
  std::string url;
  std::string workspace;   ///< empty: the one that the token knows
  std::string token;       ///< or ...
  std::string token_file;  ///< ... the file whose first line it is
  std::string ca_file;
  bool insecure = false;  ///< the token may go in clear
};

/// $XDG_CONFIG_HOME/sluice/config.json, else below ~/.config: an object with "current" and
/// "contexts", of mode 0600. Empty when the environment says of no home.
[[nodiscard]] std::filesystem::path config_file_path();

struct ConfigFile {
  std::string current;  ///< empty: none
  std::map<std::string, SavedContext> contexts;

  [[nodiscard]] std::vector<std::string> names() const;
  /// The one of that name; Failure(not_found, "cli.context_unknown") with the nearest one.
  [[nodiscard]] const SavedContext& at(const std::string& name) const;
};

/// Nothing in it when there is none. Failure: "cli.config_unreadable", "cli.config_not_json",
/// "cli.config_shared" (others may read the tokens in it).
[[nodiscard]] ConfigFile read_config_file();
/// Reads it, has it changed and writes it, whole or not at all; one process at a time. What
/// `change` throws leaves it as it is. Failure(bad_input, "cli.config_not_written"), and those of
/// reading.
void change_config_file(const std::function<void(ConfigFile&)>& change);

/// The first line of a file that holds a token, without blanks around it; Failure when it cannot be
/// read or holds nothing.
[[nodiscard]] std::string token_in(const std::filesystem::path& file);

}  // namespace sluice::cli
