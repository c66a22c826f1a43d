// Typed SQL views for people with a SQL client: one schema a workspace, one view an entity type.
#pragma once

#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::feed {

struct ViewColumn {
  std::string name;
  std::string expression;
};

/// A table that a view reads, and which of its rows the view's owner may see at all.
struct ViewRead {
  std::string table;      ///< quoted: vendor."stripe_customer"
  std::string condition;  ///< of the row-level policy
};

struct View {
  std::string name;
  std::vector<ViewColumn> columns;
  std::string rest;  ///< "from … where …"
  /// A role without login, which sees what `reads` says. What its name ends with: the database's
  /// own beginning (sluice.role_space) is put before it where the view is made.
  std::string owner;
  std::int64_t owner_type = 0;            ///< the own type that the owner is for; 0: the workspace
  std::vector<ViewRead> reads;            ///< every table in it
  [[nodiscard]] std::string sql() const;  ///< the SELECT
};

/// The views that a catalogue calls for:
///   <connector>_<type>  id, external_id, connection_id, connection_name, source_url,
///                       first_synced_at, last_synced_at, each attribute (under its overlay where
///                       users may shadow it), and for each link rule from this type
///                       "<target>_id": the id of the entity it is linked to, or null, also while
///                       the rule is off. When that name is taken, the rule's name with '_' for
///                       what is no letter or digit, and "_id". To go from a target to what is
///                       linked to it, start from the view link, which is indexed by target_id.
///                       For each reference "<attribute>_ref" (feed/reference.hpp): the id of the
///                       living row of the same connection that it leads to, or null. Joins go by
///                       (connection_id, external_id) and (connection_id, the attribute), which
///                       are indexed. Either column costs one index lookup a row, and nothing when
///                       it is not selected. For each amount in minor units "<attribute>_major"
///                       (feed/money.hpp), numeric: the same in its currency, exactly. And extra:
///                       what the vendor sent beyond the attributes, as jsonb.
///   <own type>          id, created_at, updated_at, each attribute
///   link                rule, state, source_type, source_id, source_external_id, target_type,
///                       target_id, candidates, candidate_count, evidence, decided_by, updated_at;
///                       of rules that are on
///   change              txid, change_id, at, type, entity_id, external_id, op, changed,
///                       connection_name, run_id, position (txid is null, change_id is the
///                       position: their names of before)
/// Tombstones are left out. A view that is there already keeps the order of its columns, and new
/// ones are put behind them: nobody's GRANT or dependent view is lost by a new attribute.
[[nodiscard]] std::vector<View> views_of(const model::Catalog& catalog);

/// A view that is not what the catalogue calls for, and why.
struct StaleView {
  std::string name;
  Error error;
};

/// Makes the workspace's schema and views be those of the catalogue; writes only what differs. A
/// view that cannot be made stays as it was, is remembered as stale (stale_views) and named in the
/// answer; the others go on:
///   conflict "views.depended_on"    it would have to be dropped, and these things use it
///   conflict "views.name_taken"     somebody's own view stands under its name
///   retry_later "views.busy"        somebody reads it, or locks it, for longer than we wait
///   retry_later "views.owner_busy"  it stands, but has no owner of its own yet: a table is in use
///   conflict "views.no_owner"       … for what the database said
///   and what the database said
/// The workspace's reader (sluice.reader_of) may read each of them, where that role could be made.
/// Grants on a view, its owner's grant options and people's comments outlive every change of it.
/// What a reader's own functions see, docs/decisions/0008 says: nothing but the view's rows.
///
/// Safe to call from several hosts at once; the connection must not be inside a transaction. Throws
/// Failure, and has then changed nothing:
///   bad_input "workspace.reserved_name"  public, sluice, vendor, information_schema, pg_…
///   conflict "workspace.schema_taken"    a schema of that name exists and is not ours
Task<std::vector<StaleView>> refresh_views(
    pg::Connection& connection, const model::Catalog& catalog, std::string workspace_name,
    std::chrono::milliseconds readers_patience = pg::kReadersPatience);

/// Makes the schema of a workspace in the transaction that makes the workspace, so that there is
/// none without. Throws Failure(conflict, "workspace.schema_taken").
Task<void> claim_schema(pg::Transaction& transaction, WorkspaceId workspace, std::string name);

/// Whose views a refresh over this connection makes: the version of their making, the place
/// (system identifier, database) and the role. workspace.views_made says it of the last refresh.
Task<std::string> views_made_here(pg::Connection& connection);

/// What the last refresh could not do, and what no refresh has done yet. `catalog` must be fresh.
Task<std::vector<StaleView>> stale_views(pg::Connection& connection, const model::Catalog& catalog);

/// Whether a workspace may have the name, before it is created.
Result<void> check_workspace_name(std::string_view name);

}  // namespace sluice::feed
