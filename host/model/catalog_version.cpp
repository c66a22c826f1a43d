#include "model/catalog_version.hpp"

#include <fmt/format.h>

namespace sluice::model {
namespace {

constexpr std::string_view kChangedCode = "catalog.changed";

const pg::Statement kRaise{
    "catalog_raise",
    "insert into sluice.catalog_version as c (workspace_id, version) values ($1, 1) "
    "on conflict (workspace_id) do update set version = c.version + 1"};

const pg::Statement kGuard{"catalog_guard",
                           "select sqrt(coalesce((select 1::float8 from sluice.catalog_version "
                           "where workspace_id = $1 and version = $2 for share), -1))"};

}  // namespace

Task<void> raise_catalog_version(pg::Transaction& transaction, WorkspaceId workspace) {
  co_await transaction.query(kRaise, pg::Params(workspace));
}

void add_catalog_guard(pg::Pipeline& pipeline, const Catalog& catalog) {
  pg::Params params(catalog.workspace, catalog.version);
  pipeline.add(kGuard, std::move(params));
}

Failure catalog_changed(const Catalog& catalog) {
  return Failure(Error(ErrorKind::retry_later, std::string(kChangedCode),
                       fmt::format("the catalogue of workspace {} is no longer version {}: nothing "
                                   "was written",
                                   catalog.workspace.value, catalog.version),
                       "it is done again with the catalogue as it is now"));
}

bool is_catalog_changed(const Failure& failure) { return failure.error().code == kChangedCode; }

}  // namespace sluice::model
