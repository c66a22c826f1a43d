#include "model/own_entities.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "base/check.hpp"
#include "base/exact_json.hpp"
#include "base/failpoint.hpp"
#include "journal/append.hpp"
#include "link/normalise.hpp"
#include "model/own_turns.hpp"
#include "model/prepared_row.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;

// The type as the catalogue knew it, which is not dropped before the transaction's end: until then
// the last batch of the deletion waits for its key (sync/type_drop.cpp).
const pg::Statement kHoldType{
    "own_hold_type",
    "select 1 from sluice.entity_type where workspace_id = $1 and type_id = $2"
    " and state = 'active' and created_at = $3 for key share"};

// Every entity that holds one of these unique values, locked, in the order of the ids' keys.
const pg::Statement kLookup{
    "own_lookup",
    "select u.id, e.data"
    " from unnest($3::text[], $4::text[]) as k(attribute, value)"
    " cross join lateral (select o.id from sluice.own_unique o"
    "   where o.workspace_id = $1 and o.type_id = $2 and o.attribute = k.attribute"
    "   and o.value = k.value"
    "   union all select s.id from sluice.own_shared s"
    "   where s.workspace_id = $1 and s.type_id = $2 and s.attribute = k.attribute"
    "   and s.value = k.value offset 0) u"
    " cross join lateral (select r.data from sluice.own_entity r"
    "   where r.workspace_id = $1 and r.type_id = $2 and r.id = u.id and r.deleted_at is null"
    "   for update) e"};

const pg::Statement kLookupIds{
    "own_lookup_ids",
    "select e.id, e.data from unnest($3::bigint[]) as k(id)"
    " cross join lateral (select r.id, r.data from sluice.own_entity r"
    "   where r.workspace_id = $1 and r.type_id = $2 and r.id = k.id and r.deleted_at is null"
    "   for update) e"};

// What the tables of keys say of these entities, which are locked: a statement of its own behind
// the lock, so that it sees what the writer before us left. Not taken from the values: somebody
// else may have changed those, or made them unreadable.
const pg::Statement kHeldValues{
    "own_held_values",
    "select k.id, h.attribute, h.value, false from unnest($3::bigint[]) as k(id)"
    " cross join lateral (select u.type_id, u.attribute, u.value from sluice.own_unique u"
    "   where u.workspace_id = $1 and u.id = k.id offset 0) h where h.type_id = $2"
    " union all select k.id, h.attribute, h.value, true"
    " from unnest($3::bigint[]) as k(id), unnest($4::text[]) as a(name)"
    " cross join lateral (select s.attribute, s.value from sluice.own_shared s"
    "   where s.workspace_id = $1 and s.type_id = $2 and s.attribute = a.name and s.id = k.id"
    "   offset 0) h"};

const pg::Statement kHeldKeys{
    "own_held_keys",
    "select k.id, h.kind, h.digest, h.attribute from unnest($3::bigint[]) as k(id)"
    " cross join lateral (select l.kind::int, l.digest, l.attribute::int, l.type_id"
    "   from sluice.link_key l where l.workspace_id = $1 and l.entity_id = k.id offset 0) h"
    " where h.type_id = $2"};

const pg::Statement kNewIds{"own_new_ids",
                            "select nextval('sluice.entity_id') from generate_series(1, $1::int)"};

const pg::Statement kInsert{
    "own_insert",
    "insert into sluice.own_entity (workspace_id, type_id, id, data)"
    " select $1, $2, v.id, v.data from unnest($3::bigint[], $4::jsonb[]) as v(id, data)"};

// No join in these three: on tables without statistics it was planned as a walk through the whole
// type. The rows are there and locked, so that each insert is an update.
const pg::Statement kUpdate{
    "own_update",
    "insert into sluice.own_entity as e (workspace_id, type_id, id, data)"
    " select $1, $2, v.id, v.data from unnest($3::bigint[], $4::jsonb[]) as v(id, data)"
    " on conflict (workspace_id, type_id, id) do update set data = excluded.data, updated_at = "
    "now()"};

const pg::Statement kDropUnique{
    "own_drop_unique",
    "delete from sluice.own_unique u where u.ctid = any(array("
    "select f.tid from unnest($3::text[], $4::text[], $5::bigint[]) as v(attribute, value, id)"
    " cross join lateral (select o.ctid as tid from sluice.own_unique o where o.workspace_id = $1"
    " and o.type_id = $2 and o.attribute = v.attribute and o.value = v.value and o.id = v.id "
    "offset 0) f))"};

const pg::Statement kDropShared{
    "own_drop_shared",
    "delete from sluice.own_shared s where s.ctid = any(array("
    "select f.tid from unnest($3::text[], $4::bigint[]) as v(attribute, id)"
    " cross join lateral (select o.ctid as tid from sluice.own_shared o where o.workspace_id = $1"
    " and o.type_id = $2 and o.attribute = v.attribute and o.id = v.id offset 0) f))"};

const pg::Statement kPutUnique{
    "own_put_unique",
    "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
    " select $1, $2, v.attribute, v.value, v.id"
    " from unnest($3::text[], $4::text[], $5::bigint[]) as v(attribute, value, id)"};

const pg::Statement kDropKeys{
    "own_drop_keys",
    "delete from sluice.link_key k where k.ctid = any(array("
    "select f.tid from unnest($3::int[], $4::uuid[], $5::int[], $6::bigint[]) as v(kind, digest, "
    "attribute, entity_id)"
    " cross join lateral (select o.ctid as tid from sluice.link_key o where o.workspace_id = $1"
    " and o.type_id = $2 and o.kind = v.kind::smallint and o.digest = v.digest"
    " and o.attribute = v.attribute::smallint and o.entity_id = v.entity_id offset 0) f))"};

const pg::Statement kPutKeys{
    "own_put_keys",
    "insert into sluice.link_key (workspace_id, type_id, kind, digest, attribute, entity_id)"
    " select $1, $2, v.kind, v.digest, v.attribute, v.entity_id"
    " from unnest($3::int[], $4::uuid[], $5::int[], $6::bigint[]) as v(kind, digest, attribute, "
    "entity_id)"
    " on conflict do nothing"};

