// Makes room for what a connector declares: one typed table per entity type, shared by all
// workspaces, and the catalogue rows of one workspace.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "contract/manifest.hpp"
#include "pg/connection.hpp"

namespace sluice::model {

/// What an install changed about things that rows may depend on already. The caller's transaction
/// writes the durable work for it (sync/work_kinds.hpp); until that is done entities that were
/// there before keep their old keys and links, and references are looked up without an index.
struct Installed {
  struct Key {
    std::string type, attribute;  ///< "stripe.customer", "email"
    friend bool operator==(const Key&, const Key&) = default;
  };
  std::vector<Key> keys;  ///< attributes that were stored before with another link key, or none
  std::vector<std::string> rules;  ///< its rules that are new, defined anew, or going, by name
  std::vector<std::string> notes;  ///< what whoever installs should know of them
  struct Index {
    std::string table, attribute;  ///< "stripe_customer", "account"
  };
  std::vector<Index> indexes;           ///< of references, that tables which were there before lack
  std::vector<Index> currency_indexes;  ///< the same of currencies (currencies.hpp)
};

/// Creates what is missing and adds what a newer manifest adds; doing it again changes nothing.
/// Part of the caller's transaction: nothing holds until its commit, and a refusal leaves it to be
/// rolled back. Installs by several hosts wait for each other until commit (sluice.mutex, "types").
/// The caller raises the catalogue's version (catalog_version.hpp) as its last statement.
///
/// The table vendor.<connector>_<type> has workspace_id, connection_id, external_id, id,
/// source_version, observed_version, content_hash, deleted_at, first_synced_at, last_synced_at,
/// sync_version, source_url, extra, overlay and one nullable column an attribute, named as the
/// attribute; an attribute that carries a relationship is indexed behind workspace_id and
/// connection_id in the collation of external_id, "C": only so a join of the two finds the index.
///
/// Positions: attribute.position is the attribute's index in the manifest that first declared it,
/// and stays with the NAME. A later manifest may order its attributes anew; then a record's
/// attribute index (which counts the manifest's list) and StoredAttribute::position differ. Map by
/// name, once a page. A new attribute whose index is taken gets the next free position; positions
/// are never reused. An attribute that a newer manifest leaves out stays, with its data, and is no
/// longer required.
///
/// Default link rules are stored with origin 'connector', and are that connector's own: a newer
/// manifest of it may redefine them, but never changes `enabled`; one that it does not have any
/// more is `going`. A rule of the same name that is another connector's or an admin's is never
/// touched; the new one is then called "<connector>.<name>".
///
/// Throws Failure(bad_input or conflict):
///   type.attribute_retyped   an attribute has another type than its column (or catalogue row) has
///   type.reserved_attribute  an attribute is called like a column that every table has
///   type.attribute_added     an admin added an attribute of that name (sync/path_attributes.hpp)
///   type.name_taken          another connector's or an own type has the name, or the view's name
///   type.rule_name_taken     a rule's name is taken, also behind the connector's
/// and Failure(retry_later, "type.table_busy"): a table that needs a column is locked by somebody
/// for longer than three seconds; waiting longer would have whoever writes to it wait behind us.
Task<Installed> install_types(pg::Transaction& transaction, WorkspaceId workspace,
                              const contract::Manifest& manifest);

/// The same in a transaction of its own; the connection must not be inside one.
Task<Installed> install_types(pg::Connection& connection, WorkspaceId workspace,
                              const contract::Manifest& manifest);

/// How a reference index is named, and the statement that makes it: to be run outside a transaction
/// where the table has rows. Those of older versions had another collation, or rows that refer to
/// nothing, and other names.
[[nodiscard]] std::string reference_index_name(std::string_view table, std::string_view attribute);
[[nodiscard]] std::vector<std::string> former_reference_index_names(std::string_view table,
                                                                    std::string_view attribute);
[[nodiscard]] std::string create_reference_index(std::string_view table, std::string_view attribute,
                                                 std::string_view how = "");

}  // namespace sluice::model
