#include "model/storage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/check.hpp"
#include "contract/reserved_names.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "model/currencies.hpp"

namespace sluice::model {
namespace {

using contract::Attribute;
using contract::EntityType;
using contract::Manifest;

constexpr std::string_view kColumns =
    "select a.attname::text, format_type(a.atttypid, a.atttypmod)"
    " from pg_attribute a join pg_class c on c.oid = a.attrelid"
    " join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = 'vendor' and c.relname = $1 and a.attnum > 0 and not a.attisdropped";

constexpr std::string_view kIndexes =
    "select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid"
    " join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace"
    " where n.nspname = 'vendor' and t.relname = $1 and i.indisvalid";

constexpr std::string_view kWatchRows =
    "select sluice.watch_rows_of(format('vendor.%I', $1::text)::regclass)";

constexpr std::string_view kLockWait = "set local lock_timeout = '3s'";
constexpr std::string_view kLockWaitOver = "set local lock_timeout to default";

constexpr std::string_view kTypeByName =
    "select origin, coalesce(connector, '') from sluice.entity_type"
    " where workspace_id = $1 and name = $2";

constexpr std::string_view kOwnTypeByName =
    "select 1 from sluice.entity_type where workspace_id = $1 and name = $2 and origin = 'own'"
    " and state not in ('dropping', 'dropped')";

constexpr std::string_view kPutType =
    "insert into sluice.entity_type (workspace_id, name, origin, connector, relation, declaration)"
    " values ($1, $2, 'preset', $3, $4, $5)"
    " on conflict (workspace_id, name) do update"
    " set declaration = excluded.declaration, relation = excluded.relation, state = 'active'"
    " returning type_id";

constexpr std::string_view kAttributes =
    "select name, position, type, key_kind, origin = 'user', format <> '' from sluice.attribute "
    "where workspace_id = $1 and type_id = $2";

constexpr std::string_view kPutAttribute =
    "insert into sluice.attribute (workspace_id, type_id, name, position, type, format, "
    "description,"
    " protected, required, personal, key_kind, currency)"
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    " on conflict (workspace_id, type_id, name) do update"
    " set type = excluded.type, format = excluded.format, description = excluded.description,"
    " protected = excluded.protected, required = excluded.required, personal = excluded.personal,"
    " key_kind = excluded.key_kind, currency = excluded.currency, origin = 'declared'";

constexpr std::string_view kRelaxAttributes =
    "update sluice.attribute set required = false"
    " where workspace_id = $1 and type_id = $2 and required and not name = any ($3::text[])";

constexpr std::string_view kDropRelationships =
    "delete from sluice.relationship"
    " where workspace_id = $1 and type_id = $2 and not name = any ($3::text[])";

constexpr std::string_view kPutRelationship =
    "insert into sluice.relationship (workspace_id, type_id, name, attribute, target_type_id, "
    "protected)"
    " values ($1, $2, $3, $4, $5, $6)"
    " on conflict (workspace_id, type_id, name) do update"
    " set attribute = excluded.attribute, target_type_id = excluded.target_type_id,"
    " protected = excluded.protected";

// By what its own connector calls it: another's rule of that name, or an admin's, is another rule.
constexpr std::string_view kChangeRule =
    "update sluice.link_rule r set source_type = $4, source_attribute = $5, target_type = $6,"
    " target_attribute = $7, key_kind = $8, enabled = r.enabled or r.going, going = false"
    " where r.workspace_id = $1 and r.connector = $2 and r.declared_name = $3"
    " and (r.going or (r.source_type, r.source_attribute, r.target_type, r.target_attribute,"
    " r.key_kind::int) is distinct from ($4, $5, $6, $7, $8::int)) returning r.name";

constexpr std::string_view kHasRule =
    "select 1 from sluice.link_rule where workspace_id = $1 and connector = $2 and declared_name = "
    "$3";

constexpr std::string_view kPutRule =
    "insert into sluice.link_rule (workspace_id, connector, declared_name, source_type,"
    " source_attribute, target_type, target_attribute, key_kind, name, origin)"
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'connector')"
    " on conflict (workspace_id, name) do nothing returning name";

constexpr std::string_view kDropRules =
    "update sluice.link_rule set enabled = false, going = true"
    " where workspace_id = $1 and connector = $2 and not going and not declared_name = any "
    "($3::text[])"
    " returning name";

constexpr std::string_view kTableHead =
    "create table vendor.{} ("
    "workspace_id bigint not null, connection_id bigint not null,"
    " external_id text collate \"C\" not null,"
    " id bigint not null default nextval('sluice.entity_id'),"
    " source_version bigint not null default 0, observed_version bigint not null default 0,"
    " content_hash uuid not null,"
    " deleted_at timestamptz, first_synced_at timestamptz not null default now(),"
    " last_synced_at timestamptz not null default now(), sync_version bigint not null default 1,"
    " source_url text, extra jsonb, overlay jsonb";

std::string full_name(const Manifest& manifest, std::string_view type) {
  return fmt::format("{}.{}", manifest.id, type);
}

pg::Array text_array(const std::vector<std::string>& values) {
  pg::Array array(pg::Oid::text);
  for (const std::string& value : values) array.add(std::string_view(value));
  return array;
}

[[noreturn]] void refuse_retyped(const Manifest& manifest, const EntityType& type,
                                 const Attribute& attribute, std::string_view old_type) {
  throw Failure(Error(
      ErrorKind::bad_input, "type.attribute_retyped",
      fmt::format("connector {} {} declares {}.{} as {}, but it is stored as {}", manifest.id,
                  manifest.version, full_name(manifest, type.name), attribute.name,
                  contract::to_string(attribute.type), old_type),
      fmt::format("a type never changes under a name: keep {} as {}, and declare another attribute"
                  " (for example {}_{}) for the new type",
                  attribute.name, old_type, attribute.name, contract::to_string(attribute.type))));
}

void refuse_reserved_names(const Manifest& manifest) {
  for (const EntityType& type : manifest.entity_types) {
    for (const Attribute& attribute : type.attributes) {
      const auto by = contract::reserved_by(attribute.name);
      if (!by || *by == contract::ReservedBy::view) continue;  // the view finds another name
      throw Failure(Error(
          ErrorKind::bad_input, "type.reserved_attribute",
          fmt::format("connector {} {} declares {}.{}, which is the name of a column that every"
                      " entity has",
                      manifest.id, manifest.version, full_name(manifest, type.name),
                      attribute.name),
          fmt::format("give the attribute another name in the manifest, for example vendor_{}",
                      attribute.name)));
    }
  }
}

std::string create_table(const EntityType& type, std::string_view table) {
  std::string sql = fmt::format(fmt::runtime(kTableHead), quote_name(table));
  for (const Attribute& attribute : type.attributes) {
    sql += fmt::format(", {} {}", quote_name(attribute.name), column_type(attribute.type));
  }
  sql += ", primary key (workspace_id, connection_id, external_id)) with (fillfactor = 80)";
  return sql;
}

// Every row has an id; who asks for none is not answered by this index. On an empty table all
// indexes cost the same, and the youngest is taken: for an external id it would be this one, by the
// workspace alone.
std::string create_id_index(std::string_view table) {
  return fmt::format(
      "create unique index if not exists {} on vendor.{} (workspace_id, id) where id is "
      "not null",
      quote_name(fitted_name(fmt::format("{}_by_id", table))), quote_name(table));
}

/// ADD COLUMN for each attribute the table lacks; refuses one whose column has another type.
std::vector<std::string> alter_table(const Manifest& manifest, const EntityType& type,
                                     std::string_view table, const pg::QueryResult& columns) {
  std::map<std::string, std::string, std::less<>> existing;
  for (int row = 0; row < columns.rows(); ++row) {
    existing.emplace(columns.get<std::string>(row, 0), columns.get<std::string>(row, 1));
  }
  std::vector<std::string> statements;
  if (!existing.contains("observed_version")) {  // of a table that is older than the column
    statements.push_back(
        fmt::format("alter table vendor.{} add column observed_version bigint not null default 0",
                    quote_name(table)));
  }
  for (const Attribute& attribute : type.attributes) {
    const auto found = existing.find(attribute.name);
    if (found == existing.end()) {
      statements.push_back(fmt::format("alter table vendor.{} add column {} {}", quote_name(table),
                                       quote_name(attribute.name), column_type(attribute.type)));
      continue;
    }
    if (found->second == column_type(attribute.type)) continue;
    const auto old_type = attribute_type_of_column(found->second);
    refuse_retyped(manifest, type, attribute,
                   old_type ? contract::to_string(*old_type) : std::string_view(found->second));
  }
  return statements;
}

/// Columns that a table lacks. Adding one takes a moment under a lock that excludes everybody, and
/// whoever comes behind us while we wait for it waits, too.
Task<void> add_columns(pg::Transaction& transaction, std::string_view table,
                       std::vector<std::string> statements) {
  if (statements.empty()) co_return;
  co_await transaction.query(kLockWait);
  bool busy = false;
  try {
    for (const std::string& sql : statements) co_await transaction.query(sql);
  } catch (const pg::QueryError& error) {
    if (error.sqlstate() != "55P03") throw;
    busy = true;
  }
  if (busy) {
    throw Failure(
        Error(ErrorKind::retry_later, "type.table_busy",
              fmt::format("vendor.{} needs a column, and something holds the table", table),
              "Ask again; a long query or a backup that reads it may have to end first"));
  }
  co_await transaction.query(kLockWaitOver);
}

std::optional<std::int32_t> key_kind_of(const EntityType& type, std::string_view attribute) {
  for (const contract::LinkKey& key : type.link_keys) {
    if (key.attribute == attribute) return static_cast<std::int32_t>(key.kind);
  }
  return std::nullopt;
}

/// Of an amount whose currency can be told. A manifest that was admitted before there were such
/// rules may say more.
std::string_view currency_of(const EntityType& type, const Attribute& attribute) {
  const auto index = type.attribute_index(attribute.currency);
  const bool amount = attribute.type == contract::AttributeType::integer ||
                      attribute.type == contract::AttributeType::decimal;
  const bool told = index && type.attributes[*index].type == contract::AttributeType::text;
  if (attribute.format != contract::kMinorUnits || !amount || !told) return {};
  return attribute.currency;
}

/// Of amounts whose currency nobody knows. In a table with rows it is durable work.
Task<void> make_currency_indexes(pg::Transaction& transaction, const EntityType& type,
                                 const std::string& table, std::set<std::string>& indexed,
                                 bool is_new, Installed& news) {
  for (const Attribute& attribute : type.attributes) {
    const std::string currency(currency_of(type, attribute));
    if (currency.empty() || !indexed.insert(currency_index_name(table, currency)).second) continue;
    if (!is_new) {
      Installed::Index& index = news.currency_indexes.emplace_back();
      index.table = table;
      index.attribute = currency;
      continue;
    }
    const std::string create = create_currency_index(table, currency);
    co_await transaction.query(create);
  }
}

Task<void> make_table(pg::Transaction& transaction, const Manifest& manifest,
                      const EntityType& type, Installed& news) {
  const std::string table = table_name(manifest.id, type.name);
  pg::Params by_table(table);
  const auto columns = co_await transaction.query(kColumns, std::move(by_table));
  const bool is_new = columns.empty();
  if (is_new) {
    const std::string create = create_table(type, table);
    co_await transaction.query(create);
    const std::string by_id = create_id_index(table);
    co_await transaction.query(by_id);
    pg::Params watched(table);
    co_await transaction.query(kWatchRows, std::move(watched));
  } else {
    co_await add_columns(transaction, table, alter_table(manifest, type, table, columns));
  }
  std::set<std::string> indexed;
  pg::Params of_table(table);
  const auto there = co_await transaction.query(kIndexes, std::move(of_table));
  for (int row = 0; row < there.rows(); ++row) indexed.insert(there.get<std::string>(row, 0));
  for (const contract::Relationship& relationship : type.relationships) {
    const std::string name = reference_index_name(table, relationship.attribute);
    if (!indexed.insert(name).second) continue;
    if (!is_new) {
      Installed::Index& index = news.indexes.emplace_back();
      index.table = table;
      index.attribute = relationship.attribute;
      continue;
    }
    const std::string create = create_reference_index(table, relationship.attribute);
    co_await transaction.query(create);
  }
  co_await make_currency_indexes(transaction, type, table, indexed, is_new, news);
}

Task<void> refuse_taken_name(pg::Transaction& transaction, WorkspaceId workspace,
                             const Manifest& manifest, const EntityType& type) {
  const std::string name = full_name(manifest, type.name);
  pg::Params by_name(workspace, name);
  const auto taken = co_await transaction.query(kTypeByName, std::move(by_name));
  const std::string view = table_name(manifest.id, type.name);
  pg::Params by_view(workspace, view);
  const auto view_taken = co_await transaction.query(kOwnTypeByName, std::move(by_view));
  if (!view_taken.empty()) {
    throw Failure(Error(
        ErrorKind::conflict, "type.name_taken",
        fmt::format("the workspace has an own type {}, which is the name of the SQL view of {}",
                    view, name),
        "rename the own type before this connector is installed"));
  }
  if (taken.empty()) co_return;
  const auto origin = taken.get<std::string>(0, 0);
  const auto owner = taken.get<std::string>(0, 1);
  if (origin == "preset" && owner == manifest.id) co_return;
  throw Failure(Error(
      ErrorKind::conflict, "type.name_taken",
      fmt::format("connector {} declares the type {}, which the workspace already has from {}",
                  manifest.id, name,
                  origin == "own" ? "its own types" : fmt::format("connector {}", owner)),
      "remove or rename the other type, or install a connector with another id"));
}

nlohmann::json declaration_of(const EntityType& type, const Manifest& manifest) {
  nlohmann::json declaration = nlohmann::json::object();
  declaration["display_name"] = type.display_name;
  declaration["display_attribute"] = type.display_attribute;
  declaration["connector_version"] = manifest.version;
  if (!manifest.currency_exponents.empty())
    declaration["currency_exponents"] = manifest.currency_exponents;
  return declaration;
}

[[noreturn]] void refuse_added(const Manifest& manifest, const EntityType& type,
                               std::string_view attribute) {
  const std::string name = full_name(manifest, type.name);
  throw Failure(Error(
      ErrorKind::conflict, "type.attribute_added",
      fmt::format("connector {} {} declares {}.{}, and the workspace has an attribute of that name "
                  "which was added to {}",
                  manifest.id, manifest.version, name, attribute, name),
      fmt::format("take that one away, or give it another name: sluice entity drop-attribute {} {}",
                  name, attribute)));
}

/// The manifest's index when it is free, else the next position behind all. What admins added has
/// its own, behind these.
class Positions {
 public:
  void stored(std::string name, std::int32_t position) {
    by_name_.emplace(std::move(name), position);
    if (position < kPathPositionMin) used_.insert(position);
  }
  std::int32_t of(const std::string& name, std::int32_t index) {
    if (const auto found = by_name_.find(name); found != by_name_.end()) return found->second;
    const std::int32_t position = used_.contains(index) ? *used_.rbegin() + 1 : index;
    stored(name, position);
    return position;
  }

