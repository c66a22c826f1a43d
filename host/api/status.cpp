// How connections and their streams are: in numbers, and in words to act on.
#include "api/status.hpp"

#include "api/causes.hpp"
#include "api/state.hpp"
#include "api/words.hpp"
#include "base/exact_json.hpp"
#include "model/row_counts.hpp"
#include "work/queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

namespace sluice::api {
namespace {

using nlohmann::json;

/// Backlogs are counted so far; beyond it an answer says "at least".
constexpr std::int64_t kCountedMax = 10'000;
/// Entries of one connection, which are joined by cause: more streams than a manifest may have.
constexpr std::size_t kStreamProblemsMax = 1000;

const pg::Statement kConnections{"api_connections", R"(
  select c.connection_id, c.name, c.connector, c.state, c.state_reason, coalesce(c.vendor_account, ''),
         coalesce(c.account_name, ''), c.mode, c.egress::text,
         (extract(epoch from c.created_at) * 1000000)::bigint,
         coalesce(encode(i.sha256, 'hex'), ''),
         exists (select 1 from sluice.lease_hold h
                 where h.workspace_id = c.workspace_id and h.name = 'connection/' || c.connection_id
                   and h.expires_at > clock_timestamp()), coalesce(o.reason, '')
  from sluice.connection c
  left join sluice.installation i on i.workspace_id = c.workspace_id and i.connector = c.connector
  left join sluice.connector_hold o on o.sha256 = i.sha256
  where c.workspace_id = $1 and ($2::text is null or c.name = $2) and ($3::text is null or c.name > $3)
  order by c.name limit $4)"};

// The newest run of a stream is the running one, if any: its predecessors were ended when it began.
const pg::Statement kStreams{"api_streams", R"(
  select s.connection_id, s.stream, s.mode, s.enabled, s.state, s.reason, coalesce(s.error_class, ''),
         s.snapshot_done, s.interval_seconds, s.records_total, s.vendor_total, s.consecutive_failures,
         (extract(epoch from s.next_run_at) * 1000000)::bigint,
         (extract(epoch from s.last_success_at) * 1000000)::bigint,
         coalesce(s.last_run_id, 0), s.enumerated_records, s.last_full_records, s.reconcile,
         s.reconcile_detail::text,
         r.run_id, r.kind, r.records, r.pages, r.requests, r.quarantined,
         (extract(epoch from clock_timestamp() - r.started_at) * 1000)::bigint,
         (extract(epoch from clock_timestamp()) * 1000000)::bigint,
         s.reread_found, s.reread_missing, coalesce(l.older, 0),
         s.enabled and s.checkpoint is null and s.last_success_at is not null
           and (s.mode = 'changes' or s.mode = 'poll' and coalesce(l.records, 0) > 0),
         case when s.mode = 'snapshot' and s.enabled and not s.snapshot_done and s.last_full_records = 0
           then coalesce(extract(epoch from clock_timestamp() - s.enumeration_from), 0) else 0 end::bigint,
         (select (h.waits ->> ('stream ' || s.stream))::bigint - (extract(epoch from clock_timestamp()) * 1000)::bigint
          from sluice.lease_hold h
          where h.workspace_id = s.workspace_id and h.name = 'connection/' || s.connection_id
            and h.expires_at > clock_timestamp()),
         case when s.error_class = 'PERMISSION' then coalesce(l.error ->> 'vendor_code', '') else '' end,
         s.last_full_types::text, (extract(epoch from s.last_full_at) * 1000000)::bigint
  from unnest($2::bigint[]) as wanted (connection_id)
  join sluice.stream s on s.workspace_id = $1 and s.connection_id = wanted.connection_id
  left join lateral (
    select o.older, o.records, o.error from sluice.sync_run o
    where o.workspace_id = s.workspace_id and o.run_id = s.last_run_id limit 1) l on true
  left join lateral (
    select * from sluice.sync_run n
    where n.workspace_id = s.workspace_id and n.connection_id = s.connection_id and n.stream = s.stream
    order by n.run_id desc limit 1) r on r.finished_at is null
  order by s.connection_id, (s.mode <> 'changes'), s.stream)"};

const pg::Statement kQuarantined{"api_status_quarantined", R"(
  select wanted.connection_id, q.stream, sum(case when q.external_id = '' then q.times else 1 end)::bigint
  from unnest($2::bigint[]) as wanted (connection_id)
  cross join lateral (
    select n.stream, n.external_id, n.times from sluice.quarantine n
    where n.workspace_id = $1 and n.connection_id = wanted.connection_id limit $3) q
  group by 1, 2)"};

const pg::Statement kRefetch{"api_status_refetch", R"(
  select wanted.connection_id, count(*), count(*) filter (where f.attempts > 0),
         coalesce(max(f.reason) filter (where f.attempts > 0), ''),
         count(*) filter (where f.not_before <= clock_timestamp())
  from unnest($2::bigint[]) as wanted (connection_id)
  cross join lateral (
    select n.attempts, n.reason, n.not_before from sluice.refetch n
    where n.workspace_id = $1 and n.connection_id = wanted.connection_id
    order by n.not_before limit $3) f
  group by 1)"};

const pg::Statement kConnectionId{"api_connection_id", R"(
  select connection_id from sluice.connection where workspace_id = $1 and name = $2)"};

/// What the connector's manifest adds to the facts; nullptr when its code is not here.
const contract::Manifest* manifest_of(const Call& call, const std::string& sha256) {
  const auto code = call.services.registry.find(sha256);
  return code ? &code->manifest() : nullptr;
}

std::optional<Micros> time_at(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return std::nullopt;
  return Micros(rows.get<std::int64_t>(row, column));
}

std::optional<std::int64_t> count_at(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return std::nullopt;
  return rows.get<std::int64_t>(row, column);
}

/// What the last full read but the first found that nothing had told of; null when there was none.
json reread_json(const StreamFacts& facts) {
  if (!facts.reread_found) return nullptr;
  json reread;
  reread["found"] = *facts.reread_found;
  reread["missing"] = facts.reread_missing ? json(*facts.reread_missing) : json(nullptr);
  reread["complete"] = facts.snapshot_done;
  return reread;
}

/// The reason of a block as the reconciler wrote it (sync/reconcile.cpp); older versions wrote
/// the types alone, and the reason only into the stream's row.
std::string reconcile_reason(const json& detail, const std::string& of_stream) {
  return detail.is_object() ? detail.value("reason", of_stream) : of_stream;
}

/// The columns of kStreams, in its order.
struct StreamColumns {
  enum : int {
    kConnection,
    kName,
    kMode,
    kEnabled,
    kState,
    kReason,
    kClass,
    kSnapshotDone,
    kInterval,
    kRecords,
    kVendorTotal,
    kFailures,
    kNext,
    kSuccess,
    kLastRun,
    kEnumerated,
    kLastFull,
    kReconcile,
    kReconcileDetail,
    kRun,
    kRunKind,
    kRunRecords,
    kRunPages,
    kRunRequests,
    kRunQuarantined,
    kRunningMs,
    kNow,
    kRereadFound,
    kRereadMissing,
    kLastOlder,
    kNoCheckpoint,
    kFirstReadSeconds,
    kHeldMs,
    kPermission,
    kFullTypes,
    kFullAt,
  };
};

/// Records in the quarantine, by stream; '' are those of runs without one (refetch).
using PutAside = std::map<std::string, std::int64_t>;

StreamFacts facts_of(Call& call, const pg::QueryResult& rows, int row, const json& connection,
                     const contract::Manifest* manifest, const PutAside& put_aside) {
  using C = StreamColumns;
  StreamFacts facts;
  facts.connection = connection["name"];
  facts.connection_state = connection["state"];
  if (connection["held"].is_string()) facts.held = connection["held"];
  facts.name = rows.get<std::string>(row, C::kName);
  facts.mode = rows.get<std::string>(row, C::kMode);
  facts.state = rows.get<std::string>(row, C::kState);
  facts.reason = rows.get<std::string>(row, C::kReason);
  facts.error_class = rows.get<std::string>(row, C::kClass);
  facts.enabled = rows.get<bool>(row, C::kEnabled);
  facts.snapshot_done = rows.get<bool>(row, C::kSnapshotDone);
  facts.interval_seconds = rows.get<std::int64_t>(row, C::kInterval);
  facts.failures = rows.get<std::int64_t>(row, C::kFailures);
  facts.last_run = rows.get<std::int64_t>(row, C::kLastRun);
  facts.next_run_at = time_at(rows, row, C::kNext);
  facts.last_success_at = time_at(rows, row, C::kSuccess);
  facts.now = Micros(rows.get<std::int64_t>(row, C::kNow));
  facts.worked_on = connection["worked_on"];
  if (const auto found = put_aside.find(facts.name); found != put_aside.end())
    facts.put_aside = found->second;
  facts.enumerated = rows.get<std::int64_t>(row, C::kEnumerated);
  facts.last_full_records = rows.get<std::int64_t>(row, C::kLastFull);
  facts.vendor_total = rows.get<std::int64_t>(row, C::kVendorTotal);
  facts.reread_found = count_at(rows, row, C::kRereadFound);
  facts.reread_missing = count_at(rows, row, C::kRereadMissing);
  facts.reconcile_blocked = rows.text(row, C::kReconcile) == "blocked";
  if (!rows.is_null(row, C::kReconcileDetail))
    facts.reconcile_reason =
        reconcile_reason(stored_json(rows.text(row, C::kReconcileDetail)), facts.reason);
  if (manifest != nullptr) {
    if (!manifest->auth.empty()) facts.secret = manifest->auth.front().secret;
    // A vendor counts what its list holds; a stream that also puts out children has more records.
    const contract::Stream* declared = manifest->find_stream(facts.name);
    facts.total_counts_records = declared != nullptr && declared->entity_types.size() == 1;
  }
  if (!rows.is_null(row, C::kRun)) {
    RunningFacts running;
    running.run = rows.get<std::int64_t>(row, C::kRun);
    running.records = rows.get<std::int64_t>(row, C::kRunRecords);
    running.pages = rows.get<std::int64_t>(row, C::kRunPages);
    running.running_for = std::chrono::milliseconds(rows.get<std::int64_t>(row, C::kRunningMs));
    running.records_per_second =
        call.state.progress.note(running.run, running.records, running.running_for);
    if (const auto held = count_at(rows, row, C::kHeldMs); held && *held > 0)
      running.held = std::chrono::milliseconds(*held);
    facts.running = running;
  }
  return facts;
}

json estimate_json(const Estimate& left) {
  if (left.words.empty()) return nullptr;
  json document;
  document["words"] = left.words;
  document["basis"] = left.basis.empty() ? json(nullptr) : json(left.basis);
  document["of_records"] = left.of_records == 0 ? json(nullptr) : json(left.of_records);
  document["seconds_left"] = left.seconds_left ? json(*left.seconds_left) : json(nullptr);
  return document;
}

json run_json(const pg::QueryResult& rows, int row, const RunningFacts& running) {
  using C = StreamColumns;
  json run;
  run["run"] = id_text(running.run);
  run["kind"] = rows.get<std::string>(row, C::kRunKind);
  run["records"] = running.records;
  run["pages"] = running.pages;
  run["requests"] = rows.get<std::int64_t>(row, C::kRunRequests);
  run["quarantined"] = rows.get<std::int64_t>(row, C::kRunQuarantined);
  run["running_ms"] = running.running_for.count();
  run["records_per_second"] = running.records_per_second
                                  ? json(std::round(*running.records_per_second * 10) / 10)
                                  : json(nullptr);
  run["held_ms"] = running.held ? json(running.held->count()) : json(nullptr);
  return run;
}

/// Names of the types whose records a stream puts out; null when its connector's file is not here.
json types_of(const contract::Manifest* manifest, const std::string& name) {
  const contract::Stream* stream = manifest == nullptr ? nullptr : manifest->find_stream(name);
  if (stream == nullptr) return nullptr;
  json names = json::array();
  for (const std::string& type : stream->entity_types) names.push_back(manifest->id + "." + type);
  return names;
}

/// What the last complete read held, by type; null when there was none, or none since that is kept.
json last_full_json(const pg::QueryResult& rows, int row) {
  using C = StreamColumns;
  if (rows.is_null(row, C::kFullTypes) || rows.is_null(row, C::kFullAt)) return nullptr;
  json full;
  full["at"] = time_or_null(rows, row, C::kFullAt);
  full["types"] = stored_json(rows.text(row, C::kFullTypes));
  return full;
}

/// The code of a failure names the permission that a key lacks, if its words name it, too. Of
/// connectors that were built before that was said, it is the vendor's code, or a status.
bool is_permission(std::string_view code, std::string_view reason) {
  const bool has_letter =
      std::any_of(code.begin(), code.end(), [](unsigned char c) { return std::isalpha(c) != 0; });
  return has_letter && reason.find(code) != std::string_view::npos;
}

json stream_json(const pg::QueryResult& rows, int row, const StreamFacts& facts) {
  using C = StreamColumns;
  const StreamWords words = describe(facts);
  json stream;
  stream["name"] = facts.name;
  stream["mode"] = facts.mode;
  stream["enabled"] = facts.enabled;
  stream["state"] = facts.state;
  stream["health"] = words.health;
  stream["summary"] = words.summary;
  stream["action"] = words.action;
  stream["reason"] = facts.reason;
  stream["error_class"] = facts.error_class;
  // What failed has its class until a page has come; the last run says which permission it was.
  const std::string_view code = rows.text(row, C::kPermission);
  stream["permission"] = is_permission(code, facts.reason) ? json(code) : json(nullptr);
  stream["snapshot_done"] = facts.snapshot_done;
  stream["interval_seconds"] = facts.interval_seconds;
  stream["records_total"] = rows.get<std::int64_t>(row, C::kRecords);
  stream["vendor_total"] = facts.vendor_total;
  stream["enumerated_records"] = facts.enumerated;
  stream["last_full_records"] = facts.last_full_records;
  stream["last_full"] = last_full_json(rows, row);
  stream["consecutive_failures"] = facts.failures;
  stream["next_run_at"] = facts.next_run_at ? json(to_rfc3339(*facts.next_run_at)) : json(nullptr);
  stream["next_run_in_seconds"] =
      facts.next_run_at
          ? json(std::max<std::int64_t>(0, (*facts.next_run_at - facts.now).count() / 1'000'000))
          : json(nullptr);
  stream["due"] = facts.next_run_at && *facts.next_run_at <= facts.now;
  stream["last_success_at"] =
      facts.last_success_at ? json(to_rfc3339(*facts.last_success_at)) : json(nullptr);
  stream["last_success_age_seconds"] =
      facts.last_success_at ? json(std::max<std::int64_t>(
                                  0, (facts.now - *facts.last_success_at).count() / 1'000'000))
                            : json(nullptr);
  stream["last_run"] = facts.last_run == 0 ? json(nullptr) : json(id_text(facts.last_run));
  stream["reconcile"] = rows.get<std::string>(row, C::kReconcile);
  stream["reconcile_detail"] = rows.is_null(row, C::kReconcileDetail)
                                   ? json(nullptr)
                                   : ready_json(rows.text(row, C::kReconcileDetail));
  stream["reread"] = reread_json(facts);
  stream["last_run_older"] = rows.get<std::int64_t>(row, C::kLastOlder);
  stream["without_checkpoint"] = rows.get<bool>(row, C::kNoCheckpoint);
  stream["first_read_seconds"] = rows.get<std::int64_t>(row, C::kFirstReadSeconds);
  stream["quarantined"] = facts.put_aside;
  stream["run"] = facts.running ? run_json(rows, row, *facts.running) : json(nullptr);
  stream["estimate"] = estimate_json(estimate(facts));
  return stream;
}

/// The columns of kConnections, in its order.
struct ConnectionColumns {
  enum : int {
    kId,
    kName,
    kConnector,
    kState,
    kReason,
    kAccount,
    kAccountName,
    kMode,
    kEgress,
    kCreated,
    kSha256,
    kWorkedOn,
    kHeld,
  };
};

json connection_json(const pg::QueryResult& rows, int row) {
  using C = ConnectionColumns;
  json one;
  one["name"] = rows.get<std::string>(row, C::kName);
  one["connector"] = rows.get<std::string>(row, C::kConnector);
  one["state"] = rows.get<std::string>(row, C::kState);
  one["reason"] = rows.get<std::string>(row, C::kReason);
  one["account"] = {{"id", rows.get<std::string>(row, C::kAccount)},
                    {"name", rows.get<std::string>(row, C::kAccountName)}};
  one["mode"] = rows.get<std::string>(row, C::kMode);
  if (rows.text(row, C::kEgress) != "{}") one["egress"] = ready_json(rows.text(row, C::kEgress));
  one["created_at"] = time_or_null(rows, row, C::kCreated);
  one["worked_on"] = rows.get<bool>(row, C::kWorkedOn);
  one["held"] =
      rows.text(row, C::kHeld).empty() ? json(nullptr) : json(rows.get<std::string>(row, C::kHeld));
  // What is stored is from before: while its connector may not run, nothing changes it.
  if (one["held"].is_string() && !one["state"].get<std::string>().starts_with("DISCONNECT")) {
    one["state"] = "FAILED";
    one["reason"] = "its connector is held: " + one["held"].get<std::string>();
  }
  one["trouble"] = nullptr;
  one["refetch"] = {
      {"waiting", 0}, {"due", 0}, {"failing", 0}, {"reason", ""}, {"at_least", false}};
  one["quarantined"] = 0;
  one["quarantined_at_least"] = false;
  one["problems"] = json::array();
  one["rows"] = 0;
  one["types"] = json::array();
  one["streams"] = json::array();
  return one;
}

/// Records of runs without a stream count for the connection only.
void add_quarantined(json& connection, const PutAside& put_aside) {
  std::int64_t all = 0;
  json streams = json::array();
  for (const auto& [stream, count] : put_aside) {
    all += count;
    if (!stream.empty()) streams.push_back(stream);
  }
  connection["quarantined"] = all;
  connection["quarantined_at_least"] = all >= kCountedMax;
  if (all == 0 || connection["state"].get<std::string>().starts_with("DISCONNECT")) return;
  json one = problem_of("quarantine", connection["name"], "", "partial",
                        put_aside_in_words(all, all >= kCountedMax),
                        put_aside_action(connection["name"].get<std::string>()));
  one["subjects"] = std::move(streams);
  one["count"] = all;
  one["health"] = "partial";
  connection["problems"].push_back(std::move(one));
}

/// What the vendor's complete lists held of a type, all streams together, as of the oldest of them.
struct Listed {
  std::int64_t rows = 0;
  std::string at;
};
std::map<std::string, Listed> listed_by(const json& connection) {
  std::map<std::string, Listed> all;
  for (const json& stream : connection["streams"]) {
    const json& full = stream["last_full"];
    if (full.is_null()) continue;
    for (const auto& [type, count] : full["types"].items()) {
      Listed& listed = all[type];
      listed.rows += count.get<std::int64_t>();
      const auto at = full["at"].get<std::string>();
      if (listed.at.empty() || at < listed.at) listed.at = at;
    }
  }
  return all;
}

/// Rows as they stand, beside what the vendor had when it was last read whole.
void add_types(json& connection, ConnectionId id, const model::Catalog& catalog,
               const model::RowCounts& counts) {
  const auto listed = listed_by(connection);
  std::int64_t all = 0;
  for (const model::StoredType& type : catalog.types) {
    if (type.own || !type.active || type.connector != connection["connector"]) continue;
    json one;
    one["type"] = type.name;
    one["rows"] = counts.of(type, id);
    all += counts.of(type, id);
    const auto vendor = listed.find(type.name.substr(type.name.find('.') + 1));
    const bool known = vendor != listed.end();
    one["vendor_rows"] = known ? json(vendor->second.rows) : json(nullptr);
    one["vendor_at"] = known ? json(vendor->second.at) : json(nullptr);
    connection["types"].push_back(std::move(one));
  }
  connection["rows"] = all;
}

json own_types_of(const model::Catalog& catalog, const model::RowCounts& counts) {
  json all = json::array();
  for (const model::StoredType& type : catalog.types) {
    if (!type.own || !type.active) continue;
    json one;
    one["type"] = type.name;
    one["rows"] = counts.of(type);
    all.push_back(std::move(one));
  }
  return all;
}

/// Of the connection as a whole: off · needs_action · failing · reading (some stream has not been
/// read once) · partial (records are put aside) · ok.
std::string_view health_of(const json& connection) {
  if (connection["state"].get<std::string_view>().starts_with("DISCONNECT")) return "off";
  bool failing = connection["trouble"].is_string();
  for (const json& problem : connection["problems"]) {
    const std::string health = problem.value("health", std::string("needs_action"));
    if (health == "needs_action" || health == "blocked") return "needs_action";
    failing = failing || health != "partial";
  }
  if (failing) return "failing";
  for (const json& stream : connection["streams"]) {
    if (!stream["enabled"].get<bool>()) continue;
    const bool unread = stream["mode"] == "snapshot" && !stream["snapshot_done"].get<bool>() &&
                        stream["last_full_records"] == 0;
    if (unread || stream["last_success_at"].is_null()) return "reading";
  }
  return connection["quarantined"] == 0 ? "ok" : "partial";
}

/// What is here is what the vendor told until then: as of the stream that was read longest ago, of
/// those that carry changes where there are such. Null while one of them has not been read.
json as_of(const json& connection) {
  const auto is_on = [](const json& stream) {
    return stream["enabled"].get<bool>() && stream["interval_seconds"].get<std::int64_t>() > 0;
  };
  const json& streams = connection["streams"];
  const bool follows = std::any_of(streams.begin(), streams.end(), [&](const json& stream) {
    return is_on(stream) && stream["mode"] == "changes";
  });
  const json* oldest = nullptr;
  for (const json& stream : streams) {
    if (!is_on(stream) || (follows && stream["mode"] != "changes")) continue;
    if (stream["last_success_at"].is_null()) return nullptr;
    if (oldest == nullptr ||
        stream["last_success_age_seconds"] > (*oldest)["last_success_age_seconds"])
      oldest = &stream;
  }
  if (oldest == nullptr) return nullptr;
  json as;
  as["at"] = (*oldest)["last_success_at"];
  as["behind_seconds"] = (*oldest)["last_success_age_seconds"];
  as["stream"] = (*oldest)["name"];
  return as;
}

json work_json(const work::ShownWork& work) {
  json one;
  one["work"] = id_text(work.id);
  one["kind"] = work.kind;
  one["subject"] = work.subject;
  one["state"] = work.state;
  one["items"] = work.items;
  one["attempts"] = work.attempts;
  one["error"] = work.error;
  one["created_at"] = to_rfc3339(work.created_at);
  one["updated_at"] = to_rfc3339(work.updated_at);
  return one;
}

Task<HttpResponse> list(Call& call) {
  StatusQuery wanted;
  wanted.after = call.http.parameter("after");
  wanted.limit = call.limit();
  const std::int64_t limit = wanted.limit;
  json all = co_await statuses(call, std::move(wanted));
  json document;
  document["next"] =
      static_cast<std::int64_t>(all.size()) == limit ? all.back()["name"] : json(nullptr);
  document["connections"] = std::move(all);
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::RowCounts counts = co_await model::row_counts(call.services.pool, call.workspace);
  document["own_types"] = own_types_of(*catalog, counts);
  document["work"] = json::array();
  const auto open = co_await work::list_open(call.services.pool, call.workspace);
  for (const work::ShownWork& one : open) document["work"].push_back(work_json(one));
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  StatusQuery wanted;
  wanted.name = call.part("name");
  const json found = co_await statuses(call, std::move(wanted));
  if (found.empty()) no_connection(call.part("name"));
  co_return HttpResponse::json(found[0]);
}

constexpr std::array kListQuery = {
    limit_of(kConnectionsPageMax, kConnectionsPageMax),
    Parameter{.name = "after", .says = "where to go on: the next of the page before"}};

constexpr std::array<Route, 2> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connections",
     .access = Access::reader,
     .operation = "listConnections",
     .summary = "All connections with their streams: health, summary and action in words, progress "
                "and estimate; and the durable work that is under way",
     .handler = list,
     .query = kListQuery,
     .answer = "ConnectionPage"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}",
     .access = Access::reader,
     .operation = "getConnection",
     .summary = "One connection with its streams",
     .handler = show,
     .answer = "Connection",
     .problems = "404 connection.unknown"},
}};

}  // namespace

