// From root to a user without privileges, for good.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace sluice::wiring {

struct Owner {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

struct HandedOver {
  std::size_t entries = 0;        ///< files and directories that were given to the new owner
  std::vector<uid_t> from;        ///< whose they had been
  std::vector<std::string> kept;  ///< what was left as it was, and why
};

/// Gives a data directory, and in it what Sluice itself makes there, to `owner`; needs root. What
/// is there besides stays whose it is; modes are not touched. No symbolic link is followed:
/// everything goes by descriptors, from the directory down, which itself goes last, so that a
/// hand-over that was interrupted is done again. A file with several names is left, since another
/// of them may be elsewhere. What belongs to `owner` already is not looked into.
///
/// Error "data_directory.foreign" (denied): the directory is neither empty nor one of Sluice's, so
/// it is not given away; "data_directory.unusable".
Result<HandedOver> hand_over(const std::filesystem::path& named, const Owner& owner);

/// The process becomes `owner`, with that user's groups, without capabilities and without a way
/// back: programs that it starts gain nothing either (no_new_privs). Before the first thread; needs
/// root. Afterwards the process is not dumpable. Error "host.privileges" (internal).
Result<void> become(const Owner& owner);

}  // namespace sluice::wiring
