#include "sync/reconcile.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "model/columns.hpp"
#include "sync/bury.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

/// Comparing a large type reads it once.
constexpr std::chrono::milliseconds kCompareTimeout = std::chrono::hours(1);
constexpr int kExamplesMax = 5;

const pg::Statement kBegin{"reconcile_begin", R"(
  update sluice.stream set enumeration = enumeration + 1, enumeration_from = now(), enumerated_records = 0,
         checkpoint = null, checkpoint_format = 0, snapshot_done = false, reconcile_detail = null,
         reconcile = case when $4 then 'recording' else 'none' end
  where workspace_id = $1 and connection_id = $2 and stream = $3 returning enumeration)"};

const pg::Statement kForgetSeen{"reconcile_forget_seen", R"(
  delete from sluice.seen where workspace_id = $1 and connection_id = $2 and stream = $3)"};

const pg::Statement kFinished{"reconcile_finished", R"(
  update sluice.stream set reconcile = 'none', reconcile_detail = null
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enumeration = $4)"};

const pg::Statement kBlocked{"reconcile_blocked", R"(
  update sluice.stream set reconcile = 'blocked', reconcile_detail = $5, reason = $6
  where workspace_id = $1 and connection_id = $2 and stream = $3 and enumeration = $4)"};

const pg::Statement kUnknownIds{"reconcile_unknown_ids", R"(
  select count(*) from sluice.quarantine q
  where q.workspace_id = $1 and q.connection_id = $2 and q.type = $3 and q.external_id = ''
    and q.last_seen_at >= (select s.enumeration_from from sluice.stream s where s.workspace_id = $1
                           and s.connection_id = $2 and s.stream = $4))"};

/// `$5`: the type's own name. An entity is missing when it was there, unchanged, since before the
/// enumeration began, and no page held its id.
std::string missing_from(const contract::Manifest& manifest, const contract::EntityType& type) {
  return fmt::format(
      " from vendor.{} t left join (select distinct unnest(s.hashes) as hash from sluice.seen s"
      "   where s.workspace_id = $1 and s.connection_id = $2 and s.stream = $3 and s.enumeration = "
      "$4"
      "   and s.type = $5) seen on seen.hash = hashtextextended(t.external_id collate \"C\", 0)"
      " where t.workspace_id = $1 and t.connection_id = $2 and t.deleted_at is null",
      model::quote_name(model::table_name(manifest.id, type.name)));
}

constexpr std::string_view kIsMissing =
    "seen.hash is null and t.last_synced_at < (select e.enumeration_from from sluice.stream e"
    " where e.workspace_id = $1 and e.connection_id = $2 and e.stream = $3)";

struct Missing {
  std::uint32_t type = 0;
  std::int64_t stored = 0;
  std::int64_t count = 0;
  std::vector<std::string> examples;
};

pg::Params key_of(const ingest::PageContext& context, const Enumeration& enumeration,
                  const std::string& type) {
  return pg::Params(context.workspace, context.connection, enumeration.stream, enumeration.number,
                    type);
}

/// A statement over a whole type. Nothing is known of sluice.seen's rows when it is planned, and a
/// nested loop over them would be quadratic: both sides are hashed instead, which may spill.
Task<pg::QueryResult> compare(pg::Connection& connection, std::string sql, pg::Params params) {
  auto transaction = co_await pg::Transaction::begin(connection);
  co_await transaction.query("set local enable_nestloop = off");
  co_await transaction.query("set local enable_mergejoin = off");
  co_await transaction.query("set local enable_seqscan = on");
  pg::QueryResult result = co_await transaction.query(sql, std::move(params));
  co_await transaction.commit();
  co_return result;
}

