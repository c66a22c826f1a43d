#include "sync/reconcile.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/exact_json.hpp"
#include "model/columns.hpp"
#include "pg/fenced.hpp"
#include "sync/bury.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

/// Comparing a large type reads it once.
constexpr std::chrono::milliseconds kCompareTimeout = std::chrono::hours(1);
constexpr int kExamplesMax = 5;

const pg::Statement kUnknownIds{"reconcile_unknown_ids", R"(
  select coalesce(sum(q.times), 0)::bigint from sluice.quarantine q
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

// Nothing is, once the stream has another enumeration: then this one's ids are gone.
constexpr std::string_view kIsMissing =
    "seen.hash is null and t.last_synced_at < (select e.enumeration_from from sluice.stream e"
    " where e.workspace_id = $1 and e.connection_id = $2 and e.stream = $3 and e.enumeration = $4)";

struct Missing {
  std::uint32_t type = 0;
  std::int64_t stored = 0;
  std::int64_t count = 0;
  json examples = json::array();  ///< of their external ids
};

pg::Params key_of(const ingest::PageContext& context, const Enumeration& enumeration,
                  const std::string& type) {
  return pg::Params(context.workspace, context.connection, enumeration.stream, enumeration.number,
                    type);
}

/// For a statement over a whole type. Nothing is known of sluice.seen's rows when it is planned,
/// and a nested loop over them would be quadratic: both sides are hashed instead, which may spill.
constexpr const char* kHashBothSides[] = {"set local enable_nestloop = off",
                                          "set local enable_mergejoin = off",
                                          "set local enable_seqscan = on"};

Task<pg::QueryResult> compare(pg::Connection& connection, std::string sql, pg::Params params) {
  auto transaction = co_await pg::Transaction::begin(connection);
  for (const char* setting : kHashBothSides) co_await transaction.query(setting);
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
        " coalesce(to_jsonb((array_agg(t.external_id order by t.external_id) filter (where "
        "{0}))[1:{1}]), '[]')::text",
        kIsMissing, kExamplesMax);
    const auto counted =
        co_await compare(connection, sql + missing_from(manifest, manifest.entity_types[index]),
                         key_of(context, enumeration, name));
    Missing missing;
    missing.type = index;
    missing.stored = counted.get<std::int64_t>(0, 0);
    missing.count = counted.get<std::int64_t>(0, 1);
    missing.examples = stored_json(counted.text(0, 2));
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
    const bool all_would_go = missing.count == missing.stored && !manifest.supports("fetch");
    if (all_would_go ||
        (missing.count > limits.always_allowed && share > limits.delete_share_max)) {
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
  co_return fmt::format("{}: nothing was deleted", fmt::join(said, "; "));
}

/// {"reason": …, "types": [{"type", "stored", "missing", "examples": [external id]}]}
json detail_of(const contract::Manifest& manifest, const std::vector<Missing>& all,
               const std::string& reason) {
  json types = json::array();
  for (const Missing& missing : all) {
    json one = json::object();
    one["type"] = fmt::format("{}.{}", manifest.id, manifest.entity_types[missing.type].name);
    one["stored"] = missing.stored;
    one["missing"] = missing.count;
    one["examples"] = missing.examples;
    types.push_back(std::move(one));
  }
  json detail;
  detail["reason"] = reason;
  detail["types"] = std::move(types);
  return detail;
}

/// The vendor is asked for each of them; a notice that comes meanwhile raises the generation.
Task<std::int64_t> look_up(pg::Connection& connection, const ingest::PageContext& context,
                           const Enumeration& enumeration, const Missing& missing) {
  const contract::EntityType& type = context.manifest->entity_types[missing.type];
  pg::Statement put_missing;
  put_missing.name = "reconcile_look_up_" + type.name;
  put_missing.sql = fmt::format(
      "with put as (insert into sluice.refetch as r (workspace_id, connection_id, type, "
      "external_id, reason, for_run)"
      " select $1, $2, $5, t.external_id, 'not in the last complete list', $6::bigint{} and {}"
      " on conflict (workspace_id, connection_id, type, external_id) do update"
      " set generation = r.generation + 1, attempts = 0, not_before = now(),"
      " for_run = excluded.for_run returning 1),"
      " counted as (select count(*) as n from put),"
      " said as (update sluice.sync_run u set looked_up = u.looked_up + (select n from counted)"
      " where u.workspace_id = $1 and u.run_id = $6 and u.connection_id = $2 and u.stream = '')"
      " select n from counted",
      missing_from(*context.manifest, type), kIsMissing);
  pg::Fenced fenced(connection, proof_of(context));
  for (const char* setting : kHashBothSides) co_await fenced.query(setting);
  pg::Params params = key_of(context, enumeration, type.name);
  params.add(context.run);
  const auto put = co_await fenced.query(put_missing, std::move(params));
  co_await fenced.commit();
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

Task<BegunEnumeration> begin_enumeration(const Store& store, pg::LeaseProof lease,
                                         ConnectionId connection,
                                         const contract::Manifest& manifest, std::string stream) {
  BegunEnumeration begun;
  StreamKey key;
  key.workspace = lease.workspace;
  key.connection = connection;
  key.stream = std::move(stream);
  const contract::Stream* declared = manifest.find_stream(key.stream);
  if (declared != nullptr) {
    for (const std::string& type : declared->enumerates) {
      if (begun.recording) break;
      const std::string sql = fmt::format(
          "select exists (select 1 from vendor.{} where workspace_id = $1 and connection_id = $2)",
          model::quote_name(model::table_name(manifest.id, type)));
      const auto any = co_await store.pool.query(sql, pg::Params(key.workspace, connection));
      begun.recording = any.get<bool>(0, 0);
    }
  }
  std::vector<pg::Call> calls;
  calls.push_back(stream_state::forget_seen_before(key));
  calls.push_back(stream_state::begin_enumeration(key, begun.recording));
  const auto results = co_await pg::write_fenced(store.pool, std::move(lease), std::move(calls));
  const pg::QueryResult& row = results.back();
  if (!row.empty()) {
    begun.number = row.get<std::int64_t>(0, 0);
    begun.reading = row.get<std::int64_t>(0, 1);
    begun.trusts_vendor = row.get<bool>(0, 2);
  }
  co_return begun;
}

namespace {

/// All of one type that is missing, in pages of deletions. False: `go_on` ended it.
Task<bool> bury_missing(const Store& store, const ingest::PageContext& context,
                        const Enumeration& enumeration, const Missing& missing,
                        const std::function<bool()>& go_on, std::int64_t& deleted) {
  for (;;) {
    std::vector<std::string> ids;
    {
      const auto connection = co_await store.pool.acquire();
      connection->set_query_timeout(kCompareTimeout);
      ids = co_await missing_ids(*connection, context, enumeration, missing);
    }
    if (ids.empty()) co_return true;
    const std::int64_t before = deleted;
    for (std::size_t from = 0; from < ids.size(); from += kBuryBatch) {
      if (!go_on()) co_return false;
      const std::size_t count = std::min<std::size_t>(kBuryBatch, ids.size() - from);
      const std::span<const std::string> batch(ids.data() + from, count);
      const ingest::PageCounts counts = co_await bury(store, context, missing.type, batch);
      deleted += counts.deleted;
    }
    if (deleted == before) co_return true;  // all of them changed while we looked
  }
}

}  // namespace

Task<ReconcileOutcome> reconcile(const Store& store, const ingest::PageContext& context,
                                 Enumeration enumeration, ReconcileLimits limits,
                                 const std::function<bool()>& go_on) {
  ReconcileOutcome outcome;
  StreamKey key;
  key.workspace = context.workspace;
  key.connection = context.connection;
  key.stream = enumeration.stream;
  std::vector<Missing> all;
  {
    const auto connection = co_await store.pool.acquire();
    connection->set_query_timeout(kCompareTimeout);
    all = co_await count_missing(*connection, context, enumeration);
    if (!enumeration.confirmed)
      outcome.reason = co_await objection(*connection, context, enumeration, all, limits);
  }
  if (!outcome.reason.empty()) {
    const auto said = co_await pg::write_fenced(
        store.pool, proof_of(context),
        stream_state::block(key, enumeration.number,
                            detail_of(*context.manifest, all, outcome.reason), outcome.reason));
    outcome.blocked = said.affected() > 0;  // not when another enumeration has begun
    co_return outcome;
  }
  // A connection for each look, and none while a page of deletions is written by another.
  for (const Missing& missing : all) {
    // After a person's yes nobody is asked: what a narrower configuration leaves out is still there
    // at the vendor, and was to go.
    if (context.manifest->supports("fetch") && !enumeration.confirmed) {
      const auto connection = co_await store.pool.acquire();
      connection->set_query_timeout(kCompareTimeout);
      outcome.looked_up += co_await look_up(*connection, context, enumeration, missing);
    } else if (!co_await bury_missing(store, context, enumeration, missing, go_on,
                                      outcome.deleted)) {
      outcome.finished = false;
      co_return outcome;
    }
  }
  for (const Missing& missing : all) outcome.missing += missing.count;
  std::vector<pg::Call> calls;
  calls.push_back(stream_state::compared(key, enumeration.number, outcome.missing));
  calls.push_back(stream_state::forget_seen(key, enumeration.number));
  co_await pg::write_fenced(store.pool, proof_of(context), std::move(calls));
  co_return outcome;
}

}  // namespace sluice::sync
