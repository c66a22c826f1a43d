// Which catalogue a decision was made by: each change of a workspace's catalogue raises its
// version, and whatever consumes by a catalogue reads the version in its own transaction.
#pragma once

#include <string_view>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::model {

/// The version as it is now; $1 workspace. No row: there is no such workspace.
inline constexpr std::string_view kCatalogVersion =
    "select version from sluice.catalog_version where workspace_id = $1";

/// The first statement of whoever makes, changes or drops types or attributes, of any workspace:
/// one at a time, and what is read behind it stands until COMMIT.
inline constexpr std::string_view kTypesAlone =
    "select 1 from sluice.mutex where name = 'types' for update";

/// The SQLSTATE with which the guard fails when the catalogue is another one: the root of a
/// negative number, which nothing else here takes. An error, because it must stop the COMMIT that
/// is on its way already.
inline constexpr std::string_view kCatalogChangedState = "2201F";

/// How often in a row a transaction is repeated because somebody changes the catalogue meanwhile.
inline constexpr int kCatalogAttemptsMax = 10;

/// Part of each transaction that changes types, attributes, relationships or link rules, and the
/// last of its statements before COMMIT: pages and resolvers of the workspace wait for it from here
/// on, holding what they have written.
Task<void> raise_catalog_version(pg::Transaction& transaction, WorkspaceId workspace);

/// Between here and its COMMIT the catalogue is the one given, or the transaction fails with
/// kCatalogChangedState and nothing of it is stored. As late as can be: who changes the catalogue
/// waits for the COMMIT.
void add_catalog_guard(pg::Pipeline& pipeline, const Catalog& catalog);

/// What a refused transaction throws: retry_later "catalog.changed". To be repeated with
/// Catalogs::renewed().
[[nodiscard]] Failure catalog_changed(const Catalog& catalog);
[[nodiscard]] bool is_catalog_changed(const Failure& failure);

}  // namespace sluice::model