 private:
  std::map<std::string, std::int32_t> by_name_;
  std::set<std::int32_t> used_;
};

Task<void> put_attributes(pg::Transaction& transaction, WorkspaceId workspace,
                          const Manifest& manifest, const EntityType& type, EntityTypeId id,
                          Installed& news) {
  pg::Params by_type(workspace, id);
  const auto stored = co_await transaction.query(kAttributes, std::move(by_type));
  Positions positions;
  for (int row = 0; row < stored.rows(); ++row) {
    const auto name = stored.get<std::string>(row, 0);
    positions.stored(name, stored.get<std::int32_t>(row, 1));
    const auto index = type.attribute_index(name);
    if (!index) continue;
    const Attribute& attribute = type.attributes[*index];
    const bool added = stored.get<bool>(row, 4);
    if (added && stored.get<bool>(row, 5)) refuse_added(manifest, type, name);
    // One that was added and taken away has left nothing but its name.
    if (!added && stored.text(row, 2) != contract::to_string(attribute.type)) {
      refuse_retyped(manifest, type, attribute, stored.text(row, 2));
    }
    if (stored.get<std::optional<std::int32_t>>(row, 3) != key_kind_of(type, name)) {
      Installed::Key key;
      key.type = full_name(manifest, type.name);
      key.attribute = name;
      news.keys.push_back(std::move(key));
    }
  }
  std::vector<std::string> names;
  std::int32_t index = 0;
  for (const Attribute& attribute : type.attributes) {
    const std::int32_t position = positions.of(attribute.name, index++);
    pg::Params values(workspace, id, attribute.name, position, contract::to_string(attribute.type),
                      attribute.format, attribute.description, attribute.is_protected,
                      attribute.required, attribute.personal, key_kind_of(type, attribute.name),
                      currency_of(type, attribute));
    co_await transaction.query(kPutAttribute, std::move(values));
    names.push_back(attribute.name);
  }
  pg::Params declared(workspace, id, text_array(names));
  co_await transaction.query(kRelaxAttributes, std::move(declared));
}

Task<void> put_relationships(pg::Transaction& transaction, WorkspaceId workspace,
                             const Manifest& manifest, const EntityType& type,
                             const std::map<std::string, EntityTypeId>& ids) {
  const EntityTypeId id = ids.at(full_name(manifest, type.name));
  std::vector<std::string> names;
  for (const contract::Relationship& relationship : type.relationships) {
    names.push_back(relationship.name);
  }
  pg::Params declared(workspace, id, text_array(names));
  co_await transaction.query(kDropRelationships, std::move(declared));
  for (const contract::Relationship& relationship : type.relationships) {
    const auto target = ids.find(full_name(manifest, relationship.target));
    SLUICE_INVARIANT(target != ids.end());  // parse_manifest checked it
    pg::Params values(workspace, id, relationship.name, relationship.attribute, target->second,
                      relationship.is_protected);
    co_await transaction.query(kPutRelationship, std::move(values));
  }
}

/// Under the name that the manifest gives it, or behind the connector's when that is taken.
Task<std::string> put_new_rule(pg::Transaction& transaction, const pg::Params& values,
                               const Manifest& manifest, const contract::LinkRule& rule) {
  std::string name = rule.name;
  for (int attempt = 1; attempt <= 2; ++attempt) {
    pg::Params named(values);
    named.add(name);
    const auto put = co_await transaction.query(kPutRule, std::move(named));
    if (!put.empty()) co_return name;
    name = full_name(manifest, rule.name);
  }
  throw Failure(Error(
      ErrorKind::conflict, "type.rule_name_taken",
      fmt::format("connector {} brings the link rule '{}', and the workspace has rules '{}' and "
                  "'{}' of others already",
                  manifest.id, rule.name, rule.name, full_name(manifest, rule.name)),
      "the connector's author has to give the rule another name"));
}

Task<void> put_rules(pg::Transaction& transaction, WorkspaceId workspace, const Manifest& manifest,
                     Installed& news) {
  std::vector<std::string> names;
  for (const contract::LinkRule& rule : manifest.link_rules) {
    names.push_back(rule.name);
    pg::Params values(workspace, manifest.id, rule.name, full_name(manifest, rule.source_type),
                      rule.source_attribute, rule.target_type, rule.target_attribute,
                      static_cast<std::int32_t>(rule.kind));
    const auto changed = co_await transaction.query(kChangeRule, values);
    if (!changed.empty()) {
      news.rules.push_back(changed.get<std::string>(0, 0));
      continue;
    }
    pg::Params which(workspace, manifest.id, rule.name);
    const auto there = co_await transaction.query(kHasRule, std::move(which));
    if (!there.empty()) continue;
    const std::string name = co_await put_new_rule(transaction, values, manifest, rule);
    if (name != rule.name) {
      news.notes.push_back(
          fmt::format("its link rule '{}' is called '{}' here: another rule has "
                      "that name",
                      rule.name, name));
    }
    news.rules.push_back(name);
  }
  pg::Params declared(workspace, manifest.id, text_array(names));
  const auto dropped = co_await transaction.query(kDropRules, std::move(declared));
  for (int row = 0; row < dropped.rows(); ++row) {
    news.rules.push_back(dropped.get<std::string>(row, 0));
    news.notes.push_back(
        fmt::format("the link rule '{}' goes, with its links: this version does "
                    "not bring it any more",
                    news.rules.back()));
  }
}

}  // namespace

