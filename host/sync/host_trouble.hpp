// What is wrong with this host, and not with the vendor, the connector or what hosts share.
#pragma once

#include <optional>

#include "base/error.hpp"
#include "sync/run.hpp"

namespace sluice::sync {

/// Why a session could not be had here, though another host might: a root key that this host lacks,
/// no answer from its DNS, a connector file that it cannot load, a full disk, its own or the
/// database's. Nothing when the session's end is for the stream to say. Whoever gets one steps
/// back: the work ends, the lease is given back, the engine shows it as this host's trouble and
/// tries again after a pause, and the rows that hosts share say nothing of it.
[[nodiscard]] std::optional<Error> host_trouble(const SessionEnd& end);

/// A connector that got no address can only say that it did not reach its vendor. Where DNS works
/// and the name is wrong (fetch/lookup.hpp), that is the connection's: the failure becomes CONFIG,
/// in words that say so.
void say_wrong_name(SessionEnd& end);

}  // namespace sluice::sync
