#include "ingest/shape.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fmt/format.h>

#include "base/check.hpp"
#include "model/columns.hpp"

namespace sluice::ingest {
namespace {

using contract::AttributeType;
using contract::Kind;
using contract::Value;

constexpr std::string_view kKey = "workspace_id, connection_id, external_id";

std::string_view array_type(AttributeType type) {
  switch (type) {
    case AttributeType::text:
    case AttributeType::decimal:
      return "text[]";  // decimals are cast: their text has any precision
    case AttributeType::integer:
      return "bigint[]";
    case AttributeType::number:
      return "double precision[]";
    case AttributeType::boolean:
      return "boolean[]";
    case AttributeType::timestamp:
      return "timestamptz[]";
    case AttributeType::date:
      return "date[]";
    case AttributeType::json:
      return "jsonb[]";
    case AttributeType::bytes:
      return "bytea[]";
  }
  return "text[]";
}

pg::Oid element_type(AttributeType type) {
  switch (type) {
    case AttributeType::text:
    case AttributeType::decimal:
      return pg::Oid::text;
    case AttributeType::integer:
      return pg::Oid::int8;
    case AttributeType::number:
      return pg::Oid::float8;
    case AttributeType::boolean:
      return pg::Oid::boolean;
    case AttributeType::timestamp:
      return pg::Oid::timestamptz;
    case AttributeType::date:
      return pg::Oid::date;
    case AttributeType::json:
      return pg::Oid::jsonb;
    case AttributeType::bytes:
      return pg::Oid::bytea;
  }
  return pg::Oid::text;
}

void add_value(pg::Array& array, AttributeType type, const Value* value) {
  if (value == nullptr || value->kind == Kind::null) return array.add_null();
  switch (type) {
    case AttributeType::text:
    case AttributeType::decimal:
    case AttributeType::json:
      return array.add(value->text);
    case AttributeType::integer:
    case AttributeType::timestamp:
      return array.add(value->number);
    case AttributeType::number:
      return array.add(value->real);
    case AttributeType::boolean:
      return array.add(value->number != 0);
    case AttributeType::date:
      return array.add(static_cast<std::int32_t>(value->number));
    case AttributeType::bytes:
      return array.add(as_bytes(value->text));
  }
}

void copy_optional(pg::CopyRows& rows, std::string_view text,
                   void (pg::CopyRows::*add)(std::string_view)) {
  if (text.empty()) return rows.add_null();
  (rows.*add)(text);
}

/// False when the value has no binary form that we can write.
bool copy_value(pg::CopyRows& rows, AttributeType type, const Value* value) {
  if (value == nullptr || value->kind == Kind::null) {
    rows.add_null();
    return true;
  }
  switch (type) {
    case AttributeType::text:
      rows.add_text(value->text);
      return true;
    case AttributeType::decimal:
      return rows.add_numeric(value->text);
    case AttributeType::json:
      rows.add_jsonb(value->text);
      return true;
    case AttributeType::integer:
      rows.add_int8(value->number);
      return true;
    case AttributeType::timestamp:
      rows.add_timestamptz(value->number);
      return true;
    case AttributeType::number:
      rows.add_float8(value->real);
      return true;
    case AttributeType::boolean:
      rows.add_boolean(value->number != 0);
      return true;
    case AttributeType::date:
      rows.add_date(static_cast<std::int32_t>(value->number));
      return true;
    case AttributeType::bytes:
      rows.add_bytea(value->text);
      return true;
  }
  return false;
}

/// Names, arrays and selected expressions of one statement's input, built side by side.
struct Input {
  std::string arrays, names, selected, columns;
  int parameters = 3;  // $1 workspace, $2 connection, $3 observed order

