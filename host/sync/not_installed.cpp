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
  const std::string meant = nearest(connector, known);
  return (meant.empty() ? "" : "Did you mean '" + meant + "'? ") +
         std::string("sluice connector list shows those that there are");
}

}  // namespace

Error not_installed(const connector::Shelved& shelved, const std::string& connector) {
  return Error(ErrorKind::not_found, "installation.missing",
               "connector '" + connector + "' is not installed in this workspace",
               hint_for(shelved, connector));
}

}  // namespace sluice::sync
