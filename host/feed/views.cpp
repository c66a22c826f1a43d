#include "feed/views.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/columns.hpp"

namespace sluice::feed {
namespace {

using model::Catalog;
using model::fitted_name;
using model::quote_name;
using model::quote_text;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;

constexpr std::string_view kOurMark = "sluice workspace ";
constexpr std::string_view kSettled = "('linked', 'confirmed')";

constexpr std::string_view kLock =
    "select pg_advisory_xact_lock(hashtextextended('sluice.feed.views.' || $1::text, 0))";

constexpr std::string_view kSchema =
    "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = "
    "$1";

constexpr std::string_view kExisting =
    "select c.relname::text, coalesce(obj_description(c.oid, 'pg_class'), '')"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = $1 and c.relkind = 'v'";

/// Column names of one view, none twice.
class Columns {
 public:
  bool take(const std::string& name) { return names_.insert(name).second; }
  void add(std::string expression, const std::string& name) {
    if (!sql_.empty()) sql_ += ", ";
    sql_ += fmt::format("{} as {}", expression, quote_name(name));
  }
  [[nodiscard]] const std::string& sql() const { return sql_; }

 private:
  std::set<std::string> names_;
  std::string sql_;
};

std::string plain_name(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (!plain) c = '_';
  }
  return out;
}

std::string link_column(Columns& columns, const StoredRule& rule) {
  std::string name = fitted_name(plain_name(rule.target_type_name) + "_id");
  if (columns.take(name)) return name;
  const std::string by_rule = plain_name(rule.name) + "_id";
  name = fitted_name(by_rule);
  for (int n = 2; !columns.take(name); ++n) name = fitted_name(fmt::format("{}_{}", by_rule, n));
  return name;
}

View preset_view(const Catalog& catalog, const StoredType& type) {
  Columns columns;
  const auto fixed = [&](std::string_view expression, const std::string& name) {
    columns.take(name);
    columns.add(std::string(expression), name);
  };
  // An attribute may be called like our one extra column; the attribute keeps its name.
  const bool name_is_free = !type.find("connection_name");
  fixed("e.id", "id");
  fixed("e.external_id", "external_id");
  fixed("c.name", name_is_free ? "connection_name" : "sluice_connection_name");
  fixed("e.source_url", "source_url");
  fixed("e.first_synced_at", "first_synced_at");
  fixed("e.last_synced_at", "last_synced_at");
  for (const StoredAttribute& attribute : type.attributes) {
    fixed(model::value_expression(type, attribute, "e"), attribute.name);
  }
  for (const StoredRule& rule : catalog.rules) {
    if (rule.source_type != type.id || rule.source_position < 0 || rule.target_position < 0)
      continue;
    // A lookup by link's whole primary key, made only when the column is asked for. A left join
    // would let a filter on the column begin at the target (0.3 ms for 1.4 s over 300,000 rows),
    // but before the tables' first ANALYZE it was planned as a comparison of each row with all
    // links: 20,000 rows then take minutes. The view link is the way to filter by target.
    const std::string lookup = fmt::format(
        "(select l.target_id from sluice.link l where l.workspace_id = {} and l.rule_id = {}"
        " and l.source_id = e.id and l.state in {})",
        catalog.workspace.value, rule.id.value, kSettled);
    columns.add(lookup, link_column(columns, rule));
  }
  View view;
  view.name = type.table;
  view.sql = fmt::format(
      "select {0} from vendor.{1} e"
      " left join sluice.connection c on c.workspace_id = {2} and c.connection_id = e.connection_id"
      " where e.workspace_id = {2} and e.deleted_at is null",
      columns.sql(), quote_name(type.table), catalog.workspace.value);
  return view;
}

View own_view(const Catalog& catalog, const StoredType& type) {
  Columns columns;
  columns.add("e.id", "id");
  for (const StoredAttribute& attribute : type.attributes) {
    columns.add(model::value_expression(type, attribute, "e"), attribute.name);
  }
  columns.add("e.created_at", "created_at");
  columns.add("e.updated_at", "updated_at");
  View view;
  view.name = type.name;
  view.sql = fmt::format(
      "select {} from sluice.own_entity e"
      " where e.workspace_id = {} and e.type_id = {} and e.deleted_at is null",
      columns.sql(), catalog.workspace.value, type.id.value);
  return view;
}

/// Looks the external id up in the one table that the row's type names.
std::string external_id_of_source(const Catalog& catalog) {
  std::set<EntityTypeId> sources;
  for (const StoredRule& rule : catalog.rules) sources.insert(rule.source_type);
  std::string cases;
  for (const StoredType& type : catalog.types) {
    if (type.own || !sources.contains(type.id)) continue;
    cases += fmt::format(
        " when {} then (select e.external_id from vendor.{} e"
        " where e.workspace_id = {} and e.id = l.source_id)",
        type.id.value, quote_name(type.table), catalog.workspace.value);
  }
  if (cases.empty()) return "null::text";
  return fmt::format("case l.source_type_id{} end", cases);
}

View link_view(const Catalog& catalog) {
  View view;
  view.name = "link";
  view.sql = fmt::format(
      "select r.name as rule, l.state, s.name as source_type, l.source_id,"
      " {0} as source_external_id, t.name as target_type, l.target_id, l.candidates,"
      " l.candidate_count, l.evidence, l.decided_by, l.updated_at"
      " from sluice.link l"
      " join sluice.link_rule r on r.workspace_id = {1} and r.rule_id = l.rule_id"
      " left join sluice.entity_type s on s.workspace_id = {1} and s.type_id = l.source_type_id"
      " left join sluice.entity_type t on t.workspace_id = {1} and t.type_id = l.target_type_id"
      " where l.workspace_id = {1}",
      external_id_of_source(catalog), catalog.workspace.value);
  return view;
}

View change_view(const Catalog& catalog) {
  View view;
  view.name = "change";
  view.sql = fmt::format(
      "select h.txid, h.change_id, h.at, t.name as type, h.entity_id, h.external_id, h.op, "
      "h.changed,"
      " c.name as connection_name, h.run_id"
      " from sluice.change h"
      " left join sluice.entity_type t on t.workspace_id = {0} and t.type_id = h.type_id"
      " left join sluice.connection c on c.workspace_id = {0} and c.connection_id = h.connection_id"
      " where h.workspace_id = {0}",
      catalog.workspace.value);
  return view;
}

Task<void> claim_schema(pg::Transaction& transaction, const std::string& name,
                        const std::string& mark) {
  pg::Params by_name(name);
  const auto existing = co_await transaction.query(kSchema, std::move(by_name));
  if (existing.empty()) {
    const std::string create = fmt::format("create schema {}", quote_name(name));
    co_await transaction.query(create);
    const std::string comment =
        fmt::format("comment on schema {} is {}", quote_name(name), quote_text(mark));
    co_await transaction.query(comment);
    co_return;
  }
  if (existing.text(0, 0) == mark) co_return;
  throw Failure(Error(
      ErrorKind::conflict, "workspace.schema_taken",
      fmt::format("the database has a schema {} that does not belong to this workspace", name),
      "rename that schema, or choose another name for the workspace"));
}

/// False when PostgreSQL will not replace the view in place.
Task<bool> replace_view(pg::Transaction& transaction, const std::string& create) {
  co_await transaction.query("savepoint refresh_view");
  bool replaced = true;
  try {
    co_await transaction.query(create);
  } catch (const pg::QueryError& error) {
    // 42P16: columns were dropped, renamed, retyped or put in another order.
    if (error.sqlstate() != "42P16") throw;
    replaced = false;
  }
  if (!replaced) co_await transaction.query("rollback to savepoint refresh_view");
  co_return replaced;
}

Task<void> drop_view(pg::Transaction& transaction, const std::string& full_name) {
  const std::string sql = fmt::format("drop view {}", full_name);
  try {
    co_await transaction.query(sql);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() != "2BP01") throw;
    throw Failure(
        Error(ErrorKind::conflict, "views.depended_on",
              fmt::format("the view {} must change, but something else in the database uses it",
                          full_name),
              "drop the view or function that uses it, refresh, and create it again"));
  }
}