// Of entities that are new: nobody can have put their keys.
const pg::Statement kPutNewKeys{
    "own_put_new_keys",
    "insert into sluice.link_key (workspace_id, type_id, kind, digest, attribute, entity_id)"
    " select $1, $2, v.kind, v.digest, v.attribute, v.entity_id"
    " from unnest($3::int[], $4::uuid[], $5::int[], $6::bigint[]) as v(kind, digest, attribute, "
    "entity_id)"};

// Only where a rule names the type. Whoever makes one waits until we have ended, since we read the
// type for key share, before he looks for what is there (link/batches.cpp).
const pg::Statement kQueueKeys{
    "own_queue_keys",
    "insert into sluice.link_queue (workspace_id, type_id, kind, digest, attribute, entity_id)"
    " select $1, $2, v.kind, v.digest, v.attribute, v.entity_id"
    " from unnest($3::int[], $4::uuid[], $5::int[], $6::bigint[]) as v(kind, digest, attribute, "
    "entity_id) where exists (select from sluice.link_rule r where r.workspace_id = $1"
    " and r.enabled and (r.source_type = $7 or r.target_type = $7))"};

const pg::Statement kValuesOf{
    "own_values_of",
    "select e.id, coalesce(e.data->$3, 'null')::text from unnest($4::bigint[]) as k(id)"
    " cross join lateral (select r.id, r.data from sluice.own_entity r where r.workspace_id = $1"
    " and r.type_id = $2 and r.id = k.id and r.deleted_at is null offset 0) e"};

// The value as it was written, of a row whose form is another by now.
const pg::Statement kUnformed{
    "own_unformed",
    "delete from sluice.own_unique u where u.ctid = any(array("
    "select f.tid from unnest($4::bigint[], $5::text[], $6::text[]) as v(id, raw, form)"
    " cross join lateral (select o.ctid as tid from sluice.own_unique o where o.workspace_id = $1"
    " and o.type_id = $2 and o.attribute = $3 and o.value = v.raw and o.id = v.id"
    " and v.raw <> v.form offset 0) f))"};

const pg::Statement kForgetShared{
    "own_forget_shared",
    "delete from sluice.own_shared s where s.ctid = any(array("
    "select f.tid from unnest($4::bigint[], $5::text[]) as v(id, form)"
    " cross join lateral (select o.ctid as tid from sluice.own_shared o where o.workspace_id = $1"
    " and o.type_id = $2 and o.attribute = $3 and o.id = v.id offset 0) f))"};

// In the order of their ids: of several that are one by now, the oldest has the form.
const pg::Statement kPutForms{
    "own_put_forms",
    "insert into sluice.own_unique (workspace_id, type_id, attribute, value, id)"
    " select $1, $2, $3, v.form, v.id from unnest($4::bigint[], $5::text[]) as v(id, form)"
    " order by v.id on conflict do nothing"};

const pg::Statement kPutShared{
    "own_put_shared",
    "insert into sluice.own_shared (workspace_id, type_id, attribute, value, id)"
    " select $1, $2, $3, v.form, v.id from unnest($4::bigint[], $5::text[]) as v(id, form)"
    " where not exists (select 1 from sluice.own_unique o where o.workspace_id = $1"
    " and o.type_id = $2 and o.attribute = $3 and o.value = v.form and o.id = v.id)"
    " on conflict do nothing"};

// Who shares a value with the one that has it, or with an older one that shares it.
const pg::Statement kListShared{
    "own_list_shared",
    "select s.type_id, s.attribute, s.id, h.id from sluice.own_shared s cross join lateral ("
    " select a.id from (select o.id from sluice.own_unique o where o.workspace_id = $1"
    "   and o.type_id = s.type_id and o.attribute = s.attribute and o.value = s.value"
    "   union all select t.id from sluice.own_shared t where t.workspace_id = $1"
    "   and t.type_id = s.type_id and t.attribute = s.attribute and t.value = s.value"
    "   and t.id < s.id) a where a.id <> s.id order by a.id limit 1) h"
    " where s.workspace_id = $1 order by s.type_id, s.attribute, s.id limit $2"};

const pg::Statement kDelete{
    "own_delete",
    "update sluice.own_entity set deleted_at = now(), updated_at = now()"
    " where workspace_id = $1 and type_id = $2 and id = any($3::bigint[]) and deleted_at is null"};

const pg::Statement kBegin{"own_begin", "begin"};
const pg::Statement kPatience{"own_patience", "select set_config('lock_timeout', $1, true)"};
const pg::Statement kCommit{"own_commit", "commit"};

constexpr std::string_view kRead =
    "select id, data, created_at, updated_at from sluice.own_entity"
    " where workspace_id = $1 and type_id = $2 and id = $3 and deleted_at is null";

FieldError field_error(FieldFault fault, std::string attribute, std::string reason) {
  FieldError error;
  error.fault = fault;
  error.attribute = std::move(attribute);
  error.reason = std::move(reason);
  return error;
}

using Key = std::tuple<std::int32_t, pg::Uuid, std::int32_t>;  // kind, digest, attribute position

const json kNothing = json::object();
const FoundBy kByNothing;

/// An entity as it is in the database and as this batch leaves it.
struct Entity {
  EntityId id;  // 0 until ids are drawn for the new ones
  bool stored = false;
  bool readable = true;  // when not, `before` is empty, and its keys are known from the tables only
  bool removed = false;
  bool said = false;  // a row of these is it
  const json* before = &kNothing;
  const json* after = &kNothing;
  const FoundBy* was_by = &kByNothing;  // of `before`
  const FoundBy* by = &kByNothing;      // of `after`
  std::string text;                     // of `after`, where that is another than `before`
  std::vector<UniqueValue> holds;       // as played so far: nobody else may have them
  // What the tables hold of it: own_unique, own_shared, link_key.
  std::set<UniqueValue> unique, shared;
  std::set<Key> keys;

  [[nodiscard]] bool changed() const {
    return !stored || removed || (before != after && !same_json(*before, *after));
  }
};

/// What cannot be read has no values: so it can be written anew.
json values_of(const StoredType& type, std::string_view data) {
  return stored_values(type, data).value_or(json::object());
}

std::set<Key> keys_of(const std::vector<KeyedValue>& values) {
  std::set<Key> keys;
  for (const KeyedValue& value : values) {
    if (!value.normal) continue;
    const contract::KeyKind kind = *value.attribute->key_kind;
    keys.emplace(static_cast<std::int32_t>(kind), link::digest(kind, *value.normal),
                 value.attribute->position);
  }
  return keys;
}