Task<json> statuses(Call& call, StatusQuery wanted) {
  pg::Params params(call.workspace, wanted.name, wanted.after, wanted.limit);
  const auto rows = co_await call.services.pool.query(kConnections, std::move(params));
  json all = json::array();
  std::map<std::int64_t, std::size_t> index;
  pg::Array ids(pg::Oid::int8);
  for (int row = 0; row < rows.rows(); ++row) {
    const auto id = rows.get<std::int64_t>(row, ConnectionColumns::kId);
    ids.add(id);
    index.emplace(id, all.size());
    all.push_back(connection_json(rows, row));
  }
  if (all.empty()) co_return all;
  // What this host itself cannot do for a connection; its row may be out of reach.
  for (const sync::Trouble& trouble : call.services.engine.troubles()) {
    if (trouble.workspace != call.workspace) continue;
    const auto at = index.find(trouble.connection.value);
    if (at != index.end()) all[at->second]["trouble"] = trouble.message;
  }
  pg::Params quarantine_params(call.workspace, ids, kCountedMax);
  const auto quarantined =
      co_await call.services.pool.query(kQuarantined, std::move(quarantine_params));
  std::vector<PutAside> put_aside(all.size());
  for (int row = 0; row < quarantined.rows(); ++row) {
    put_aside[index.at(quarantined.get<std::int64_t>(row, 0))]
             [quarantined.get<std::string>(row, 1)] = quarantined.get<std::int64_t>(row, 2);
  }
  pg::Params stream_params(call.workspace, ids);
  const auto streams = co_await call.services.pool.query(kStreams, std::move(stream_params));
  for (int row = 0; row < streams.rows(); ++row) {
    const std::size_t at = index.at(streams.get<std::int64_t>(row, StreamColumns::kConnection));
    const contract::Manifest* manifest =
        manifest_of(call, rows.get<std::string>(static_cast<int>(at), ConnectionColumns::kSha256));
    const StreamFacts facts = facts_of(call, streams, row, all[at], manifest, put_aside[at]);
    json stream = stream_json(streams, row, facts);
    stream["types"] = types_of(manifest, facts.name);
    all[at]["streams"].push_back(std::move(stream));
  }
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::RowCounts counts = co_await model::row_counts(call.services.pool, call.workspace);
  for (const auto& [id, at] : index) add_types(all[at], ConnectionId{id}, *catalog, counts);
  for (std::size_t at = 0; at < all.size(); ++at) {
    json& one = all[at];
    Causes causes(kStreamProblemsMax);
    add_causes(causes, one);
    one["problems"] = causes.take();
    add_quarantined(one, put_aside[at]);
    one["health"] = health_of(one);
    one["as_of"] = as_of(one);
  }
  pg::Params refetch_params(call.workspace, std::move(ids), kCountedMax);
  const auto refetch = co_await call.services.pool.query(kRefetch, std::move(refetch_params));
  for (int row = 0; row < refetch.rows(); ++row) {
    json& one = all[index.at(refetch.get<std::int64_t>(row, 0))]["refetch"];
    one["waiting"] = refetch.get<std::int64_t>(row, 1);
    one["failing"] = refetch.get<std::int64_t>(row, 2);
    one["reason"] = refetch.get<std::string>(row, 3);
    one["due"] = refetch.get<std::int64_t>(row, 4);
    one["at_least"] = refetch.get<std::int64_t>(row, 1) >= kCountedMax;
  }
  co_return all;
}

json time_or_null(const pg::QueryResult& rows, int row, int column) {
  if (rows.is_null(row, column)) return nullptr;
  return to_rfc3339(Micros(rows.get<std::int64_t>(row, column)));
}

void no_connection(const std::string& name) {
  throw Failure(Error(ErrorKind::not_found, "connection.unknown",
                      fmt::format("there is no connection '{}'", name.substr(0, 100)),
                      "sluice connection list"));
}

Task<ConnectionId> connection_named(Call& call, std::string name) {
  const auto found =
      co_await call.services.pool.query(kConnectionId, pg::Params(call.workspace, name));
  if (found.empty()) no_connection(name);
  co_return found.get<ConnectionId>(0, 0);
}

std::span<const Route> status_routes() { return kRoutes; }

}  // namespace sluice::api
