// A page's records, checked and brought into the form in which they are stored. Pure: no database.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "contract/manifest.hpp"
#include "contract/record.hpp"
#include "link/inside.hpp"
#include "model/catalog.hpp"
#include "pg/params.hpp"

namespace sluice::ingest {

inline constexpr std::size_t kExternalIdBytesMax = 1024;  ///< an index entry ends at 2,704
inline constexpr std::size_t kSourceUrlBytesMax = 8 * 1024;
inline constexpr std::size_t kTextBytesMax = 16u << 20;
/// Of one JSON value, as jsonb prints it: text of a few bytes may be a number of 10,000 digits.
inline constexpr std::size_t kJsonBytesMax = 16u << 20;
/// Of all JSON of a record together: what is read again is one row's text.
inline constexpr std::size_t kRecordJsonBytesMax = 64u << 20;
inline constexpr std::size_t kRawBytesMax = 16u << 20;
inline constexpr std::size_t kDecimalBytesMax = 1000;
inline constexpr int kDecimalExponentMax = 10'000;
inline constexpr std::size_t kDiscoveredNameBytesMax = 256;
inline constexpr std::size_t kQuarantinedRecordBytesMax = 1u << 20;

/// Which attributes a record has: rows with the same presence go into one statement.
struct Presence {
  std::vector<std::uint16_t> columns;  ///< indices into StoredType::attributes, ascending
  bool source_url = false;
  bool extra = false;
  bool whole = false;  ///< an update sets both of these two, to null where the record has none
  [[nodiscard]] bool covers(const Presence& other) const;
  void merge(const Presence& other);
  friend bool operator==(const Presence&, const Presence&) = default;
};

/// JSON in which link keys stand, with the attributes that they are of. Views point into those.
struct KeyDocument {
  std::int32_t column = -1;  ///< -1: what the vendor sent beyond attributes
  std::vector<const model::StoredAttribute*> attributes;
  std::vector<link::Path> ways;  ///< of each, from the document on
};

/// A manifest's type beside the same type in the catalogue. Lives as long as both.
struct TypePlan {
  const contract::EntityType* declared = nullptr;
  const model::StoredType* stored = nullptr;
  std::vector<std::int32_t>
      column_of;  ///< manifest attribute index -> index into stored->attributes
  std::vector<std::uint16_t> required;                           ///< columns
  std::vector<std::uint16_t> key_columns;                        ///< columns with a link key
  std::optional<std::uint16_t> modified_column, created_column;  ///< contract::kModifiedAt, …
  std::vector<KeyDocument> key_documents;
  std::vector<Presence> presences;
  std::unordered_map<std::string, std::uint32_t> presence_by_bits;
};

/// One record, ready to store. Views point into the page or into the batch.
struct Row {
  std::uint32_t type = 0;    ///< index into the manifest's entity types
  std::uint32_t record = 0;  ///< index into the page
  std::string_view external_id;
  std::int64_t version = 0;
  bool deleted = false;
  bool insertable = true;  ///< all required attributes are there; else it can only update a row
  bool refused = false;
  std::uint32_t presence = 0;  ///< index into TypePlan::presences
  std::uint32_t first_value = 0, values = 0;
  bool whole = false;
  std::string_view source_url, extra;
  pg::Uuid hash;
};

/// A vendor's time, where it is one: within the years 1 to 9999, which is what RFC 3339 writes.
[[nodiscard]] std::optional<Micros> plausible_time(Micros time);

/// A line for sluice.quarantine.
struct Refusal {
  std::string type;  ///< "stripe.customer"
  std::string external_id;
  std::string code;  ///< "value.wrong_kind"
  std::string reason;
  std::string record;  ///< JSON; empty: none
};

/// A record that is stored, but not as it came.
struct Note {
  std::uint32_t row = 0;
  std::string code, reason;
};

/// What a page comes to. Refused records are routed here, never dropped: each has its Refusal.
class Batch {
 public:
  /// Throws Failure(conflict, "ingest.catalog_behind") when a type or attribute of the manifest is
  /// not in the catalogue: the connector's types must be installed before its pages are written.
  Batch(const contract::Manifest& manifest, const model::Catalog& catalog,
        const contract::Page& page);

  [[nodiscard]] std::span<const contract::Value> values(const Row& row) const {
    return {values_.data() + row.first_value, row.values};
  }
  /// The row's value of that column; nullptr when the record does not have it.
  [[nodiscard]] const contract::Value* value(const Row& row, std::uint16_t column) const;
  [[nodiscard]] const TypePlan& plan(std::uint32_t type) const { return *plans_.at(type); }
  /// What the record says of when it was changed last, or made, at the vendor; nothing when it does
  /// not, or says a time outside of the years 1 to 9999.
  [[nodiscard]] std::optional<Micros> modified_at(const Row& row) const;
  [[nodiscard]] std::optional<Micros> created_at(const Row& row) const;
  /// The plan of a type that the page need not hold; throws as the constructor does.
  const TypePlan& planned(std::uint32_t type) { return plan_for(type); }
  [[nodiscard]] const Presence& presence(const Row& row) const {
    return plan(row.type).presences[row.presence];
  }
  /// Takes a row out, with the reason.
  void refuse(std::uint32_t row, std::string code, std::string reason);
  /// For a row that turned out to be new and lacks a required attribute.
  [[nodiscard]] std::string missing_required(const Row& row) const;
  /// Row indices in rounds: an external id is at most once in a round, later records of it are in
  /// later rounds; within a round by type and external id. A record that a later one of the page
  /// covers is left out. `twice` gets a note for each record that says something else than one of
  /// the same id and version before it in the page.
  [[nodiscard]] std::vector<std::vector<std::uint32_t>> rounds(
      std::vector<Note>* twice = nullptr) const;

  std::vector<Row> rows;
  std::vector<Refusal> refusals;
  std::vector<Note> notes;

 private:
  TypePlan& plan_for(std::uint32_t type);
  void take(std::uint32_t index);
  [[nodiscard]] std::optional<Micros> time_in(const Row& row,
                                              std::optional<std::uint16_t> column) const;
  std::optional<std::pair<std::string, std::string>> check_values(const contract::Record& record,
                                                                  Row& row);
  std::optional<std::pair<std::string, std::string>> check_value(
      const model::StoredAttribute& attribute, contract::Value& value);
  std::optional<std::pair<std::string, std::string>> build_extra(const contract::Record& record,
                                                                 Row& row);
  std::string_view storable_text(std::string_view text, std::string_view where);
  std::optional<std::pair<std::string, std::string>> storable_json(std::string_view& text,
                                                                   std::string_view where);
  std::string_view own(std::string text);
  void refuse_record(std::uint32_t index, std::string code, std::string reason);
  std::uint32_t intern_presence(TypePlan& plan, const Row& row);

  const contract::Manifest& manifest_;
  const model::Catalog& catalog_;
  std::span<const contract::Record> records_;  ///< of the page, which may be moved meanwhile
  std::map<std::uint32_t, std::unique_ptr<TypePlan>> plans_;
  std::vector<contract::Value> values_;
  std::deque<std::string> owned_;
  std::vector<Note> new_notes_;
  std::size_t json_bytes_ = 0;  ///< of the record that is being taken
  std::string scratch_;
};

/// The record as JSON, for the quarantine; empty when it is too big.
[[nodiscard]] std::string record_as_json(const contract::EntityType& type,
                                         const contract::Record& record);

}  // namespace sluice::ingest
