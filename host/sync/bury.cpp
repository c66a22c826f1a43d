#include "sync/bury.hpp"

#include <fmt/format.h>

#include <set>

#include "base/check.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"

namespace sluice::sync {
namespace {

const pg::Statement kStoredTypes{"bury_stored_types", R"(
  select name from sluice.entity_type where workspace_id = $1 and connector = $2 and origin = 'preset')"};

const pg::Statement kVersions{"bury_versions", R"(
  select manifest::text from sluice.connector_version where connector = $1 order by admitted_at desc)"};

/// Of one type, the next living ids behind the last one; an index range of the primary key.
std::string next_living(const contract::Manifest& manifest, const contract::EntityType& type) {
  return fmt::format(
      "select external_id from vendor.{} where workspace_id = $1 and connection_id = $2"
      " and external_id > $3 and deleted_at is null order by external_id limit {}",
      model::quote_name(model::table_name(manifest.id, type.name)), kBuryBatch);
}

}  // namespace

pg::LeaseProof proof_of(const ingest::PageContext& context) {
  pg::LeaseProof proof;
  proof.workspace = context.workspace;
  proof.name = context.lease_name;
  proof.epoch = context.epoch;
  return proof;
}

Task<ingest::PageCounts> bury(const Store& store, const ingest::PageContext& context,
                              std::uint32_t type, std::span<const std::string> ids) {
  SLUICE_INVARIANT(ids.size() <= kBuryBatch);
  contract::Page page;
  page.records.reserve(ids.size());
  for (const std::string& id : ids) {
    contract::Record& record = page.records.emplace_back();
    record.type = type;
    record.external_id = page.keep(id);
    record.deleted = true;
  }
  ingest::PageEffects effects;
  effects.observed_version = steady_ms(store.clock);
  ingest::PageContext with_catalog = context;
  with_catalog.catalog = co_await store.catalogs.get(context.workspace);
  for (int attempt = 1;; ++attempt) {
    try {
      co_return co_await store.writer.write(with_catalog, page, effects);
    } catch (const Failure& failure) {
      if (!model::is_catalog_changed(failure) || attempt == model::kCatalogAttemptsMax) throw;
    }
    with_catalog.catalog = co_await store.catalogs.renewed(context.workspace);
  }
}

namespace {

/// Those of `left` that the context's manifest has, and takes them off. False: told to stop.
Task<bool> bury_types(const Store& store, const ingest::PageContext& context,
                      std::set<std::string>& left, const std::function<bool()>& go_on) {
  const contract::Manifest& manifest = *context.manifest;
  for (std::uint32_t type = 0; type < manifest.entity_types.size(); ++type) {
    const std::string& name = manifest.entity_types[type].name;
    if (!left.contains(name)) continue;
    const std::string sql = next_living(manifest, manifest.entity_types[type]);
    std::string last;
    for (;;) {
      if (!go_on()) co_return false;
      pg::Params params(context.workspace, context.connection, last);
      const auto rows = co_await store.pool.query(sql, std::move(params));
      if (rows.empty()) break;
      std::vector<std::string> ids;
      for (int row = 0; row < rows.rows(); ++row) ids.push_back(rows.get<std::string>(row, 0));
      last = ids.back();
      co_await bury(store, context, type, ids);
    }
    left.erase(name);
  }
  co_return true;
}

}  // namespace

Task<bool> bury_everything(const Store& store, const ingest::PageContext& context,
                           const std::function<bool()>& go_on) {
  const std::string connector = context.manifest->id;
  std::set<std::string> left;
  const auto stored =
      co_await store.pool.query(kStoredTypes, pg::Params(context.workspace, connector));
  for (int row = 0; row < stored.rows(); ++row)
    left.insert(stored.get<std::string>(row, 0).substr(connector.size() + 1));
  if (!co_await bury_types(store, context, left, go_on)) co_return false;
  if (left.empty()) co_return true;
  // Types that only other versions have, installed here before this one.
  const auto versions = co_await store.pool.query(kVersions, pg::Params(connector));
  for (int row = 0; row < versions.rows() && !left.empty(); ++row) {
    const auto manifest =
        contract::parse_manifest(versions.text(row, 0), contract::Admission::before);
    if (!manifest) continue;
    ingest::PageContext other = context;
    other.manifest = &*manifest;
    if (!co_await bury_types(store, other, left, go_on)) co_return false;
  }
  co_return true;
}

}  // namespace sluice::sync