/// {"attribute": [before, after]} for each that differs.
json difference(const json& before, const json& after) {
  json out = json::object();
  for (const auto& [name, value] : after.items()) {
    const auto old = before.find(name);
    const json& was = old == before.end() ? json(nullptr) : *old;
    if (!same_json(was, value)) out[name] = json::array({was, value});
  }
  for (const auto& [name, value] : before.items()) {
    if (!after.contains(name) && !value.is_null()) out[name] = json::array({value, nullptr});
  }
  return out;
}

/// Columns (kind, digest, attribute, entity) of link keys on their way.
class KeyColumns {
 public:
  void add(const Key& key, EntityId id) {
    kinds_.add(std::get<0>(key));
    digests_.add(std::get<1>(key));
    attributes_.add(std::get<2>(key));
    entities_.add(id.value);
  }
  [[nodiscard]] bool empty() const { return kinds_.size() == 0; }
  [[nodiscard]] pg::Params params(WorkspaceId workspace, EntityTypeId type) const {
    return pg::Params(workspace, type, kinds_, digests_, attributes_, entities_);
  }
  [[nodiscard]] pg::Params params(WorkspaceId workspace, EntityTypeId type,
                                  std::string_view name) const {
    return pg::Params(workspace, type, kinds_, digests_, attributes_, entities_, name);
  }

 private:
  pg::Array kinds_{pg::Oid::int4};
  pg::Array digests_{pg::Oid::uuid};
  pg::Array attributes_{pg::Oid::int4};
  pg::Array entities_{pg::Oid::int8};
};

/// Columns (attribute, value, entity) of unique values on their way.
class UniqueColumns {
 public:
  void add(const UniqueValue& value, EntityId id) {
    attributes_.add(std::string_view(value.first));
    values_.add(std::string_view(value.second));
    entities_.add(id.value);
  }
  [[nodiscard]] bool empty() const { return attributes_.size() == 0; }
  [[nodiscard]] pg::Params params(WorkspaceId workspace, EntityTypeId type) const {
    return pg::Params(workspace, type, attributes_, values_, entities_);
  }
  [[nodiscard]] pg::Params without_values(WorkspaceId workspace, EntityTypeId type) const {
    return pg::Params(workspace, type, attributes_, entities_);
  }

 private:
  pg::Array attributes_{pg::Oid::text};
  pg::Array values_{pg::Oid::text};
  pg::Array entities_{pg::Oid::int8};
};

/// What one row did to one entity.
struct Step {
  std::size_t entity = 0;
  std::string_view op;
  json changed;  // null for an insert
};

/// What became of one row.
struct Applied {
  OwnOutcome outcome;
  std::size_t entity = 0;  // when not rejected
  /// When it is: which entity has the value, for each error that there is for it.
  std::vector<std::pair<std::size_t, std::size_t>> holders;  // error, entity
};

using SaidBefore = std::function<bool(EntityId)>;

/// Values that no row has by itself.
struct Kept {
  json values;
  FoundBy by;
};

/// Rows of one type, as they would be one after the other, played on what the database holds.
class Batch {
 public:
  explicit Batch(const StoredType& type) : type_(type) {}

  /// `data` is the entity as locked: its values may be others than the one by which it was found.
  /// None where they cannot be read.
  void found(EntityId id, std::optional<json> data) {
    if (by_id_.contains(id)) return;
    const std::size_t at = entities_.size();
    by_id_[id] = at;
    Entity& entity = entities_.emplace_back();
    entity.id = id;
    entity.stored = true;
    entity.readable = data.has_value();
    if (!data) return;
    const Kept& kept = keep(std::move(*data));
    entity.before = entity.after = &kept.values;
    entity.was_by = entity.by = &kept.by;
    for (const UniqueValue& value : kept.by.unique) hold(at, value);
  }
  [[nodiscard]] std::vector<EntityId> found_ids() const {
    std::vector<EntityId> ids;
    for (const Entity& entity : entities_)
      if (entity.stored) ids.push_back(entity.id);
    return ids;
  }
  /// One that cannot be read has what the table says, so that it is found by it and replaced.
  void found_value(EntityId id, UniqueValue value, bool shared) {
    const std::size_t at = by_id_.at(id);
    Entity& entity = entities_[at];
    const StoredAttribute* attribute = type_.find(value.first);
    if (!entity.readable && attribute != nullptr && attribute->unique)
      hold(at, UniqueValue(value.first, unique_form(*attribute, json(value.second))));
    (shared ? entity.shared : entity.unique).insert(std::move(value));
  }
  void found_key(EntityId id, Key key) { entities_[by_id_.at(id)].keys.insert(std::move(key)); }

  Applied apply(const OwnItem& item, const std::string& key, const PreparedRow& row,
                const SaidBefore& said_before) {
    Applied applied;
    OwnOutcome& outcome = applied.outcome;
    outcome.errors = row.errors;
    if (!outcome.errors.empty()) return applied;
    const auto target = find_target(item, key, row.values, outcome.errors);
    if (!outcome.errors.empty()) return applied;
    const bool removes = item.mode == OwnMode::remove;
    const bool inserts = !target;
    const json& before = inserts ? kNothing : *entities_[*target].after;
    applied.entity = inserts ? entities_.size() : *target;
    if (!inserts && !removes && says_the_same(before, row.values)) {
      check_required(before, outcome.errors);
      if (outcome.errors.empty()) outcome.action = OwnAction::unchanged;
      entities_[*target].said = entities_[*target].said || outcome.errors.empty();
      return applied;
    }
    if (!inserts && said_before &&
        (entities_[*target].said || said_before(entities_[*target].id))) {
      judge_repetition(*target, key, row.values, applied);
      return applied;
    }
    const json* after = &kNothing;
    const FoundBy* by = &kByNothing;
    if (inserts && !has_null(row.values)) {  // as it is
      after = &row.values;
      by = &row.by;
    } else if (!removes) {
      const Kept& kept = keep(merged(before, row.values));
      after = &kept.values;
      by = &kept.by;
    }
    std::string text = write_json(*after);
    if (!removes) check(*after, by->unique, text.size(), target, applied);
    if (!outcome.errors.empty()) return applied;
    outcome.action = removes   ? OwnAction::removed
                     : inserts ? OwnAction::inserted
                               : OwnAction::updated;
    Step& step = steps_.emplace_back();
    step.entity = applied.entity;
    step.op = removes ? "delete" : inserts ? "insert" : "update";
    if (!inserts) step.changed = difference(before, *after);
    if (inserts) entities_.emplace_back();
    Entity& entity = entities_[applied.entity];
    for (const UniqueValue& value : entity.holds) holders_[value].erase(applied.entity);
    entity.holds.clear();
    for (const UniqueValue& value : by->unique) hold(applied.entity, value);
    entity.after = after;
    entity.by = by;
    entity.text = std::move(text);
    entity.removed = removes;
    entity.said = true;
    return applied;
  }

