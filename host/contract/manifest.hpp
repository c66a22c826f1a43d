// What a connector declares about itself, read from the manifest in its file before any code of it
// runs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace sluice::contract {

/// The format of an amount in its currency's smallest unit, such as cents: 1999 is 19.99 USD.
/// Unlike other formats it is no advice: such an attribute names its currency, and is shown in
/// major units, too.
inline constexpr std::string_view kMinorUnits = "minor_units";

/// Formats of a timestamp: when the vendor changed the object last, and when it was made there. The
/// change feed says one of them beside its own time (ingest/writer.hpp).
inline constexpr std::string_view kModifiedAt = "modified_at";
inline constexpr std::string_view kCreatedAt = "created_at";

enum class AttributeType { text, integer, decimal, number, boolean, timestamp, date, json, bytes };
[[nodiscard]] std::string_view to_string(AttributeType type);
[[nodiscard]] std::optional<AttributeType> attribute_type(std::string_view name);

/// How a link key is normalised before it is compared (link/normalise.hpp).
enum class KeyKind { email = 1, phone = 2, domain = 3, username = 4, external_id = 5, exact = 6 };
[[nodiscard]] std::string_view to_string(KeyKind kind);
[[nodiscard]] std::optional<KeyKind> key_kind(std::string_view name);

struct Attribute {
  std::string name;  ///< [a-z][a-z0-9_]{0,62}; also the column's name
  AttributeType type = AttributeType::text;
  std::string format;    ///< "email", "url", kModifiedAt, …; empty when none
  std::string currency;  ///< of one in minor units (kMinorUnits): the attribute with its currency
  std::string description;
  bool is_protected = false;  ///< users can neither shadow, rename, retype nor drop it
  bool required = false;  ///< a record without it (null, or absent at first sight) is quarantined
  bool personal = false;  ///< personal data
};

/// A typed edge: this type's text attribute holds the external id of an entity of `target` in the
/// same connection.
struct Relationship {
  std::string name;
  std::string attribute;
  std::string target;  ///< entity type of the same connector, without its prefix
  bool is_protected = true;
};

struct LinkKey {
  std::string attribute;
  KeyKind kind = KeyKind::exact;
};

struct EntityType {
  std::string name;  ///< "customer"; the host calls it "<connector>.customer"
  std::string display_name;
  std::string display_attribute;
  std::vector<Attribute> attributes;  ///< a record's attribute index counts these
  std::vector<Relationship> relationships;
  std::vector<LinkKey> link_keys;

  [[nodiscard]] std::optional<std::uint32_t> attribute_index(std::string_view name) const;
};

enum class StreamMode {
  snapshot,  ///< everything, once; again only for a re-sync
  changes,   ///< notices of what changed, for ever; begins BEFORE the first snapshot of its
             ///< connection
  poll,      ///< entities by a cursor of their own, on a schedule
};

struct Stream {
  std::string name;
  StreamMode mode = StreamMode::snapshot;
  std::vector<std::string> entity_types;
  /// Of these, a snapshot from its start to its end puts out every entity there is; what it lacks
  /// may be gone.
  std::vector<std::string> enumerates;
  std::int64_t interval_seconds = 0;  ///< between runs; 0: only on request
  std::string description;
};

struct Host {
  std::string name;
  std::string url;  ///< "https://api.stripe.com" or "https://{subdomain}.zendesk.com", over config
};

enum class AuthScheme { bearer, basic, header, query };

/// How a request's credential is put on; which secret of the connection it is.
struct AuthSlot {
  std::string name;
  AuthScheme scheme = AuthScheme::bearer;
  std::string secret;     ///< name of the secret in the vault: "api_key"
  std::string parameter;  ///< header: its name; query: the parameter; basic: template
                          ///< "{email}/token:{secret}"
  std::string label;      ///< for the form
  std::string hint;
};

/// A default link rule: `source` (type.attribute of this connector) to `target` (own
/// type.attribute).
struct LinkRule {
  std::string name;
  std::string source_type, source_attribute;  ///< without the connector's prefix
  std::string target_type, target_attribute;
  KeyKind kind = KeyKind::exact;
};

/// How a vendor writes when its rate window begins anew.
enum class ResetUnit {
  seconds,   ///< so many seconds from the answer on, "12" or "0.5"
  ms,        ///< so many milliseconds from the answer on
  epoch_s,   ///< a time, seconds since 1970
  epoch_ms,  ///< a time, milliseconds since 1970
  delta,     ///< a span with its units, "1m30s", "250ms"
};
[[nodiscard]] std::optional<ResetUnit> reset_unit(std::string_view name);

/// Names of the response headers by which a vendor says what is left of its rate; empty: none.
/// Retry-After, and a "…-Should-Retry" of any vendor, are heeded without being declared.
struct RateHeaders {
  std::string limit;      ///< requests of one window
  std::string remaining;  ///< of them, what is left; empty when the vendor says nothing
  std::string reset;      ///< when the window begins anew; there when `remaining` is
  ResetUnit unit = ResetUnit::seconds;  ///< of `reset`
};

/// Requests per second to one vendor account, and how many at once.
struct RateBudget {
  double requests_per_second = 10;
  double requests_per_second_test = 10;  ///< when CHECK answered mode "test"
  int concurrency = 4;
  RateHeaders headers;
};

/// What an admission of today would refuse in a manifest that is admitted already.
struct ManifestFlaw {
  std::string pointer;  ///< "/config_schema/properties/subdomain/pattern"
  std::string what;
};

struct Manifest {
  std::string id;       ///< [a-z][a-z0-9]{0,30}; prefix of its entity types and tables
  std::string version;  ///< semantic version
  std::string display_name;
  std::string vendor_url;
  std::vector<Host> hosts;
  nlohmann::json config_schema;
  std::vector<AuthSlot> auth;
  RateBudget budget;
  std::vector<std::string> operations;  ///< "check", "read", "fetch", …
  std::vector<Stream> streams;
  std::vector<EntityType> entity_types;
  std::vector<LinkRule> link_rules;
  /// {"isk": 2}: digits of currencies that the vendor counts otherwise than ISO 4217, or that are
  /// not in it; small letters.
  nlohmann::json currency_exponents = nlohmann::json::object();
  std::vector<std::uint32_t> checkpoint_reads;
  std::uint32_t checkpoint_writes = 1;
  nlohmann::json document;          ///< the whole manifest as it was
  std::vector<ManifestFlaw> flaws;  ///< only of one that was admitted before

  [[nodiscard]] std::optional<std::uint32_t> type_index(std::string_view name) const;
  [[nodiscard]] const Stream* find_stream(std::string_view name) const;
  [[nodiscard]] bool supports(std::string_view operation) const;
};

/// Whether a manifest is judged for the first time.
enum class Admission {
  now,     ///< every rule holds
  before,  ///< a host admitted it, perhaps by the rules of an older version: what only younger
           ///< rules refuse is listed in Manifest::flaws, and the connector goes on without that
           ///< part
};

/// Parses and checks: JSON with unique keys and bounded depth, the schema
/// (plugin-api/manifest.schema.json, compiled in), then what a schema cannot say (references
/// between parts, unique names, reserved names, patterns that cannot be matched in linear time).
/// The error ("manifest.invalid") names the JSON pointer, what stands there and what should. Any
/// thread.
Result<Manifest> parse_manifest(std::string_view json, Admission admission = Admission::now);

}  // namespace sluice::contract
