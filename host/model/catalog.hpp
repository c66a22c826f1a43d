// What may be stored in a workspace: its entity types, attributes, relationships and link rules, as
// the database has them. A snapshot: read-only, shared, replaced as a whole when something changes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "contract/manifest.hpp"
#include "pg/pool.hpp"

namespace sluice::model {

struct StoredAttribute {
  std::string name;
  contract::AttributeType type = contract::AttributeType::text;
  std::string format;
  /// Of an amount in minor units: the text attribute with its currency. Empty: it is no amount.
  std::string currency;
  /// For a preset type: the index in the manifest that FIRST declared it; stays with the name,
  /// never reused. A later manifest may order its attributes differently: map a record's index by
  /// name. What an admin added stands behind all of these, from kPathPositionMin on.
  std::int16_t position = 0;
  bool is_protected = false;
  bool required = false;
  bool personal = false;
  bool unique = false;  ///< own types only
  std::optional<contract::KeyKind> key_kind;
  /// Of a text that an admin added to a connector's type (sync/path_attributes.hpp): where its
  /// value stands, {"metadata", "customer_number"}: a json attribute, or "extra" for what the
  /// vendor sent beyond its attributes, and the way inside. It has no column, and is as protected
  /// as what it stands in. Empty: the attribute has a column of its own.
  std::vector<std::string> path;
};

inline constexpr std::int16_t kPathPositionMin = 10'000;

/// What a path begins with that leads into what the vendor sent beyond its attributes.
inline constexpr std::string_view kExtraDocument = "extra";

/// "metadata.customer_number" as its parts, and back. A part holds no dot.
[[nodiscard]] std::vector<std::string> split_path(std::string_view text);
[[nodiscard]] std::string joined_path(const std::vector<std::string>& path);

struct StoredRelationship {
  std::string name;
  std::string attribute;
  EntityTypeId target;
  std::string target_name;
};

struct StoredType {
  EntityTypeId id;
  std::string name;       ///< "stripe.customer" or "customer"
  bool own = false;       ///< the organisation's own type, in sluice.own_entity
  std::string connector;  ///< of a preset type
  std::string table;      ///< preset: "stripe_customer", in schema vendor
  std::string display_attribute;
  std::string currency_exponents = "{}";  ///< what its connector says otherwise than ISO 4217; JSON
  bool active = true;
  Micros created_at{};  ///< of an own type that was dropped and made anew under its id: the latter
  std::vector<StoredAttribute> attributes;  ///< by position
  std::vector<StoredRelationship> relationships;

  [[nodiscard]] const StoredAttribute* find(std::string_view attribute) const;
};

struct StoredRule {
  RuleId id;
  std::string name;
  EntityTypeId source_type;  ///< 0 while that type does not exist in the workspace
  std::string source_type_name, source_attribute;
  std::int16_t source_position = -1;  ///< -1 while the attribute does not exist
  EntityTypeId target_type;
  std::string target_type_name, target_attribute;
  std::int16_t target_position = -1;
  contract::KeyKind key_kind = contract::KeyKind::exact;
  bool enabled = true;
  bool from_connector = false;
  std::string connector;  ///< whose rule it is; "": an admin's
  bool going = false;     ///< its connector dropped it: durable work takes its links, then itself
  bool has_keys = true;   ///< the ends that exist are link keys of its kind
  /// Both ends exist and are link keys of its kind: it can find something. link/idle.hpp says why
  /// one cannot.
  [[nodiscard]] bool effective() const {
    return enabled && has_keys && source_position >= 0 && target_position >= 0;
  }
};

class Catalog {
 public:
  WorkspaceId workspace;
  /// Rises with each change, by whichever host: see catalog_version.hpp.
  std::int64_t version = 0;
  std::vector<StoredType> types;  ///< by name
  std::vector<StoredRule> rules;  ///< by id

  [[nodiscard]] const StoredType* find(std::string_view name) const;
  [[nodiscard]] const StoredType* find(EntityTypeId id) const;
  /// Also one that is going. nullptr when there is none.
  [[nodiscard]] const StoredRule* find_rule(RuleId id) const;
  [[nodiscard]] const StoredRule* find_rule(std::string_view name) const;
};

using CatalogPtr = std::shared_ptr<const Catalog>;

/// Reads the whole catalogue of one workspace. In a caller's transaction it may be newer than its
/// version says, never older.
Task<CatalogPtr> load_catalog(pg::Connection& connection, WorkspaceId workspace);

/// The snapshots of this host, one a workspace, on one loop. Changes made through this host are
/// seen at once (invalidate); changes made through another host within `kCatalogAgeMax`, so that
/// who decides by one and takes something off a queue guards the transaction (catalog_version.hpp).
class Catalogs {
 public:
  explicit Catalogs(pg::Pool& pool, const Clock& clock);
  /// By a connection of our own pool when it must be read, so never ask while holding one.
  Task<CatalogPtr> get(WorkspaceId workspace);
  /// The same, read by `pool` instead.
  Task<CatalogPtr> get(WorkspaceId workspace, pg::Pool& pool);
  void invalidate(WorkspaceId workspace);
  /// As the database has it now, whatever was remembered.
  Task<CatalogPtr> renewed(WorkspaceId workspace);

 private:
  struct Entry {
    CatalogPtr catalog;
    std::chrono::steady_clock::time_point read_at;
  };
  pg::Pool& pool_;
  const Clock& clock_;
  std::unordered_map<WorkspaceId, Entry> entries_;
  std::uint64_t generation_ =
      0;  ///< grows with each invalidate: a read that began before is not kept
};

inline constexpr std::chrono::seconds kCatalogAgeMax{5};

}  // namespace sluice::model