  /// Whether their values say what they hold, without the tables of keys.
  [[nodiscard]] bool all_readable() const {
    return std::all_of(entities_.begin(), entities_.end(),
                       [](const Entity& entity) { return entity.readable; });
  }
  [[nodiscard]] std::size_t new_entities() const {
    return static_cast<std::size_t>(std::count_if(entities_.begin(), entities_.end(),
                                                  [](const Entity& e) { return !e.stored; }));
  }
  [[nodiscard]] std::vector<Entity*> unnumbered() {
    std::vector<Entity*> fresh;
    for (Entity& entity : entities_)
      if (!entity.stored) fresh.push_back(&entity);
    return fresh;
  }
  [[nodiscard]] const StoredType& type() const { return type_; }
  [[nodiscard]] const std::vector<Entity>& entities() const { return entities_; }
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

 private:
  const Kept& keep(json values) {
    Kept& kept = kept_.emplace_back();
    kept.values = std::move(values);
    kept.by = found_by(type_, kept.values);
    return kept;
  }

  void hold(std::size_t entity, UniqueValue value) {
    holders_[value].insert(entity);
    entities_[entity].holds.push_back(std::move(value));
  }

  std::optional<std::size_t> find_target(const OwnItem& item, const std::string& key,
                                         const json& values,
                                         std::vector<FieldError>& errors) const {
    if (item.mode == OwnMode::insert || (item.mode == OwnMode::upsert && key.empty()))
      return std::nullopt;
    if (item.mode != OwnMode::upsert) {
      const EntityId id = item.row.id;
      const auto found = by_id_.find(id);
      if (found != by_id_.end() && !entities_[found->second].removed) return found->second;
      errors.push_back(field_error(FieldFault::missing_key, "",
                                   fmt::format("type {} has no entity {}", type_.name, id.value)));
      return std::nullopt;
    }
    const auto value = values.find(key);
    if (value == values.end() || value->is_null()) {
      errors.push_back(field_error(FieldFault::missing_key, key,
                                   "the row has no value for the attribute it is matched by"));
      return std::nullopt;
    }
    const auto holders = holders_.find(UniqueValue(key, unique_form(*type_.find(key), *value)));
    if (holders == holders_.end() || holders->second.empty()) return std::nullopt;
    if (holders->second.size() == 1) return *holders->second.begin();
    std::vector<std::int64_t> ids;
    for (const std::size_t holder : holders->second) {
      const json& after = *entities_[holder].after;
      if (const auto its = after.find(key); its != after.end() && *its == *value) return holder;
      ids.push_back(entities_[holder].id.value);
    }
    std::sort(ids.begin(), ids.end());
    errors.push_back(field_error(
        FieldFault::ambiguous_key, key,
        fmt::format("entities {} have this key, from before they were one by it, and none of them "
                    "writes it so: delete one of them or give it another value",
                    fmt::join(ids, " and "))));
    return std::nullopt;
  }

  static bool has_null(const json& values) {
    return std::any_of(values.begin(), values.end(), [](const json& one) { return one.is_null(); });
  }

  static json merged(const json& before, const json& values) {
    json after = before;
    for (const auto& [name, value] : values.items()) {
      if (value.is_null()) {
        after.erase(name);
      } else {
        after[name] = value;
      }
    }
    return after;
  }

  /// A row with the key of an earlier one: another spelling of the key alone changes nothing.
  void judge_repetition(std::size_t target, const std::string& key, const json& values,
                        Applied& applied) const {
    std::vector<std::string> names = different(*entities_[target].after, values);
    std::erase(names, key);
    if (names.empty()) {
      applied.outcome.action = OwnAction::unchanged;
      return;
    }
    applied.holders.emplace_back(0, target);
    applied.outcome.errors.push_back(
        field_error(FieldFault::repeated_key, key,
                    fmt::format("has the same {}, and another {}", key, fmt::join(names, ", "))));
  }

  static bool is_said(const json& before, const std::string& name, const json& value) {
    const auto was = before.find(name);
    return was == before.end() || was->is_null() ? value.is_null() : same_json(*was, value);
  }

  /// Whether a row leaves an entity as it is.
  static bool says_the_same(const json& before, const json& values) {
    for (const auto& [name, value] : values.items())
      if (!is_said(before, name, value)) return false;
    return true;
  }

  /// The attributes that a row would change.
  static std::vector<std::string> different(const json& before, const json& values) {
    std::vector<std::string> names;
    for (const auto& [name, value] : values.items())
      if (!is_said(before, name, value)) names.push_back(name);
    return names;
  }

  void check_required(const json& after, std::vector<FieldError>& errors) const {
    for (const StoredAttribute& attribute : type_.attributes) {
      if (!attribute.required || after.contains(attribute.name)) continue;
      errors.push_back(
          field_error(FieldFault::missing_value, attribute.name, "a value is required"));
    }
  }

  void check(const json& after, const std::vector<UniqueValue>& unique, std::size_t bytes,
             std::optional<std::size_t> self, Applied& applied) const {
    std::vector<FieldError>& errors = applied.outcome.errors;
    check_required(after, errors);
    for (const UniqueValue& value : unique) {
      const auto holders = holders_.find(value);
      if (holders == holders_.end() || holders->second.empty()) continue;
      if (self && holders->second.contains(*self)) continue;  // as it was before this row
      applied.holders.emplace_back(errors.size(), *holders->second.begin());
      errors.push_back(field_error(FieldFault::duplicate_key, value.first, ""));
    }
    if (bytes > kOwnRowBytesMax) {
      errors.push_back(
          field_error(FieldFault::too_long, "",
                      fmt::format("the entity would have more than {} bytes", kOwnRowBytesMax)));
    }
  }

