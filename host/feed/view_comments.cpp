#include "feed/view_comments.hpp"

#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "model/columns.hpp"
#include "pg/error.hpp"

namespace sluice::feed {
namespace {

struct Said {
  std::string_view column, text;
};

/// Of columns that are no attribute. One that had to be called otherwise begins with "sluice_".
constexpr std::array<Said, 31> kColumns = {{
    {"id", "Sluice id, unique in the workspace: what links, REST and the change feed name"},
    {"external_id", "the vendor's id, unique in its connection"},
    {"connection_id", "the connection that it comes from; with external_id the vendor's identity"},
    {"connection_name", "the name of the connection that it comes from"},
    {"source_url", "where a person sees it at the vendor"},
    {"first_synced_at", "when Sluice first stored it"},
    {"last_synced_at", "when Sluice last stored it anew"},
    {"extra", "what the vendor sent beyond the attributes, by its names there"},
    {"created_at", "when it was made here"},
    {"updated_at", "when it was last changed"},
    {"rule", "the link rule"},
    {"state", "linked, confirmed, pending, contested, suggested or rejected"},
    {"source_type", "the type of the row that is linked"},
    {"source_id", "the Sluice id of the row that is linked"},
    {"source_external_id", "the vendor's id of the row that is linked"},
    {"target_type", "the type of the row that it is linked to"},
    {"target_id", "the Sluice id of the row that it is linked to"},
    {"candidates", "Sluice ids of rows that it could be linked to"},
    {"candidate_count", "how many rows it could be linked to"},
    {"evidence", "what the rule went by"},
    {"decided_by", "who decided: a rule or a person"},
    {"position", "its place in the change feed"},
    {"at", "when Sluice stored it"},
    {"vendor_at", "when it happened at the vendor; null where the vendor gave no time"},
    {"op", "insert, update or delete"},
    {"changed", "the attributes that changed, old and new"},
    {"type", "the type of the row that changed"},
    {"entity_id", "the Sluice id of the row that changed"},
    {"run_id", "the run that found the change"},
    {"change_id", "position, by its name of before"},
    {"txid", "null; of a version before"},
}};

// $1 workspace, $2 schema, $3/$4 views and their types, $5 what is said of columns, by their names.
// A reference is called after its attribute, a link after the type that it leads to. Every change
// of a catalogue asks this of all views: each comment is found by its whole key.
constexpr std::string_view kMissing = R"(
  with views as (
    select w.name, c.oid, v.comments as said, t.type_id,
           case when t.origin = 'own' then format('%s: a type of your own. Deleted rows are left out.', w.name)
                when t.origin = 'preset' then format('%s (%s), as the connector %s reads it. Deleted rows are left out.',
                  coalesce(nullif(t.declaration->>'display_name', ''), t.name), t.name, t.connector)
                when w.name = 'link' then 'Which row is linked to which, by rules that are on'
                when w.name = 'change' then 'The change feed: what changed in which row, in order' end as text
    from unnest($3::text[], $4::bigint[]) w (name, type_id)
    join sluice.sql_view v on v.workspace_id = $1 and v.name = w.name and v.hash <> ''
    join pg_class c on c.relnamespace = (select oid from pg_namespace where nspname = $2)
      and c.relname::text collate "C" = w.name and c.relkind = 'v'
    left join sluice.entity_type t on t.workspace_id = $1 and t.type_id = w.type_id),
  wanted as (
    select v.name, v.oid, 0 as of_number, '' as of_column, v.said, v.text from views v
    union all
    select v.name, v.oid, p.attnum, p.attname::text, v.said,
           coalesce(nullif(a.description, ''), case when a.name is not null then replace(a.name, '_', ' ')
             else $5::jsonb->>(case when p.attname::text ^@ 'sluice_' then substr(p.attname::text, 8) else p.attname::text end) end,
             case when p.attname::text like '%\_ref' or p.attname::text like '%\_ref\__'
                    then 'the Sluice id of the row that this refers to, or null while that is not there'
                  when p.attname::text like '%\_major'
                    then format('%s in its currency, an exact decimal', replace(left(p.attname::text, -6), '_', ' '))
                  when p.attname::text like '%\_id' then 'the Sluice id of the row that it is linked to, by link rules' end)
    from views v join pg_attribute p on p.attrelid = v.oid and p.attnum > 0 and not p.attisdropped
    left join sluice.attribute a on a.workspace_id = $1 and a.type_id = v.type_id and a.name = p.attname::text collate "C"
      and (a.origin = 'declared' or a.format <> ''))  -- an admin's without a path was taken away
  select distinct on (w.name, w.of_column) w.name, w.of_column, w.text
  from wanted w left join pg_description d
    on d.objoid = w.oid and d.classoid = 'pg_class'::regclass and d.objsubid = w.of_number
  where w.text is not null and w.text is distinct from d.description
    and (d.description is null or d.description = w.said->>w.of_column)
  order by w.name, w.of_column)";

constexpr std::string_view kRemember =
    "update sluice.sql_view set comments = comments || $3::text::jsonb"
    " where workspace_id = $1 and name = $2";

}  // namespace

Task<void> comment_views(pg::Transaction& transaction, const model::Catalog& catalog,
                         std::string schema) {
  pg::Array views(pg::Oid::text), types(pg::Oid::int8);
  for (const model::StoredType& type : catalog.types) {
    views.add(std::string_view(type.own ? type.name : type.table));
    types.add(type.id.value);
  }
  for (const char* other : {"link", "change"}) {
    views.add(std::string_view(other));
    types.add(std::int64_t{0});
  }
  nlohmann::json columns;
  for (const Said& one : kColumns) columns[std::string(one.column)] = one.text;
  pg::Params params(catalog.workspace, schema, std::move(views), std::move(types), columns);
  const auto missing = co_await transaction.query(kMissing, std::move(params));
  if (missing.empty()) co_return;
  pg::Pipeline pipeline;
  std::map<std::string, nlohmann::json> said;
  for (int row = 0; row < missing.rows(); ++row) {
    const auto view = missing.get<std::string>(row, 0);
    const auto column = missing.get<std::string>(row, 1);
    const auto text = missing.get<std::string>(row, 2);
    const std::string name = model::quote_name(schema) + "." + model::quote_name(view);
    const std::string what =
        column.empty() ? "view " + name : "column " + name + "." + model::quote_name(column);
    pipeline.add(fmt::format("comment on {} is {}", what, model::quote_text(text)));
    said[view][column] = text;
  }
  for (const auto& [view, words] : said)
    pipeline.add(kRemember, pg::Params(catalog.workspace, view, write_json(words)));
  co_await transaction.query("savepoint comments");
  bool done = true;
  try {
    co_await transaction.connection().run(std::move(pipeline));
  } catch (const pg::QueryError& error) {
    if (error.sqlstate().empty()) throw;
    done = false;
    log::warning("views.comments", {{"workspace", schema}, {"error", error.what()}});
  }
  if (!done) co_await transaction.query("rollback to savepoint comments");
  co_await transaction.query("release savepoint comments");
}

}  // namespace sluice::feed
