#include "sync/not_installed.hpp"

#include <algorithm>
#include <vector>

#include "base/nearest.hpp"

namespace sluice::sync {
namespace {

std::string hint_for(const connector::Shelved& shelved, const std::string& connector) {
  std::vector<std::string> known;
  for (const connector::ShelfFile& file : shelved.files)
    if (file.manifest != nullptr) known.push_back(file.manifest->id);
  if (std::find(known.begin(), known.end(), connector) != known.end())
    return "sluice connector install " + connector;
  return did_you_mean(connector, known) + "sluice connector list shows those that there are";
}

}  // namespace

Error not_installed(const connector::Shelved& shelved, const std::string& connector) {
  return Error(ErrorKind::not_found, "installation.missing",
               "connector '" + connector + "' is not installed in this workspace",
               hint_for(shelved, connector));
}

}  // namespace sluice::sync
