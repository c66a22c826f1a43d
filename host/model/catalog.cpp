#include "model/catalog.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "model/catalog_version.hpp"

namespace sluice::model {
namespace {

// Of a workspace whose catalogue nobody has changed yet: who waits for a change needs a row.
constexpr std::string_view kFirstVersion =
    "insert into sluice.catalog_version (workspace_id, version) values ($1, 0) on conflict do "
    "nothing";

constexpr std::string_view kTypes =
    "select type_id, name, origin, coalesce(connector, ''), relation,"
    " coalesce(declaration->>'display_attribute', ''), state,"
    " coalesce(declaration->>'currency_exponents', '{}'), created_at"
    " from sluice.entity_type where workspace_id = $1 and state not in ('dropping', 'dropped')"
    " order by name";

constexpr std::string_view kAttributes =
    "select type_id, name, type, format, position, protected, required, personal, is_unique, "
    "key_kind, currency, origin = 'user'"
    // One of an admin's has its path for a format; without, it was taken away.
    " from sluice.attribute where workspace_id = $1 and (origin = 'declared' or format <> '')"
    " order by type_id, position";

constexpr std::string_view kRelationships =
    "select type_id, name, attribute, target_type_id"
    " from sluice.relationship where workspace_id = $1 order by type_id, name";

constexpr std::string_view kRules =
    "select rule_id, name, source_type, source_attribute, target_type, target_attribute, key_kind,"
    " enabled, origin, coalesce(connector, ''), going from sluice.link_rule where workspace_id = $1"
    " order by rule_id";

constexpr std::string_view kVendorSchema = "vendor.";

[[noreturn]] void unknown_in_catalogue(std::string_view what, std::string_view text) {
  throw Failure(
      Error(ErrorKind::internal, "catalog.unknown_value",
            fmt::format("the catalogue has a {} '{}' that this host does not know", what, text),
            "a newer host may have written it: upgrade this one"));
}

StoredType read_type(const pg::QueryResult& rows, int row) {
  StoredType type;
  type.id = rows.get<EntityTypeId>(row, 0);
  type.name = rows.get<std::string>(row, 1);
  type.own = rows.text(row, 2) == "own";
  type.connector = rows.get<std::string>(row, 3);
  const std::string_view relation = rows.text(row, 4);
  if (!type.own && relation.starts_with(kVendorSchema)) {
    type.table = relation.substr(kVendorSchema.size());
  }
  type.display_attribute = rows.get<std::string>(row, 5);
  type.active = rows.text(row, 6) == "active";
  type.currency_exponents = rows.get<std::string>(row, 7);
  type.created_at = rows.get<Micros>(row, 8);
  return type;
}

/// An admin's attribute, which stands somewhere in JSON.
void give_path(StoredAttribute& attribute) {
  attribute.path = split_path(attribute.format);
  attribute.format.clear();
}

StoredAttribute read_attribute(const pg::QueryResult& rows, int row) {
  StoredAttribute attribute;
  attribute.name = rows.get<std::string>(row, 1);
  const auto type = contract::attribute_type(rows.text(row, 2));
  if (!type) unknown_in_catalogue("attribute type", rows.text(row, 2));
  attribute.type = *type;
  attribute.format = rows.get<std::string>(row, 3);
  attribute.position = rows.get<std::int16_t>(row, 4);
  attribute.is_protected = rows.get<bool>(row, 5);
  attribute.required = rows.get<bool>(row, 6);
  attribute.personal = rows.get<bool>(row, 7);
  attribute.unique = rows.get<bool>(row, 8);
  if (!rows.is_null(row, 9)) {
    attribute.key_kind = static_cast<contract::KeyKind>(rows.get<std::int32_t>(row, 9));
  }
  attribute.currency = rows.get<std::string>(row, 10);
  if (rows.get<bool>(row, 11)) give_path(attribute);
  return attribute;
}

/// A path is read by its document's own rules: what a connector may change of it is changed for
/// what stands there, too, and what is personal is so in all its parts.
void treat_as_documents(StoredType& type) {
  for (StoredAttribute& attribute : type.attributes) {
    if (attribute.path.empty()) continue;
    const StoredAttribute* const document = type.find(attribute.path.front());
    attribute.is_protected = document == nullptr || document->is_protected;
    attribute.personal = attribute.personal || (document != nullptr && document->personal);
  }
}

/// The type's attribute, if both exist.
std::int16_t position_of(const StoredType* type, std::string_view attribute) {
  const StoredAttribute* found = type ? type->find(attribute) : nullptr;
  return found ? found->position : std::int16_t{-1};
}

bool is_other_than_key(const StoredType* type, std::string_view attribute, contract::KeyKind kind) {
  const StoredAttribute* found = type ? type->find(attribute) : nullptr;
  return found && found->key_kind != kind;
}

StoredRule read_rule(const Catalog& catalog, const pg::QueryResult& rows, int row) {
  StoredRule rule;
  rule.id = rows.get<RuleId>(row, 0);
  rule.name = rows.get<std::string>(row, 1);
  rule.source_type_name = rows.get<std::string>(row, 2);
  rule.source_attribute = rows.get<std::string>(row, 3);
  rule.target_type_name = rows.get<std::string>(row, 4);
  rule.target_attribute = rows.get<std::string>(row, 5);
  rule.key_kind = static_cast<contract::KeyKind>(rows.get<std::int32_t>(row, 6));
  rule.enabled = rows.get<bool>(row, 7);
  rule.from_connector = rows.text(row, 8) == "connector";
  rule.connector = rows.get<std::string>(row, 9);
  rule.going = rows.get<bool>(row, 10);
  const StoredType* source = catalog.find(rule.source_type_name);
  const StoredType* target = catalog.find(rule.target_type_name);
  if (source) rule.source_type = source->id;
  if (target) rule.target_type = target->id;
  rule.source_position = position_of(source, rule.source_attribute);
  rule.target_position = position_of(target, rule.target_attribute);
  rule.has_keys = !is_other_than_key(source, rule.source_attribute, rule.key_kind) &&
                  !is_other_than_key(target, rule.target_attribute, rule.key_kind);
  return rule;
}

}  // namespace

std::vector<std::string> split_path(std::string_view text) {
  std::vector<std::string> path;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t dot = std::min(text.find('.', at), text.size());
    path.emplace_back(text.substr(at, dot - at));
    at = dot + 1;
  }
  return path;
}

