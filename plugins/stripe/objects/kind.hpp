// How one type of Stripe object becomes records; billing.hpp and payments.hpp hold one Kind each.
#pragma once

#include <sluice/sdk.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "stripe_manifest.hpp"

namespace stripe {

namespace json = sluice::sdk::json;
using sluice::sdk::As;
using sluice::sdk::Record;

/// A property that Stripe is known to send: the row of the table that keeps it, or none when it is
/// read elsewhere or left out on purpose.
struct Property {
  std::string_view key;
  const sluice::sdk::Field* field = nullptr;
};

/// All that are known of one type, sorted by key. What is not among them is new and is put out as a
/// discovered attribute.
struct Properties {
  const Property* rows = nullptr;
  std::size_t count = 0;
};

struct Kind {
  std::uint32_t type;
  std::string_view object;  ///< what Stripe writes into the object's own field "object"
  std::string_view path;    ///< of the list, one object under it; empty: it has no address
  Properties properties;
  std::string_view page = {};  ///< in the dashboard, the id follows; empty: it is not shown there
  std::string_view shown_by = {};  ///< field whose id the page shows; empty: the object's own
  void (*more)(Record&, const json::Value&) = nullptr;  ///< what no table can say
  const sluice::sdk::Fields* fields_before = nullptr;   ///< of older API versions
  void (*more_before)(Record&, const json::Value&) = nullptr;
  /// Kept properties that Stripe sends only where a request asks for them; each that reads objects
  /// of this kind has to, or what is stored of them would look as if it were gone.
  std::span<const std::string_view> asked_for = {};
  std::string_view details_by = {};  ///< field whose value names one more, which `more` reads
};

namespace objects {

// Left out of every type that does not keep it: who the object is, and what CHECK and each page
// look at before it gets here.
inline constexpr auto kLeftOutAlways =
    std::to_array<std::string_view>({"deleted", "id", "livemode", "object"});

template <std::size_t N>
struct PropertyTable {
  std::array<Property, N> rows{};
  std::size_t count = 0;

  /// False when the key stands there already.
  constexpr bool add(Property added) {
    std::size_t at = count;
    for (; at > 0 && added.key <= rows[at - 1].key; --at) {
      if (added.key == rows[at - 1].key) return false;
    }
    for (std::size_t i = count++; i > at; --i) rows[i] = rows[i - 1];
    rows[at] = added;
    return true;
  }
  [[nodiscard]] constexpr Properties view() const { return {rows.data(), count}; }
};

/// The rows of a type's table (SLUICE_FIELDS(kFields, …) calls them kFieldsRows), the names that
/// are left out, and the rows of older shapes, which an answer in our version ignores. A name that
/// is both kept and left out does not compile.
template <std::size_t F, std::size_t L, std::size_t B = 0>
consteval auto known_properties(const std::array<sluice::sdk::Field, F>& fields,
                                const std::array<std::string_view, L>& left_out,
                                const std::array<sluice::sdk::Field, B>& before = {}) {
  PropertyTable<F + L + B + kLeftOutAlways.size()> table;
  for (const sluice::sdk::Field& field : fields) table.add({field.key, &field});
  for (const std::string_view name : left_out) {
    if (!table.add({name, nullptr})) throw "a name is left out twice, or both kept and left out";
  }
  for (const sluice::sdk::Field& field : before) table.add({field.key, nullptr});
  for (const std::string_view name : kLeftOutAlways) table.add({name, nullptr});
  return table;
}

/// A list attribute from a field that holds one thing or null; nothing when the field is not there.
inline void put_single_as_list(Record& record, std::uint32_t attribute, const json::Value& one) {
  if (!one.exists()) return;
  record.json(attribute, one.is_null()
                             ? std::string_view("[]")
                             : record.scratch().join("[", one.compact(record.scratch()), "]"));
}

/// The id in the first entry of a list, which is the reference itself or has it under `name`; null
/// when the list is empty, nothing when there is no list.
inline void put_first_reference(Record& record, std::uint32_t attribute, const json::Value& list,
                                std::string_view name) {
  if (!list.is_array()) return;
  for (const json::Value entry : list.items()) {
    const json::Value named = entry[name];
    const std::string_view id = sluice::sdk::reference_id(named.exists() ? named : entry);
    if (!id.empty()) return record.text(attribute, id);
  }
  record.null(attribute);
}

/// The ids of a list of references or objects, as a JSON array.
inline void put_ids(Record& record, std::uint32_t attribute, const json::Value& list) {
  if (!list.is_array()) return;
  json::Writer ids;
  ids.begin_array();
  for (const json::Value entry : list.items()) {
    const std::string_view id = sluice::sdk::reference_id(entry);
    if (!id.empty()) ids.value(id);
  }
  record.json(attribute, record.scratch().keep(ids.end_array().text()));
}

}  // namespace objects
}  // namespace stripe