Task<std::vector<Missing>> count_missing(pg::Connection& connection,
                                         const ingest::PageContext& context,
                                         const Enumeration& enumeration) {
  const contract::Manifest& manifest = *context.manifest;
  const contract::Stream* stream = manifest.find_stream(enumeration.stream);
  std::vector<Missing> all;
  if (stream == nullptr) co_return all;
  for (const std::string& name : stream->enumerates) {
    const std::uint32_t index = manifest.type_index(name).value();
    const std::string sql = fmt::format(
        "select count(*), count(*) filter (where {0}),"
        " coalesce((array_agg(t.external_id order by t.external_id) filter (where {0}))[1:{1}], "
        "'{{}}')::text",
        kIsMissing, kExamplesMax);
    const auto counted =
        co_await compare(connection, sql + missing_from(manifest, manifest.entity_types[index]),
                         key_of(context, enumeration, name));
    Missing missing;
    missing.type = index;
    missing.stored = counted.get<std::int64_t>(0, 0);
    missing.count = counted.get<std::int64_t>(0, 1);
    missing.examples.push_back(counted.get<std::string>(0, 2));
    if (missing.count > 0) all.push_back(std::move(missing));
  }
  co_return all;
}

/// Why a person must decide; empty when nobody must.
Task<std::string> objection(pg::Connection& connection, const ingest::PageContext& context,
                            const Enumeration& enumeration, const std::vector<Missing>& all,
                            ReconcileLimits limits) {
  const contract::Manifest& manifest = *context.manifest;
  std::vector<std::string> said;
  for (const Missing& missing : all) {
    const std::string& type = manifest.entity_types[missing.type].name;
    const double share = static_cast<double>(missing.count) /
                         static_cast<double>(std::max<std::int64_t>(1, missing.stored));
    if (missing.count > limits.always_allowed && share > limits.delete_share_max) {
      said.push_back(
          fmt::format("{} of {} entities of {}.{} were not in the vendor's complete list "
                      "({:.0f} %, the limit is {:.0f} %)",
                      missing.count, missing.stored, manifest.id, type, share * 100,
                      limits.delete_share_max * 100));
    }
    if (manifest.supports("fetch")) continue;
    pg::Params params(context.workspace, context.connection,
                      fmt::format("{}.{}", manifest.id, type), enumeration.stream);
    const auto unknown = co_await connection.query(kUnknownIds, std::move(params));
    if (const auto count = unknown.get<std::int64_t>(0, 0); count > 0) {
      said.push_back(
          fmt::format("{} records of {}.{} came without a usable id, so that {} entities "
                      "cannot be told from deleted ones",
                      count, manifest.id, type, missing.count));
    }
  }
  if (said.empty()) co_return std::string();
  co_return fmt::format(
      "{}: nothing was deleted. If they are really gone: sluice reconcile confirm",
      fmt::join(said, "; "));
}

json detail_of(const contract::Manifest& manifest, const std::vector<Missing>& all) {
  json detail = json::array();
  for (const Missing& missing : all) {
    json one = json::object();
    one["type"] = fmt::format("{}.{}", manifest.id, manifest.entity_types[missing.type].name);
    one["stored"] = missing.stored;
    one["missing"] = missing.count;
    one["examples"] = missing.examples.front();
    detail.push_back(std::move(one));
  }
  return detail;
}

/// The vendor is asked for each of them; a notice that comes meanwhile raises the generation.
Task<std::int64_t> look_up(pg::Connection& connection, const ingest::PageContext& context,
                           const Enumeration& enumeration, const Missing& missing) {
  const contract::EntityType& type = context.manifest->entity_types[missing.type];
  const std::string sql = fmt::format(
      "with put as (insert into sluice.refetch as r (workspace_id, connection_id, type, "
      "external_id, reason)"
      " select $1, $2, $5, t.external_id, 'not in the last complete list'{} and {}"
      " on conflict (workspace_id, connection_id, type, external_id) do update"
      " set generation = r.generation + 1, attempts = 0, not_before = now() returning 1)"
      " select count(*) from put",
      missing_from(*context.manifest, type), kIsMissing);
  const auto put = co_await compare(connection, sql, key_of(context, enumeration, type.name));
  co_return put.get<std::int64_t>(0, 0);
}

