// Typed SQL views for people with a SQL client: one schema a workspace, one view an entity type.
#pragma once

#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::feed {

struct View {
  std::string name;
  std::string sql;  ///< the SELECT
};

/// The views that a catalogue calls for:
///   <connector>_<type>  id, external_id, connection_name, source_url, first_synced_at,
///   last_synced_at, each
///                       attribute (under its overlay where users may shadow it), and for each link
///                       rule from this type "<target>_id": the id of the entity it is linked to,
///                       or null. When that name is taken, the rule's name with '_' for what is no
///                       letter or digit, and "_id". It costs one index lookup a row, and nothing
///                       when it is not selected. To go from a target to what is linked to it,
///                       start from the view link, which is indexed by target_id.
///   <own type>          id, each attribute, created_at, updated_at
///   link                rule, state, source_type, source_id, source_external_id, target_type,
///   target_id,
///                       candidates, candidate_count, evidence, decided_by, updated_at
///   change              txid, change_id, at, type, entity_id, external_id, op, changed,
///   connection_name, run_id
/// Tombstones are left out.
[[nodiscard]] std::vector<View> views_of(const model::Catalog& catalog);

/// Makes the workspace's schema and views be those of the catalogue; writes only what differs.
/// Adding columns at the end keeps a view's grants and dependants; any other change drops and makes
/// it again, all in one transaction. Views of types that are gone are dropped. Safe to call from
/// several hosts at once; the connection must not be inside a transaction. Throws Failure:
///   bad_input "workspace.reserved_name"  public, sluice, vendor, information_schema, pg_…
///   conflict "workspace.schema_taken"    a schema of that name exists and is not ours
///   conflict "views.depended_on"         somebody's view or function uses a view that must change
Task<void> refresh_views(pg::Connection& connection, const model::Catalog& catalog,
                         std::string workspace_name);

/// Whether a workspace may have the name, before it is created.
Result<void> check_workspace_name(std::string_view name);

}  // namespace sluice::feed
