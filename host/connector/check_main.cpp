// Looks at connectors' files as a host does before it loads one, without running anything of them:
//   sluice-check-connector FILE...
// sluice_add_connector() runs it on what it built. Exit 0: a host of this version admits them all,
// warnings stand on stderr; 1: it does not, and why; 64: no file was named.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "connector/inspect.hpp"

namespace {

bool check(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && bytes.empty()) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    return false;
  }
  const auto found = sluice::connector::inspect(sluice::as_bytes(bytes));
  if (!found) {
    std::fprintf(stderr, "%s: error: %s\n", path.c_str(), found.error().describe().c_str());
    return false;
  }
  for (const std::string& warning : found->warnings)
    std::fprintf(stderr, "%s: warning: %s\n", path.c_str(), warning.c_str());
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: sluice-check-connector FILE...\n");
    return 64;
  }
  bool all = true;
  for (int i = 1; i < count; ++i) all = check(arguments[i]) && all;
  return all ? 0 : 1;
}