  const StoredType& type_;
  std::vector<Entity> entities_;
  std::deque<Kept> kept_;  // none of them moves
  std::vector<Step> steps_;
  std::map<EntityId, std::size_t> by_id_;  // of those that were found
  /// Several only of rows that were stored before they were one by the attribute's form.
  std::map<UniqueValue, std::set<std::size_t>> holders_;
};

/// Everything one transaction writes for a type's entities that changed.
class Effects {
 public:
  Effects(WorkspaceId workspace, const Batch& batch) : workspace_(workspace), type_(batch.type()) {
    for (const Entity& entity : batch.entities()) add(entity);
    // In the order of their indexes, which is another than the file's: neighbours go to one page.
    std::sort(fresh_keys_.begin(), fresh_keys_.end());
    for (const auto& [key, id] : fresh_keys_) new_keys_.add(key, id);
    std::sort(fresh_unique_.begin(), fresh_unique_.end());
    for (const auto& [value, id] : fresh_unique_) unique_gained_.add(value, id);
  }

  void add_to(pg::Pipeline& out) {
    if (insert_ids_.size() > 0)
      out.add(kInsert, pg::Params(workspace_, type_.id, insert_ids_, insert_data_));
    if (update_ids_.size() > 0)
      out.add(kUpdate, pg::Params(workspace_, type_.id, update_ids_, update_data_));
    if (removed_ids_.size() > 0) out.add(kDelete, pg::Params(workspace_, type_.id, removed_ids_));
    if (!unique_lost_.empty()) out.add(kDropUnique, unique_lost_.params(workspace_, type_.id));
    if (!shared_lost_.empty())
      out.add(kDropShared, shared_lost_.without_values(workspace_, type_.id));
    if (!unique_gained_.empty()) out.add(kPutUnique, unique_gained_.params(workspace_, type_.id));
    if (!keys_lost_.empty()) out.add(kDropKeys, keys_lost_.params(workspace_, type_.id));
    if (!new_keys_.empty()) out.add(kPutNewKeys, new_keys_.params(workspace_, type_.id));
    if (!keys_gained_.empty()) out.add(kPutKeys, keys_gained_.params(workspace_, type_.id));
    if (!keys_queued_.empty())
      out.add(kQueueKeys, keys_queued_.params(workspace_, type_.id, type_.name));
  }

 private:
  void add(const Entity& entity) {
    if (entity.removed) {
      removed_ids_.add(entity.id.value);
    } else if (entity.changed()) {
      pg::Array& ids = entity.stored ? update_ids_ : insert_ids_;
      pg::Array& data = entity.stored ? update_data_ : insert_data_;
      ids.add(entity.id.value);
      data.add(std::string_view(entity.text));
    }
    // One that stays as it is has what its values say, and no other row is refused for more.
    if (entity.changed() || entity.readable) move_keys(entity);
  }

  void move_keys(const Entity& entity) {
    move_values(entity);
    const std::set<Key> wanted = keys_of(entity.by->keys);
    for (const Key& key : entity.keys) {
      if (wanted.contains(key) || !goes(entity, attribute_at(std::get<2>(key)))) continue;
      keys_lost_.add(key, entity.id);
      keys_queued_.add(key, entity.id);
    }
    for (const Key& key : wanted) {
      if (entity.keys.contains(key)) continue;
      if (entity.stored) {
        keys_gained_.add(key, entity.id);
      } else {
        fresh_keys_.emplace_back(key, entity.id);
      }
      keys_queued_.add(key, entity.id);
    }
  }

  void move_values(const Entity& entity) {
    const std::vector<UniqueValue>& wanted = entity.holds;
    const std::vector<UniqueValue>& before = entity.was_by->unique;
    const std::vector<UniqueValue>& unformed = entity.by->unformed;
    const auto is_in = [](const std::vector<UniqueValue>& values, const UniqueValue& value) {
      return std::find(values.begin(), values.end(), value) != values.end();
    };
    for (const UniqueValue& value : entity.unique) {
      if (is_in(wanted, value) || is_in(unformed, value)) continue;
      if (goes(entity, type_.find(value.first))) unique_lost_.add(value, entity.id);
    }
    for (const UniqueValue& value : entity.shared) {
      if (is_in(wanted, value)) continue;
      if (goes(entity, type_.find(value.first))) shared_lost_.add(value, entity.id);
    }
    // What it had by its values and not by the table is durable work's to put there.
    for (const UniqueValue& value : wanted) {
      if (is_in(before, value) || entity.unique.contains(value) || entity.shared.contains(value))
        continue;
      fresh_unique_.emplace_back(value, entity.id);
    }
  }

  /// Whether a key that its values do not have goes. Not that of an attribute which another host
  /// added, and of which this one does not know yet what its keys are: its value stays, too.
  static bool goes(const Entity& entity, const StoredAttribute* attribute) {
    const bool has_keys = attribute != nullptr && (attribute->unique || attribute->key_kind);
    return entity.removed || !entity.readable || has_keys;
  }
  [[nodiscard]] const StoredAttribute* attribute_at(std::int32_t position) const {
    for (const StoredAttribute& attribute : type_.attributes)
      if (attribute.position == position) return &attribute;
    return nullptr;
  }

  WorkspaceId workspace_;
  const StoredType& type_;
  pg::Array insert_ids_{pg::Oid::int8}, insert_data_{pg::Oid::jsonb};
  pg::Array update_ids_{pg::Oid::int8}, update_data_{pg::Oid::jsonb};
  pg::Array removed_ids_{pg::Oid::int8};
  std::vector<std::pair<Key, EntityId>> fresh_keys_;
  std::vector<std::pair<UniqueValue, EntityId>> fresh_unique_;
  UniqueColumns unique_lost_, shared_lost_, unique_gained_;
  KeyColumns keys_lost_, keys_gained_, new_keys_, keys_queued_;
};

using Beside = std::function<void(pg::Pipeline&, const std::vector<OwnOutcome>&)>;

/// Several rows in one transaction, on its way: what is looked up, played, and written.
class Together {
 public:
  Together(WorkspaceId workspace, const std::vector<OwnItem>& items,
           const std::vector<PreparedRow>& prepared, const std::vector<std::string>& keys)
      : workspace_(workspace), items_(items), prepared_(prepared), keys_(keys) {
    for (const OwnItem& item : items_) batches_.try_emplace(item.type->id, *item.type);
  }

