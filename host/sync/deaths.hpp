// Connectors that ended their host: counted at its next start, and held after the second time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "connector/flight_recorder.hpp"
#include "pg/connection.hpp"
#include "pg/pool.hpp"
#include "sync/loader.hpp"

namespace sluice::sync {

/// So many of one call, and it is held.
inline constexpr std::int64_t kDeathsMax = 2;
/// So many of one file, whoever it worked for, and it runs nowhere any more: two calls that are
/// held each for itself, or one that an admin had tried again. Whoever is next need not lose a
/// host, too. There is no time within which: a file never gets better, and another one has another
/// count.
inline constexpr std::int64_t kFileDeathsMax = 4;

/// Counts what the process before died of (connector/flight_recorder.hpp), each death once, however
/// often this is begun, and has the recorder forget it. To be called before any work is taken: a
/// host that dies at once of the same call has counted the time before.
///
///   died in         held after the second time
///   READ            the stream
///   FETCH           what is to be fetched again of the type
///   CHECK           the connection; of one that was being made, making another one of that version
///   its initialisers   the file
///   any of them, kFileDeathsMax times in all: the file
///
/// A file that is held is so on all hosts of the database and in all workspaces, until an operator
/// approves it (sluice.connector_hold). What runs of it ends by itself; nothing more is begun.
/// What is held is needs_action, and is not begun by itself any more; everything else goes on. Each
/// death is an audit line and the log's "connector.ended_host". Whoever took the work over
/// elsewhere counts nothing: when that host dies of it too, its own file says so.
Task<void> count_deaths(pg::Pool& pool, connector::FlightRecorder& recorder);

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
/// Everything of a connector in the workspace, but for what that content did; what was held goes
/// on.
Task<void> forget_deaths_of_others(pg::Transaction& transaction, WorkspaceId workspace,
                                   std::string connector, std::string sha256);

// An operator says of a content: let it run, or not. In the transaction of the operator's word.

/// Everything that was counted of it, for everybody; whether it was held.
Task<bool> lift_hold(pg::Transaction& transaction, std::string sha256);
/// Again: the former reason stays.
Task<void> hold_file(pg::Transaction& transaction, ConnectorFile file, std::string code,
                     std::string reason);

/// The error of a content that is held, from a row's code and reason.
[[nodiscard]] Error held_file(const ConnectorFile& file, std::string code, std::string reason);

}  // namespace sluice::sync
