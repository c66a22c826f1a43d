// The unprivileged system user as whom a host that root started works.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.hpp"

namespace sluice::pg {

/// The one of a host whose configuration names none; made when absent. All such hosts of a machine
/// share it.
inline constexpr const char* kSharedServiceUser = "sluice-pg";

struct ServiceUser {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

/// Of a user's name, or of its number. Errors: "config.no_user" (bad_input): there is none of that
/// name, or it is root.
Result<ServiceUser> named_service_user(const std::string& name);

/// kSharedServiceUser; "postgres" where it cannot be made. Needs root. Error: "cluster.no_user".
Result<ServiceUser> shared_service_user();

}  // namespace sluice::pg
