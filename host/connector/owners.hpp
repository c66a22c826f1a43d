// Whose connector files this host loads: native code runs with all that the host may do.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace sluice::connector {

/// root, the user that the host runs as, and who the configuration names besides. Immutable; any
/// thread.
class Owners {
 public:
  /// Nobody besides.
  Owners();
  /// `names` are users' names or numbers. Error: connector.unknown_owner (bad_input).
  [[nodiscard]] static Result<Owners> besides(const std::vector<std::string>& names);

  /// The directory belongs to one of them and nobody else may write to it; nor may everybody
  /// rename it away: above it stands nothing that all may write to, but for sticky places such as
  /// /tmp, where only its owner can. Error: connector.untrusted_directory (denied).
  [[nodiscard]] Result<void> check_directory(const std::filesystem::path& directory) const;
  /// The same of a file itself. What is no file is for others to say.
  /// Error: connector.untrusted_file (denied).
  [[nodiscard]] Result<void> check_file(const std::filesystem::path& file) const;

 private:
  [[nodiscard]] bool trusts(uid_t owner) const;
  std::vector<uid_t> users_;
};

}  // namespace sluice::connector