Task<void> put_view(pg::Transaction& transaction, const std::string& schema, const View& view,
                    std::string hash, bool exists) {
  const std::string name = fmt::format("{}.{}", quote_name(schema), quote_name(view.name));
  const std::string create = fmt::format("create or replace view {} as {}", name, view.sql);
  const bool replaced = co_await replace_view(transaction, create);
  if (!replaced && exists) {
    co_await drop_view(transaction, name);
    co_await transaction.query(create);
  }
  const std::string comment = fmt::format("comment on view {} is {}", name, quote_text(hash));
  co_await transaction.query(comment);
}

std::string hash_of(const View& view) {
  return fmt::format("sluice {}", model::text_hash(view.sql));
}

}  // namespace

std::vector<View> views_of(const Catalog& catalog) {
  std::vector<View> views;
  for (const StoredType& type : catalog.types) {
    views.push_back(type.own ? own_view(catalog, type) : preset_view(catalog, type));
  }
  views.push_back(link_view(catalog));
  views.push_back(change_view(catalog));
  return views;
}

Result<void> check_workspace_name(std::string_view name) {
  const bool reserved = name == "public" || name == "sluice" || name == "vendor" ||
                        name == "information_schema" || name.starts_with("pg_");
  if (!reserved) return {};
  return fail(
      ErrorKind::bad_input, "workspace.reserved_name",
      fmt::format("a workspace cannot be called {}: its views live in a schema of that name, and"
                  " PostgreSQL or Sluice needs that one",
                  name),
      "choose another name");
}

Task<void> refresh_views(pg::Connection& connection, const Catalog& catalog,
                         std::string workspace_name) {
  expect(check_workspace_name(workspace_name));
  auto transaction = co_await pg::Transaction::begin(connection);
  pg::Params locked(workspace_name);
  co_await transaction.query(kLock, std::move(locked));
  const std::string mark = fmt::format("{}{}", kOurMark, catalog.workspace.value);
  co_await claim_schema(transaction, workspace_name, mark);

  pg::Params by_name(workspace_name);
  const auto rows = co_await transaction.query(kExisting, std::move(by_name));
  std::map<std::string, std::string> existing;
  for (int i = 0; i < rows.rows(); ++i)
    existing[rows.get<std::string>(i, 0)] = rows.get<std::string>(i, 1);

  for (const View& view : views_of(catalog)) {
    const auto found = existing.find(view.name);
    const bool exists = found != existing.end();
    const std::string hash = hash_of(view);
    const bool same = exists && found->second == hash;
    if (exists) existing.erase(found);
    if (!same) co_await put_view(transaction, workspace_name, view, hash, exists);
  }
  // What is left carries our mark but no type calls for it; views that people made here stay.
  for (const auto& [name, comment] : existing) {
    if (!comment.starts_with("sluice ")) continue;
    const std::string full_name =
        fmt::format("{}.{}", quote_name(workspace_name), quote_name(name));
    co_await drop_view(transaction, full_name);
  }
  co_await transaction.commit();
}

}  // namespace sluice::feed