std::string joined_path(const std::vector<std::string>& path) {
  return fmt::format("{}", fmt::join(path, "."));
}

const StoredAttribute* StoredType::find(std::string_view attribute) const {
  for (const StoredAttribute& candidate : attributes) {
    if (candidate.name == attribute) return &candidate;
  }
  return nullptr;
}

const StoredType* Catalog::find(std::string_view name) const {
  const auto found = std::lower_bound(
      types.begin(), types.end(), name,
      [](const StoredType& type, std::string_view wanted) { return type.name < wanted; });
  return found != types.end() && found->name == name ? &*found : nullptr;
}

const StoredType* Catalog::find(EntityTypeId id) const {
  for (const StoredType& type : types) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

const StoredRule* Catalog::find_rule(RuleId id) const {
  for (const StoredRule& rule : rules) {
    if (rule.id == id) return &rule;
  }
  return nullptr;
}

const StoredRule* Catalog::find_rule(std::string_view name) const {
  for (const StoredRule& rule : rules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

namespace {

/// The five answers, the version's first: it is read before the rest, also where each statement has
/// a snapshot of its own.
Task<std::vector<pg::QueryResult>> read_catalog(pg::Connection& connection, WorkspaceId workspace) {
  const bool joined = connection.in_transaction();
  pg::Pipeline pipeline;
  // One snapshot for all, unless the caller's transaction already decides that.
  if (!joined) pipeline.add("begin isolation level repeatable read read only");
  for (const std::string_view sql :
       {kCatalogVersion, kTypes, kAttributes, kRelationships, kRules}) {
    pipeline.add(sql, pg::Params(workspace));
  }
  if (!joined) pipeline.add("commit");
  auto results = co_await connection.run(std::move(pipeline));
  if (!joined) results.erase(results.begin());
  co_return results;
}

}  // namespace

Task<CatalogPtr> load_catalog(pg::Connection& connection, WorkspaceId workspace) {
  auto results = co_await read_catalog(connection, workspace);
  if (results[0].empty()) {
    co_await connection.query(kFirstVersion, pg::Params(workspace));
    results = co_await read_catalog(connection, workspace);
  }
  auto catalog = std::make_shared<Catalog>();
  catalog->workspace = workspace;
  catalog->version = results[0].get<std::int64_t>(0, 0);
  const pg::QueryResult& types = results[1];
  for (int row = 0; row < types.rows(); ++row) catalog->types.push_back(read_type(types, row));
  // The database's collation "C" is the order of std::string.
  std::unordered_map<EntityTypeId, StoredType*> by_id;
  for (StoredType& type : catalog->types) by_id[type.id] = &type;

  const pg::QueryResult& attributes = results[2];
  for (int row = 0; row < attributes.rows(); ++row) {
    const auto type = by_id.find(attributes.get<EntityTypeId>(row, 0));
    // Made since the types were read, in a caller's transaction: the version says so.
    if (type == by_id.end()) continue;
    type->second->attributes.push_back(read_attribute(attributes, row));
  }
  for (StoredType& type : catalog->types) treat_as_documents(type);
  const pg::QueryResult& relationships = results[3];
  for (int row = 0; row < relationships.rows(); ++row) {
    StoredRelationship relationship;
    relationship.name = relationships.get<std::string>(row, 1);
    relationship.attribute = relationships.get<std::string>(row, 2);
    relationship.target = relationships.get<EntityTypeId>(row, 3);
    relationship.target_name = by_id.at(relationship.target)->name;
    by_id.at(relationships.get<EntityTypeId>(row, 0))
        ->relationships.push_back(std::move(relationship));
  }
  const pg::QueryResult& rules = results[4];
  for (int row = 0; row < rules.rows(); ++row) {
    catalog->rules.push_back(read_rule(*catalog, rules, row));
  }
  co_return CatalogPtr(std::move(catalog));
}

Catalogs::Catalogs(pg::Pool& pool, const Clock& clock) : pool_(pool), clock_(clock) {}

Task<CatalogPtr> Catalogs::get(WorkspaceId workspace) { return get(workspace, pool_); }

Task<CatalogPtr> Catalogs::get(WorkspaceId workspace, pg::Pool& pool) {
  if constexpr (pg::kWatchesHolding) co_await pg::require_nothing_held("the catalogue");
  const auto found = entries_.find(workspace);
  if (found != entries_.end() && clock_.steady() - found->second.read_at < kCatalogAgeMax) {
    co_return found->second.catalog;
  }
  // Taken before reading: what changes meanwhile is noticed one age later, not two.
  const auto read_at = clock_.steady();
  const std::uint64_t generation = generation_;
  auto lease = co_await pool.acquire();
  CatalogPtr catalog = co_await load_catalog(*lease, workspace);
  // A change made while we read: use what we have, but do not keep it.
  if (generation != generation_) co_return catalog;
  Entry& entry = entries_[workspace];
  entry.catalog = catalog;
  entry.read_at = read_at;
  co_return catalog;
}

Task<CatalogPtr> Catalogs::renewed(WorkspaceId workspace) {
  invalidate(workspace);
  return get(workspace);
}

void Catalogs::invalidate(WorkspaceId workspace) {
  ++generation_;
  entries_.erase(workspace);
}

}  // namespace sluice::model
