// Whose the tables are, and who works with them: docs/decisions/0014-roles-of-the-database.md.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pg/connection.hpp"
#include "pg/migrate.hpp"

namespace sluice::pg {

/// As whom the host works in its private cluster.
inline constexpr const char* kAppRole = "sluice_app";

/// In the private cluster: whoever is a member comes in by people's door, with a password.
inline constexpr const char* kPeopleRole = "sluice_sql_users";

enum class AppLogin {
  make,      ///< where it is missing; nobody else's login is called so (the private cluster)
  is_there,  ///< somebody made it, and gave it its password
};

/// Gives schema sluice and what is in it to its owner, and to the role `app` what a running host
/// needs: rows of the tables, four kinds of change as functions, and as its own the schema vendor
/// and the workspaces' schemas. Over a connection of the role that migrates, after migrations; any
/// number of hosts may do it at once, and where nothing is missing nothing is written or locked.
///
/// A superuser makes and uses sluice_owner (owns) and sluice_roles (makes roles, by functions
/// alone), and frees `app` from row policies, which are for readers. Any other role is the owner
/// itself.
///
/// Returns the statements that the connection's role may not run; then nothing at all was changed.
/// Throws QueryError, and Failure(retry_later, "database.busy") when somebody uses a table.
Task<std::vector<std::string>> settle_roles(Connection& connection, std::string app,
                                            AppLogin login);

/// For a connection of a superuser, before it does anything in a database whose tables are still
/// somebody else's who is none: throws Failure(conflict, "database.foreign_code") where schema
/// sluice or vendor holds functions, triggers, rules, defaults, constraints or indexes' expressions
/// that are in no migration of `all`. They would run as the superuser, or be given to the owner.
Task<void> require_own_code(Connection& connection, std::span<const Migration> all);

/// What the connection's role may besides what a host needs ("it is a superuser", "it owns the
/// tables"): with any of these, whoever can send SQL as the host may do all of that, too. Empty:
/// the second line is on.
Task<std::vector<std::string>> rights_too_many(Connection& connection);

/// Throws Failure(denied, "database.row_security") where row policies would hide rows from the
/// connection's role: a host would take them for gone.
Task<void> require_all_rows(Connection& connection);

/// The role that the connection logged in as.
Task<std::string> session_role(Connection& connection);

}  // namespace sluice::pg
