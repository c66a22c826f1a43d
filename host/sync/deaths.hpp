// Connectors that ended their host: counted at its next start, and held after the second time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "connector/flight_recorder.hpp"
#include "connector/registry.hpp"
#include "pg/connection.hpp"
#include "pg/pool.hpp"
#include "sync/loader.hpp"

namespace sluice::sync {

/// So many of one call, and it is held.
inline constexpr std::int64_t kDeathsMax = 2;

/// Counts what the process before died of (connector/flight_recorder.hpp), each death once, however
/// often this is begun, and has the recorder forget it. To be called before any work is taken: a
/// host that dies at once of the same call has counted the time before.
///
///   died in         held after the second time
///   READ            the stream
///   FETCH           what is to be fetched again of the type
///   CHECK           the connection; of one that was being made, making another one of that version
///   its initialisers   loading the file, on this host
///
/// What is held is needs_action, and is not begun by itself any more; everything else goes on. Each
/// death is an audit line and the log's "connector.ended_host". Whoever took the work over
/// elsewhere counts nothing: when that host dies of it too, its own file says so.
Task<void> count_deaths(pg::Pool& pool, connector::Registry& registry,
                        connector::FlightRecorder& recorder);

/// A file whose loading did not come back, to be counted as one that ended the host there.
Task<void> count_hung_load(pg::Pool& pool, ConnectorFile file, std::string death, Micros at);

/// Why no CHECK is made of a connection any more.
Task<std::optional<Error>> held_check(pg::Pool& pool, WorkspaceId workspace,
                                      ConnectionId connection, std::string name);
/// … and none of a new one, with that version.
Task<std::optional<Error>> held_creation(pg::Pool& pool, WorkspaceId workspace,
                                         std::string connector, std::string sha256);

// An admin says: once more. In the transaction of what the admin asked for.

/// Of one stream, and of its connection's CHECK. The stream is switched on by who calls.
Task<void> forget_deaths(pg::Transaction& transaction, WorkspaceId workspace,
                         ConnectionId connection, std::string stream);
/// Everything of these connections; what was held goes on.
Task<void> forget_deaths(pg::Transaction& transaction, WorkspaceId workspace,
                         pg::Array connections);
/// Everything of a connector in the workspace, and the loading of the file; what was held goes on.
Task<void> forget_deaths_of_connector(pg::Transaction& transaction, WorkspaceId workspace,
                                      std::string connector, std::string sha256);

}  // namespace sluice::sync
