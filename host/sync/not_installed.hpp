// What is said when a workspace does not have a connector that somebody names.
#pragma once

#include <string>

#include "base/error.hpp"
#include "connector/shelf.hpp"

namespace sluice::sync {

/// "installation.missing" (not_found). Its hint is a command only where that connector lies in the
/// directories; else it says which of those that do was meant, or where to look.
[[nodiscard]] Error not_installed(const connector::Shelved& shelved, const std::string& connector);

}  // namespace sluice::sync
