// Whose connector files this host loads: native code runs with all that the host may do.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace sluice::connector {

/// As people call that user: the name, or "user 1001" without one.
[[nodiscard]] std::string user_name(uid_t user);

/// root, the user that the host runs as, and who the configuration names besides. Immutable; any
/// thread.
class Owners {
 public:
  /// Nobody besides.
  Owners();
  /// `names` are users' names or numbers. Error: connector.unknown_owner (bad_input).
  [[nodiscard]] static Result<Owners> besides(const std::vector<std::string>& names);

  /// The directory belongs to one of them and nobody else may write to it; nor can anybody else
  /// put another one in its place: the same holds of each directory on the way to it, as it was
  /// named and as links lead on, up to the root. Sticky places such as /tmp may be written to by
  /// all, since there only owners rename. Error: connector.untrusted_directory (denied).
  [[nodiscard]] Result<void> check_directory(const std::filesystem::path& directory) const;
  /// The same of a file itself. What is no file is for others to say.
  /// Error: connector.untrusted_file (denied).
  [[nodiscard]] Result<void> check_file(const std::filesystem::path& file) const;

 private:
  class Way;
  [[nodiscard]] bool trusts(uid_t owner) const;
  std::vector<uid_t> users_;
};

}  // namespace sluice::connector
