// The roles that SQL views belong to, and what of the tables each of them may see.
// docs/decisions/0008-what-a-reader-of-a-view-can-hear.md.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "feed/views.hpp"
#include "pg/connection.hpp"

namespace sluice::feed {

/// Somebody used a table for longer than we wait; retry_later.
inline constexpr std::string_view kOwnerBusyCode = "views.owner_busy";
/// The database refuses the owner; conflict.
inline constexpr std::string_view kNoOwnerCode = "views.no_owner";

struct ViewOwners {
  std::set<std::string> ready;           ///< every table in their views is open to them
  std::map<std::string, Error> refused;  ///< the others, with what the database said
  std::set<std::string> busy;            ///< tables that somebody used for too long
};

/// Whether the role that we are can give views owners at all. Where it cannot, the start has said
/// so, and no owner is ready or refused.
Task<bool> may_own_views(pg::Connection& connection);

/// Makes roles and policies where they are missing, each table in a short transaction of its own,
/// since it needs the table for itself. The connection must not be inside a transaction.
Task<ViewOwners> ready_owners(pg::Connection& connection, WorkspaceId workspace,
                              const std::vector<View>& views);

struct ClosedOwners {
  EntityTypeId last;  ///< of whose type the last owner was that was looked at; begin behind it
  bool more = true;   ///< there may be some behind it
  bool busy = false;  ///< these stay for now: somebody uses the table of own rows
};

/// Some roles, with their policies, of own types that were dropped, and whose views are gone;
/// behind `after`, in the order of the types. One that something else in the database names stays.
/// The connection must not be inside a transaction. Throws Failure when the database refuses.
Task<ClosedOwners> close_owners(pg::Connection& connection, WorkspaceId workspace,
                                EntityTypeId after = EntityTypeId(0));

/// The view of such an owner has none of its own.
[[nodiscard]] Error without_owner(const std::string& view, const Error& refused);

/// Runs one statement in a transaction of its own that waits for locks for a moment only. Nothing:
/// it is done; else what the database refused it for. Throws when the connection breaks.
Task<std::optional<Error>> try_alone(pg::Connection& connection, std::string_view sql,
                                     pg::Params params);

}  // namespace sluice::feed
