// What a host that root started does as root, and then never again.
#pragma once

#include "wiring/config.hpp"

namespace sluice {

/// Sockets that only root could bind; -1: bound when it listens.
struct BoundListeners {
  int api = -1;
  int watch = -1;
};

enum class Listening { soon, not_now };

/// Makes the data directory. Started as root, it binds the listeners, gives the data directory to
/// the user of data.user (else to one that such hosts share), ending a PostgreSQL of the former
/// one, and becomes that user for good; started as anybody else, it stays so. Before the first
/// thread and the first key. Throws Failure: data_directory.…, config.no_user, config.not_root,
/// listen.failed, cluster.…, host.privileges.
BoundListeners leave_root(const wiring::Config& config, Listening listening = Listening::soon);

}  // namespace sluice