  /// One statement a type.
  void add_holds(pg::Pipeline& out) const {
    for (const auto& [type, batch] : batches_)
      out.add(kHoldType, pg::Params(workspace_, type, batch.type().created_at));
  }
  /// What those answered: the first type that is not there any more.
  [[nodiscard]] const StoredType* gone(std::span<const pg::QueryResult> holds) const {
    std::size_t at = 0;
    for (const auto& [type, batch] : batches_)
      if (holds[at++].empty()) return &batch.type();
    return nullptr;
  }

  /// Type by type, and each sorted: two transactions lock in the same order.
  void add_looks(pg::Pipeline& out) {
    for (auto& [type, batch] : batches_) {
      std::set<EntityId> ids;
      std::vector<UniqueValue> values;
      for (std::size_t i = 0; i < items_.size(); ++i) {
        if (items_[i].type->id != type) continue;
        const OwnMode mode = items_[i].mode;
        if (mode == OwnMode::update || mode == OwnMode::remove) ids.insert(items_[i].row.id);
        const PreparedRow& row = prepared_[i];
        values.insert(values.end(), row.by.unique.begin(), row.by.unique.end());
        values.insert(values.end(), row.by.unformed.begin(), row.by.unformed.end());
      }
      std::sort(values.begin(), values.end());
      values.erase(std::unique(values.begin(), values.end()), values.end());
      add_look(out, batch, ids);
      add_look(out, batch, values);
    }
  }
  void take(std::span<const pg::QueryResult> looks) {
    for (std::size_t look = 0; look < looks_.size(); ++look) {
      const pg::QueryResult& found = looks[look];
      Batch& batch = *looks_[look];
      for (int i = 0; i < found.rows(); ++i)
        batch.found(found.get<EntityId>(i, 0), stored_values(batch.type(), found.text(i, 1)));
    }
  }
  [[nodiscard]] bool all_readable() const {
    return std::all_of(batches_.begin(), batches_.end(),
                       [](const auto& one) { return one.second.all_readable(); });
  }
  /// What the tables of keys hold of the entities that the looks found.
  void add_held(pg::Pipeline& out) {
    for (auto& [type, batch] : batches_) {
      pg::Array ids(pg::Oid::int8);
      for (const EntityId id : batch.found_ids()) ids.add(id.value);
      if (ids.size() == 0) continue;
      pg::Array names(pg::Oid::text);
      for (const StoredAttribute& attribute : batch.type().attributes)
        if (attribute.unique) names.add(std::string_view(attribute.name));
      out.add(kHeldValues, pg::Params(workspace_, type, ids, names));
      out.add(kHeldKeys, pg::Params(workspace_, type, ids));
      held_.push_back(&batch);
    }
  }
  void take_held(std::span<const pg::QueryResult> held) {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const pg::QueryResult& values = held[2 * i];
      for (int row = 0; row < values.rows(); ++row) {
        UniqueValue value(values.get<std::string>(row, 1), values.get<std::string>(row, 2));
        held_[i]->found_value(values.get<EntityId>(row, 0), std::move(value),
                              values.get<bool>(row, 3));
      }
      const pg::QueryResult& keys = held[2 * i + 1];
      for (int row = 0; row < keys.rows(); ++row) {
        Key key(keys.get<std::int32_t>(row, 1), keys.get<pg::Uuid>(row, 2),
                keys.get<std::int32_t>(row, 3));
        held_[i]->found_key(keys.get<EntityId>(row, 0), std::move(key));
      }
    }
  }

  void play(const SaidBefore& said_before) {
    for (std::size_t i = 0; i < items_.size(); ++i)
      applied_.push_back(batch_of(i).apply(items_[i], keys_[i], prepared_[i], said_before));
  }
  [[nodiscard]] std::size_t new_entities() const {
    std::size_t count = 0;
    for (const auto& [type, batch] : batches_) count += batch.new_entities();
    return count;
  }
  void number_new(const pg::QueryResult& drawn) {
    int next = 0;
    for (auto& [type, batch] : batches_) {
      for (Entity* entity : batch.unnumbered()) entity->id = drawn.get<EntityId>(next++, 0);
    }
  }

  [[nodiscard]] bool changes_something() const {
    return std::any_of(batches_.begin(), batches_.end(),
                       [](const auto& one) { return !one.second.steps().empty(); });
  }
  /// What changes rows and keys.
  void add_effects(pg::Pipeline& out) const {
    for (const auto& [type, batch] : batches_) Effects(workspace_, batch).add_to(out);
  }
  /// What others wait for, up to and with the commit: `beside`, what goes beside each row that
  /// changed something, and the feed.
  void add_telling(pg::Pipeline& out, RunId run, const std::vector<OwnOutcome>& outcomes,
                   const Beside& beside) const {
    if (beside) beside(out, outcomes);
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const OwnAction action = outcomes[i].action;
      if (action == OwnAction::rejected || action == OwnAction::unchanged) continue;
      if (items_[i].beside) items_[i].beside(out, outcomes[i]);
    }
    journal::Changes changes;
    for (const auto& [type, batch] : batches_) {
      for (const Step& step : batch.steps()) {
        changes.add(type.value, batch.entities()[step.entity].id.value, step.op, "",
                    step.changed.is_null() ? "" : write_json(step.changed));
      }
    }
    journal::Source source;
    source.workspace = workspace_;
    source.run = run;
    changes.append_to(out, source);
    out.add(kCommit, pg::Params());
  }

  [[nodiscard]] std::vector<OwnOutcome> outcomes() {
    std::vector<OwnOutcome> all;
    for (std::size_t i = 0; i < items_.size(); ++i) {
      OwnOutcome& outcome = all.emplace_back(std::move(applied_[i].outcome));
      if (outcome.action != OwnAction::rejected)
        outcome.id = batch_of(i).entities()[applied_[i].entity].id;
      for (const auto& [error, holder] : applied_[i].holders)
        name_holder(outcome.errors[error], batch_of(i).entities()[holder].id);
    }
    return all;
  }

 private:
  static void name_holder(FieldError& error, EntityId holder) {
    error.other = holder;
    if (error.fault == FieldFault::repeated_key) return;
    error.reason = fmt::format("entity {} has this value, and it is unique", holder.value);
  }

  Batch& batch_of(std::size_t item) { return batches_.at(items_[item].type->id); }

  void add_look(pg::Pipeline& out, Batch& batch, const std::set<EntityId>& wanted) {
    if (wanted.empty()) return;
    pg::Array ids(pg::Oid::int8);
    for (const EntityId id : wanted) ids.add(id.value);
    out.add(kLookupIds, pg::Params(workspace_, batch.type().id, ids));
    looks_.push_back(&batch);
  }
  void add_look(pg::Pipeline& out, Batch& batch, const std::vector<UniqueValue>& wanted) {
    if (wanted.empty()) return;
    pg::Array attributes(pg::Oid::text), values(pg::Oid::text);
    for (const auto& [attribute, value] : wanted) {
      attributes.add(std::string_view(attribute));
      values.add(std::string_view(value));
    }
    out.add(kLookup, pg::Params(workspace_, batch.type().id, attributes, values));
    looks_.push_back(&batch);
  }

  WorkspaceId workspace_;
  const std::vector<OwnItem>& items_;
  const std::vector<PreparedRow>& prepared_;
  const std::vector<std::string>& keys_;
  std::map<EntityTypeId, Batch> batches_;
  std::vector<Batch*> looks_, held_;
  std::vector<Applied> applied_;
};