Task<std::vector<std::string>> missing_ids(pg::Connection& connection,
                                           const ingest::PageContext& context,
                                           const Enumeration& enumeration, const Missing& missing) {
  // Each look reads the type once: many pages of deletions come of one look.
  constexpr int kPagesALook = 100;
  const contract::EntityType& type = context.manifest->entity_types[missing.type];
  const std::string sql =
      fmt::format("select t.external_id{} and {} order by t.external_id limit {}",
                  missing_from(*context.manifest, type), kIsMissing, kPagesALook * kBuryBatch);
  const auto rows = co_await compare(connection, sql, key_of(context, enumeration, type.name));
  std::vector<std::string> ids;
  for (int row = 0; row < rows.rows(); ++row) ids.push_back(rows.get<std::string>(row, 0));
  co_return ids;
}

}  // namespace

Task<BegunEnumeration> begin_enumeration(const Store& store, WorkspaceId workspace,
                                         ConnectionId connection,
                                         const contract::Manifest& manifest, std::string stream) {
  BegunEnumeration begun;
  const contract::Stream* declared = manifest.find_stream(stream);
  if (declared != nullptr) {
    for (const std::string& type : declared->enumerates) {
      if (begun.recording) break;
      const std::string sql = fmt::format(
          "select exists (select 1 from vendor.{} where workspace_id = $1 and connection_id = $2)",
          model::quote_name(model::table_name(manifest.id, type)));
      const auto any = co_await store.pool.query(sql, pg::Params(workspace, connection));
      begun.recording = any.get<bool>(0, 0);
    }
  }
  const auto key = [&] { return pg::Params(workspace, connection, stream); };
  co_await store.pool.query(kForgetSeen, key());
  const auto row = co_await store.pool.query(kBegin, key().add(begun.recording));
  if (!row.empty()) begun.number = row.get<std::int64_t>(0, 0);
  co_return begun;
}

Task<ReconcileOutcome> reconcile(const Store& store, const ingest::PageContext& context,
                                 Enumeration enumeration, ReconcileLimits limits,
                                 const std::function<bool()>& go_on) {
  ReconcileOutcome outcome;
  const auto key = [&] {
    return pg::Params(context.workspace, context.connection, enumeration.stream,
                      enumeration.number);
  };
  std::vector<Missing> all;
  {
    const auto lease = co_await store.pool.acquire();
    lease->set_query_timeout(kCompareTimeout);
    all = co_await count_missing(*lease, context, enumeration);
    if (!enumeration.confirmed)
      outcome.reason = co_await objection(*lease, context, enumeration, all, limits);
    if (!outcome.reason.empty()) {
      outcome.blocked = true;
      pg::Params blocked = key();
      blocked.add(detail_of(*context.manifest, all)).add(outcome.reason);
      co_await lease->query(kBlocked, std::move(blocked));
      co_return outcome;
    }
  }
  // A connection for each look, and none while a page of deletions is written by another.
  for (const Missing& missing : all) {
    if (context.manifest->supports("fetch")) {
      const auto lease = co_await store.pool.acquire();
      lease->set_query_timeout(kCompareTimeout);
      outcome.looked_up += co_await look_up(*lease, context, enumeration, missing);
      continue;
    }
    for (;;) {
      std::vector<std::string> ids;
      {
        const auto lease = co_await store.pool.acquire();
        lease->set_query_timeout(kCompareTimeout);
        ids = co_await missing_ids(*lease, context, enumeration, missing);
      }
      if (ids.empty()) break;
      const std::int64_t before = outcome.deleted;
      for (std::size_t from = 0; from < ids.size(); from += kBuryBatch) {
        if (!go_on()) {
          outcome.finished = false;
          co_return outcome;
        }
        const std::size_t count = std::min<std::size_t>(kBuryBatch, ids.size() - from);
        const std::span<const std::string> batch(ids.data() + from, count);
        const ingest::PageCounts counts = co_await bury(store, context, missing.type, batch);
        outcome.deleted += counts.deleted;
      }
      if (outcome.deleted == before) break;  // all of them changed while we looked
    }
  }
  const auto lease = co_await store.pool.acquire();
  lease->set_query_timeout(kCompareTimeout);
  co_await lease->query(kFinished, key());
  co_await lease->query(kForgetSeen,
                        pg::Params(context.workspace, context.connection, enumeration.stream));
  co_return outcome;
}

}  // namespace sluice::sync
