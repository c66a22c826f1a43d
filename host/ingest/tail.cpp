#include "ingest/tail.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/check.hpp"
#include "model/catalog_version.hpp"

namespace sluice::ingest {

// By ctid, so that no plan can scan the table: rows of link_key are never updated.
const pg::Statement kRemoveKeys{
    "ingest_remove_keys",
    "with gone as (delete from sluice.link_key k where k.ctid = any(array("
    "select f.tid from unnest($2::bigint[], $3::int[], $4::int[], $5::uuid[]) as i(entity, "
    "attribute, kind, digest) "
    "cross join lateral (select o.ctid as tid from sluice.link_key o "
    "where o.workspace_id = $1 and o.entity_id = i.entity and (i.attribute is null or o.attribute "
    "= i.attribute) "
    "and (i.digest is null or o.kind <> i.kind or o.digest <> i.digest) offset 0) f)) "
    "returning k.kind, k.digest, k.type_id, k.attribute, k.entity_id) "
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, g.kind, g.digest, g.type_id, g.attribute, g.entity_id from gone g"};

const pg::Statement kAddKeys{
    "ingest_add_keys",
    "with added as (insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, "
    "entity_id) "
    "select $1, i.kind::smallint, i.digest, i.type_id, i.attribute::smallint, i.entity "
    "from unnest($2::int[], $3::uuid[], $4::bigint[], $5::int[], $6::bigint[]) "
    "as i(kind, digest, type_id, attribute, entity) on conflict do nothing "
    "returning kind, digest, type_id, attribute, entity_id) "
    "insert into sluice.link_queue (workspace_id, kind, digest, type_id, attribute, entity_id) "
    "select $1, a.kind, a.digest, a.type_id, a.attribute, a.entity_id from added a"};

// Of what came without an id nobody can tell which came again: it is counted by the last run.
const pg::Statement kRefuse{
    "ingest_refuse",
    "insert into sluice.quarantine as q (workspace_id, connection_id, run_id, stream, type, "
    "external_id, code, "
    "reason, record, times) select $1, $2, $3, $4, i.type, i.x, i.code, i.reason, i.record, "
    "i.times "
    "from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[], $10::int[]) "
    "as i(type, x, code, reason, record, times) "
    "on conflict (workspace_id, connection_id, type, external_id, code) do update set times = "
    "excluded.times + case when q.external_id = '' and q.run_id <> excluded.run_id then 0 else "
    "q.times end, "
    "last_seen_at = now(), run_id = excluded.run_id, stream = excluded.stream, reason = "
    "excluded.reason, "
    "record = coalesce(excluded.record, q.record)"};

// Locked before it is deleted: a notice that arrives meanwhile raises the generation, and then it
// stays.
const pg::Statement kForgetAnswered{
    "ingest_forget_answered",
    "delete from sluice.refetch r where r.ctid = any(array("
    "select f.tid from unnest($3::text[], $4::text[], $5::bigint[]) as i(type, x, generation) "
    "cross join lateral (select o.ctid as tid from sluice.refetch o where o.workspace_id = $1 "
    "and o.connection_id = $2 and o.type = i.type and o.external_id = i.x and o.generation = "
    "i.generation "
    "offset 0 for update) f))"};

// What was refused of an object before, now that it has been read again. What this run itself
// refused or noted stays: of this page, or of an earlier one of the same session.
const pg::Statement kForgive{
    "ingest_forgive",
    "delete from sluice.quarantine q where q.ctid = any(array("
    "select f.tid from unnest($4::text[], $5::text[]) as i(type, x) "
    "cross join lateral (select o.ctid as tid from sluice.quarantine o where o.workspace_id = $1 "
    "and o.connection_id = $2 and o.type = i.type and o.external_id = i.x and o.run_id <> $3 "
    "offset 0) f))"};

// A complete read of a stream has had each of its objects: what it did not refuse again is stored
// now, or is not there any more. Also what came without an id, which nothing else could forgive.
const pg::Statement kForgiveRead{
    "ingest_forgive_read",
    "delete from sluice.quarantine q using sluice.stream s "
    "where s.workspace_id = $1 and s.connection_id = $2 and s.stream = $3 "
    "and q.workspace_id = $1 and q.connection_id = $2 and q.last_seen_at < s.enumeration_from "
    "and (q.stream = $3 or q.type = any($4)) and ($5::bigint is null or s.reading = $5)"};

// Noticed again, an id keeps its place in the line. One that cannot be read has changed, and may be
// readable now: it is tried soon, and still alone.
const pg::Statement kRefetch{
    "ingest_refetch",
    "insert into sluice.refetch as r (workspace_id, connection_id, type, external_id, kind, "
    "observed_at, reason) "
    "select $1, $2, i.type, i.x, i.kind, i.observed, i.reason "
    "from unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[]) "
    "as i(type, x, kind, observed, reason) "
    "on conflict (workspace_id, connection_id, type, external_id) do update set kind = "
    "excluded.kind, "
    "observed_at = greatest(r.observed_at, excluded.observed_at), generation = r.generation + 1, "
    "not_before = least(r.not_before, case when r.attempts = 0 then excluded.not_before "
    "else excluded.not_before + interval '1 minute' end), "
    "reason = case when r.attempts = 0 then excluded.reason else r.reason end"};

// 8 bytes an id, in one row a page and type. A refused record is there all the same.
const pg::Statement kSeen{
    "ingest_seen",
    "insert into sluice.seen (workspace_id, connection_id, stream, enumeration, type, hashes) "
    "select $1, $2, $3, $4, $5::text, array_agg(hashtextextended(i.x collate \"C\", 0)) "
    "from unnest($6::text[]) as i(x)"};

const pg::Statement kReadBeforeMark{
    "ingest_read_before_mark",
    "update sluice.stream set reading = reading + 1, checkpoint = null, checkpoint_format = 0, "
    "snapshot_done = false, next_run_at = now(), reason = $4 "
    "where workspace_id = $1 and connection_id = $2 and enabled and mode = 'snapshot' "
    "and stream <> $3 and (snapshot_done or checkpoint is not null)"};

// A complete enumeration is compared with what is stored, where its ids were kept, unless an answer
// of it may have been cut ($13).
const pg::Statement kStream{
    "ingest_stream",
    "update sluice.stream set checkpoint = coalesce($4, checkpoint), "
    "checkpoint_format = case when $4 is null then checkpoint_format else $5 end, "
    "snapshot_done = snapshot_done or $6, records_total = records_total + $7, "
    "enumerated_records = enumerated_records + $7, "
    "reread_found = reread_found + $14, "
    "trust_vendor = trust_vendor and not $6, "
    "last_full_records = case when $6 then enumerated_records + $7 else last_full_records end, "
    "enumerated_types = case when $15::jsonb is null then enumerated_types "
    "else sluice.added_up(enumerated_types, $15::jsonb) end, "
    "last_full_types = case when not $6 then last_full_types "
    "when $15::jsonb is null then enumerated_types else sluice.added_up(enumerated_types, "
    "$15::jsonb) "
    "end, "
    "last_full_at = case when $6 then now() else last_full_at end, "
    "reconcile = case when $13 and reconcile = 'recording' then 'none' "
    "when $6 and reconcile = 'recording' then 'due' else reconcile end, "
    "vendor_total = case when $8 > 0 then $8 else vendor_total end, "
    // With the last page the run is over, in one transaction: a host that dies behind it leaves
    // nothing half said, and nothing to read again. A snapshot under way answers whoever asks for
    // it meanwhile; of another stream it may have passed by what somebody asks for, so that it
    // stays due. One that was parked meanwhile stays so: its key is another account's.
    "state = case when $9 and state = 'running' then 'idle' else state end, "
    "reason = case when $9 and state = 'running' and not $10 and enabled then '' else reason end, "
    "error_class = case when $9 and state = 'running' and not $10 then null else error_class end, "
    "consecutive_failures = case when $9 and state = 'running' and not $10 then 0 "
    "else consecutive_failures end, "
    "last_run_id = case when $9 then $11 else last_run_id end, "
    "last_success_at = case when $9 and state = 'running' then now() else last_success_at end, "
    "next_run_at = case when not $9 or not enabled or state <> 'running' then next_run_at "
    "when mode <> 'snapshot' and next_run_at > (select r.started_at from sluice.sync_run r "
    "where r.workspace_id = $1 and r.connection_id = $2 and r.stream = $3 and r.run_id = $11) "
    "then next_run_at "
    "when interval_seconds > 0 then now() + interval_seconds * interval '1 second' end "
    "where workspace_id = $1 and connection_id = $2 and stream = $3 "
    "and ($12::bigint is null or reading = $12)"};

const pg::Statement kRun{
    "ingest_run",
    "update sluice.sync_run set pages = pages + 1, requests = requests + $3, bytes = bytes + $4, "
    "records = records + $5, inserted = inserted + $6, updated = updated + $7, unchanged = "
    "unchanged + $8, "
    "deleted = deleted + $9, quarantined = quarantined + $10, notices = notices + $11, "
    "older = older + $15, "
    "finished_at = case when $14 then now() else finished_at end, "
    "outcome = case when $14 then 'done' else outcome end "
    "where workspace_id = $1 and run_id = $2 and connection_id = $12 and stream = $13"};

// By the whole key of its index: the run is a reconcile, of no stream. One that is too old to be
// kept is counted no more.
const pg::Statement kFoundGone{"ingest_found_gone",
                               "update sluice.sync_run set found_gone = found_gone + $3 "
                               "where workspace_id = $1 and run_id = $2 and connection_id = $4 "
                               "and stream = ''"};

namespace {

using contract::Notice;
using contract::NoticeKind;

void add_keys(pg::Pipeline& pipeline, WorkspaceId workspace, const KeyBatch& batch) {
  if (!batch.stale.empty()) {
    pg::Array entities(pg::Oid::int8), attributes(pg::Oid::int4), kinds(pg::Oid::int4),
        digests(pg::Oid::uuid);
    for (const KeyBatch::Stale& stale : batch.stale) {
      entities.add(stale.entity);
      if (stale.attribute < 0) {
        attributes.add_null();
      } else {
        attributes.add(std::int32_t{stale.attribute});
      }
      if (stale.has_key) {
        kinds.add(std::int32_t{stale.kind});
        digests.add(stale.digest);
      } else {
        kinds.add_null();
        digests.add_null();
      }
    }
    pg::Params params(workspace, std::move(entities), std::move(attributes), std::move(kinds),
                      std::move(digests));
    pipeline.add(kRemoveKeys, std::move(params));
  }
  if (batch.now.empty()) return;
  pg::Array kinds(pg::Oid::int4), digests(pg::Oid::uuid), types(pg::Oid::int8),
      attributes(pg::Oid::int4), entities(pg::Oid::int8);
  for (const KeyBatch::Key& key : batch.now) {
    kinds.add(std::int32_t{key.kind});
    digests.add(key.digest);
    types.add(key.type);
    attributes.add(std::int32_t{key.attribute});
    entities.add(key.entity);
  }
  pg::Params params(workspace, std::move(kinds), std::move(digests), std::move(types),
                    std::move(attributes), std::move(entities));
  pipeline.add(kAddKeys, std::move(params));
}

journal::Source source_of(const PageContext& context) {
  journal::Source source;
  source.workspace = context.workspace;
  source.connection = context.connection;
  source.run = context.run;
  return source;
}

/// One statement may touch a quarantine row once: the last of each (type, id, code) speaks for all
/// of them, which may be many where they came without an id.
void add_refusals(pg::Pipeline& pipeline, const PageContext& context,
                  const std::vector<Refusal>& refusals, const std::vector<Refusal>& warnings) {
  struct Alike {
    const Refusal* last = nullptr;
    std::int32_t times = 0;
  };
  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, Alike> all;
  for (const auto* list : {&refusals, &warnings}) {
    for (const Refusal& refusal : *list) {
      Alike& alike =
          all[std::make_tuple(std::string_view(refusal.type), std::string_view(refusal.external_id),
                              std::string_view(refusal.code))];
      alike.last = &refusal;
      ++alike.times;
    }
  }
  if (all.empty()) return;
  pg::Array types(pg::Oid::text), ids(pg::Oid::text), codes(pg::Oid::text), reasons(pg::Oid::text),
      records(pg::Oid::jsonb), times(pg::Oid::int4);
  for (const auto& [key, alike] : all) {
    const Refusal& refusal = *alike.last;
    types.add(std::string_view(refusal.type));
    ids.add(std::string_view(refusal.external_id));
    codes.add(std::string_view(refusal.code));
    reasons.add(std::string_view(refusal.reason));
    if (refusal.record.empty()) {
      records.add_null();
    } else {
      records.add(std::string_view(refusal.record));
    }
    times.add(alike.times);
  }
  pg::Params params(context.workspace, context.connection, context.run, context.stream,
                    std::move(types), std::move(ids), std::move(codes), std::move(reasons),
                    std::move(records), std::move(times));
  pipeline.add(kRefuse, std::move(params));
}

void add_answered(pg::Pipeline& pipeline, const PageContext& context, const PageEffects& effects) {
  if (effects.answered.empty()) return;
  pg::Array types(pg::Oid::text), ids(pg::Oid::text), generations(pg::Oid::int8);
  for (const PageEffects::Answered& answered : effects.answered) {
    types.add(std::string_view(answered.type));
    ids.add(std::string_view(answered.external_id));
    generations.add(answered.generation);
  }
  pg::Params params(context.workspace, context.connection, std::move(types), std::move(ids),
                    std::move(generations));
  pipeline.add(kForgetAnswered, std::move(params));
  pg::Array full_types(pg::Oid::text), same_ids(pg::Oid::text);
  for (const PageEffects::Answered& answered : effects.answered) {
    const std::string type = context.manifest->id + "." + answered.type;
    full_types.add(std::string_view(type));
    same_ids.add(std::string_view(answered.external_id));
  }
  pg::Params forgiven(context.workspace, context.connection, context.run, std::move(full_types),
                      std::move(same_ids));
  pipeline.add(kForgive, std::move(forgiven));
}

void add_forgiven(pg::Pipeline& pipeline, const PageContext& context, const PageEffects& effects) {
  if (!effects.snapshot_done || effects.unframed) return;
  const contract::Stream* stream = context.manifest->find_stream(context.stream);
  SLUICE_INVARIANT(stream != nullptr);
  pg::Array types(pg::Oid::text);
  for (const std::string& name : stream->enumerates) {
    const std::string type = context.manifest->id + "." + name;
    types.add(std::string_view(type));
  }
  pg::Params params(context.workspace, context.connection, context.stream, std::move(types),
                    effects.reading);
  pipeline.add(kForgiveRead, std::move(params));
}

void add_seen(pg::Pipeline& pipeline, const PageContext& context, const contract::Page& page,
              const PageEffects& effects) {
  if (effects.enumeration == 0 || effects.unframed) return;
  const contract::Stream* stream = context.manifest->find_stream(context.stream);
  SLUICE_INVARIANT(stream != nullptr);
  std::map<std::uint32_t, pg::Array> seen;
  for (const std::string& name : stream->enumerates) {
    if (const auto type = context.manifest->type_index(name))
      seen.try_emplace(*type, pg::Oid::text);
  }
  const auto add = [&seen](std::uint32_t type, std::string_view external_id) {
    const auto ids = seen.find(type);
    if (ids != seen.end() && !external_id.empty()) ids->second.add(external_id);
  };
  for (const contract::Record& record : page.records) {
    if (!record.deleted) add(record.type, record.external_id);
  }
  for (const contract::RejectedRecord& rejected : page.rejected)
    add(rejected.type, rejected.external_id);
  for (auto& [type, ids] : seen) {
    if (ids.size() == 0) continue;
    pg::Params params(context.workspace, context.connection, context.stream, effects.enumeration,
                      context.manifest->entity_types.at(type).name, std::move(ids));
    pipeline.add(kSeen, std::move(params));
  }
}

/// {"customer": 100}: what the page holds of each type that the stream enumerates, for the count of
/// a complete read; nothing when it holds nothing, or is of no such read.
std::optional<std::string> types_of(const PageContext& context, const contract::Page& page) {
  const contract::Stream* stream = context.manifest->find_stream(context.stream);
  if (stream == nullptr || stream->mode != contract::StreamMode::snapshot) return std::nullopt;
  std::map<std::uint32_t, std::int64_t> counts;
  for (const std::string& name : stream->enumerates) {
    if (const auto type = context.manifest->type_index(name)) counts.emplace(*type, 0);
  }
  const auto add = [&counts](std::uint32_t type) {
    if (const auto found = counts.find(type); found != counts.end()) ++found->second;
  };
  for (const contract::Record& record : page.records) {
    if (!record.deleted) add(record.type);
  }
  for (const contract::RejectedRecord& rejected : page.rejected) add(rejected.type);
  if (counts.empty()) return std::nullopt;
  std::string text = "{";
  for (const auto& [type, count] : counts) {  // names of types need no escapes
    text += text.size() == 1 ? "\"" : ",\"";
    text += context.manifest->entity_types.at(type).name + "\":" + std::to_string(count);
  }
  return text + "}";
}

void add_found_gone(pg::Pipeline& pipeline, const PageContext& context, const Tail& tail) {
  for (const auto& [run, count] : tail.found_gone)
    pipeline.add(kFoundGone, pg::Params(context.workspace, run, count, context.connection));
}

struct Wanted {
  NoticeKind kind = NoticeKind::changed;
  std::int64_t observed_at = 0;
  std::string reason;
};

std::string_view kind_name(NoticeKind kind) {
  switch (kind) {
    case NoticeKind::changed:
      return "changed";
    case NoticeKind::deleted:
      return "deleted";
    case NoticeKind::merged:
      return "merged";
  }
  return "changed";
}

/// One refetch row an object, in key order. What an object was merged into has changed too.
void add_notices(pg::Pipeline& pipeline, const PageContext& context, const contract::Page& page) {
  std::map<std::pair<std::string_view, std::string_view>, Wanted> wanted;
  for (const Notice& notice : page.notices) {
    const std::string_view type = context.manifest->entity_types.at(notice.type).name;
    Wanted& row = wanted[std::make_pair(type, notice.external_id)];
    if (notice.observed_at >= row.observed_at) {
      row.kind = notice.kind;
      row.reason =
          notice.kind == NoticeKind::merged ? "merged into " + std::string(notice.merged_into) : "";
    }
    row.observed_at = std::max(row.observed_at, notice.observed_at);
    if (notice.kind == NoticeKind::merged && !notice.merged_into.empty()) {
      Wanted& target = wanted[std::make_pair(type, notice.merged_into)];
      target.observed_at = std::max(target.observed_at, notice.observed_at);
    }
  }
  if (wanted.empty()) return;
  pg::Array types(pg::Oid::text), ids(pg::Oid::text), kinds(pg::Oid::text),
      times(pg::Oid::timestamptz), reasons(pg::Oid::text);
  for (const auto& [key, row] : wanted) {
    types.add(key.first);
    ids.add(key.second);
    kinds.add(kind_name(row.kind));
    if (row.observed_at == 0) {
      times.add_null();
    } else {
      times.add(row.observed_at);
    }
    reasons.add(std::string_view(row.reason));
  }
  pg::Params params(context.workspace, context.connection, std::move(types), std::move(ids),
                    std::move(kinds), std::move(times), std::move(reasons));
  pipeline.add(kRefetch, std::move(params));
}

}  // namespace

void add_keys_so_far(pg::Pipeline& pipeline, const PageContext& context, Tail& tail) {
  for (const KeyBatch& keys : tail.keys) add_keys(pipeline, context.workspace, keys);
  tail.keys.clear();
}

void add_rows_so_far(pg::Pipeline& pipeline, const PageContext& context, Tail& tail) {
  add_keys_so_far(pipeline, context, tail);
  tail.some_aside = tail.some_aside || !tail.changes.empty();
  tail.changes.put_aside(pipeline, source_of(context));
}

void add_tail(pg::Pipeline& pipeline, const PageContext& context, const contract::Page& page,
              const PageEffects& effects, const Batch& batch, const std::vector<Refusal>& warnings,
              Tail& tail) {
  add_keys_so_far(pipeline, context, tail);
  add_refusals(pipeline, context, batch.refusals, warnings);
  add_answered(pipeline, context, effects);
  add_notices(pipeline, context, page);
  add_seen(pipeline, context, page, effects);
  add_forgiven(pipeline, context, effects);
  const PageCounts& counts = tail.counts;
  if (!context.stream.empty()) {
    if (!effects.snapshots_again.empty()) {
      pg::Params again(context.workspace, context.connection, context.stream,
                       effects.snapshots_again);
      pipeline.add(kReadBeforeMark, std::move(again));
    }
    std::optional<ByteView> checkpoint;
    if (effects.checkpoint) checkpoint = as_bytes(*effects.checkpoint);
    pg::Params params(context.workspace, context.connection, context.stream, checkpoint,
                      static_cast<std::int32_t>(effects.checkpoint_format), effects.snapshot_done,
                      counts.records, effects.vendor_total);
    params.add(effects.last).add(effects.keeps_reason).add(context.run).add(effects.reading);
    params.add(effects.unframed).add(counts.inserted + counts.updated);
    const std::optional<std::string> types = types_of(context, page);
    params.add(types);
    tail.stream_step = pipeline.size();
    pipeline.add(kStream, std::move(params));
  }
  pg::Params run(context.workspace, context.run, effects.requests, effects.bytes, counts.records,
                 counts.inserted, counts.updated, counts.unchanged, counts.deleted,
                 counts.quarantined, counts.notices, context.connection, context.stream);
  run.add(effects.last).add(counts.older);
  pipeline.add(kRun, std::move(run));
  add_found_gone(pipeline, context, tail);
  model::add_catalog_guard(pipeline, *context.catalog);
  const journal::Source source = source_of(context);
  if (tail.some_aside) {
    pg::Params parts(source.workspace, source.connection, source.run);
    pipeline.add(journal::kAppendParts, std::move(parts));
  }
  tail.changes.append_to(pipeline, source);
}

bool stream_was_superseded(const PageContext& context, const Tail& tail,
                           const std::vector<pg::QueryResult>& results) {
  if (context.stream.empty()) return false;
  SLUICE_INVARIANT(tail.stream_step < results.size());
  return results[tail.stream_step].affected() == 0;
}

}  // namespace sluice::ingest