  void array(std::string_view type, std::string_view name) {
    fmt::format_to(std::back_inserter(arrays), "{}${}::{}", arrays.empty() ? "" : ", ",
                   ++parameters, type);
    fmt::format_to(std::back_inserter(names), "{}{}", names.empty() ? "" : ", ", name);
  }
  void column(std::string_view column_name, std::string_view expression) {
    fmt::format_to(std::back_inserter(columns), ", {}", column_name);
    fmt::format_to(std::back_inserter(selected), ", {}", expression);
  }
};

/// What keys are made of.
Presence keys_of(const TypePlan& plan) {
  Presence keys;
  keys.columns = plan.key_columns;
  for (const KeyDocument& one : plan.key_documents) {
    Presence document;
    document.extra = one.column < 0;
    if (one.column >= 0) document.columns.push_back(static_cast<std::uint16_t>(one.column));
    keys.merge(document);
  }
  return keys;
}

/// `(select to_jsonb(r) from (select t."a", …) r)`: build_object would end at 50 pairs.
std::string image(const TypePlan& plan, const Presence& given, bool with_keys) {
  Presence presence = given;
  if (with_keys) presence.merge(keys_of(plan));
  std::string list;
  for (const std::uint16_t column : presence.columns) {
    list +=
        (list.empty() ? "t." : ", t.") + model::quote_name(plan.stored->attributes[column].name);
  }
  const bool whole = presence.whole;
  if (whole || presence.source_url) list += list.empty() ? "t.source_url" : ", t.source_url";
  if (whole || presence.extra) list += list.empty() ? "t.extra" : ", t.extra";
  if (list.empty()) return "'{}'::jsonb";
  return "(select to_jsonb(r) from (select " + list + ") r)";
}

std::string table(const TypePlan& plan) {
  return "vendor." + model::quote_name(plan.stored->table);
}

/// An answer without an order leaves the row's; within an epoch the order only grows.
std::string set_observed() {
  return fmt::format(
      "observed_version = case when excluded.observed_version = 0 then t.observed_version "
      "when (excluded.observed_version >> {0}) = (t.observed_version >> {0}) "
      "then greatest(t.observed_version, excluded.observed_version) else excluded.observed_version "
      "end, ",
      kObservedTimeBits);
}

std::string look_sql(const TypePlan& plan, const Presence& presence, Trust trust) {
  // Version 0 says nothing about order; nor does observed order 0.
  // Vendors' versions speak before our clocks, except about a deletion, which may have had no
  // version. The hash comes first: most rows are the same, and end there.
  const bool by_version = trust == Trust::version;
  const std::string order = not_observed_before(3);
  const std::string differs =
      by_version
          ? fmt::format(
                "((t.content_hash <> i.h or i.v > t.source_version or (t.deleted_at is not null) "
                "<> i.d) and (i.v = 0 or i.v >= t.source_version) and ({} or (i.v > "
                "t.source_version and t.source_version > 0 and t.deleted_at is null)))",
                order)
          : fmt::format(
                "((t.content_hash <> i.h or (i.v <> 0 and i.v <> t.source_version) or "
                "(t.deleted_at is not null) <> i.d) and {})",
                order);
  const std::string_view older = by_version ? "(i.v <> 0 and i.v < t.source_version)" : "false";
  // The image is looked up again, of the rows that differ only: in the same expression it would
  // have PostgreSQL take every row's columns apart.
  return fmt::format(
      "select i.n, f.id, f.sync_version, f.gone, case when f.differs and not i.d then "
      "(select {1} from {2} t where {3}) end as image, coalesce(f.older, false) "
      "from unnest($4::text[], $5::bigint[], $6::uuid[], $7::boolean[]) with ordinality as i(x, v, "
      "h, d, n) "
      "left join lateral (select t.id, t.sync_version, t.deleted_at is not null as gone, {0} as "
      "differs, {4} as older from {2} t where {3} offset 0) f on true "
      "where f.id is null or f.differs or f.older",
      differs, image(plan, presence, false), table(plan),
      "t.workspace_id = $1 and t.connection_id = $2 and t.external_id = i.x", older);
}

/// A whole record sets what it does not have to null; a row that is inserted has null there anyway.
Presence written_by_update(Presence presence) {
  presence.source_url = presence.source_url || presence.whole;
  presence.extra = presence.extra || presence.whole;
  return presence;
}

void add_content(Input& input, const TypePlan& plan, const Presence& presence) {
  if (presence.source_url) {
    input.array("text[]", "u");
    input.column("source_url", "i.u");
  }
  if (presence.extra) {
    input.array("jsonb[]", "e");
    input.column("extra", "i.e");
  }
  for (const std::uint16_t column : presence.columns) {
    const model::StoredAttribute& attribute = plan.stored->attributes[column];
    const std::string name = fmt::format("c{}", column);
    input.array(array_type(attribute.type), name);
    input.column(model::quote_name(attribute.name),
                 "i." + name + (attribute.type == AttributeType::decimal ? "::numeric" : ""));
  }
}

std::string insert_sql(const TypePlan& plan, const Presence& presence) {
  Input input;
  input.array("text[]", "x");
  input.array("bigint[]", "v");
  input.array("uuid[]", "h");
  add_content(input, plan, presence);
  return fmt::format(
      "insert into {} as t ({}, observed_version, source_version, content_hash{}) "
      "select $1, $2, i.x, $3::bigint, i.v, i.h{} "
      "from unnest({}) as i({}) on conflict ({}) do nothing returning t.external_id, t.id",
      table(plan), kKey, input.columns, input.selected, input.arrays, input.names, kKey);
}

/// The look's sync_version travels as the inserted one and must still be the row's.
std::string update_sql(const TypePlan& plan, const Presence& given, Trust trust) {
  const Presence presence = written_by_update(given);
  Input input;
  input.array("text[]", "x");
  input.array("bigint[]", "v");
  input.array("uuid[]", "h");
  input.array("bigint[]", "id");
  input.array("bigint[]", "s");
  add_content(input, plan, presence);
  std::string set;
  if (presence.source_url) set += ", source_url = excluded.source_url";
  if (given.whole) {
    set += ", extra = excluded.extra";
  } else if (presence.extra) {
    set += ", extra = coalesce(t.extra, '{}'::jsonb) || excluded.extra";
  }
  for (const std::uint16_t column : presence.columns) {
    const std::string name = model::quote_name(plan.stored->attributes[column].name);
    set += ", " + name + " = excluded." + name;
  }
  return fmt::format(
      "insert into {} as t ({}, observed_version, id, source_version, content_hash, "
      "sync_version{}) "
      "select $1, $2, i.x, $3::bigint, i.id, i.v, i.h, i.s{} from unnest({}) as i({}) "
      "on conflict ({}) do update set source_version = {}, {}"
      "content_hash = excluded.content_hash, deleted_at = null, last_synced_at = now(), "
      "sync_version = t.sync_version + 1{} where t.sync_version = excluded.sync_version "
      "returning t.external_id, t.id, {}",
      table(plan), kKey, input.columns, input.selected, input.arrays, input.names, kKey,
      trust == Trust::version ? "greatest(t.source_version, excluded.source_version)"
                              : "coalesce(nullif(excluded.source_version, 0), t.source_version)",
      set_observed(), set, image(plan, presence, true));
}

std::string bury_sql(const TypePlan& plan) {
  return fmt::format(
      "insert into {} as t ({}, observed_version, id, source_version, content_hash, sync_version, "
      "deleted_at) "
      "select $1, $2, i.x, $3::bigint, i.id, i.v, i.h, i.s, now() "
      "from unnest($4::text[], $5::bigint[], $6::uuid[], $7::bigint[], $8::bigint[]) as i(x, v, h, "
      "id, s) "
      "on conflict ({}) do update set source_version = greatest(t.source_version, "
      "excluded.source_version), {}"
      "content_hash = excluded.content_hash, deleted_at = coalesce(t.deleted_at, now()), "
      "last_synced_at = now(), "
      "sync_version = t.sync_version + 1 where t.sync_version = excluded.sync_version "
      "returning t.external_id, t.id",
      table(plan), kKey, kKey, set_observed());
}

}  // namespace

std::int64_t observed_order(Epoch epoch, std::int64_t observed_ms) {
  if (observed_ms == 0) return 0;
  SLUICE_INVARIANT(observed_ms > 0);
  constexpr std::int64_t kAlwaysSet = std::int64_t{1} << 62;
  constexpr std::int64_t kTimeMask = (std::int64_t{1} << kObservedTimeBits) - 1;
  constexpr std::int64_t kEpochMask = (std::int64_t{1} << (62 - kObservedTimeBits)) - 1;
  return kAlwaysSet | (epoch.value & kEpochMask) << kObservedTimeBits | (observed_ms & kTimeMask);
}

std::string not_observed_before(int parameter) {
  return fmt::format("(${0}::bigint = 0 or ${0}::bigint >= t.observed_version or {1})", parameter,
                     fmt::format("(${0}::bigint >> {1}) <> (t.observed_version >> {1})", parameter,
                                 kObservedTimeBits));
}

std::string action_sql(Action action, const TypePlan& plan, const Presence& presence, Trust trust) {
  switch (action) {
    case Action::look:
      return look_sql(plan, presence, trust);
    case Action::insert:
      return insert_sql(plan, presence);
    case Action::update:
      return update_sql(plan, presence, trust);
    case Action::bury:
      return bury_sql(plan);
  }
  return {};
}

std::string any_row_sql(const TypePlan& plan) {
  return fmt::format(
      "select exists (select 1 from {} t where t.workspace_id = $1 and t.connection_id = $2)",
      table(plan));
}

namespace {

std::string_view sql_type(AttributeType type) {
  return type == AttributeType::text ? "text" : model::column_type(type);
}

/// The reference in the collation of its index (model/storage.hpp), or it is not found there.
std::string children_where(const TypePlan& plan, const model::StoredAttribute& reference,
                           std::string_view condition) {
  return fmt::format(
      "select t.external_id, t.id, t.sync_version from {} t where t.workspace_id = $1 "
      "and t.connection_id = $2 and t.{}{} = {} and t.deleted_at is null and {} limit {}",
      table(plan), model::quote_name(reference.name),
      reference.type == AttributeType::text ? " collate \"C\"" : "", condition,
      not_observed_before(3), kMissingRowsPerLook);
}

}  // namespace

std::string unlisted_children_sql(const TypePlan& plan, const model::StoredAttribute& reference) {
  return children_where(
      plan, reference,
      fmt::format("$4::text::{} and t.external_id <> all($5::text[])", sql_type(reference.type)));
}

// Parent by parent: of several values at once the planner walks the connection's rows.
std::string children_sql(const TypePlan& plan, const model::StoredAttribute& reference) {
  return fmt::format(
      "select f.external_id, f.id, f.sync_version from unnest($4::text[]) as parent(x) "
      "cross join lateral ({}) f limit {}",
      children_where(plan, reference, fmt::format("parent.x::{}", sql_type(reference.type))),
      kMissingRowsPerLook);
}

std::string near_sql(const TypePlan& plan) {
  // In the inner look only what the index by id knows, and its order, so that no plan walks the
  // rows by another one. The limit cuts nothing off that the last line lets through.
  return fmt::format(
      "select s.external_id, s.content_hash, s.source_version from "
      "(select min(f.id) as first, max(f.id) as last from unnest($3::text[]) as i(x) "
      "cross join lateral (select t.id from {0} t where t.workspace_id = $1 "
      "and t.connection_id = $2 and t.external_id = i.x offset 0) f) r "
      "cross join lateral (select t.external_id, t.content_hash, t.source_version, "
      "t.connection_id, t.deleted_at from {0} t where t.workspace_id = $1 "
      "and t.id between r.first and r.last order by t.id limit $4::bigint) s "
      "where r.last - r.first < $4::bigint and s.connection_id = $2 and s.deleted_at is null",
      table(plan));
}

pg::Params near_params(WorkspaceId workspace, ConnectionId connection,
                       std::span<const Target> targets) {
  constexpr std::size_t kAnchors = 8;
  constexpr std::size_t kIdsPerRow = 4;
  pg::Array anchors(pg::Oid::text);
  const std::size_t last = targets.size() - 1;
  for (std::size_t i = 0; i < kAnchors; ++i)
    anchors.add(targets[last * i / (kAnchors - 1)].row->external_id);
  pg::Params params(workspace, connection, std::move(anchors),
                    static_cast<std::int64_t>(targets.size() * kIdsPerRow));
  return params;
}

bool near_is_same(const pg::QueryResult& result, int row, const Row& record) {
  return !record.deleted && result.get<pg::Uuid>(row, 1) == record.hash &&
         (record.version == 0 || record.version == result.get<std::int64_t>(row, 2));
}

std::string copy_sql(const TypePlan& plan, const Presence& presence) {
  std::string columns;
  if (presence.source_url) columns += ", source_url";
  if (presence.extra) columns += ", extra";
  for (const std::uint16_t column : presence.columns)
    columns += ", " + model::quote_name(plan.stored->attributes[column].name);
  return fmt::format(
      "copy {} ({}, id, observed_version, source_version, content_hash{}) from stdin "
      "(format binary)",
      table(plan), kKey, columns);
}

std::optional<CopyPage> CopyPage::make(WorkspaceId workspace, ConnectionId connection,
                                       const Batch& batch, const TypePlan& plan,
                                       std::vector<std::uint32_t> rows) {
  constexpr std::size_t kFixedColumns = 7;
  constexpr std::size_t kRowBytes = 1024;  // a guess; the buffer grows
  Presence presence;
  for (const std::uint32_t index : rows) presence.merge(batch.presence(batch.rows[index]));
  const std::size_t columns = kFixedColumns + (presence.source_url ? 1 : 0) +
                              (presence.extra ? 1 : 0) + presence.columns.size();
  CopyPage page(std::move(rows), std::move(presence), columns);
  pg::CopyRows& wire = page.wire_;
  wire.reserve(page.rows_.size() * kRowBytes);
  page.later_.reserve(page.rows_.size());
  for (const std::uint32_t index : page.rows_) {
    const Row& row = batch.rows[index];
    wire.begin_row();
    wire.add_int8(workspace.value);
    wire.add_int8(connection.value);
    wire.add_text(row.external_id);
    Later& later = page.later_.emplace_back();
    later.id = wire.add_int8_later();
    later.observed = wire.add_int8_later();
    wire.add_int8(row.version);
    wire.add_uuid(row.hash);
    if (page.presence_.source_url) copy_optional(wire, row.source_url, &pg::CopyRows::add_text);
    if (page.presence_.extra) copy_optional(wire, row.extra, &pg::CopyRows::add_jsonb);
    const std::span<const Value> values = batch.values(row);
    std::size_t next = 0;
    for (const std::uint16_t column : page.presence_.columns) {
      while (next < values.size() && values[next].attribute < column) ++next;
      const bool there = next < values.size() && values[next].attribute == column;
      const AttributeType type = plan.stored->attributes[column].type;
      if (!copy_value(wire, type, there ? &values[next] : nullptr)) return std::nullopt;
    }
  }
  return page;
}

void CopyPage::complete(std::span<const std::int64_t> ids, std::int64_t observed) {
  SLUICE_INVARIANT(ids.size() == later_.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    wire_.put_int8(later_[i].id, ids[i]);
    wire_.put_int8(later_[i].observed, observed);
  }
}

void Shapes::add(pg::Pipeline& pipeline, const std::string& sql, pg::Params params) {
  auto found = prepared_.find(sql);
  if (found == prepared_.end()) {
    if (prepared_.size() >= kPreparedMax) {
      pipeline.add(sql, std::move(params));
      return;
    }
    // Named by its text, so that writers of several loops agree on what a name means.
    const XXH128_hash_t hash = XXH3_128bits(sql.data(), sql.size());
    pg::Statement statement;
    statement.name = fmt::format("ingest_{:016x}{:016x}", hash.high64, hash.low64);
    statement.sql = sql;
    found = prepared_.emplace(sql, std::move(statement)).first;
  }
  pipeline.add(found->second, std::move(params));
}

pg::Params action_params(Action action, WorkspaceId workspace, ConnectionId connection,
                         const Batch& batch, const TypePlan& plan, const Presence& given,
                         std::int64_t observed, std::span<const Target> targets) {
  const Presence presence = action == Action::update ? written_by_update(given) : given;
  pg::Params params;
  params.add(workspace).add(connection).add(observed);
  pg::Array external_ids(pg::Oid::text), versions(pg::Oid::int8), hashes(pg::Oid::uuid);
  for (const Target& target : targets) {
    external_ids.add(target.row->external_id);
    versions.add(target.row->version);
    hashes.add(target.row->hash);
  }
  params.add(std::move(external_ids)).add(std::move(versions)).add(std::move(hashes));
  if (action == Action::look) {
    pg::Array deleted(pg::Oid::boolean);
    for (const Target& target : targets) deleted.add(target.row->deleted);
    params.add(std::move(deleted));
    return params;
  }
  if (action == Action::update || action == Action::bury) {
    pg::Array ids(pg::Oid::int8), sync_versions(pg::Oid::int8);
    for (const Target& target : targets) {
      ids.add(target.found->id);
      sync_versions.add(target.found->sync_version);
    }
    params.add(std::move(ids)).add(std::move(sync_versions));
    if (action == Action::bury) return params;
  }
  if (presence.source_url) {
    pg::Array urls(pg::Oid::text);
    for (const Target& target : targets) {
      if (target.row->source_url.empty()) {
        urls.add_null();
      } else {
        urls.add(target.row->source_url);
      }
    }
    params.add(std::move(urls));
  }
  if (presence.extra) {
    pg::Array extras(pg::Oid::jsonb);
    for (const Target& target : targets) {
      if (target.row->extra.empty()) {
        extras.add_null();
      } else {
        extras.add(target.row->extra);
      }
    }
    params.add(std::move(extras));
  }
  // Row by row, one cursor a row would be a second table: values are sorted, so each lookup is
  // short.
  std::vector<std::uint32_t> next(targets.size(), 0);
  for (const std::uint16_t column : presence.columns) {
    const AttributeType type = plan.stored->attributes[column].type;
    pg::Array array(element_type(type));
    array.reserve(targets.size(), targets.size() * 8);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const auto values = batch.values(*targets[i].row);
      while (next[i] < values.size() && values[next[i]].attribute < column) ++next[i];
      const bool there = next[i] < values.size() && values[next[i]].attribute == column;
      add_value(array, type, there ? &values[next[i]] : nullptr);
    }
    params.add(std::move(array));
  }
  return params;
}

}  // namespace sluice::ingest
