#include "api/not_ready.hpp"

#include <fmt/format.h>

#include "pg/migrate.hpp"

namespace sluice::api {

std::vector<std::string> not_ready_beside(bool stopping, std::optional<int> schema_version) {
  std::vector<std::string> reasons;
  if (stopping) reasons.emplace_back("the host is stopping");
  const auto newest = static_cast<int>(pg::migrations().size());
  if (schema_version && *schema_version != newest) {
    reasons.push_back(fmt::format("the database's schema is version {}, this program's is {}",
                                  *schema_version, newest));
  }
  return reasons;
}

}  // namespace sluice::api