/// How a transaction is written; refers to its caller's.
struct Writing {
  Writing() = default;  // no aggregate: it is a coroutine's parameter
  RunId run;
  std::chrono::milliseconds lock_patience{0};
  Beside beside = {};
  bool dry_run = false;
  SaidBefore said_before = {};
  OwnTurns turns = {};
};

Failure was_dropped(const StoredType& type) {
  return Failure(Error(
      ErrorKind::not_found, "type.not_found",
      fmt::format("the type {} was dropped, or made anew, while this was on its way", type.name),
      "sluice entity types"));
}

/// Its turn has not come while it held locks.
struct TurnLate : std::exception {};

Task<void> look_at_keys(pg::Connection& connection, Together& together) {
  pg::Pipeline holding;
  together.add_held(holding);
  if (holding.size() == 0) co_return;
  const std::vector<pg::QueryResult> held = co_await connection.run(std::move(holding));
  together.take_held(held);
}

Task<std::vector<OwnOutcome>> write_once(pg::Connection& connection, Together together,
                                         const Writing& writing) {
  pg::Pipeline looks;
  looks.add(kBegin, pg::Params());
  if (writing.lock_patience.count() > 0)
    looks.add(kPatience, pg::Params(fmt::format("{}ms", writing.lock_patience.count())));
  const std::size_t opening = looks.size();
  if (!writing.dry_run) together.add_holds(looks);  // it may be of a type that is not made
  const std::size_t held_types = looks.size() - opening;
  together.add_looks(looks);
  const std::vector<pg::QueryResult> found = co_await connection.run(std::move(looks));
  if (held_types > 0) {
    const StoredType* const gone = together.gone(std::span(found).subspan(opening, held_types));
    if (gone != nullptr) {
      co_await connection.query("rollback");
      throw was_dropped(*gone);
    }
  }
  together.take(std::span(found).subspan(opening + held_types));
  const bool readable = together.all_readable();
  if (!readable) co_await look_at_keys(connection, together);
  together.play(writing.said_before);
  // Rows that are there as they are, which is most of a file that is sent again, need no more.
  const bool writes_something = !writing.dry_run && together.changes_something();
  if (readable && writes_something) co_await look_at_keys(connection, together);
  const std::size_t fresh = together.new_entities();
  if (fresh > 0 && !writing.dry_run) {
    pg::Params params(static_cast<std::int32_t>(fresh));
    const pg::QueryResult drawn = co_await connection.query(kNewIds, std::move(params));
    together.number_new(drawn);
  }
  std::vector<OwnOutcome> outcomes = together.outcomes();
  if (writing.turns.locked) writing.turns.locked();
  if (!writes_something) {
    co_await connection.query("rollback");
    co_return outcomes;
  }
  pg::Pipeline writes;
  together.add_effects(writes);
  if (writing.turns.before_telling) {
    co_await connection.run(std::move(writes));
    writes = pg::Pipeline();
    Task<bool> turn = writing.turns.before_telling();
    const bool has_come = co_await std::move(turn);
    if (!has_come) throw TurnLate();
  }
  together.add_telling(writes, writing.run, outcomes, writing.beside);
  SLUICE_FAILPOINT("model.own.before_commit");
  co_await connection.run(std::move(writes));
  co_return outcomes;
}

/// Another writer had the same values, or locked them in another order: a second look settles it.
bool worth_another_try(const pg::QueryError& error) {
  return error.sqlstate() == "23505" || error.sqlstate() == "40P01" || error.sqlstate() == "40001";
}

Task<std::vector<OwnOutcome>> write_all(pg::Connection& connection, WorkspaceId workspace,
                                        std::vector<OwnItem> items,
                                        std::vector<PreparedRow> prepared, Writing writing) {
  SLUICE_INVARIANT(items.size() <= kOwnBatchMax && !connection.in_transaction());
  SLUICE_INVARIANT(items.size() == prepared.size());
  std::vector<std::string> keys;
  keys.reserve(items.size());
  for (const OwnItem& item : items) {
    SLUICE_INVARIANT(item.type->own);
    const OwnItem* before = keys.empty() ? nullptr : &items[keys.size() - 1];
    const bool is_alike = before && before->type == item.type && before->key == item.key;
    keys.push_back(is_alike ? keys.back() : expect(upsert_key(*item.type, item.key)));
  }
  for (int attempt = 1;; ++attempt) {
    // GCC 12: no co_await inside a handler; the pool, or the rollback below, ends the transaction.
    bool late = false;
    Together together(workspace, items, prepared, keys);
    try {
      Task<std::vector<OwnOutcome>> telling = write_once(connection, std::move(together), writing);
      co_return co_await journal::or_feed_busy(connection, workspace, std::move(telling));
    } catch (const pg::QueryError& error) {
      if (!worth_another_try(error) || !connection.usable()) throw;
    } catch (const TurnLate&) {
      late = true;
    }
    if (connection.in_transaction()) co_await connection.query("rollback");
    if (late) {
      Task<void> again = writing.turns.before_again();
      co_await std::move(again);
      writing.turns.before_telling = nullptr;
      continue;
    }
    if (attempt >= kOwnWriteAttemptsMax) {
      throw Failure(Error(ErrorKind::retry_later, "entity.contended",
                          fmt::format("other writers of the same values won {} times", attempt),
                          "try again"));
    }
  }
}

}  // namespace