std::string reference_index_name(std::string_view table, std::string_view attribute) {
  return fitted_name(fmt::format("{}_at_{}", table, attribute));
}

std::vector<std::string> former_reference_index_names(std::string_view table,
                                                      std::string_view attribute) {
  return {fitted_name(fmt::format("{}_by_{}", table, attribute)),
          fitted_name(fmt::format("{}_of_{}", table, attribute))};
}

std::string create_reference_index(std::string_view table, std::string_view attribute,
                                   std::string_view how) {
  return fmt::format(
      "create index {0} if not exists {1} on vendor.{2} (workspace_id, connection_id, "
      "{3} collate \"C\") where {3} is not null",
      how, quote_name(reference_index_name(table, attribute)), quote_name(table),
      quote_name(attribute));
}

Task<Installed> install_types(pg::Transaction& transaction, WorkspaceId workspace,
                              const contract::Manifest& manifest) {
  Installed news;
  refuse_reserved_names(manifest);
  co_await transaction.query(kTypesAlone);
  for (const EntityType& type : manifest.entity_types) {
    co_await refuse_taken_name(transaction, workspace, manifest, type);
    co_await make_table(transaction, manifest, type, news);
  }
  std::map<std::string, EntityTypeId> ids;
  for (const EntityType& type : manifest.entity_types) {
    const std::string name = full_name(manifest, type.name);
    pg::Params values(workspace, name, manifest.id,
                      fmt::format("vendor.{}", table_name(manifest.id, type.name)),
                      declaration_of(type, manifest));
    const auto put = co_await transaction.query(kPutType, std::move(values));
    ids[name] = put.get<EntityTypeId>(0, 0);
  }
  for (const EntityType& type : manifest.entity_types) {
    const EntityTypeId id = ids.at(full_name(manifest, type.name));
    co_await put_attributes(transaction, workspace, manifest, type, id, news);
    co_await put_relationships(transaction, workspace, manifest, type, ids);
  }
  co_await put_rules(transaction, workspace, manifest, news);
  co_return news;
}

Task<Installed> install_types(pg::Connection& connection, WorkspaceId workspace,
                              const contract::Manifest& manifest) {
  auto transaction = co_await pg::Transaction::begin(connection);
  Installed news = co_await install_types(transaction, workspace, manifest);
  co_await raise_catalog_version(transaction, workspace);
  co_await transaction.commit();
  co_return news;
}

}  // namespace sluice::model