Result<std::string> upsert_key(const StoredType& type, std::string_view wanted) {
  std::string unique_names;
  std::string first;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.unique) continue;
    if (attribute.name == wanted) return attribute.name;
    if (first.empty()) first = attribute.name;
    unique_names += (unique_names.empty() ? "" : ", ") + attribute.name;
  }
  if (wanted.empty()) return first;
  return fail(ErrorKind::bad_input, "entity.bad_key",
              fmt::format("{}.{} is no unique attribute, so rows cannot be matched by it",
                          type.name, wanted),
              unique_names.empty() ? "the type has no unique attribute"
                                   : fmt::format("use one of {}", unique_names));
}

Task<std::vector<OwnOutcome>> write_own_in_turn(pg::Connection& connection, WorkspaceId workspace,
                                                const StoredType& type,
                                                std::vector<PreparedRow> rows, OwnWrite write,
                                                OwnTurns turns) {
  std::vector<OwnItem> items(rows.size());
  for (OwnItem& item : items) {
    item.type = &type;
    item.mode = write.mode;
    item.key = write.key;
  }
  Writing writing;
  writing.run = write.run;
  writing.beside = std::move(write.beside);
  writing.dry_run = write.dry_run;
  writing.said_before = std::move(write.said_before);
  writing.turns = std::move(turns);
  return write_all(connection, workspace, std::move(items), std::move(rows), std::move(writing));
}

Task<std::vector<OwnOutcome>> write_own(pg::Connection& connection, WorkspaceId workspace,
                                        const StoredType& type, std::vector<OwnRow> rows,
                                        OwnWrite write) {
  std::vector<OwnItem> items;
  std::vector<PreparedRow> prepared;
  items.reserve(rows.size());
  prepared.reserve(rows.size());
  for (OwnRow& row : rows) {
    OwnItem& item = items.emplace_back();
    item.type = &type;
    item.mode = write.mode;
    item.key = write.key;
    item.row.id = row.id;
    prepared.push_back(prepare(type, row.values));
  }
  Writing writing;
  writing.run = write.run;
  writing.beside = std::move(write.beside);
  writing.dry_run = write.dry_run;
  writing.said_before = std::move(write.said_before);
  return write_all(connection, workspace, std::move(items), std::move(prepared),
                   std::move(writing));
}

Task<std::vector<OwnOutcome>> write_own(pg::Connection& connection, WorkspaceId workspace,
                                        std::vector<OwnItem> items, RunId run,
                                        std::chrono::milliseconds lock_patience) {
  std::vector<PreparedRow> prepared;
  prepared.reserve(items.size());
  for (const OwnItem& item : items) prepared.push_back(prepare(*item.type, item.row.values));
  Writing writing;
  writing.run = run;
  writing.lock_patience = lock_patience;
  return write_all(connection, workspace, std::move(items), std::move(prepared),
                   std::move(writing));
}

Task<void> remake_unique(pg::Fenced& fenced, WorkspaceId workspace, const StoredType& type,
                         const StoredAttribute& attribute, std::vector<EntityId> ids) {
  if (!type.own || !attribute.unique || ids.empty()) co_return;
  pg::Array wanted(pg::Oid::int8);
  for (const EntityId id : ids) wanted.add(id.value);
  pg::Params of_ids(workspace, type.id, attribute.name, std::move(wanted));
  const pg::QueryResult rows = co_await fenced.query(kValuesOf, std::move(of_ids));
  pg::Array entities(pg::Oid::int8), raws(pg::Oid::text), forms(pg::Oid::text);
  for (int row = 0; row < rows.rows(); ++row) {
    const std::string member = write_json(json(attribute.name));
    const json data = values_of(type, fmt::format("{{{}:{}}}", member, rows.text(row, 1)));
    const auto value = data.find(attribute.name);
    if (value == data.end() || value->is_null()) continue;
    entities.add(rows.get<std::int64_t>(row, 0));
    raws.add(std::string_view(raw_text(*value)));
    forms.add(std::string_view(unique_form(attribute, *value)));
  }
  if (entities.size() == 0) co_return;
  pg::Params raw(workspace, type.id, attribute.name, entities, std::move(raws), forms);
  pg::Params formed(workspace, type.id, attribute.name, std::move(entities), std::move(forms));
  pg::Pipeline write;
  write.add(kUnformed, std::move(raw));
  write.add(kForgetShared, formed);
  write.add(kPutForms, formed);
  write.add(kPutShared, std::move(formed));
  co_await fenced.run(std::move(write));
}

Task<std::vector<SharedKey>> shared_keys(pg::Connection& connection, const Catalog& catalog) {
  pg::Params params(catalog.workspace, std::int64_t{kSharedKeysMax});
  const pg::QueryResult rows = co_await connection.query(kListShared, std::move(params));
  std::vector<SharedKey> all;
  for (int row = 0; row < rows.rows(); ++row) {
    const StoredType* type = catalog.find(rows.get<EntityTypeId>(row, 0));
    if (type == nullptr) continue;
    SharedKey& one = all.emplace_back();
    one.type = type->name;
    one.attribute = rows.get<std::string>(row, 1);
    one.id = rows.get<EntityId>(row, 2);
    one.other = rows.get<EntityId>(row, 3);
  }
  co_return all;
}

Task<std::optional<OwnEntity>> read_own(pg::Connection& connection, WorkspaceId workspace,
                                        const StoredType& type, EntityId id) {
  pg::Params params(workspace, type.id, id);
  const auto rows = co_await connection.query(kRead, std::move(params));
  if (rows.empty()) co_return std::nullopt;
  OwnEntity entity;
  entity.id = rows.get<EntityId>(0, 0);
  entity.data = values_of(type, rows.text(0, 1));
  entity.created_at = rows.get<Micros>(0, 2);
  entity.updated_at = rows.get<Micros>(0, 3);
  co_return entity;
}

}  // namespace sluice::model
